package main

import (
	"fmt"
	"hash/crc32"
	"net/http"
	"time"
)

const (
	// orderBytes is room for an order document with a picture of each article.
	orderBytes = 1 << 20
	// cardTime is how long the card company takes to confirm a payment.
	cardTime = 2 * time.Second
)

// checkout turns the visitor's cart into an order. The document is complete before the payment, since
// its checksum goes to the card company and onto the receipt.
func (s *Shop) checkout(w http.ResponseWriter, r *http.Request) {
	cart := s.session(w, r).TakeCart()
	if len(cart) > 0 {
		defer cartsOpen.Dec()
	}
	document := s.orderDocument(cart)
	if r.FormValue("pay") == "card" {
		select {
		case <-time.After(cardTime):
		case <-r.Context().Done():
			return
		}
	}
	ordersTotal.Inc()
	fmt.Fprintf(w, "%d articles, document %08x\n", len(cart), crc32.ChecksumIEEE(document))
}

// orderDocument is a page for each article: its description, its picture, blank to the page's end.
func (s *Shop) orderDocument(cart []int) []byte {
	document := make([]byte, 0, orderBytes)
	for _, id := range cart {
		if p, ok := s.catalog.Product(id); ok {
			document = fmt.Appendf(document, "%s, %d cents\n%s\n", p.Name, p.Cents, p.Description)
			document = append(document, s.thumbnail(p)...)
		}
	}
	for len(document) < orderBytes {
		document = append(document, blankLine[:min(len(blankLine), orderBytes-len(document))]...)
	}
	return document
}

var blankLine = func() (line [4096]byte) {
	for i := range line {
		line[i] = ' '
	}
	return line
}()
