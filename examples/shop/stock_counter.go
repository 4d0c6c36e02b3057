package main

import (
	"net/http"
	"sync/atomic"
	"time"

	"example.com/shop/internal/catalog"
)

// counterPeriod is how often the number of pieces left is looked up again.
const counterPeriod = 10 * time.Second

// StockCounter shows "only 3 left" beside an article, and counts down while the visitor looks at it.
type StockCounter struct {
	left atomic.Int64
}

// Show starts a counter for one visitor. Nothing ends it when the visitor goes: its ticker goes on, and so
// does the goroutine that waits for it, which is never blocked for longer than a period.
func (c *StockCounter) Show(p *catalog.Product) int64 {
	ticker := time.NewTicker(counterPeriod)
	c.left.Store(int64(p.Stock))
	go c.countDown(p, ticker)
	return c.left.Load()
}

func (c *StockCounter) countDown(p *catalog.Product, ticker *time.Ticker) {
	for range ticker.C { // culprit: ticker
		c.left.Store(int64(max(p.Stock-1, 0)))
	}
}

func (s *Shop) stock(w http.ResponseWriter, r *http.Request) {
	if p, ok := s.wanted(w, r); ok {
		s.sendJSON(w, map[string]int64{"left": new(StockCounter).Show(p)})
	}
}
