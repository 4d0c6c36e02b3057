package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// held is what one goroutine of `spinning` keeps in one variable, and how it is called.
type held struct {
	// Function is where the variable lives, which is where its goroutine stands or a caller of it.
	Function string `json:"function"`
	// Entry is the function that the goroutine began in.
	Entry string `json:"entry"`
	// Variable is as one writes it: `buf`, `crate.body`.
	Variable string `json:"variable"`
	Bytes    int    `json:"bytes"`
	// Spins tells that it never stops.
	Spins bool `json:"spins"`

	run func()
}

type crate struct {
	number int
	body   []byte
	next   *crate
}

const heldBytes = 10 << 20

// spinSink keeps loops from being taken out.
var spinSink atomic.Int64

// spinning starts goroutines that keep 10 MiB each in nothing but a local variable, some of which run all
// the time.
func spinning([]string) commands {
	all := []held{
		{Entry: "main.spinOnLocal", Function: "main.spinOnLocal", Variable: "buf", Spins: true, run: spinOnLocal},
		{Entry: "main.spinBelow", Function: "main.spinBelow", Variable: "kept", Spins: true, run: spinBelow},
		{Entry: "main.waitWithSlice", Function: "main.waitWithSlice", Variable: "rows", run: waitWithSlice},
		{Entry: "main.waitWithParameter", Function: "main.waitOn", Variable: "given", run: waitWithParameter},
		{Entry: "main.waitInlined", Function: "main.inlinedWait", Variable: "inner", run: waitInlined},
		{Entry: "main.waitWithStruct", Function: "main.waitWithStruct", Variable: "one.body", run: waitWithStruct},
		{Entry: "main.waitWithMoved", Function: "main.waitWithMoved", Variable: "moved", run: waitWithMoved},
		{Entry: "main.waitInBlock", Function: "main.waitInBlock", Variable: "second", run: waitInBlock},
	}
	for i := range all {
		all[i].Bytes = heldBytes
		go all[i].run()
	}
	startTimers()
	// A clone is made on a parked thread, and those that spin may need all others.
	go func() {
		runtime.LockOSThread()
		<-never
	}()
	time.Sleep(200 * time.Millisecond)
	return commands{
		"truth": func([]string) any { return map[string]any{"held": all} },
	}
}

// startTimers starts 50 tickers that nobody has any more and one that is received from, each once an hour, and
// three functions for the first, second and third day from now with 100 KiB each. With `go 1.21` in go.mod,
// tickers that are not stopped stay as before Go 1.23; from Go 1.27 on the collector takes them anyway.
func startTimers() {
	for i := 0; i < 50; i++ {
		time.NewTicker(time.Hour)
	}
	go func() {
		for range time.NewTicker(time.Hour).C {
			spinSink.Add(1)
		}
	}()
	for i := 1; i <= 3; i++ {
		late := make([]byte, 100<<10)
		time.AfterFunc(time.Duration(i)*24*time.Hour, func() { look(&crate{body: late}) })
	}
}

//go:noinline
func spinOnLocal() {
	buf := make([]byte, heldBytes)
	for i := 0; ; i++ {
		buf[i%len(buf)]++
	}
}

//go:noinline
func spinBelow() {
	kept := make([]byte, heldBytes)
	spinSink.Store(int64(rotate(7)))
	runtime.KeepAlive(kept)
}

//go:noinline
func rotate(with int) int {
	for i := 1; i != 0; i += 2 {
		with ^= i
	}
	return with
}

//go:noinline
func waitWithSlice() {
	rows := make([][]byte, 10)
	escape(rows)
	for i := range rows {
		rows[i] = make([]byte, heldBytes/len(rows))
	}
	<-never
	runtime.KeepAlive(rows)
}

func waitWithParameter() {
	made := &crate{body: make([]byte, heldBytes)}
	escape(made)
	waitOn(made, 3)
}

//go:noinline
func waitOn(given *crate, times int) {
	for i := 0; i < times; i++ {
		<-never
	}
	runtime.KeepAlive(given)
}

//go:noinline
func waitInlined() {
	spinSink.Store(1)
	inlinedWait(heldBytes)
}

func inlinedWait(bytes int) {
	inner := make([]byte, bytes)
	<-never
	runtime.KeepAlive(inner)
}

//go:noinline
func waitWithStruct() {
	one := crate{number: 1, body: make([]byte, heldBytes)}
	look(&one)
	<-never
	runtime.KeepAlive(&one)
}

//go:noinline
func look(one *crate) { one.number = len(one.body) }

// moved is kept by a closure, so it lies on the heap and the stack has its address.
//
//go:noinline
func waitWithMoved() {
	moved := make([]byte, heldBytes)
	escape(func() { moved = append(moved[:10], 1) })
	<-never
	runtime.KeepAlive(&moved)
}

var escaped any

// escape keeps something for a moment, so that the compiler has to put it onto the heap.
//
//go:noinline
func escape(something any) {
	escapeLock.Lock()
	escaped = something
	escaped = nil
	escapeLock.Unlock()
}

var escapeLock sync.Mutex

// waitInBlock has variables in blocks of their own, whose slots may be used again.
//
//go:noinline
func waitInBlock() {
	{
		first := &crate{body: make([]byte, 64)}
		escape(first)
		runtime.KeepAlive(first)
	}
	{
		second := &crate{body: make([]byte, heldBytes)}
		escape(second)
		<-never
		runtime.KeepAlive(second)
	}
}
