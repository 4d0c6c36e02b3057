// A program that has something to be seen in a core, and then waits for its standard input to end.
package main

import (
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
)

var kept []string

//go:noinline
func keep(i int) { kept = append(kept, strings.Repeat("x", 100+i)) }

func main() {
	runtime.MemProfileRate = 1
	for i := 0; i < 1000; i++ {
		keep(i % 7)
	}
	never := make(chan int)
	for i := 0; i < 20; i++ {
		go func() { never <- 1 }()
	}
	runtime.Gosched()
	runtime.GC()
	runtime.GC()
	_ = pprof.Lookup("heap")
	os.Stdout.WriteString("ready\n")
	_, _ = os.Stdin.Read(make([]byte, 1))
}
