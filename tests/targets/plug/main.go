// A program that loads a plugin: two modules, each with globals, types and functions of its own, and an
// object of the one that only the other holds.
package main

import (
	"bufio"
	"fmt"
	"os"
	"plugin"
	"runtime"

	_ "example.com/targets/allow"
)

// Blocks of the host's own.
var ours [][]byte

// grow is given to the plugin, so that it holds a closure of the host's.
func grow(bytes int) []byte { return make([]byte, bytes) }

func main() {
	for i := 0; i < 64; i++ {
		ours = append(ours, make([]byte, 64<<10))
	}
	loaded, err := plugin.Open(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	symbol, err := loaded.Lookup("Fill")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	symbol.(func(int, func(int) []byte))(128, grow)
	runtime.GC()
	runtime.GC()
	fmt.Printf("{\"ready\":true,\"pid\":%d}\n", os.Getpid())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan() && lines.Text() != "quit"; {
		if lines.Text() == "truth" {
			fmt.Println(`{"holders":[{"name":"main.ours","payload_bytes":4194304},` +
				`{"name":"Theirs","payload_bytes":8388608}]}`)
		}
	}
	runtime.KeepAlive(ours)
}
