// Package cache has a generic type, whose instances have names of their own in the runtime's types.
package cache

import "sync"

// Cache is a map behind a mutex.
type Cache[K comparable, V any] struct {
	mu      sync.Mutex
	entries map[K]Entry[V]
}

// Entry is a value and how often it was asked for.
type Entry[V any] struct {
	Value V
	Hits  int
}

// New returns an empty cache.
func New[K comparable, V any]() *Cache[K, V] {
	return &Cache[K, V]{entries: make(map[K]Entry[V])}
}

// Put stores a value.
func (c *Cache[K, V]) Put(key K, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries[key] = Entry[V]{Value: value}
}

// Len is the number of entries.
func (c *Cache[K, V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}
