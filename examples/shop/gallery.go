package main

import (
	"net/http"
	"sync"

	"example.com/shop/internal/catalog"
)

// Gallery keeps the pictures of all articles, each from when it is first asked for.
type Gallery struct {
	mu       sync.Mutex
	pictures [catalogSize][]byte
}

// Picture returns an article's picture, made by draw if there is none yet.
func (g *Gallery) Picture(p *catalog.Product, draw func(*catalog.Product) []byte) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pictures[p.ID] == nil {
		g.pictures[p.ID] = draw(p)
	}
	return g.pictures[p.ID]
}

func (s *Shop) picture(w http.ResponseWriter, r *http.Request) {
	if p, ok := s.wanted(w, r); ok {
		s.send(w, "image/bmp", s.gallery.Picture(p, s.thumbnail))
	}
}
