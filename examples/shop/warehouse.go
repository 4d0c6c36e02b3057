package main

import (
	"fmt"
	"net/http"
	"strings"

	"example.com/shop/internal/catalog"
)

// Warehouse asks the warehouse's service, which the shop's own server plays, what is on its shelves.
type Warehouse struct {
	base   string
	client *http.Client
}

// NewWarehouse returns a warehouse whose service answers below base.
func NewWarehouse(base string) *Warehouse {
	// No limit of connections, and none of time: as http.Get has it.
	return &Warehouse{base: base, client: &http.Client{Transport: &http.Transport{DisableCompression: true}}}
}

// InStock tells whether the article can be sent today. The status says it all, so the body is left as it
// came: the connection waits for a reader, with two goroutines on this side and one on the other.
func (h *Warehouse) InStock(p *catalog.Product) (bool, error) {
	url := fmt.Sprintf("%s/shelf/%d", h.base, p.ID)
	response, err := h.client.Get(url) // culprit: unread-body
	if err != nil {
		return false, fmt.Errorf("warehouse: %w", err)
	}
	return response.StatusCode == http.StatusOK, nil
}

// shelfList is more than one read of a connection takes, and less than a socket's buffer.
var shelfList = strings.Repeat("aisle, shelf, box, pieces, counted at\n", 400)

// shelf is the warehouse's service.
func (s *Shop) shelf(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.wanted(w, r); ok {
		s.send(w, "text/csv; charset=utf-8", []byte(shelfList))
	}
}

func (s *Shop) available(w http.ResponseWriter, r *http.Request) {
	p, ok := s.wanted(w, r)
	if !ok {
		return
	}
	inStock, err := s.warehouse.InStock(p)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	s.sendJSON(w, map[string]bool{"today": inStock})
}
