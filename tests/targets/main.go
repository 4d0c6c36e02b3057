// Programs for looking into from outside: each mode builds a state that is known to the byte, says so,
// and then does what it is told, one command a line, on standard input.
//
//	targets planted    holders of every kind, each of a known size
//	targets parked     goroutines in every state
//	targets profiled   a heap profile with every kind of stack
//	targets heap       as big a heap as asked for
//	targets resident   memory whose resident part is known, of one kind
//	targets spinning   goroutines that keep much in a local variable, and some that never stop
//	targets descriptors  files, connections and pipes that stay open
//
// One program instead of seven: linking is what a build costs, and a mode that was not asked for holds
// nothing. The standard library only, and nothing newer than Go 1.21 outside of files tagged so.
package main

import (
	"fmt"
	"os"

	_ "example.com/targets/allow"
)

// A mode builds its state from the arguments behind its name and returns the commands that it knows
// beyond the common ones.
var modes = map[string]func(arguments []string) commands{
	"planted":  planted,
	"parked":   parked,
	"profiled": profiled,
	"heap":     heap,
	"resident": resident,
	"spinning": spinning,

	"descriptors": descriptors,
}

func main() {
	if len(os.Args) < 2 || modes[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: targets planted|parked|profiled|heap|resident|spinning|descriptors [FLAG]...")
		os.Exit(2)
	}
	obey(modes[os.Args[1]](os.Args[2:]))
}
