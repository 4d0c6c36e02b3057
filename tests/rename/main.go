// Command rename writes a copy of a Go module in which nothing is called what it was: a test runs
// against the copy to see that it does not go by names.
//
//	go run . -seed 1 -in ../../examples/shop -out /tmp/copy
//	cd /tmp/copy && go build -o service .
//
// Renamed, by words that the seed picks: functions, methods, types, fields, constants and variables of
// packages (and locals of the same name), packages and their folders, files, the module, functions and
// types of cgo preambles, names, help and labels of Prometheus metrics, and HTTP paths with the handler names
// given beside them. Names in comments follow. The same seed makes the same copy, and the mapping is
// printed as JSON on standard output.
//
// Kept: main and init; methods by which a type meets an interface from outside the module (ServeHTTP,
// Write, Error, ...); names that templates use; field tags; /metrics, /debug and /admin; all other
// strings, so flags, scenarios and the READY line are as they were; comments with "culprit:"; lines stay
// lines. Left out: tests and README.md.
//
// It needs the go command, and a C compiler if the module uses cgo; both settings of CGO_ENABLED are
// read, so that files of either are renamed alike.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
)

func main() {
	seed := flag.Uint64("seed", 1, "which names to pick")
	in := flag.String("in", "", "`folder` of the module")
	out := flag.String("out", "", "`folder` for the copy; must be new or empty")
	flag.Parse()
	if *in == "" || *out == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	names, err := copyRenamed(*seed, *in, *out)
	if err != nil {
		fmt.Fprintln(os.Stderr, "rename:", err)
		os.Exit(1)
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(names); err != nil {
		fmt.Fprintln(os.Stderr, "rename:", err)
		os.Exit(1)
	}
}

// copyRenamed writes the copy and returns the names it gave.
func copyRenamed(seed uint64, in, out string) (*Names, error) {
	if entries, err := os.ReadDir(out); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty", out)
	}
	module, err := load(in)
	if err != nil {
		return nil, err
	}
	names := pickNames(module, seed)
	return names, write(module, names, out)
}
