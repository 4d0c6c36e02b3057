// Package lru is a cache of limited length, as services take it from a third party: a map for looking
// up, a list for the order of use.
package lru

import "container/list"

// Cache keeps the `limit` entries used last.
type Cache struct {
	limit   int
	order   *list.List
	entries map[string]*list.Element
}

type entry struct {
	key   string
	value any
}

// New returns an empty cache for `limit` entries.
func New(limit int) *Cache {
	return &Cache{limit: limit, order: list.New(), entries: make(map[string]*list.Element)}
}

// Add puts a value in front and drops the last one if there are too many.
func (c *Cache) Add(key string, value any) {
	if old, ok := c.entries[key]; ok {
		old.Value.(*entry).value = value
		c.order.MoveToFront(old)
		return
	}
	c.entries[key] = c.order.PushFront(&entry{key, value})
	if c.limit > 0 && c.order.Len() > c.limit {
		last := c.order.Back()
		c.order.Remove(last)
		delete(c.entries, last.Value.(*entry).key)
	}
}

// Get returns a value and puts it in front.
func (c *Cache) Get(key string) (any, bool) {
	found, ok := c.entries[key]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(found)
	return found.Value.(*entry).value, true
}

// Len is the number of entries.
func (c *Cache) Len() int { return c.order.Len() }
