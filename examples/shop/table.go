package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"example.com/shop/internal/archive"
	"example.com/shop/internal/paper"
	"example.com/shop/internal/receipt"
)

const (
	sessionBytes = historyLength * 64 // what a new visitor's session takes
	chartBytes   = chartDays * 8
	matchesBytes = matchesKept * 8
	pictureBytes = 72 << 10 // a thumbnail, as large as the allocator makes it

	// goroutinesUnread wait for the reader of one body: two of the client's and one of the server's.
	goroutinesUnread = 3

	mibPerMinute        = "MiB/min"
	goroutinesPerMinute = "goroutines/min"
)

// work goes on at a rate until ctx is done.
type work func(ctx context.Context, rate float64) error

// table is all there is to switch on: its rate, what a watcher should say of it, and what happens.
func table(settings Settings) map[string]scenario {
	all := leaks(settings)
	for name, one := range lookAlikes(settings) {
		all[name] = one
	}
	return all
}

func leaks(settings Settings) map[string]scenario {
	// each are visits of which one makes so much of what the rate counts a minute.
	each := func(amount float64, path func() string) work {
		return func(ctx context.Context, rate float64) error {
			return strangers(ctx, settings.Base, rate/60/amount, path)
		}
	}
	bytesEach := func(bytes float64, path func() string) work { return each(bytes/mib, path) }
	return map[string]scenario{
		"session-cache": {unit: mibPerMinute, usual: 60,
			truth: leak((*SessionCache).Put, inStacks, "go-heap"),
			run:   bytesEach(sessionBytes, anyOf("/?page=%d", 50))},
		"goroutine": {unit: goroutinesPerMinute, usual: 1200,
			truth: leak((*QuoteDesk).ask, inStacks, "goroutine"),
			run:   each(1, anyOf("/quote/%d0", catalogSize/10))}, // articles on back order
		"cgo": {unit: mibPerMinute, usual: 60, needsCgo: true,
			truth: leak(receipt.Print, inMappings, "native-heap"),
			run:   bytesEach(receipt.MeanBytes, anyOf("/receipt/%d?voucher=EXPIRED", 1000000))},
		"context": {unit: mibPerMinute, usual: 60,
			truth: leak((*PriceWatch).Follow, inStacks, "go-heap"),
			run:   bytesEach(chartBytes, anyOf("/follow/%d", catalogSize))},
		"unread-body": {unit: goroutinesPerMinute, usual: 1200,
			truth: leak((*Warehouse).InStock, inStacks, "goroutine", "fd"),
			run:   each(goroutinesUnread, anyOf("/available/%d", catalogSize))},
		"ticker": {unit: goroutinesPerMinute, usual: 1200,
			truth: leak((*StockCounter).countDown, inStacks, "goroutine"),
			run:   each(1, anyOf("/stock/%d", catalogSize))},
		"timer": {unit: mibPerMinute, usual: 60,
			truth: leak((*Reservations).Hold, inStacks, "go-heap"),
			run:   bytesEach(slipBytes, anyOf("/reserve/%d", catalogSize))},
		"sub-slice": {unit: mibPerMinute, usual: 60,
			truth: leak((*Leaflets).Print, inStacks, "go-heap"),
			run:   bytesEach(leafletBytes, anyOf("/leaflet/%d", catalogSize))},
		"mmap": {unit: mibPerMinute, usual: 60,
			truth: leak(magnify, inMappings, "native-mmap"),
			run:   bytesEach(enlargedBytes, anyOf("/enlarged/%d", catalogSize))},
		"thread": {unit: "threads/min", usual: 240,
			truth: leak((*labelPrinter).drive, inStacks, "thread", "goroutine"),
			run:   each(1, anyOf("/label/%d", catalogSize))},
		"descriptor": {unit: "descriptors/min", usual: 240,
			truth: leak((*Claims).File, inStacks, "fd"),
			run:   each(1, anyOf("/claim/%d", catalogSize))},
		"sqlite": {unit: mibPerMinute, usual: 60, needsCgo: true,
			truth: leak((*archive.Archive).Note, inMappings, "native-heap", "fd"),
			run:   bytesEach(archive.SearchBytes, anyOf("/past/%d", 1000000))},
		"slow-leak": {unit: mibPerMinute, usual: 2,
			truth: leak((*SavedSearches).Save, inStacks, "go-heap"),
			run: func(ctx context.Context, rate float64) error {
				return busyDays(ctx, settings, rate*mib/60)
			}},
	}
}

