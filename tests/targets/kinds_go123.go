//go:build go1.23

package main

import "iter"

func newerKinds() []kind {
	return []kind{
		{"coroutine", pullOne, 0},
	}
}

// pullOne leaves a goroutine between two values of an iterator.
func pullOne() {
	next, _ := iter.Pull(func(yield func(int) bool) {
		for i := 0; yield(i); i++ {
		}
	})
	_, _ = next()
	pulled = append(pulled, next)
}

var pulled []func() (int, bool)
