// A program with C in it: Go memory that only C knows of (pinned, or by a handle), C memory that no Go
// heap counts, a call that sits in C, and a thread of C's that has called into Go and waits there.
package main

/*
#cgo LDFLAGS: -lpthread
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern void fromC(uintptr_t handle);

struct slot { void *pointer; uintptr_t handle; };

static struct slot *slots(size_t count) { return calloc(count, sizeof(struct slot)); }
static void fill(struct slot *at, size_t i, void *pointer, uintptr_t handle) {
	at[i].pointer = pointer;
	at[i].handle = handle;
}
static void *block(size_t bytes) { return memset(malloc(bytes), 1, bytes); }
static void *foreign(void *handle) { fromC((uintptr_t)handle); return NULL; }
static int start(uintptr_t handle) {
	pthread_t thread;
	return pthread_create(&thread, NULL, foreign, (void *)handle);
}
// Small blocks, so that they lie in an arena and not in a mapping of their own.
static void small(size_t bytes) {
	for (size_t made = 0; made < bytes; made += 4096) memset(malloc(4096 - 32), 1, 4096 - 32);
}
static void *deep(void *ready) {
	volatile char frames[1 << 20];
	for (size_t at = 0; at < sizeof frames; at += 4096) frames[at] = 1;
	*(volatile int *)ready = 1;
	for (;;) pause();
}
static int deepThread(void) {
	pthread_t thread;
	volatile int ready = 0;
	if (pthread_create(&thread, NULL, deep, (void *)&ready)) return 1;
	while (!ready) usleep(1000);
	return 0;
}
static void callBack(uintptr_t handle) { fromC(handle); }
static void sit(void) { for (;;) pause(); }
*/
import "C"

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/cgo"
	"runtime/pprof"
	"time"
	"unsafe"

	_ "example.com/targets/allow"
)

type handed struct{ body []byte }

var (
	pinner runtime.Pinner
	inC    = C.slots(256)
	cBytes []unsafe.Pointer
	never  = make(chan struct{})
)

//export fromC
func fromC(handle C.uintptr_t) {
	kept := cgo.Handle(handle).Value().(*handed)
	<-never
	runtime.KeepAlive(kept)
}

func main() {
	for i := 0; i < 128; i++ {
		object := &handed{body: make([]byte, 16<<10)}
		// C may be given no pointer to what is not pinned itself.
		pinner.Pin(&object.body[0])
		pinner.Pin(object)
		C.fill(inC, C.size_t(i), unsafe.Pointer(object), 0)
	}
	for i := 128; i < 256; i++ {
		handle := cgo.NewHandle(&handed{body: make([]byte, 16<<10)})
		C.fill(inC, C.size_t(i), nil, C.uintptr_t(handle))
	}
	for i := 0; i < 64; i++ {
		cBytes = append(cBytes, C.block(256<<10))
	}
	for i := 0; i < 4; i++ {
		kept := &handed{body: make([]byte, 256<<10)}
		if C.start(C.uintptr_t(cgo.NewHandle(kept))) != 0 {
			panic("no thread")
		}
		go C.callBack(C.uintptr_t(cgo.NewHandle(kept)))
	}
	go C.sit()
	time.Sleep(100 * time.Millisecond)
	runtime.GC()
	runtime.GC()
	fmt.Printf("{\"ready\":true,\"pid\":%d}\n", os.Getpid())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan() && lines.Text() != "quit"; {
		switch lines.Text() {
		case "memstats":
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			line, _ := json.Marshal(map[string]uint64{
				"heap_alloc": stats.HeapAlloc, "heap_objects": stats.HeapObjects,
				"heap_inuse": stats.HeapInuse, "heap_idle": stats.HeapIdle,
				"heap_released": stats.HeapReleased, "stack_inuse": stats.StackInuse,
				"gc_sys": stats.GCSys, "sys": stats.Sys,
			})
			fmt.Println(string(line))
		case "gc":
			runtime.GC()
			runtime.GC()
			fmt.Println("{}")
		case "truth":
			fmt.Println(`{"pinned_bytes":2097152,"handle_bytes":2097152,"c_bytes":16777216,` +
				`"callback_bytes":1048576,"foreign_threads":4,"callbacks":4}`)
		case "object":
			fmt.Printf("{\"object\":%d}\n", uintptr(unsafe.Pointer(&cBytes[0])))
		case "native":
			// On top of what is there from the start: 32 MiB in small blocks, 8 threads with a MiB each.
			C.small(32 << 20)
			for i := 0; i < 8; i++ {
				if C.deepThread() != 0 {
					panic("no thread")
				}
			}
			fmt.Println("{}")
		case "dump2":
			var text bytes.Buffer
			_ = pprof.Lookup("goroutine").WriteTo(&text, 2)
			fmt.Printf("{\"bytes\":%d}\n%s", text.Len(), text.Bytes())
		}
	}
}
