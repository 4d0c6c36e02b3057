package main

import (
	"context"
	"net/http"

	"example.com/shop/internal/catalog"
)

// PriceWatch foretells prices to visitors who follow an article.
type PriceWatch struct {
	open  context.Context // as long as the shop
	close context.CancelFunc
}

// NewPriceWatch returns a watch that nobody uses yet.
func NewPriceWatch() *PriceWatch {
	w := &PriceWatch{}
	w.open, w.close = context.WithCancel(context.Background())
	return w
}

const chartDays = 4096 // 32 KiB of prices

// chartKey finds the price chart in a follower's context.
type chartKey struct{}

// follower is one visitor who follows one article.
type follower struct {
	ctx   context.Context
	leave context.CancelFunc // for the visitor who says so; nobody calls it for one who just goes
}

// Follow returns what the article will cost. Each follower's context is a child of the shop's, which keeps
// it, and the chart in it, until it is cancelled.
func (w *PriceWatch) Follow(p *catalog.Product) int {
	chart := make([]int64, chartDays) // culprit: context
	for day := range chart {
		chart[day] = int64(p.Cents + (day*7919)%100)
	}
	var f follower
	f.ctx, f.leave = context.WithCancel(context.WithValue(w.open, chartKey{}, chart))
	return f.foretell()
}

// foretell returns the mean of the chart's prices.
func (f follower) foretell() int {
	chart := f.ctx.Value(chartKey{}).([]int64)
	sum := int64(0)
	for _, cents := range chart {
		sum += cents
	}
	return int(sum) / len(chart)
}

func (s *Shop) followPrice(w http.ResponseWriter, r *http.Request) {
	if p, ok := s.wanted(w, r); ok {
		s.sendJSON(w, map[string]int{"product": p.ID, "cents": s.prices.Follow(p)})
	}
}
