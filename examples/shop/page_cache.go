package main

import (
	"container/list"
	"sync"
)

// PageCache keeps rendered product pages for visitors without a session, whose pages are all alike.
// Past its limit the page that was asked for least recently goes.
type PageCache struct {
	mu      sync.Mutex
	limit   int
	size    int
	recent  *list.List // of *cachedPage, the latest in front
	entries map[int]*list.Element
}

type cachedPage struct {
	product int
	body    []byte
}

// NewPageCache returns an empty cache that holds at most limit bytes.
func NewPageCache(limit int) *PageCache {
	return &PageCache{limit: limit, recent: list.New(), entries: make(map[int]*list.Element)}
}

// Get returns the page of a product.
func (c *PageCache) Get(product int) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry, ok := c.entries[product]
	if !ok {
		return nil, false
	}
	c.recent.MoveToFront(entry)
	return entry.Value.(*cachedPage).body, true
}

// Put keeps the page of a product. A page larger than the whole cache is not kept.
func (c *PageCache) Put(product int, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.entries[product]; ok || cap(body) > c.limit {
		return // two visitors may have rendered the same page at once
	}
	c.entries[product] = c.recent.PushFront(&cachedPage{product: product, body: body})
	c.size += cap(body)
	for c.size > c.limit {
		oldest := c.recent.Remove(c.recent.Back()).(*cachedPage)
		delete(c.entries, oldest.product)
		c.size -= cap(oldest.body)
	}
	pageCacheBytes.Set(float64(c.size))
}

// Size is the number of bytes held.
func (c *PageCache) Size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size
}
