package main

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"example.com/shop/internal/paper"
)

// during runs work for the length of the test.
func during(t *testing.T, work func(ctx context.Context) error) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- work(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// stays checks for a second that what is measured does not leave its bounds.
func stays(t *testing.T, what string, low, high float64, measure func() float64) {
	t.Helper()
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if now := measure(); now < low || now > high {
			t.Errorf("%s: %.1f, want %.1f to %.1f", what, now, low, high)
			return
		}
	}
}

func memory() (stats runtime.MemStats) {
	runtime.ReadMemStats(&stats)
	return stats
}

func TestPicturesWarmUpAndStop(t *testing.T) {
	base := open(t)
	before := liveHeap(t)
	const all = catalogSize * float64(pictureBytes) / mib
	asked := func() float64 {
		_, body := ask(t, "GET", base+"/metrics")
		if !strings.Contains(body, `{code="200",handler="picture"}`) {
			return 0
		}
		return number(t, body, `shop_http_requests_total{code="200",handler="picture"} (\S+)`)
	}
	for round, first := 1, asked(); round <= 2; round++ {
		turn(t, base, "name=warm-up&rate=6000")
		within(t, "all pictures", func() bool { return asked()-first > float64(round*catalogSize) })
		turn(t, base, "name=warm-up&off=1") // no visitor's garbage while we measure
		if grown := liveHeap(t) - before; grown < 0.95*all || grown > 1.1*all {
			t.Errorf("%.1f MiB of pictures in round %d, want %.1f", grown, round, all)
		}
	}
}

func TestRareCollectionsStayBelowTheirPercentage(t *testing.T) {
	const percent = 400
	base := open(t, "-load", "200")
	time.Sleep(500 * time.Millisecond)
	gogc := debug.SetGCPercent(100)
	debug.SetGCPercent(gogc)
	runtime.GC() // what other tests left counts as allocated until it is swept
	turn(t, base, "name=rare-gc&rate=400")
	peak, most := uint64(0), 0.0
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		stats := memory()
		peak = max(peak, stats.HeapAlloc)
		most = max(most, float64(stats.HeapAlloc)/float64(stats.NextGC))
	}
	turn(t, base, "name=rare-gc&off=1")
	if live := liveHeap(t) * mib; float64(peak) < 2.5*live || most > 1.2 {
		t.Errorf("peak of %.1f times the live heap and %.2f times the goal, at GOGC=%d", float64(peak)/live, most, percent)
	}
	if now := debug.SetGCPercent(gogc); now != gogc {
		t.Errorf("GOGC=%d afterwards, want %d", now, gogc)
	}
}

func TestHeapFillsTheMemoryLimitAndStops(t *testing.T) {
	base := open(t, "-load", "300")
	debug.FreeOSMemory()
	held := func() float64 { stats := memory(); return float64(stats.Sys-stats.HeapReleased) / mib }
	limit := held() + 64
	turn(t, base, fmt.Sprintf("name=memory-limit&rate=%.0f", limit))
	within(t, "a full heap", func() bool { return held() > limit-16 })
	stays(t, "MiB held", 0, limit+16, held)
	turn(t, base, "name=memory-limit&off=1")
	if now := debug.SetMemoryLimit(-1); now < 1<<40 {
		t.Errorf("a limit of %d afterwards, want none", now)
	}
}

func TestReportLeavesAnIdleHeap(t *testing.T) {
	before := liveHeap(t)
	debug.FreeOSMemory()
	const size = 64
	err := yearlyReport(context.Background(), size*mib, reportTimes{collect: time.Second, print: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if left := liveHeap(t) - before; left > 8 {
		t.Errorf("%.1f MiB are still alive", left)
	}
	stats := memory()
	if idle := float64(stats.HeapIdle-stats.HeapReleased) / mib; idle < size/2 {
		t.Errorf("%.1f MiB are idle and not returned, want about %d", idle, size)
	}
}

func TestOrderLinesFragmentTheHeapWithinBounds(t *testing.T) {
	const all = float64(lineRoundBytes*len(lineSizes)) / mib
	runtime.GC()
	inUse := func() float64 { runtime.GC(); return float64(memory().HeapInuse) / mib }
	before := inUse()
	liveBefore := liveHeap(t)
	during(t, func(ctx context.Context) error { return sortOrderLines(ctx, 200*mib) })
	within(t, "spans of all sizes", func() bool { return inUse()-before > 0.7*all })
	stays(t, "MiB of spans", 0.6*all, 1.3*all, func() float64 { return inUse() - before })
	if alive := liveHeap(t) - liveBefore; alive > 0.4*all {
		t.Errorf("%.1f MiB of %.1f are alive", alive, all)
	}
}

func TestMapOfCouponsKeepsItsRoom(t *testing.T) {
	before := liveHeap(t)
	grown := func() float64 { return liveHeap(t) - before }
	during(t, func(ctx context.Context) error { return couponSales(ctx, 100*mib) })
	const least, most = couponCount * 65 / mib, couponCount * 200 / mib
	within(t, "all coupons", func() bool { return grown() > least })
	time.Sleep(time.Second) // they are deleted by now
	stays(t, "MiB of the map", least, most, grown)
}

func TestPictureFilesTakeFilePagesOnlyAndAreRemoved(t *testing.T) {
	dir := t.TempDir()
	base := open(t, "-feed", "64", "-feed-dir", dir)
	files := func() float64 { return resident(t, "RssFile") + resident(t, "RssShmem") }
	before := files()
	turn(t, base, "name=mapped-files&rate=6000")
	within(t, "60 MiB of file pages", func() bool { return files() > before+60 })
	stays(t, "MiB of file pages", before+60, before+72, files)
	turn(t, base, "name=mapped-files&off=1")
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Error("left behind:", left)
	}
}

func TestPoolOfSheetsFillsAndStops(t *testing.T) {
	if !paper.Native {
		t.Skip("built without cgo")
	}
	base := open(t)
	before := native(t)
	const all = float64(paper.Formats*paper.SheetBytes) / mib
	turn(t, base, "name=c-pool&rate=3000")
	grown := func() float64 { return native(t) - before }
	within(t, "all sheets", func() bool { return grown() > 0.9*all })
	stays(t, "MiB of sheets", 0.9*all, 1.2*all, grown)
}

func TestOffersFollowTheirAudience(t *testing.T) {
	base := open(t, "-wave-period", "4s")
	inFlight := func() float64 { return metric(t, base, "shop_http_requests_in_flight") }
	before := liveHeap(t)
	turn(t, base, "name=long-polls&rate=40")
	within(t, "a crest", func() bool { return inFlight() >= 34 })
	if grown := liveHeap(t) - before; grown < 10 || grown > 30 {
		t.Errorf("%.1f MiB at the crest, want about 20", grown)
	}
	within(t, "a trough", func() bool { return inFlight() < 10 })
	turn(t, base, "name=long-polls&off=1")
	within(t, "calm", func() bool { return inFlight() == 0 })
	if left := liveHeap(t) - before; left > 5 {
		t.Errorf("%.1f MiB are left", left)
	}
}
