// Goroutines parked in every way that the standard library offers.
package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"reflect"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

type pair[K comparable, V any] struct {
	key   K
	value V
}

//go:noinline
func (p *pair[K, V]) wait(c chan V) V { return <-c }

type waiter interface{ wait() }
type embedded struct{ c chan int }
type outer struct{ *embedded }

//go:noinline
func (e *embedded) wait() { <-e.c }

func inlined(c chan int) int      { return inlinedTwice(c) + 1 }
func inlinedTwice(c chan int) int { return <-c }

//go:noinline
func deep(n int, c chan int) int {
	if n == 0 {
		return <-c
	}
	return deep(n-1, c) + 1
}

var never = make(chan int)
var nilChan chan int
var sink int

//go:noinline
func fault(p *int) int { return *p }

func panicking() {
	defer func() {
		<-never
	}()
	panic("parked in a deferred call")
}

func faulting() {
	defer func() {
		<-never
	}()
	sink = fault(nil)
}

func labelled() {
	pprof.Do(context.Background(), pprof.Labels("tenant", "acme", "path", "/v1/items"), func(context.Context) {
		<-never
	})
}

func (e *embedded) method(n int) { <-e.c }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func park() {
	var locked sync.Mutex
	locked.Lock()
	var rw sync.RWMutex
	rw.Lock()
	var readers sync.RWMutex
	readers.RLock()
	var group sync.WaitGroup
	group.Add(1)
	full := make(chan int, 1)
	full <- 1
	ctx, cancel := context.WithCancel(context.Background())
	_ = cancel
	e := &embedded{never}

	go func() { <-never }()
	go func() { never2 := make(chan int); never2 <- 1 }()
	go func() { full <- 2 }()
	go func() { <-nilChan }()
	go func() { nilChan <- 1 }()
	go func() { select {} }()
	go func() {
		select {
		case <-never:
		case full <- 3:
		case <-ctx.Done():
		}
	}()
	go func() { time.Sleep(time.Hour) }()
	go func() { locked.Lock() }()
	go func() { rw.RLock() }()
	go func() { rw.Lock() }()
	go func() { readers.Lock() }()
	go func() { group.Wait() }()
	go func() {
		cond := sync.NewCond(new(sync.Mutex))
		cond.L.Lock()
		cond.Wait()
	}()
	go func() {
		runtime.LockOSThread()
		<-never
	}()
	go func() {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		must(err)
		_, _ = listener.Accept()
	}()
	go func() {
		reader, writer, err := os.Pipe()
		must(err)
		_, _ = io.ReadAll(reader)
		runtime.KeepAlive(writer)
	}()
	go func() { for range time.Tick(time.Hour) {} }()
	go func() { <-time.After(time.Hour) }()
	go func() { <-ctx.Done() }()
	go func() { (&pair[string, int]{}).wait(never) }()
	go func() { var w waiter = outer{e}; w.wait() }()
	go func() { sink = inlined(never) }()
	go func() { sink = deep(200, never) }()
	go func() { sink = deep(60, never) }()
	go func() { reflect.ValueOf(e.wait).Call(nil) }()
	go func() {
		reflect.Select([]reflect.SelectCase{
			{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(never)},
			{Dir: reflect.SelectSend, Chan: reflect.ValueOf(full), Send: reflect.ValueOf(1)},
		})
	}()
	go func() { var once sync.Once; once.Do(func() { <-never }) }()
	go panicking()
	go faulting()
	go labelled()
	go e.method(1)
	go outer{e}.wait()
	defer func() { go e.wait() }()
	time.AfterFunc(time.Microsecond, func() { <-never })
}

// parkOnce is for kinds that cost a thread, or that there can be one of only.
func parkOnce() {
	go func() {
		var fds [2]int
		must(syscall.Pipe(fds[:]))
		_, _ = syscall.Read(fds[0], make([]byte, 1))
	}()
	go func() {
		command := exec.Command("sleep", "60")
		command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		_ = command.Run()
	}()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR2)
	go func() { <-signals }()
	runtime.SetFinalizer(&[64]int{}, func(*[64]int) { <-never })
}

//go:noinline
func spin() {
	for i := 0; ; i++ {
		sink = i
	}
}

// churn has goroutines come and go, and others that pass a value to and fro.
func churn() {
	there, back := make(chan int), make(chan int)
	for i := 0; i < 4; i++ {
		go func() {
			for v := range there {
				back <- v
			}
		}()
		go func() {
			for {
				there <- 1
				<-back
			}
		}()
		go func() {
			for {
				done := make(chan bool)
				go func() { sink = grow(100); done <- true }()
				<-done
			}
		}()
	}
}

//go:noinline
func grow(n int) int {
	var block [256]byte
	block[n%256] = byte(n)
	if n == 0 {
		return int(block[0])
	}
	return grow(n-1) + int(block[n%256])
}

// places tells what the runtime knows of each program counter.
func places(pcs string, text *bytes.Buffer) {
	for _, word := range strings.Fields(pcs) {
		pc, err := strconv.ParseUint(word, 16, 64)
		must(err)
		frame, _ := runtime.CallersFrames([]uintptr{uintptr(pc) + 1}).Next()
		entry := runtime.FuncForPC(uintptr(pc)).Entry()
		fmt.Fprintf(text, "%x %x %s %s:%d\n", pc, entry, frame.Function, frame.File, frame.Line)
	}
}

func main() {
	copies, err := strconv.Atoi(os.Args[1])
	must(err)
	parkOnce()
	for i := 0; i < copies; i++ {
		park()
		parkCoroutine()
	}
	time.Sleep(200 * time.Millisecond)
	runtime.GC()
	runtime.GC()
	time.Sleep(300 * time.Millisecond)
	if len(os.Args) > 2 {
		switch os.Args[2] {
		case "spin":
			go spin()
		case "churn":
			churn()
		}
	}
	fmt.Println("READY")
	input := bufio.NewReader(os.Stdin)
	for {
		command, err := input.ReadString('\n')
		if err != nil {
			return
		}
		var text bytes.Buffer
		if command == "dump\n" {
			must(pprof.Lookup("goroutine").WriteTo(&text, 2))
		} else if command == "count\n" {
			fmt.Fprint(&text, runtime.NumGoroutine(), pprof.Lookup("threadcreate").Count())
		} else {
			places(command, &text)
		}
		fmt.Println(text.Len())
		_, _ = os.Stdout.Write(text.Bytes())
	}
}
