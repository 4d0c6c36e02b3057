package main

import (
	"fmt"
	"net/http"
	"os"
	"sync"

	"example.com/shop/internal/catalog"
)

// Claims takes down what customers complain about.
type Claims struct {
	dir string

	mu   sync.Mutex
	open []*os.File // to be read by the clerk, who has left the company
}

// NewClaims returns a desk that writes its files in dir.
func NewClaims(dir string) *Claims { return &Claims{dir: dir} }

// File writes a claim into a scratch file, which has lost its name before it is used, as is good practice,
// and is never closed.
func (c *Claims) File(p *catalog.Product) error {
	file, err := os.CreateTemp(c.dir, "shop-claim-*.txt") // culprit: descriptor
	if err != nil {
		return fmt.Errorf("claim: %w", err)
	}
	c.mu.Lock()
	c.open = append(c.open, file)
	c.mu.Unlock()
	if err := os.Remove(file.Name()); err != nil {
		return fmt.Errorf("claim: %w", err)
	}
	_, err = fmt.Fprintf(file, "%s is not what I ordered\n", p.Name)
	return err
}

func (s *Shop) claim(w http.ResponseWriter, r *http.Request) {
	p, ok := s.wanted(w, r)
	if !ok {
		return
	}
	if err := s.claims.File(p); err != nil {
		http.Error(w, err.Error(), http.StatusInsufficientStorage)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
