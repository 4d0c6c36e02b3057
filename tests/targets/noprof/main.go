// A program that never asks for its heap profile: the linker drops the runtime's profiling, and there is
// nothing to be read. It answers `quit` and nothing else, and is built without fmt for that reason:
// whatever refers to runtime.MemProfile would keep it.
package main

import (
	"os"
	"strconv"

	_ "example.com/targets/allow"
)

var kept [][]byte

func main() {
	for i := 0; i < 64; i++ {
		kept = append(kept, make([]byte, 64<<10))
	}
	os.Stdout.WriteString(`{"ready":true,"pid":` + strconv.Itoa(os.Getpid()) + "}\n")
	var buffer [64]byte
	for {
		n, err := os.Stdin.Read(buffer[:])
		if err != nil || n == 0 || string(buffer[:n]) == "quit\n" {
			os.Exit(len(kept) - 64)
		}
	}
}
