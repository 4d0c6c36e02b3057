package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"os/signal"
	"reflect"
	"runtime"
	"runtime/pprof"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
)

const ages = 1000 * time.Hour

// What the goroutines wait for; nobody ever lets them go.
var (
	silent    = make(chan int)
	full      = make(chan int)
	nothing   chan int
	heldMutex sync.Mutex
	heldRead  sync.RWMutex
	heldWrite sync.RWMutex
	cond      = sync.NewCond(new(sync.Mutex))
	group     sync.WaitGroup
	once      sync.Once
	endless   context.Context
)

// kinds are the ways to wait that every release has. What a stack looks like is as much part of them as
// the wait's reason.
func kinds() []kind {
	heldMutex.Lock()
	heldRead.RLock()
	heldWrite.Lock()
	group.Add(1)
	var cancel context.CancelFunc
	endless, cancel = context.WithCancel(context.Background())
	_ = cancel
	go once.Do(waitHere)
	return []kind{
		// Channels.
		{"chan receive", func() { go receive(silent) }, 0},
		{"chan send", func() { go send1(full) }, 0},
		{"chan receive, nil", func() { go receive(nothing) }, 0},
		{"chan send, nil", func() { go send1(nothing) }, 0},
		{"chan range", func() { go rangeOver(silent) }, 0},
		{"select", func() { go selectTwo(silent, full) }, 0},
		{"select, no cases", func() { go selectNone() }, 0},
		{"select, by reflection", func() { go selectReflect() }, 0},
		{"context", func() { go func() { <-endless.Done() }() }, 0},
		{"context, derived", func() { go derivedContext() }, 0},
		// Time.
		{"sleep", func() { go time.Sleep(ages) }, 0},
		{"time.After", func() { go func() { <-time.After(ages) }() }, 0},
		{"ticker", func() { go tickSlowly() }, 0},
		{"time.AfterFunc", func() { time.AfterFunc(time.Millisecond, waitHere) }, 50},
		// Package sync.
		{"mutex", func() { go lock(&heldMutex) }, 0},
		{"rwmutex read", func() { go heldWrite.RLock() }, 0},
		{"rwmutex write", func() { go heldRead.Lock() }, 0},
		{"cond", func() { go waitCond() }, 0},
		{"waitgroup", func() { go group.Wait() }, 0},
		{"once", func() { go once.Do(waitHere) }, 0},
		// Input and output.
		{"tcp read", func() { go readTCP() }, 8},
		{"tcp accept", func() { go acceptTCP() }, 8},
		{"unix read", func() { go readUnix() }, 8},
		{"udp read", func() { go readUDP() }, 8},
		{"pipe read", func() { go readPipe() }, 8},
		{"scanner", func() { go scanPipe() }, 8},
		{"io.Pipe", func() { go readInMemory() }, 0},
		{"syscall read", func() { go readBlocking() }, 4},
		{"signal", startSignals, 1},
		// What stacks look like.
		{"locked to thread", func() { go lockedToThread() }, 4},
		{"labels", func() { go withLabels() }, 0},
		{"method value", func() { go (&waiter{}).wait() }, 0},
		{"method by interface", func() { go waitEmbedded(embedding{&waiter{}}) }, 0},
		{"bound method", func() { f := (&waiter{}).wait; go f() }, 0},
		{"nested closures", nestedClosures, 0},
		{"generic function", func() { go genericWait(int32(1)) }, 0},
		{"generic method", func() { go (&list1[string]{}).wait("x") }, 0},
		{"deep inlining", func() { go inlined1(7) }, 0},
		{"deferred", func() { go deferredWait() }, 0},
		{"while panicking", func() { go panickingWait() }, 0},
		{"recovered", func() { go recoveredWait() }, 0},
		{"recursive", func() { go deep(20, 1) }, 0},
		{"recursive, elided", func() { go deep(150, 1) }, 40},
		{"mutual recursion", func() { go even(30) }, 0},
		{"big frame", func() { go bigFrame(1) }, 100},
		{"many arguments", func() { go manyArguments(1, 2, 3, "four", []int{5}, 6.0, nil, 8, 9, 10, 11) }, 0},
		{"in sort", func() { go inSort() }, 0},
		{"in reflect.Call", func() { go reflect.ValueOf(receive).Call([]reflect.Value{reflect.ValueOf(silent)}) }, 0},
		{"in reflect.MakeFunc", func() { go made() }, 0},
		{"in a map of functions", func() { go handlers["wait"]() }, 0},
		{"in strings.Map", func() { go inStringsMap() }, 0},
		{"finalizer", startFinalizer, 1},
	}
}

//go:noinline
func waitHere() { <-silent }

//go:noinline
func receive(from chan int) int { return <-from }

//go:noinline
func send1(to chan int) { to <- 1 }

func rangeOver(from chan int) {
	for range from {
		runtime.Gosched()
	}
}

func selectTwo(in, out chan int) {
	select {
	case <-in:
	case out <- 1:
	}
}

func selectNone() { select {} }

func selectReflect() {
	reflect.Select([]reflect.SelectCase{
		{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(silent)},
		{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(nothing)},
	})
}

func derivedContext() {
	derived, cancel := context.WithTimeout(endless, ages)
	defer cancel()
	select {
	case <-derived.Done():
	case <-silent:
	}
}

func tickSlowly() {
	ticker := time.NewTicker(ages)
	defer ticker.Stop()
	for range ticker.C {
	}
}

func lock(mutex *sync.Mutex) {
	mutex.Lock()
	defer mutex.Unlock()
}

