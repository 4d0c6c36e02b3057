// A library of Go for a program of C.
package main

import "C"

import (
	"os"
	"runtime"
	"runtime/pprof"
)

type session struct {
	body []byte
	next *session
}

var (
	sessions *session
	never    = make(chan struct{})
)

//export Begin
func Begin() {
	for i := 0; i < 128; i++ {
		sessions = &session{body: make([]byte, 64<<10), next: sessions}
	}
	go park(sessions)
	runtime.GC()
	runtime.GC()
	if os.Getenv("PROFILE") != "" {
		_ = pprof.WriteHeapProfile(os.Stdout) // Else the linker leaves profiling out.
	}
	os.Stdout.WriteString("READY\n")
}

//go:noinline
func park(first *session) {
	<-never
	runtime.KeepAlive(first)
}

func main() {}