func lookAlikes(settings Settings) map[string]scenario {
	return map[string]scenario{
		"bounded-cache": {unit: "pages/s", usual: 45,
			truth: noLeak("warm-up", "plateau"),
			run: func(ctx context.Context, rate float64) error {
				return strangers(ctx, settings.Base, rate, anyOf("/product/%d", catalogSize))
			}},
		"traffic-wave": {unit: "checkouts at the crest", usual: 80,
			truth: noLeak("load", "season"),
			run: func(ctx context.Context, rate float64) error {
				return wave(ctx, settings.Base, rate, settings.WavePeriod)
			}},
		"big-file": {unit: mibPerMinute, usual: 240,
			truth: noLeak("page-cache"),
			run: func(ctx context.Context, rate float64) error {
				feed, err := OpenFeed(settings.FeedDir, settings.FeedBytes)
				if err != nil {
					return err
				}
				return errors.Join(feed.Import(ctx, rate*mib/60), feed.Close())
			}},
		"warm-up": {unit: mibPerMinute, usual: 60,
			truth: noLeak("warm-up", "plateau"),
			run: func(ctx context.Context, rate float64) error {
				return strangers(ctx, settings.Base, rate*mib/60/pictureBytes, inTurn("/picture/%d", catalogSize))
			}},
		"rare-gc": {unit: "percent (GOGC)", usual: 3000,
			truth: noLeak("gc-idle", "gc-sawtooth"),
			run:   rareCollections},
		"memory-limit": {unit: "MiB (GOMEMLIMIT)", usual: 256,
			truth: noLeak("plateau", "gc-idle", "gc-sawtooth"),
			run: func(ctx context.Context, rate float64) error {
				return collectAtLimit(ctx, rate*mib)
			}},
		"idle-heap": {unit: "MiB at once", usual: 200,
			truth: noLeak("not-returned", "spike"),
			run: func(ctx context.Context, rate float64) error {
				return yearlyReport(ctx, rate*mib, usualReport)
			}},
		"fragmentation": {unit: mibPerMinute, usual: 120,
			truth: noLeak("fragmentation", "plateau"),
			run: func(ctx context.Context, rate float64) error {
				return sortOrderLines(ctx, rate*mib/60)
			}},
		"shrunk-map": {unit: mibPerMinute, usual: 60,
			truth: noLeak("plateau", "warm-up", "step"),
			run: func(ctx context.Context, rate float64) error {
				return couponSales(ctx, rate*mib/60)
			}},
		"mapped-files": {unit: mibPerMinute, usual: 240,
			truth: noLeak("page-cache"),
			run: func(ctx context.Context, rate float64) error {
				return indexPictures(ctx, settings, rate*mib/60)
			}},
		"c-pool": {unit: mibPerMinute, usual: 60, needsCgo: true,
			truth: noLeak("plateau", "warm-up"),
			run: func(ctx context.Context, rate float64) error {
				return strangers(ctx, settings.Base, rate*mib/60/paper.SheetBytes, inTurn("/sheet/%d", paper.Formats))
			}},
		"long-polls": {unit: "visitors at the crest", usual: 160,
			truth: noLeak("load", "season"),
			run: func(ctx context.Context, rate float64) error {
				return audience(ctx, settings.Base, rate, settings.WavePeriod)
			}},
	}
}

// anyOf returns paths with a number below limit in them, by chance.
func anyOf(format string, limit int) func() string {
	return func() string { return fmt.Sprintf(format, rand.IntN(limit)) }
}

// inTurn returns paths with the numbers below limit in them, one after the other, over and over.
func inTurn(format string, limit int64) func() string {
	var next atomic.Int64
	return func() string { return fmt.Sprintf(format, (next.Add(1)-1)%limit) }
}