func waitCond() {
	cond.L.Lock()
	defer cond.L.Unlock()
	cond.Wait()
}

// must ends the program: a kind that could not be started must not look like one that is missing.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func readTCP() {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	defer listener.Close()
	connection := must(net.Dial("tcp", listener.Addr().String()))
	_, _ = connection.Read(make([]byte, 16))
}

func acceptTCP() {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	_, _ = listener.Accept()
}

func readUnix() {
	pair := must(syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0))
	file := os.NewFile(uintptr(pair[0]), "socket")
	defer os.NewFile(uintptr(pair[1]), "peer").Close()
	connection := must(net.FileConn(file))
	_, _ = io.ReadFull(connection, make([]byte, 16))
}

func readUDP() {
	connection := must(net.ListenPacket("udp", "127.0.0.1:0"))
	_, _, _ = connection.ReadFrom(make([]byte, 16))
}

func pipe() (reading, writing *os.File) {
	reading, writing, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	return reading, writing
}

func readPipe() {
	reading, writing := pipe()
	_, _ = reading.Read(make([]byte, 16))
	runtime.KeepAlive(writing)
}

func scanPipe() {
	reading, writing := pipe()
	for scanner := bufio.NewScanner(reading); scanner.Scan(); {
	}
	runtime.KeepAlive(writing)
}

func readInMemory() {
	reading, writing := io.Pipe()
	_, _ = io.Copy(io.Discard, reading)
	runtime.KeepAlive(writing)
}

// readBlocking keeps a thread in read(2), where the netpoller has no part.
func readBlocking() {
	var ends [2]int
	if err := syscall.Pipe(ends[:]); err != nil {
		panic(err)
	}
	_, _ = syscall.Read(ends[0], make([]byte, 16))
}

// startSignals brings the goroutine of package os/signal, and one that waits for what it sends.
func startSignals() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	go func() { <-signals }()
}

func lockedToThread() {
	runtime.LockOSThread()
	waitHere()
}

func withLabels() {
	labels := pprof.Labels("handler", "/checkout", "tenant", "a b\"c")
	pprof.Do(context.Background(), labels, func(context.Context) { waitHere() })
}

type waiter struct{ many [4]int }

//go:noinline
func (w *waiter) wait() { <-silent }

type waiting interface{ wait() }

// embedding has wait by a method that the compiler writes.
type embedding struct{ waiting }

//go:noinline
func waitEmbedded(on waiting) { on.wait() }

func nestedClosures() {
	outer := 1
	go func() {
		inner := 2
		func() {
			func() {
				<-silent
				runtime.KeepAlive(outer + inner)
			}()
		}()
	}()
}

//go:noinline
func genericWait[T any](value T) T {
	<-silent
	return value
}

type list1[T any] struct{ head *T }

//go:noinline
func (l *list1[T]) wait(value T) {
	l.head = &value
	func() { <-silent }()
}

//go:noinline
func inlined1(i int) int { return inlined2(i+1) + 1 }

func inlined2(i int) int { return inlined3(i+1) + 2 }

func inlined3(i int) int { return inlined4(i+1) + 3 }

func inlined4(i int) int { return i + <-silent }

func deferredWait() {
	defer waitHere()
	defer func() {}()
}

func panickingWait() {
	defer func() {
		<-silent
		_ = recover()
	}()
	var numbers []int
	numbers[len(os.Args)]++
}

func recoveredWait() {
	defer waitHere()
	defer func() { _ = recover() }()
	panic("recovered")
}

//go:noinline
func deep(depth, i int) int {
	if depth == 0 {
		return <-silent
	}
	return deep(depth-1, i+1) + 1
}

//go:noinline
func even(i int) bool {
	if i == 0 {
		<-silent
		return true
	}
	return odd(i - 1)
}

//go:noinline
func odd(i int) bool {
	if i == 0 {
		return false
	}
	return even(i - 1)
}

//go:noinline
func bigFrame(i int) byte {
	var room [20_000]byte
	room[i] = 1
	waitHere()
	return room[len(os.Args)]
}

//go:noinline
func manyArguments(a, b, c int, d string, e []int, f float64, g error, h, i, j, k int) int {
	<-silent
	return a + b + c + len(d) + len(e) + int(f) + h + i + j + k
}

func inSort() {
	sort.Slice([]int{3, 2, 1}, func(i, j int) bool { return <-silent < i+j })
}

var made = reflect.MakeFunc(reflect.TypeOf(waitHere), func([]reflect.Value) []reflect.Value {
	waitHere()
	return nil
}).Interface().(func())

var handlers = map[string]func(){
	"wait": func() { waitHere() },
}

func inStringsMap() {
	strings.Map(func(letter rune) rune { return letter + rune(<-silent) }, "abc")
}

// startFinalizer blocks the goroutine that runs finalizers, which is then a user's goroutine.
func startFinalizer() {
	func() {
		runtime.SetFinalizer(new([64]int), func(*[64]int) { waitHere() })
	}()
	runtime.GC()
	time.Sleep(10 * time.Millisecond)
}

// busyKinds never wait. Each allows the others to run.
func busyKinds() []kind {
	return []kind{
		{"running", func() { go spin() }, 2},
		{"runnable", func() { go yield() }, 4},
	}
}

var spun uint64

//go:noinline
func spin() {
	for i := uint64(0); ; i++ {
		if i%1_000_000 == 0 {
			spun++
		}
	}
}

func yield() {
	for {
		runtime.Gosched()
	}
}
