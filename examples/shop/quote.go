package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"example.com/shop/internal/catalog"
)

// Quote is a price for an article.
type Quote struct {
	Product   int    `json:"product"`
	Cents     int    `json:"cents"`
	Available string `json:"available"`
}

var errNoQuote = errors.New("the supplier has not answered in time")

const sheetBytes = 4 << 10

// QuoteDesk prices articles; for those on back order it asks the supplier.
type QuoteDesk struct {
	patience time.Duration // how long a visitor waits
	supplier time.Duration // how long the supplier takes
	sheets   sync.Pool     // of *[]byte, a price sheet each
}

// NewQuoteDesk returns a desk whose visitors wait for patience and whose supplier takes supplier.
func NewQuoteDesk(patience, supplier time.Duration) *QuoteDesk {
	d := &QuoteDesk{patience: patience, supplier: supplier}
	d.sheets.New = func() any {
		sheet := make([]byte, 0, sheetBytes)
		return &sheet
	}
	return d
}

// Quote returns the price of one article.
func (d *QuoteDesk) Quote(p *catalog.Product) (Quote, error) {
	if p.Stock > 0 {
		return Quote{Product: p.ID, Cents: p.Cents, Available: "now"}, nil
	}
	replies := make(chan Quote)
	go d.ask(p, replies)
	select {
	case quote := <-replies:
		return quote, nil
	case <-time.After(d.patience):
		return Quote{}, errNoQuote
	}
}

// ask fetches the supplier's price sheet and sends on what it says of p.
func (d *QuoteDesk) ask(p *catalog.Product, replies chan<- Quote) {
	sheet := d.sheets.Get().(*[]byte)
	defer d.sheets.Put(sheet)
	*sheet = d.fetchSheet((*sheet)[:0], p)
	quote := Quote{Product: p.ID, Cents: p.Cents}
	if err := json.Unmarshal(*sheet, &quote); err != nil {
		quote.Available = "on request"
	}
	replies <- quote // culprit: goroutine
}

// fetchSheet appends the supplier's answer, which takes its time to come.
func (d *QuoteDesk) fetchSheet(sheet []byte, p *catalog.Product) []byte {
	time.Sleep(d.supplier)
	return fmt.Appendf(sheet, `{"cents": %d, "available": "in three weeks"}`, p.Cents*9/10)
}
