package main

import (
	"net/http"
	"sync"
	"time"

	"example.com/shop/internal/catalog"
)

const (
	slipBytes = 32 << 10
	// holdTime is when an article that nobody has paid for goes back to the shelf.
	holdTime = 24 * time.Hour
)

// Reservations holds articles back for visitors.
type Reservations struct {
	mu   sync.Mutex
	held map[int]int // pieces by article
}

// NewReservations returns none.
func NewReservations() *Reservations { return &Reservations{held: make(map[int]int)} }

// Hold keeps one piece back and returns how to give it back earlier. Whoever does leaves the timer: it
// keeps the slip for a day.
func (v *Reservations) Hold(p *catalog.Product) (giveBack func()) {
	slip := make([]byte, slipBytes) // culprit: timer
	copy(slip, p.Name)
	v.change(p.ID, 1)
	open := true
	giveBack = func() {
		if open {
			open = false
			v.change(p.ID, -1)
		}
	}
	time.AfterFunc(holdTime, func() {
		if slip[0] != 0 {
			giveBack()
		}
	})
	return giveBack
}

func (v *Reservations) change(product, pieces int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.held[product] += pieces
}

// reserve is for visitors who think better of it at once.
func (s *Shop) reserve(w http.ResponseWriter, r *http.Request) {
	if p, ok := s.wanted(w, r); ok {
		giveBack := s.reservations.Hold(p)
		giveBack()
		w.WriteHeader(http.StatusNoContent)
	}
}
