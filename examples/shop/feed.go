package main

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"syscall"
	"time"
)

// Feed is the supplier's article dump: a file too big to read at once, so it is mapped.
type Feed struct {
	file   *os.File
	mapped []byte
}

const feedHeader = "articles 1\n"

// OpenFeed makes a feed of size bytes in dir and maps it. The caller closes it.
func OpenFeed(dir string, size int64) (*Feed, error) {
	file, err := os.CreateTemp(dir, "shop-feed-*.dat")
	if err != nil {
		return nil, fmt.Errorf("feed: %w", err)
	}
	f := &Feed{file: file}
	if _, err = file.WriteString(feedHeader); err == nil {
		err = file.Truncate(size)
	}
	if err == nil {
		f.mapped, err = syscall.Mmap(int(file.Fd()), 0, int(size), syscall.PROT_READ, syscall.MAP_SHARED)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("feed: %w", err), f.Close())
	}
	return f, nil
}

// Import reads the feed at bytesPerSecond, over and over until ctx is done. Each part is read through
// the mapping and again from the file, and the two must agree.
func (f *Feed) Import(ctx context.Context, bytesPerSecond float64) error {
	const tick = 100 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	part := make([]byte, 64<<10)
	offset, owed := 0, 0.0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		for owed += bytesPerSecond * tick.Seconds(); owed >= float64(len(part)); owed -= float64(len(part)) {
			n, err := f.file.ReadAt(part[:min(len(part), len(f.mapped)-offset)], int64(offset))
			if err != nil {
				return fmt.Errorf("feed: %w", err)
			}
			if crc32.ChecksumIEEE(part[:n]) != crc32.ChecksumIEEE(f.mapped[offset:offset+n]) {
				return fmt.Errorf("feed: the file and its mapping differ at %d", offset)
			}
			offset = (offset + n) % len(f.mapped)
		}
	}
}

// Close unmaps the feed and removes its file.
func (f *Feed) Close() error {
	var unmapped error
	if f.mapped != nil {
		unmapped = syscall.Munmap(f.mapped)
		f.mapped = nil
	}
	return errors.Join(unmapped, f.file.Close(), os.Remove(f.file.Name()))
}
