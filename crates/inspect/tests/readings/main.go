// A heap with every kind of span: small objects with a bitmap, larger ones with their type beside them, and large
// ones that are read in several pieces.
package main

import (
	"fmt"
	"os"
)

type small struct {
	next  *small
	count uint64
	other *small
}

// 1 KiB: its type lies beside it.
type middle struct {
	numbers [100]uint64
	first   *small
	more    [20]uint64
	last    *middle
	rest    [5]uint64
}

// Its pointers are 4 KiB apart, so that most pieces of an array begin inside of one.
type sparse struct {
	numbers [511]uint64
	at      *small
}

var (
	chain   *small
	middles *middle
	array   []sparse
	many    []*small
	table   = map[int]*small{}
)

func main() {
	for i := 0; i < 50_000; i++ {
		chain = &small{next: chain, count: uint64(i)}
		if i%3 == 0 {
			chain.other = &small{count: uint64(i)}
		}
		if i%100 == 0 {
			table[i] = &small{next: chain}
		}
		if i%10 == 0 {
			middles = &middle{first: chain, last: middles}
		}
	}
	array = make([]sparse, 300) // 1.2 MB
	for i := range array {
		array[i].at = &small{count: uint64(i)}
	}
	many = make([]*small, 200_000) // 1.6 MB
	for i := range many {
		many[i] = &small{}
	}
	go func() { <-make(chan *small) }()
	fmt.Println("READY")
	os.Stdin.Read(make([]byte, 1))
}
