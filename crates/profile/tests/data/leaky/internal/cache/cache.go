// Package cache keeps sessions and never lets them go.
package cache

import "bytes"

// SessionCache is the leak.
type SessionCache struct {
	entries map[int][]byte
}

// New returns an empty cache.
func New() *SessionCache { return &SessionCache{entries: map[int][]byte{}} }

// Put keeps a copy of value: the line to be found.
func (c *SessionCache) Put(key int, value []byte) {
	c.entries[key] = bytes.Clone(value)
}

// List is generic, so that its names hold type arguments.
type List[T any] struct{ items []*T }

// Add keeps a new zero value.
func (l *List[T]) Add() {
	l.items = append(l.items, new(T))
}
