package main

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"

	"example.com/shop/internal/catalog"
)

const (
	leafletBytes  = 32 << 10
	headlineBytes = 48
)

// Leaflets remembers the headline of every leaflet that was printed.
type Leaflets struct {
	mu        sync.Mutex
	headlines [][]byte
}

// Print makes a leaflet and keeps its headline: a few bytes of an array of 32 KiB, which stays whole.
func (l *Leaflets) Print(p *catalog.Product) []byte {
	leaflet := make([]byte, 0, leafletBytes) // culprit: sub-slice
	leaflet = fmt.Appendf(leaflet, "%-*.*s\n", headlineBytes-1, headlineBytes-1, p.Name)
	paragraph := []byte(p.Description + "\n")
	for len(leaflet)+len(paragraph) <= leafletBytes {
		leaflet = append(leaflet, paragraph...)
	}
	l.mu.Lock()
	l.headlines = append(l.headlines, leaflet[:headlineBytes])
	l.mu.Unlock()
	return leaflet
}

// Printed is the number of leaflets with headline.
func (l *Leaflets) Printed(headline []byte) (count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range l.headlines {
		if bytes.Equal(one, headline) {
			count++
		}
	}
	return count
}

func (s *Shop) leaflet(w http.ResponseWriter, r *http.Request) {
	if p, ok := s.wanted(w, r); ok {
		s.send(w, "text/plain; charset=utf-8", s.leaflets.Print(p))
	}
}
