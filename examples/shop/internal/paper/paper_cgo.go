//go:build cgo

package paper

/*
#include <stdlib.h>
#include <string.h>

// Fills a sheet and returns a sum over it.
static unsigned sheet_fill(unsigned char *sheet, size_t length, int ink) {
	unsigned sum = 0;
	memset(sheet, ink, length);
	for (size_t at = 0; at < length; at += 512)
		sum = sum * 31 + sheet[at];
	return sum;
}
*/
import "C"

import (
	"errors"
	"sync"
	"unsafe"
)

// Native tells that sheets lie in C memory.
const Native = true

// Pool keeps a sheet for each format that was used.
type Pool struct {
	mu     sync.Mutex
	sheets [Formats]unsafe.Pointer
}

// Set fills the format's sheet with ink and returns its sum.
func (p *Pool) Set(format int, ink byte) (uint32, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sheet := &p.sheets[uint(format)%Formats]
	if *sheet == nil {
		if *sheet = C.malloc(SheetBytes); *sheet == nil {
			return 0, errors.New("paper: out of memory")
		}
	}
	return uint32(C.sheet_fill((*C.uchar)(*sheet), SheetBytes, C.int(ink))), nil
}

// Close frees the sheets.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.sheets {
		C.free(p.sheets[i])
		p.sheets[i] = nil
	}
}
