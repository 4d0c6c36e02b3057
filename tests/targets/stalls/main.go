// A service that measures its own stalls: a goroutine that wants to run each millisecond notes when it was
// late. With as many parked goroutines and as much live heap as asked for, and with net/http/pprof, so
// that what a capture does to it can be told from inside. The standard library only.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	period = time.Millisecond
	// A ticker that is less late than this is on time.
	noted = 2 * time.Millisecond
	// More stalls than this between two questions are the longest of them only.
	stallsMax = 1000
)

// told is what /stalls answers, and begins anew.
type told struct {
	// Late has the times that the ticker should have run in and did not, in microseconds since 1970.
	Late [][2]int64 `json:"late"`
	// Asked counts requests by path.
	Asked      map[string]int `json:"asked"`
	Goroutines int            `json:"goroutines"`
}

var (
	lock  sync.Mutex
	late  = [][2]int64{}
	asked = map[string]int{}
)

// ticks counts how often the ticker ran.
var ticks atomic.Int64

// kept is the live heap.
var kept [][]byte

func tick() {
	runtime.LockOSThread()
	for {
		before := time.Now()
		time.Sleep(period)
		// By the monotonic clock; only where it lies is by the wall clock.
		by := time.Since(before) - period
		if by >= noted {
			from := before.Add(period).UnixMicro()
			note([2]int64{from, from + by.Microseconds()})
		}
		ticks.Add(1)
	}
}

func note(stall [2]int64) {
	lock.Lock()
	defer lock.Unlock()
	if len(late) < stallsMax {
		late = append(late, stall)
		return
	}
	shortest := 0
	for i, one := range late {
		if one[1]-one[0] < late[shortest][1]-late[shortest][0] {
			shortest = i
		}
	}
	if shorter := late[shortest]; stall[1]-stall[0] > shorter[1]-shorter[0] {
		late[shortest] = stall
	}
}

// tell gives what was noted since it was last called. A stall that is not over yet is waited for.
func tell() told {
	for before := ticks.Load(); ticks.Load() < before+2; {
		time.Sleep(period)
	}
	lock.Lock()
	defer lock.Unlock()
	answer := told{Late: late, Asked: asked, Goroutines: runtime.NumGoroutine()}
	late, asked = [][2]int64{}, map[string]int{}
	return answer
}

// counted counts what is asked for before `next` answers it.
func counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		lock.Lock()
		asked[request.URL.Path]++
		lock.Unlock()
		next.ServeHTTP(w, request)
	})
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
		if err := json.NewEncoder(w).Encode(tell()); err != nil {
			fmt.Fprintln(os.Stderr, "stalls:", err)
		}
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
	fmt.Fprintln(os.Stderr, "stalls:", http.Serve(listener, counted(http.DefaultServeMux)))
}
