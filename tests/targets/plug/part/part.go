// The plugin that plug loads.
package main

import "runtime"

type piece struct {
	body []byte
	next *piece
}

// Theirs is what the plugin holds.
var Theirs *piece

var never = make(chan struct{})

// Fill holds so many pieces of 64 KiB made by the host, and leaves a goroutine waiting in the plugin.
func Fill(count int, make func(int) []byte) {
	for i := 0; i < count; i++ {
		Theirs = &piece{body: make(64 << 10), next: Theirs}
	}
	go wait(Theirs)
}

//go:noinline
func wait(first *piece) {
	<-never
	runtime.KeepAlive(first)
}

func main() {}
