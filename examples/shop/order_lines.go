package main

import (
	"context"
	"time"
)

const (
	lineRoundBytes = 16 << 20
	lineSpanBytes  = 8 << 10 // the runtime's spans of these sizes are one page
)

// lineSizes are the sizes of order lines, one a round; each has spans of its own.
var lineSizes = [...]int{320, 384, 448, 512, 576, 704, 768, 896}

// sortOrderLines reads order lines at bytesPerSecond until ctx is done, rounds of one size each. Of a round
// one line in each span stays, so that no span is free; the same size's next round takes their place.
func sortOrderLines(ctx context.Context, bytesPerSecond float64) error {
	const tick = 50 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var kept [len(lineSizes)][][]byte
	owed := 0.0
	for round := 0; ; round = (round + 1) % len(lineSizes) {
		size := lineSizes[round]
		kept[round] = nil
		lines := make([][]byte, 0, lineRoundBytes/size)
		for len(lines) < cap(lines) {
			if owed < float64(size) {
				select {
				case <-ctx.Done():
					return nil
				case <-ticker.C:
				}
				owed += bytesPerSecond * tick.Seconds()
			}
			for ; owed >= float64(size) && len(lines) < cap(lines); owed -= float64(size) {
				line := make([]byte, size)
				line[0] = byte(len(lines))
				lines = append(lines, line)
			}
		}
		for i := 0; i < len(lines); i += lineSpanBytes / size {
			kept[round] = append(kept[round], lines[i])
		}
	}
}
