//go:build go1.23

package main

import "iter"

func parkCoroutine() {
	next, _ := iter.Pull(func(yield func(int) bool) {
		for i := 0; yield(i); i++ {
		}
	})
	go func() {
		next()
		<-never
		next()
	}()
}
