package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// commands by name. A command gets the words behind its name; what it returns is the answer: bytes are
// sent as a dump, anything else as a line of JSON.
type commands map[string]func(words []string) any

// obey says that the state is built, and answers commands until standard input ends or says `quit`.
//
// An answer is one line of JSON. A dump is the line `{"bytes":N}` and then N bytes. Between two commands
// the main goroutine sits in read(2), and neither that nor `memstats` allocates: a program that is asked
// `memstats` twice with nothing in between has to give the same answer twice.
func obey(known commands) {
	runtime.GC()
	runtime.GC()
	send(map[string]any{
		"ready":      true,
		"pid":        os.Getpid(),
		"go":         runtime.Version(),
		"goroutines": runtime.NumGoroutine(),
	})
	for {
		line := readLine()
		if line == nil || string(line) == "quit" {
			return
		}
		if string(line) == "memstats" {
			sendMemStats()
			continue
		}
		words := strings.Fields(string(line))
		if len(words) == 0 {
			continue
		}
		switch command := known[words[0]]; {
		case words[0] == "gc":
			runtime.GC()
			runtime.GC()
			send(map[string]any{"gc": 2})
		case command == nil:
			send(map[string]any{"error": "no such command: " + words[0]})
		default:
			send(command(words[1:]))
		}
	}
}

var input struct {
	bytes [4096]byte
	used  int
	taken int
}

// readLine returns the next line without its end, valid until the next call; nil at the end of input.
func readLine() []byte {
	copy(input.bytes[:], input.bytes[input.taken:input.used])
	input.used -= input.taken
	input.taken = 0
	for {
		for i := 0; i < input.used; i++ {
			if input.bytes[i] == '\n' {
				input.taken = i + 1
				return input.bytes[:i]
			}
		}
		n, err := os.Stdin.Read(input.bytes[input.used:])
		if err != nil || n == 0 {
			return nil
		}
		input.used += n
	}
}

func send(answer any) {
	if dump, ok := answer.([]byte); ok {
		fmt.Printf("{\"bytes\":%d}\n", len(dump))
		os.Stdout.Write(dump)
		return
	}
	line, err := json.Marshal(answer)
	if err != nil {
		panic(err)
	}
	os.Stdout.Write(append(line, '\n'))
}

var (
	memStats     runtime.MemStats
	memStatsLine [4096]byte
	memStats64   = []struct {
		name  string
		value *uint64
	}{
		{"alloc", &memStats.Alloc},
		{"total_alloc", &memStats.TotalAlloc},
		{"sys", &memStats.Sys},
		{"mallocs", &memStats.Mallocs},
		{"frees", &memStats.Frees},
		{"heap_alloc", &memStats.HeapAlloc},
		{"heap_sys", &memStats.HeapSys},
		{"heap_idle", &memStats.HeapIdle},
		{"heap_inuse", &memStats.HeapInuse},
		{"heap_released", &memStats.HeapReleased},
		{"heap_objects", &memStats.HeapObjects},
		{"stack_inuse", &memStats.StackInuse},
		{"stack_sys", &memStats.StackSys},
		{"mspan_inuse", &memStats.MSpanInuse},
		{"mspan_sys", &memStats.MSpanSys},
		{"mcache_inuse", &memStats.MCacheInuse},
		{"mcache_sys", &memStats.MCacheSys},
		{"buck_hash_sys", &memStats.BuckHashSys},
		{"gc_sys", &memStats.GCSys},
		{"other_sys", &memStats.OtherSys},
		{"next_gc", &memStats.NextGC},
		{"last_gc_ns", &memStats.LastGC},
		{"pause_total_ns", &memStats.PauseTotalNs},
	}
	memStats32 = []struct {
		name  string
		value *uint32
	}{
		{"num_gc", &memStats.NumGC},
		{"num_forced_gc", &memStats.NumForcedGC},
	}
)

// sendMemStats answers with runtime.ReadMemStats, and allocates nothing.
func sendMemStats() {
	runtime.ReadMemStats(&memStats)
	line := append(memStatsLine[:0], '{')
	for _, field := range memStats64 {
		line = appendField(line, field.name, *field.value)
	}
	for _, field := range memStats32 {
		line = appendField(line, field.name, uint64(*field.value))
	}
	line = appendField(line, "num_goroutine", uint64(runtime.NumGoroutine()))
	line[len(line)-1] = '}'
	os.Stdout.Write(append(line, '\n'))
}

func appendField(line []byte, name string, value uint64) []byte {
	line = append(line, '"')
	line = append(line, name...)
	line = append(line, `":`...)
	line = strconv.AppendUint(line, value, 10)
	return append(line, ',')
}
