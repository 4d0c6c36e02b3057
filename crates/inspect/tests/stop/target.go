// A busy service: allocating goroutines, a ticker that keeps the longest gap between two ticks, threads that come and go.
//
// target HEAP_MB THREADS CHURN [hidden|executing]
//
// A hidden one may not be dumped; an executing one starts programs all the time.
//
// Commands on standard input: "gap" prints the longest gap in microseconds since the last such question, and how many
// allocations were made; "quit" ends it.
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

var (
	ballast [][]byte
	sink    atomic.Pointer[[]*int]
	gap     atomic.Int64
	work    atomic.Int64
)

func number(at int) int {
	n, _ := strconv.Atoi(os.Args[at])
	return n
}

func allocate() {
	for {
		list := make([]*int, 64)
		for i := range list {
			list[i] = new(int)
		}
		sink.Store(&list)
		work.Add(1)
		time.Sleep(20 * time.Microsecond)
	}
}

func tick() {
	last := time.Now()
	for range time.Tick(time.Millisecond) {
		now := time.Now()
		if d := now.Sub(last).Microseconds(); d > gap.Load() {
			gap.Store(d)
		}
		last = now
	}
}

// Each holds a thread in a system call.
func hold(fd int) {
	runtime.LockOSThread()
	var b [1]byte
	syscall.Read(fd, b[:])
}

// A locked goroutine that returns ends its thread.
func churn() {
	for {
		done := make(chan bool)
		go func() {
			runtime.LockOSThread()
			time.Sleep(100 * time.Microsecond)
			close(done)
		}()
		<-done
	}
}

func execute() {
	for {
		exec.Command("true").Run()
	}
}

func main() {
	if len(os.Args) > 4 && os.Args[4] == "executing" {
		go execute()
	}
	if len(os.Args) > 4 && os.Args[4] == "hidden" {
		const prSetDumpable = 4
		syscall.RawSyscall(syscall.SYS_PRCTL, prSetDumpable, 0, 0)
	}
	for i := 0; i < number(1); i++ {
		b := make([]byte, 1<<20)
		for j := 0; j < len(b); j += 512 {
			b[j] = byte(j) + 1
		}
		ballast = append(ballast, b)
	}
	var pipe [2]int
	if number(2) > 0 {
		syscall.Pipe(pipe[:])
	}
	for i := 0; i < number(2); i++ {
		go hold(pipe[0])
	}
	for i := 0; i < number(3); i++ {
		go churn()
	}
	go allocate()
	go allocate()
	go tick()
	time.Sleep(50 * time.Millisecond)
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() && in.Text() == "gap" {
		fmt.Println(gap.Swap(0), work.Load())
	}
}
