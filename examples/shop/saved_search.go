package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"

	"example.com/shop/internal/catalog"
)

const matchesKept = 4096 // 32 KiB of pointers

// SavedSearches tells visitors when something new is found for what they once looked for.
type SavedSearches struct {
	mu   sync.Mutex
	last [][]*catalog.Product // what was found the last time, by number of the search
}

// Save keeps a search and what it finds. No search is ever dropped.
func (s *SavedSearches) Save(found []*catalog.Product) int {
	kept := make([]*catalog.Product, 0, matchesKept) // culprit: slow-leak
	kept = append(kept, found[:min(len(found), matchesKept)]...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = append(s.last, kept)
	return len(s.last)
}

func (s *Shop) saveSearch(w http.ResponseWriter, r *http.Request) {
	number := s.searches.Save(s.catalog.Search(r.FormValue("q"), searchResults))
	s.sendJSON(w, map[string]int{"number": number})
}

// busyDays is the slow leak, at bytesPerSecond, beside the trade of a day after the other, which moves the
// memory up and down by many times what leaks in that time.
func busyDays(ctx context.Context, settings Settings, bytesPerSecond float64) error {
	const atNoon = 40 // checkouts in flight, 1 MiB each
	traded := make(chan error, 1)
	go func() { traded <- wave(ctx, settings.Base, atNoon, settings.Day) }()
	err := strangers(ctx, settings.Base, bytesPerSecond/matchesBytes, func() string {
		return fmt.Sprintf("/saved?q=%s", []string{"lamp", "mug", "blue", "shelf"}[rand.IntN(4)])
	})
	if failed := <-traded; failed != nil {
		return failed
	}
	return err
}
