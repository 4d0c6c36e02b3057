// Leaky writes the profiles beside it: `go run . DIR` in this folder.
//
// It leaks through a cache (internal/cache/cache.go, Put), keeps a steady buffer, recurses, allocates
// through inlined and generic functions, and starts goroutines that wait in every way.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"time"

	"shop/internal/cache"
)

type record struct{ data [16 << 10]byte }

var (
	sessions = cache.New()
	steady   [][]byte
	records  cache.List[record]
	texts    []string
	small    []*int
)

func main() {
	dir := "."
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	fill(0)
	write(dir, "heap", "heap_before.pb.gz")
	block(0)
	write(dir, "goroutine", "goroutine_before.pb.gz")
	fill(1)
	block(1)
	write(dir, "heap", "heap_after.pb.gz")
	write(dir, "goroutine", "goroutine_after.pb.gz")
	stop := busy(dir)
	stop()
	fmt.Println(len(steady), len(texts), len(small))
}

func fill(round int) {
	if round == 0 {
		for i := 0; i < 40; i++ {
			steady = append(steady, buffer(256<<10))
		}
	}
	value := make([]byte, 32<<10)
	for i := 0; i < 200+1000*round; i++ {
		sessions.Put(round*1_000_000+i, value)
	}
	for i := 0; i < 100; i++ {
		records.Add()
	}
	deep(30, round)
	func() {
		for i := 0; i < 200_000; i++ {
			small = append(small, new(int))
		}
	}()
}

// buffer is small enough to be inlined.
func buffer(size int) []byte { return make([]byte, size) }

func deep(n, round int) {
	if n == 0 {
		texts = append(texts, strings.Repeat("x", 3<<20))
		return
	}
	if n%7 == 0 {
		steady = append(steady, buffer(64<<10))
	}
	deep(n-1, round)
}

func block(round int) {
	never := make(chan int)
	var nobody chan int
	var mutex sync.Mutex
	mutex.Lock()
	var rw sync.RWMutex
	rw.Lock()
	var reading sync.RWMutex
	reading.RLock()
	var group sync.WaitGroup
	group.Add(1)
	cond := sync.NewCond(&sync.Mutex{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	// Each way has a channel of its own: a send and a receive on one would meet.
	ways := []func(){
		func() { never <- 1 },
		func() { <-make(chan int) },
		func() { <-nobody },
		func() { select {} },
		func() {
			select {
			case <-make(chan int):
			case <-context.Background().Done():
			}
		},
		func() { mutex.Lock() },
		func() { rw.RLock() },
		func() { reading.Lock() },
		func() { group.Wait() },
		func() { cond.L.Lock(); cond.Wait() },
		func() { time.Sleep(time.Hour) },
		func() { _, _ = listener.Accept() },
	}
	for way, wait := range ways {
		count := 1
		if way == 0 {
			count = 10 + 90*round
		}
		for i := 0; i < count; i++ {
			go wait()
		}
	}
	time.Sleep(100 * time.Millisecond)
}

// busy writes a CPU profile.
func busy(dir string) func() {
	file, err := os.Create(filepath.Join(dir, "cpu.pb.gz"))
	if err != nil {
		panic(err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		panic(err)
	}
	sum := 0
	for start := time.Now(); time.Since(start) < time.Second; {
		pprof.Do(context.Background(), pprof.Labels("handler", "list"), func(context.Context) {
			sum += len(strings.Fields(strings.Repeat("a b ", 1000)))
		})
	}
	_ = sum
	return func() {
		pprof.StopCPUProfile()
		_ = file.Close()
	}
}

func write(dir, kind, name string) {
	runtime.GC()
	file, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		panic(err)
	}
	if err := pprof.Lookup(kind).WriteTo(file, 0); err != nil {
		panic(err)
	}
	if err := file.Close(); err != nil {
		panic(err)
	}
}
