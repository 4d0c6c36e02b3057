package main

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"time"
)

const reportPart = 1 << 20

// reportTimes are how long it takes to collect a year's sales, and to print them.
type reportTimes struct{ collect, print time.Duration }

var usualReport = reportTimes{collect: 5 * time.Second, print: 5 * time.Second}

// yearlyReport collects the sales of a year, size bytes in all, prints them and is done with them. What it
// took is free then; the runtime gives it back bit by bit.
func yearlyReport(ctx context.Context, size float64, takes reportTimes) error {
	count := max(int(size/reportPart), 1)
	ticker := time.NewTicker(takes.collect / time.Duration(count))
	defer ticker.Stop()
	sales := make([][]byte, 0, count)
	for day := range count {
		part := make([]byte, reportPart)
		for at := 0; at < len(part); at += 8 {
			binary.LittleEndian.PutUint64(part[at:], uint64(day*at))
		}
		sales = append(sales, part)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(takes.print):
	}
	for _, part := range sales {
		_ = crc32.ChecksumIEEE(part)
	}
	return nil
}
