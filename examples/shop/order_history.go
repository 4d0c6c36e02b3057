package main

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"example.com/shop/internal/archive"
)

// OrderHistory looks orders of past years up. Its archive is opened when somebody asks.
type OrderHistory struct {
	dir string

	mu   sync.Mutex
	past *archive.Archive
}

// NewOrderHistory returns a history whose archive will lie in dir. The caller closes it.
func NewOrderHistory(dir string) *OrderHistory { return &OrderHistory{dir: dir} }

// Note returns what was noted on an order.
func (h *OrderHistory) Note(number int) (string, error) {
	past, err := h.opened()
	if err != nil {
		return "", err
	}
	return past.Note(number)
}

func (h *OrderHistory) opened() (*archive.Archive, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.past == nil {
		past, err := archive.Open(h.dir)
		if err != nil {
			return nil, err
		}
		h.past = past
	}
	return h.past, nil
}

// Close removes the archive.
func (h *OrderHistory) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.past == nil {
		return nil
	}
	return h.past.Close()
}

func (s *Shop) pastOrder(w http.ResponseWriter, r *http.Request) {
	number, err := strconv.Atoi(r.PathValue("id"))
	if err != nil || number < 0 {
		http.Error(w, "no such order", http.StatusNotFound)
		return
	}
	note, err := s.history.Note(number)
	switch {
	case errors.Is(err, archive.ErrNone):
		http.Error(w, err.Error(), http.StatusNotImplemented)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		fmt.Fprintln(w, note)
	}
}
