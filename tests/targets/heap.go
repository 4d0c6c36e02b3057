package main

import (
	"flag"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"
)

// cell is one object: three places for pointers, and words without any until it is as big as wanted.
type cell[P any] struct {
	next [3]*cell[P]
	rest P
}

var (
	// What holds the cells. Sixteen roots, so that no single one dominates all.
	random16  [16]*cell[[1]uint64]
	random32  [16]*cell[[5]uint64]
	random128 [16]*cell[[13]uint64]
	random256 [16]*cell[[29]uint64]
	random512 [16]*cell[[61]uint64]

	blob [][]byte
)

// heap makes a heap of a given size. Each cell hangs below a cell made before it, picked at random, so
// that all are reached; the pointers that are left go between cells picked at random.
func heap(arguments []string) commands {
	flags := flag.NewFlagSet("heap", flag.ExitOnError)
	objects := flags.Int("objects", 1_000_000, "how many objects")
	pointers := flags.Int("pointers", 0, "how many pointers between them (default 8 for 3 objects)")
	size := flags.Int("size", 64, "bytes an object: 32, 64, 128, 256 or 512")
	list := flags.Bool("list", false, "one long list instead of a random graph")
	blobs := flags.Int("blob", 0, "bytes of pointer-free data in pieces of 1 MiB")
	_ = flags.Parse(arguments)
	if *pointers == 0 {
		*pointers = *objects / 3 * 8
	}
	// There is no garbage to collect before all is made.
	percent := debug.SetGCPercent(-1)
	shape, made := shape{*objects, *pointers, *list}, 0
	switch *size {
	case 32:
		made = fill(random16[:], shape)
	case 64:
		made = fill(random32[:], shape)
	case 128:
		made = fill(random128[:], shape)
	case 256:
		made = fill(random256[:], shape)
	case 512:
		made = fill(random512[:], shape)
	default:
		panic("no such size: " + strconv.Itoa(*size))
	}
	for bytes := 0; bytes < *blobs; bytes += 1 << 20 {
		piece := make([]byte, 1<<20)
		for i := 0; i < len(piece); i += 4096 {
			piece[i] = 1 // So that the kernel gives the page.
		}
		blob = append(blob, piece)
	}
	debug.SetGCPercent(percent)
	go tick()
	return commands{
		"shape": func([]string) any {
			return map[string]any{"objects": *objects, "pointers": made, "object_bytes": *size}
		},
		"gap":   gap,
		"churn": onOff(churn),
		// So that a collection of our own does not count as a pause of somebody else's.
		"nogc": func([]string) any {
			runtime.GC()
			return map[string]any{"before": debug.SetGCPercent(-1)}
		},
	}
}

type shape struct {
	objects, pointers int
	list              bool
}

// fill returns how many pointers between cells there are.
func fill[P any](roots []*cell[P], wanted shape) int {
	state := uint64(1)
	random := func(below int) int {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		return int(state>>33) % below
	}
	// Cells that may get pointers, the latest in place of any earlier one.
	open := make([]*cell[P], 1<<16)
	var last *cell[P]
	pointers := 0
	for i := 0; i < wanted.objects; i++ {
		made := new(cell[P])
		switch {
		case i < len(roots) && !(wanted.list && i > 0):
			roots[i] = made
		case wanted.list:
			last.next[0] = made
			pointers++
		default:
			parent := open[random(min2(i, len(open)))]
			// In front of the first one below a full cell.
			free := freeSlot(parent)
			if free < 0 {
				made.next[0] = parent.next[0]
				parent.next[0] = made
			} else {
				parent.next[free] = made
			}
			pointers++
		}
		// Spread evenly over the making, to cells far and near.
		due := int(float64(wanted.pointers) * float64(i+1) / float64(wanted.objects))
		for tries := 0; !wanted.list && i >= len(roots) && pointers < due && tries < 8; tries++ {
			from := open[random(min2(i, len(open)))]
			if free := freeSlot(from); free >= 0 {
				from.next[free] = open[random(min2(i, len(open)))]
				pointers++
			}
		}
		if i < len(open) {
			open[i] = made
		} else {
			open[random(len(open))] = made
		}
		last = made
	}
	return pointers
}

func freeSlot[P any](of *cell[P]) int {
	for i := range of.next {
		if of.next[i] == nil {
			return i
		}
	}
	return -1
}

func min2(a, b int) int {
	if a < b {
		return a
	}
	return b
}

var gapMaxNs, gapTicks atomic.Int64

// tick looks at the clock every millisecond and keeps the longest time between two looks: a pause of the
// whole process shows here.
func tick() {
	runtime.LockOSThread()
	last := time.Now()
	for {
		time.Sleep(time.Millisecond)
		now := time.Now()
		if took := now.Sub(last).Nanoseconds(); took > gapMaxNs.Load() {
			gapMaxNs.Store(took)
		}
		gapTicks.Add(1)
		last = now
	}
}

// gap answers with the longest time between two looks since the last question.
func gap([]string) any {
	return map[string]any{"max_gap_us": gapMaxNs.Swap(0) / 1000, "ticks": gapTicks.Swap(0)}
}
