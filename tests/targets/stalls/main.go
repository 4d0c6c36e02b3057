// A service that measures its own stalls: a goroutine that wants to run each millisecond notes how late
// it was. With as many parked goroutines and as much live heap as asked for, and with net/http/pprof, so
// that what a capture does to it can be told from inside. The standard library only.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"
)

const period = time.Millisecond

// latest is the longest that the ticker was late since it was last asked, in nanoseconds.
var latest atomic.Int64

// kept is the live heap.
var kept [][]byte

func tick() {
	runtime.LockOSThread()
	for {
		before := time.Now()
		time.Sleep(period)
		late := int64(time.Since(before) - period)
		for {
			old := latest.Load()
			if late <= old || latest.CompareAndSwap(old, late) {
				break
			}
		}
	}
}

// park waits for something that never comes, at its own depth, as real services' goroutines do.
func park(depth int, never chan struct{}) {
	if depth > 0 {
		park(depth-1, never)
		return
	}
	<-never
}

// keep makes `mib` MiB more of live heap, and touches it.
func keep(mib int) {
	for i := 0; i < mib; i++ {
		part := make([]byte, 1<<20)
		for at := 0; at < len(part); at += 4096 {
			part[at] = 1
		}
		kept = append(kept, part)
	}
}

func main() {
	goroutines := flag.Int("goroutines", 0, "how many goroutines are parked")
	heap := flag.Int("heap", 0, "live heap in `MiB`")
	flag.Parse()
	keep(*heap)
	runtime.GC()
	never := make(chan struct{})
	for i := 0; i < *goroutines; i++ {
		go park(i%8, never)
	}
	go tick()
	http.HandleFunc("/stalls", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"worst_ms": %.3f, "goroutines": %d}`, float64(latest.Swap(0))/1e6, runtime.NumGoroutine())
	})
	// More goroutines, and more live heap, each second from now on.
	http.HandleFunc("/leak", func(w http.ResponseWriter, request *http.Request) {
		each, _ := strconv.Atoi(request.FormValue("each_second"))
		go func() {
			for range time.Tick(time.Second) {
				for i := 0; i < each; i++ {
					go park(3, never)
				}
			}
		}()
		fmt.Fprint(w, `{}`)
	})
	http.HandleFunc("/grow", func(w http.ResponseWriter, request *http.Request) {
		mib, _ := strconv.Atoi(request.FormValue("mib_each_second"))
		go func() {
			for range time.Tick(time.Second) {
				keep(mib)
			}
		}()
		fmt.Fprint(w, `{}`)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, "stalls:", err)
		os.Exit(1)
	}
	fmt.Printf("READY http://%s\n", listener.Addr())
	fmt.Fprintln(os.Stderr, "stalls:", http.Serve(listener, nil))
}
