package main

import (
	"runtime"
	"strconv"
	"time"
)

// holder is one thing that keeps memory, and what is known about it.
type holder struct {
	// Name is what a person would call it: the variable, the function of a goroutine, the function that
	// made a closure.
	Name string `json:"name"`
	// Kind is `global`, `goroutine`, `timer`, `finalizer`, `cleanup` or `several`.
	Kind string `json:"kind"`
	// What it is, in words.
	What string `json:"what"`
	// MadeIn is the function that allocates most of it.
	MadeIn string `json:"made_in"`
	// Payload is how many bytes the source asks for, Count in how many pieces.
	Payload int `json:"payload_bytes"`
	Count   int `json:"count"`
	// Bytes and Objects are by how much HeapAlloc and HeapObjects have grown from the planting: the
	// payload, the tables and links around it, and what size classes round up.
	Bytes   int64 `json:"bytes"`
	Objects int64 `json:"objects"`
	// Overhead is Bytes without Payload.
	Overhead int64 `json:"overhead_bytes"`

	plant func() (payload, count int)
	// grow holds at least so many bytes more, in the same way; nil where that makes no sense.
	grow func(bytes int) (payload, count int)
}

// planted builds all holders one after another, and measures each between two collections. Nothing else
// allocates meanwhile, so the growth is the holder's.
func planted([]string) commands {
	all := holders()
	before := settled()
	for i := range all {
		all[i].Payload, all[i].Count = all[i].plant()
		after := settled()
		all[i].Bytes = int64(after.HeapAlloc) - int64(before.HeapAlloc)
		all[i].Objects = int64(after.HeapObjects) - int64(before.HeapObjects)
		all[i].Overhead = all[i].Bytes - int64(all[i].Payload)
		before = after
	}
	return commands{
		"truth": func([]string) any { return map[string]any{"holders": all} },
		"grow": func(words []string) any {
			if len(words) != 2 {
				return map[string]any{"error": "grow NAME BYTES"}
			}
			bytes, err := strconv.Atoi(words[1])
			for i := range all {
				if err == nil && all[i].Name == words[0] && all[i].grow != nil {
					payload, count := all[i].grow(bytes)
					return map[string]any{"name": words[0], "payload_bytes": payload, "count": count}
				}
			}
			return map[string]any{"error": "nothing of that name grows"}
		},
		"churn":   onOff(churn),
		"mapgrow": onOff(growTable),
	}
}

func settled() runtime.MemStats {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats
}

// onOff makes a command of goroutines that work until they are told to stop. `off` answers when all have
// ended.
func onOff(start func(stop <-chan struct{}, done chan<- struct{}) int) func(words []string) any {
	var stop, done chan struct{}
	running := 0
	return func(words []string) any {
		on := len(words) == 1 && words[0] == "on"
		switch {
		case on && running == 0:
			stop, done = make(chan struct{}), make(chan struct{})
			running = start(stop, done)
		case !on && running > 0:
			close(stop)
			for ; running > 0; running-- {
				<-done
			}
		}
		return map[string]any{"on": on}
	}
}

// churn starts two goroutines that allocate, link and drop all the time, like a service under load.
func churn(stop <-chan struct{}, done chan<- struct{}) int {
	const workers = 2
	for i := 0; i < workers; i++ {
		go churnWorker(stop, done)
	}
	return workers
}

type request struct {
	id      int
	headers map[string]string
	body    []byte
	before  *request
}

func churnWorker(stop <-chan struct{}, done chan<- struct{}) {
	var recent [64]*request
	for i := 0; ; i++ {
		select {
		case <-stop:
			done <- struct{}{}
			return
		default:
		}
		id := "request-" + strconv.Itoa(i)
		made := &request{id: i, headers: map[string]string{"id": id}, body: make([]byte, 16+i%4000)}
		// Chains stay short: every eighth request begins a new one.
		if i%8 != 0 {
			made.before = recent[(i+63)%64]
		}
		recent[i%64] = made
		if i%1000 == 0 {
			time.Sleep(100 * time.Microsecond)
		}
	}
}

type row struct {
	key    uint64
	values [5]uint64
	note   *string
}

// tableRowsMax bounds what `mapgrow` may take: about 200 MB.
const tableRowsMax = 2_000_000

var table = make(map[uint64]*row)

// growTable starts a goroutine that adds some 100,000 rows a second to a map, so that it is being moved
// into a bigger one much of the time.
func growTable(stop <-chan struct{}, done chan<- struct{}) int {
	go func() {
		for len(table) < tableRowsMax {
			for i := 0; i < 100; i++ {
				key := uint64(len(table)) * 0x9e3779b97f4a7c15
				table[key] = &row{key: key}
			}
			select {
			case <-stop:
				done <- struct{}{}
				return
			case <-time.After(time.Millisecond):
			}
		}
		<-stop
		done <- struct{}{}
	}()
	return 1
}
