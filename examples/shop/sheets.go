package main

import (
	"fmt"
	"net/http"

	"example.com/shop/internal/paper"
)

// sheet sets an article's data sheet, of a format of its own.
func (s *Shop) sheet(w http.ResponseWriter, r *http.Request) {
	p, ok := s.wanted(w, r)
	if !ok {
		return
	}
	if !paper.Native {
		http.Error(w, errNeedsCgo.Error(), http.StatusNotImplemented)
		return
	}
	sum, err := s.sheets.Set(p.ID, byte(p.Cents))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInsufficientStorage)
		return
	}
	fmt.Fprintf(w, "%08x\n", sum)
}
