// A program that has a little of everything that a look into a Go program reads, and then waits for its standard
// input to end.
package main

import (
	"context"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"time"
)

type node struct {
	next *node
	name string
	any  any
}

type tree struct{ left, right, up *tree }

var (
	list   *node
	root   *tree
	names  []string
	lookup = map[string]*node{}
	shared sync.Map
	queue  = make(chan *node, 64)
	values []any
	timers []*time.Timer
	calls  []func() int
	blob   [][]byte
	ctx    context.Context
	mutex  sync.Mutex
	cond   = sync.NewCond(&mutex)
	ring   = &node{name: "ring"}
	wide   []*node
)

//go:noinline
func grow(up *tree, depth int) *tree {
	if depth == 0 {
		return nil
	}
	t := &tree{up: up}
	t.left, t.right = grow(t, depth-1), grow(t, depth-1)
	return t
}

func wait(on chan int, keep []byte) {
	on <- len(keep)
	runtime.KeepAlive(keep)
}

func main() {
	runtime.MemProfileRate = 256
	for i := 0; i < 80; i++ {
		list = &node{next: list, name: strings.Repeat("x", i%40), any: i}
		names = append(names, list.name)
		lookup[list.name] = list
		shared.Store(i, list)
		values = append(values, []any{i, list, list.name, *list, &i}[i%5])
		calls = append(calls, func() int { return i + len(list.name) })
		if i%10 == 0 {
			queue <- list
			timers = append(timers, time.AfterFunc(time.Hour, func() { list = nil }))
			blob = append(blob, make([]byte, 400*i))
		}
	}
	ring.next = &node{next: ring, any: ring}
	wide = make([]*node, 5000)
	wide[1], wide[4000] = ring, list
	root = grow(nil, 5)
	ctx = context.Background()
	for i := 0; i < 20; i++ {
		ctx = context.WithValue(ctx, i, &node{name: "value"})
	}
	ctx, _ = context.WithCancel(ctx)
	lost := make(chan int)
	for i := 0; i < 6; i++ {
		go wait(lost, make([]byte, 1000))
	}
	labels := pprof.Labels("shop", "north")
	pprof.Do(ctx, labels, func(ctx context.Context) {
		go func() { <-ctx.Done() }()
		go func() {
			select {
			case queue <- nil:
			case <-lost:
			}
		}()
	})
	go func() { mutex.Lock(); cond.Wait() }()
	go func() { time.Sleep(time.Hour) }()
	for i := 0; i < 5; i++ {
		n := &node{name: "final", any: make([]byte, 64)}
		runtime.SetFinalizer(n, func(*node) {})
		values = append(values, n)
	}
	time.Sleep(20 * time.Millisecond)
	runtime.GC()
	runtime.GC()
	// Else the linker leaves the profile out.
	runtime.MemProfile(nil, false)
	os.Stdout.WriteString("ready\n")
	_, _ = os.Stdin.Read(make([]byte, 1))
}
