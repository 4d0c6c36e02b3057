package main

import (
	"fmt"
	"net/http"
	"runtime"

	"example.com/shop/internal/catalog"
)

// labelPrinter prints parcels' labels. Its driver wants to be called from one thread only.
type labelPrinter struct {
	parcels chan *catalog.Product
	labels  chan string
}

// newLabelPrinter starts a printer.
func newLabelPrinter() *labelPrinter {
	l := &labelPrinter{parcels: make(chan *catalog.Product), labels: make(chan string)}
	go l.drive()
	return l
}

// drive prints what comes in until there are no more parcels. Nobody says so: the goroutine waits for ever,
// and no other may have its thread.
func (l *labelPrinter) drive() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for p := range l.parcels { // culprit: thread
		l.labels <- fmt.Sprintf("%d %s", p.ID, p.Name)
	}
}

func (s *Shop) label(w http.ResponseWriter, r *http.Request) {
	if p, ok := s.wanted(w, r); ok {
		printer := newLabelPrinter()
		printer.parcels <- p
		fmt.Fprintln(w, <-printer.labels)
	}
}
