package main

import (
	"flag"
	"runtime"
	"time"
)

// kind is one way for a goroutine to wait.
type kind struct {
	name string
	// start starts a goroutine that ends up waiting in that way.
	start func()
	// most is how many there may be, 0 for any number: some need a thread or a file each.
	most int
}

// parked starts goroutines of all kinds, in turns, until there are as many as asked for.
func parked(arguments []string) commands {
	flags := flag.NewFlagSet("parked", flag.ExitOnError)
	wanted := flags.Int("n", 10_000, "how many goroutines")
	busy := flags.Bool("busy", false, "with goroutines that run and others that wait for a processor")
	_ = flags.Parse(arguments)
	all := append(kinds(), newerKinds()...)
	if *busy {
		all = append(all, busyKinds()...)
	}
	started := make(map[string]int)
	for round := 0; runtime.NumGoroutine() < *wanted; round++ {
		for _, one := range all {
			if one.most > 0 && round >= one.most {
				continue
			}
			one.start()
			started[one.name]++
			if round > 0 && runtime.NumGoroutine() >= *wanted {
				break
			}
		}
	}
	settle()
	return commands{
		"kinds":     func([]string) any { return map[string]any{"kinds": started} },
		"dump1":     func([]string) any { return written("goroutine", 1) },
		"dump2":     func([]string) any { return written("goroutine", 2) },
		"dumpproto": func([]string) any { return written("goroutine", 0) },
		"threads":   func([]string) any { return written("threadcreate", 1) },
	}
}

// settle gives the goroutines time to come to where they wait; whoever dumps them sees if that was not
// enough.
func settle() {
	before := 0
	for i := 0; i < 100; i++ {
		time.Sleep(20 * time.Millisecond)
		now := runtime.NumGoroutine()
		if now == before && i > 5 {
			return
		}
		before = now
	}
}
