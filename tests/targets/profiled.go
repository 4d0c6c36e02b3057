package main

import (
	"bytes"
	"flag"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
)

// profiled allocates with every kind of stack, some of it kept and some of it dropped, and then leaves
// the heap alone.
func profiled(arguments []string) commands {
	flags := flag.NewFlagSet("profiled", flag.ExitOnError)
	rate := flags.Int("rate", 4096, "runtime.MemProfileRate")
	_ = flags.Parse(arguments)
	runtime.MemProfileRate = *rate
	for i := 0; i < 200; i++ {
		keep(direct(i))
		keep(outer(i))
		keep(recursive(10+i%3, i))
		keep(recursive(200, i))
		keep([]byte(generic(int32(i)).text))
		keep([]byte(generic(float64(i)).text))
		keep(wrapper{&maker{i}}.produce())
		deferred(i)
		for _, size := range []int{8, 24, 100, 1000, 5000, 40_000} {
			dropped = make([]byte, size+i%7)
		}
	}
	fromGoroutines()
	dropped = nil
	return commands{
		// The gzipped file that the endpoint would give. Making it allocates, and so does compressing it;
		// a collection on both sides makes two answers with nothing in between comparable.
		"heap": func([]string) any { return written("heap", 0) },
		// The same as text: the numbers as the runtime has them, not scaled.
		"heap1": func([]string) any { return written("heap", 1) },
	}
}

func written(profile string, debug int) []byte {
	var file bytes.Buffer
	if err := pprof.Lookup(profile).WriteTo(&file, debug); err != nil {
		panic(err)
	}
	return file.Bytes()
}

var (
	keepMu  sync.Mutex
	kept    [][]byte
	dropped []byte
)

func keep(bytes []byte) {
	keepMu.Lock()
	kept = append(kept, bytes)
	keepMu.Unlock()
}

//go:noinline
func direct(i int) []byte { return make([]byte, 512+i) }

// outer, middle and inner are one frame to the CPU and three to a profile.
//
//go:noinline
func outer(i int) []byte { return middle(i) }

func middle(i int) []byte { return inner(i + 1) }

func inner(i int) []byte { return make([]byte, 2048+i) }

// recursive calls itself deeper than a bucket keeps frames.
//
//go:noinline
func recursive(depth, i int) []byte {
	if depth == 0 {
		return make([]byte, 3000+i)
	}
	return recursive(depth-1, i)
}

type box[T any] struct {
	value T
	text  string
}

//go:noinline
func generic[T any](value T) *box[T] {
	return &box[T]{value, strings.Repeat("g", 700)}
}

type producer interface{ produce() []byte }

type maker struct{ i int }

//go:noinline
func (m *maker) produce() []byte { return make([]byte, 1500+m.i) }

// wrapper has produce by embedding: the compiler writes that method.
type wrapper struct{ producer }

//go:noinline
func deferred(i int) {
	defer func() { keep(make([]byte, 900+i)) }()
	func() {
		keep(append([]byte(nil), strings.Repeat("c", 400)...))
	}()
}

func fromGoroutines() {
	var all sync.WaitGroup
	for i := 0; i < 16; i++ {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			names := make(map[int]string)
			for j := 0; j < 500; j++ {
				names[j] = strings.Repeat("n", i+1)
			}
			keep([]byte(names[0]))
		}(i)
	}
	all.Wait()
}
