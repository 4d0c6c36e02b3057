package main

import (
	"fmt"
	"hash/crc32"
	"net/http"
	"syscall"

	"example.com/shop/internal/catalog"
)

const enlargedBytes = 256 << 10

// magnify enlarges a picture in a mapping of its own, so that the collector need not know of it, and
// returns its checksum. The mapping is never given back.
func magnify(p *catalog.Product) (uint32, error) {
	const access, anonymous = syscall.PROT_READ | syscall.PROT_WRITE, syscall.MAP_ANON | syscall.MAP_PRIVATE
	enlarged, err := syscall.Mmap(-1, 0, enlargedBytes, access, anonymous) // culprit: mmap
	if err != nil {
		return 0, fmt.Errorf("enlarging: %w", err)
	}
	for at := range enlarged {
		enlarged[at] = byte(at*p.ID + at>>8)
	}
	return crc32.ChecksumIEEE(enlarged), nil
}

func (s *Shop) enlarged(w http.ResponseWriter, r *http.Request) {
	p, ok := s.wanted(w, r)
	if !ok {
		return
	}
	sum, err := magnify(p)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInsufficientStorage)
		return
	}
	fmt.Fprintf(w, "%08x\n", sum)
}
