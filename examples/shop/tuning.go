package main

import (
	"context"
	"math"
	"runtime/debug"
)

// rareCollections lets the heap grow by percent between collections, as GOGC does, until ctx is done.
func rareCollections(ctx context.Context, percent float64) error {
	before := debug.SetGCPercent(int(min(percent, math.MaxInt32)))
	defer debug.SetGCPercent(before)
	<-ctx.Done()
	return nil
}

// collectAtLimit lets the heap grow to limit bytes before it is collected, as GOGC=off with GOMEMLIMIT does,
// until ctx is done.
func collectAtLimit(ctx context.Context, limit float64) error {
	limitBefore := debug.SetMemoryLimit(int64(limit))
	defer debug.SetMemoryLimit(limitBefore)
	percentBefore := debug.SetGCPercent(-1)
	defer debug.SetGCPercent(percentBefore)
	<-ctx.Done()
	return nil
}
