// Goroutines that can never run again, and others that only look like it: three of each kind, named after it.
package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"sync"
	"time"
)

const each = 3

// Leaked.

//go:noinline
func leakedSend() { make(chan int) <- 1 }

//go:noinline
func leakedReceive() { <-make(chan int) }

//go:noinline
func leakedRange(c chan int) {
	for range c {
	}
}

//go:noinline
func leakedSelect() {
	a, b := make(chan int), make(chan string)
	select {
	case <-a:
	case b <- "":
	}
}

//go:noinline
func leakedSelectOfNil(a, b chan int) {
	select {
	case <-a:
	case <-b:
	}
}

//go:noinline
func leakedNilReceive(c chan int) { <-c }

//go:noinline
func leakedNilSend(c chan int) { c <- 1 }

//go:noinline
func leakedEmptySelect() { select {} }

//go:noinline
func leakedContext() {
	ctx, cancel := context.WithCancel(context.Background())
	<-ctx.Done()
	cancel()
}

type group struct {
	name string
	wait sync.WaitGroup
}

//go:noinline
func leakedWaitGroup() {
	g := &group{name: "nobody calls Done"}
	g.wait.Add(1)
	g.wait.Wait()
}

//go:noinline
func leakedMutex() {
	// A mutex alone would share its memory with other small values, and live as long as they do.
	m := &struct {
		sync.Mutex
		name string
	}{}
	m.Lock()
	m.Lock()
}

//go:noinline
func leakedRead() {
	m := new(sync.RWMutex)
	m.Lock()
	m.RLock()
}

//go:noinline
func leakedWrite() {
	m := new(sync.RWMutex)
	m.RLock()
	m.Lock()
}

//go:noinline
func leakedCond() {
	c := sync.NewCond(new(sync.Mutex))
	c.L.Lock()
	c.Wait()
}

//go:noinline
func leakedTicker() {
	t := time.NewTicker(time.Hour)
	t.Stop()
	<-t.C
}

// Each would wake the next, but the first one waits for ever.
//
//go:noinline
func leakedChain(from, to chan int) { to <- <-from }

func chain() {
	from := make(chan int)
	for i := 0; i < each; i++ {
		to := make(chan int)
		go leakedChain(from, to)
		from = to
	}
}

var ownBytes = 64 << 10
var sink []byte

// Each has a buffer of its own and all have one in common, which nobody else has.
//
//go:noinline
func leakedBuffers(common []byte) {
	own := make([]byte, ownBytes)
	<-make(chan int)
	sink = append(own, common...)
}

func buffers() {
	common := make([]byte, 1<<20)
	for i := 0; i < each; i++ {
		go leakedBuffers(common)
	}
}

// Not leaked.

//go:noinline
func wokenBySleeper(c chan int) { <-c }

//go:noinline
func sleeper(c chan int) {
	time.Sleep(time.Hour)
	c <- 1
}

//go:noinline
func wokenByAfterFunc() {
	c := make(chan int)
	time.AfterFunc(time.Hour, func() { close(c) })
	<-c
}

//go:noinline
func wokenByAfter() {
	select {
	case <-time.After(time.Hour):
	case <-make(chan int):
	}
}

//go:noinline
func wokenByTicker() { <-time.NewTicker(time.Hour).C }

//go:noinline
func wokenByTimeout() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	child, stop := context.WithCancel(ctx)
	defer stop()
	<-child.Done()
}

type closer struct{ c chan int }

//go:noinline
func wokenByFinalizer() {
	o := &closer{make(chan int)}
	runtime.SetFinalizer(o, func(o *closer) { close(o.c) })
	<-o.c
	runtime.KeepAlive(o)
}

var queue = make(chan int)

//go:noinline
func keptByQueue() { <-queue }

type job struct {
	id   int
	done chan struct{}
}

type pool struct {
	name string
	jobs map[int]*job
	list []*job
}

var registry = &pool{name: "registry", jobs: map[int]*job{}}

//go:noinline
func keptByMap(j *job) { <-j.done }

//go:noinline
func keptBySlice(j *job) { j.done <- struct{}{} }

var lock sync.Mutex

//go:noinline
func keptByLock() { lock.Lock() }

var cond = sync.NewCond(&sync.Mutex{})

//go:noinline
func keptByCond() {
	cond.L.Lock()
	cond.Wait()
}

// What it waits on only the next one has, which waits on a variable.
//
//go:noinline
func wokenByKept(c chan int) { <-c }

//go:noinline
func keptAndWakes(c chan int) {
	<-queue
	close(c)
}

//go:noinline
func begin() {
	simple := []func(){
		leakedSend, leakedReceive, leakedSelect, leakedEmptySelect, leakedContext, leakedWaitGroup, leakedMutex,
		leakedRead, leakedWrite, leakedCond, leakedTicker,
		wokenByAfterFunc, wokenByAfter, wokenByTicker, wokenByTimeout, wokenByFinalizer,
		keptByQueue, keptByLock, keptByCond,
	}
	for i := 0; i < each; i++ {
		for _, f := range simple {
			go f()
		}
		go leakedRange(make(chan int))
		go leakedSelectOfNil(nil, nil)
		go leakedNilReceive(nil)
		go leakedNilSend(nil)
		slow := make(chan int)
		go wokenBySleeper(slow)
		go sleeper(slow)
		j := &job{i, make(chan struct{})}
		registry.jobs[i] = j
		go keptByMap(j)
		j = &job{i, make(chan struct{})}
		registry.list = append(registry.list, j)
		go keptBySlice(j)
		c := make(chan int)
		go wokenByKept(c)
		go keptAndWakes(c)
	}
	chain()
	buffers()
}

// What lies below on the stack must not be what begin left there.
//
//go:noinline
func clear(n int) int {
	var b [1024]byte
	if n == 0 {
		return len(b)
	}
	b[n] = byte(n)
	return clear(n-1) + int(b[n])
}

func many(n int) {
	for i := 0; i < n; i++ {
		switch i % 3 {
		case 0:
			go leakedRange(make(chan int))
		case 1:
			go keptByQueue()
		case 2:
			go leakedMutex()
		}
	}
}

func main() {
	lock.Lock()
	if len(os.Args) > 1 {
		var n int
		fmt.Sscan(os.Args[1], &n)
		many(n)
	} else {
		begin()
	}
	clear(10)
	time.Sleep(200 * time.Millisecond)
	runtime.GC()
	runtime.GC()
	fmt.Println("READY")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var profile bytes.Buffer
		if leaks := pprof.Lookup("goroutineleak"); leaks != nil {
			leaks.WriteTo(&profile, 1)
		}
		fmt.Printf("%d\n%s", profile.Len(), profile.Bytes())
	}
}
