package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"example.com/shop/internal/archive"
	"example.com/shop/internal/receipt"
)

// liveHeap is what a collection leaves, in MiB.
func liveHeap(*testing.T) float64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc) / mib
}

// native is the resident anonymous memory that Go has not, in MiB.
func native(t *testing.T) float64 {
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return resident(t, "RssAnon") - float64(stats.HeapInuse+stats.StackInuse)/mib
}

func goroutines(*testing.T) float64 { return float64(runtime.NumGoroutine()) }

func threads(t *testing.T) float64 { return entries(t, "/proc/self/task") }

func descriptors(t *testing.T) float64 { return entries(t, "/proc/self/fd") }

func entries(t *testing.T, folder string) float64 {
	t.Helper()
	all, err := os.ReadDir(folder)
	if err != nil {
		t.Skip("needs /proc:", err)
	}
	return float64(len(all))
}

func TestLeaksGrowByTheirRates(t *testing.T) {
	const during, tolerance = 2 * time.Second, 0.1
	type series struct {
		what    string
		measure func(*testing.T) float64
		each    float64 // of what the rate counts
	}
	heap, own := series{"MiB of live heap", liveHeap, 1}, series{"MiB of native memory", native, 1}
	count := func(what string, measure func(*testing.T) float64, each float64) series {
		return series{what, measure, each}
	}
	rows := []struct {
		name string
		rate float64
		grow []series
	}{
		{"session-cache", 600, []series{heap}},
		{"goroutine", 3000, []series{count("goroutines", goroutines, 1)}},
		{"cgo", 1200, []series{own}},
		{"context", 600, []series{heap}},
		{"unread-body", 9000, []series{
			count("goroutines", goroutines, 1),
			count("descriptors", descriptors, 2.0/goroutinesUnread), // both ends of a connection
		}},
		{"ticker", 6000, []series{count("goroutines", goroutines, 1)}},
		{"timer", 600, []series{heap}},
		{"sub-slice", 600, []series{heap}},
		{"mmap", 1200, []series{own}},
		{"thread", 4800, []series{count("threads", threads, 1), count("goroutines", goroutines, 1)}},
		{"descriptor", 6000, []series{count("descriptors", descriptors, 1)}},
		{"sqlite", 1200, []series{own, count("descriptors", descriptors, mib/float64(archive.SearchBytes))}},
		{"slow-leak", 1200, []series{heap}},
	}
	untested := map[string]bool{}
	for _, row := range NewScenarios(Settings{}).listed() {
		if row.Verdict == "leak" {
			untested[row.Name] = true
		}
	}
	for _, row := range rows {
		delete(untested, row.name)
		t.Run(row.name, func(t *testing.T) {
			if table(Settings{})[row.name].needsCgo && !receipt.Native {
				t.Skip("built without cgo")
			}
			base := open(t, "-day", "2s", "-feed-dir", t.TempDir())
			turn(t, base, "name="+row.name+"&rate=60") // the first of each kind brings more with it
			time.Sleep(200 * time.Millisecond)
			turn(t, base, "name="+row.name+"&off=1")
			settle()
			before := make([]float64, len(row.grow))
			for i, one := range row.grow {
				before[i] = one.measure(t)
			}
			begun := time.Now()
			turn(t, base, fmt.Sprintf("name=%s&rate=%g", row.name, row.rate))
			time.Sleep(during)
			minutes := time.Since(begun).Minutes()
			turn(t, base, "name="+row.name+"&off=1")
			settle()
			for i, one := range row.grow {
				want := row.rate * one.each
				grown := (one.measure(t) - before[i]) / minutes
				t.Logf("%.0f %s a minute, asked for %.0f", grown, one.what, want)
				if math.Abs(grown-want) > tolerance*want {
					t.Errorf("%s: not within a tenth of the rate", one.what)
				}
			}
		})
	}
	if len(untested) > 0 {
		t.Error("no row for", untested)
	}
}

// settle waits for what visitors leave behind for a short while only.
func settle() { time.Sleep(supplierTime + 200*time.Millisecond) }
