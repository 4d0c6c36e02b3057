package main

import (
	"container/list"
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/targets/cache"
	"example.com/targets/third/lru"
)

type session struct {
	id    string
	token []byte
	// Every second session knows the one before, so that holders lie inside of one another.
	previous *session
	hits     int64
}

type event struct {
	name string
	body []byte
}

// price has no pointers: its map has none either.
type price struct {
	item, amount, currency, from, until, shop, region int64
}

type link struct {
	next    *link
	payload [10]int64
}

// store is what service holds by an interface only.
type store interface{ put(row []byte) }

type memoryStore struct{ rows [][]byte }

func (s *memoryStore) put(row []byte) { s.rows = append(s.rows, row) }

type service struct {
	name string
	mu   sync.Mutex
	rows store
}

type shard struct {
	mu      sync.Mutex
	entries map[int]*event
}

type resource struct{ handle *int }

// wide has a pointer map of its own in front of it (more than 512 bytes, with pointers).
type wide struct {
	number int64
	events [96]*event
	note   string
}

// account has more than one level of what is laid out beforehand.
type account struct {
	name    string
	cache   *memoryStore
	plugins []*memoryStore
	sink    store
}

type contextKey int

var (
	blocks    [][]byte
	sessions  = map[string]*session{}
	prices    = map[int]price{}
	index     = map[int]*price{}
	catalog   sync.Map
	onEvict   func(key string) int
	jobs      chan *event
	lastCall  context.Context
	history   = list.New()
	chain     *link
	anything  []any
	lines     []string
	manual    string
	recent    = lru.New(4096)
	quotes    = cache.New[int, *event]()
	shards    [16]shard
	records   []*wide
	window    []byte
	buffers   sync.Pool
	primary   *memoryStore
	replica   store
	resources []*resource

	// The compiler lays what these point to into the data segment, where it has no name.
	shop = &service{name: "shop"}
	// And what these lead to, one behind the other.
	tenant = &account{
		name:    "tenant",
		cache:   &memoryStore{},
		plugins: []*memoryStore{{}, {}},
		sink:    &memoryStore{},
	}

	never = make(chan struct{})
)

// holders lists what `planted` holds. Every size is big enough that what the runtime itself allocates
// meanwhile (some KiB) is far below a hundredth of it.
func holders() []holder {
	all := []holder{
		{Name: "main.blocks", Kind: "global", MadeIn: "main.growBlocks",
			What: "[][]byte", plant: plantBlocks, grow: growBlocks},
		{Name: "main.sessions", Kind: "global", MadeIn: "main.growSessions",
			What: "map[string]*session, some linked to others", plant: plantSessions, grow: growSessions},
		{Name: "main.prices", Kind: "global", MadeIn: "main.plantPrices",
			What: "map[int]price, by value and without pointers", plant: plantPrices},
		{Name: "main.index", Kind: "global", MadeIn: "main.plantIndex",
			What: "a map of more than a hundred tables", plant: plantIndex},
		{Name: "main.catalog", Kind: "global", MadeIn: "main.plantCatalog",
			What: "sync.Map", plant: plantCatalog},
		{Name: "main.onEvict", Kind: "global", MadeIn: "main.plantOnEvict",
			What: "a closure in a function value", plant: plantOnEvict},
		{Name: "main.jobs", Kind: "global", MadeIn: "main.plantJobs",
			What: "the buffer of a channel", plant: plantJobs},
		{Name: "main.lastCall", Kind: "global", MadeIn: "main.plantLastCall",
			What: "a chain of contexts with values", plant: plantLastCall},
		{Name: "main.history", Kind: "global", MadeIn: "main.growHistory",
			What: "container/list", plant: plantHistory, grow: growHistory},
		{Name: "main.chain", Kind: "global", MadeIn: "main.plantChain",
			What: "a linked list of 50,000", plant: plantChain},
		{Name: "main.anything", Kind: "global", MadeIn: "main.plantAnything",
			What: "[]any of several types", plant: plantAnything},
		{Name: "main.lines", Kind: "global", MadeIn: "main.growLines",
			What: "[]string", plant: plantLines, grow: growLines},
		{Name: "main.manual", Kind: "global", MadeIn: "main.plantManual",
			What: "one big string", plant: plantManual},
		{Name: "main.recent", Kind: "global", MadeIn: "main.plantRecent",
			What: "an LRU from another package", plant: plantRecent},
		{Name: "main.quotes", Kind: "global", MadeIn: "main.plantQuotes",
			What: "an instance of a generic type", plant: plantQuotes},
		{Name: "main.shards", Kind: "global", MadeIn: "main.plantShards",
			What: "an array of maps", plant: plantShards},
		{Name: "main.records", Kind: "global", MadeIn: "main.plantRecords",
			What: "objects with a type in front", plant: plantRecords},
		{Name: "main.window", Kind: "global", MadeIn: "main.plantWindow",
			What: "ten bytes of a big array", plant: plantWindow},
		{Name: "main.shop", Kind: "global", MadeIn: "main.growShop",
			What: "behind an interface in a static struct", plant: plantShop, grow: growShop},
		{Name: "main.tenant.cache", Kind: "global", MadeIn: "main.plantCache",
			What: "a structure that a structure laid out beforehand points at", plant: plantCache},
		{Name: "main.tenant.plugins[*]", Kind: "global", MadeIn: "main.plantPlugins",
			What: "elements of a slice laid out beforehand", plant: plantPlugins},
		{Name: "main.tenant.sink", Kind: "global", MadeIn: "main.plantSink",
			What: "what an interface was given beforehand", plant: plantSink},
		{Name: "main.primary", Kind: "several", MadeIn: "main.plantPrimary",
			What: "one store with two holders", plant: plantPrimary},
		{Name: "main.plantTimers.func1", Kind: "timer", MadeIn: "main.plantTimers",
			What: "closures of time.AfterFunc", plant: plantTimers},
		{Name: "main.plantFinalizers.func1", Kind: "finalizer", MadeIn: "main.plantFinalizers",
			What: "closures of runtime.SetFinalizer", plant: plantFinalizers},
		{Name: "main.waitWithLocal", Kind: "goroutine", MadeIn: "main.waitWithLocal",
			What: "a local variable of blocked goroutines", plant: plantLocals},
		{Name: "main.plantUploads.func1", Kind: "goroutine", MadeIn: "main.plantUploads",
			What: "captured by blocked goroutines", plant: plantUploads},
	}
	return append(all, newerHolders()...)
}

func plantBlocks() (int, int) { return growBlocks(16 << 20) }

func growBlocks(bytes int) (int, int) {
	count := (bytes + 64<<10 - 1) / (64 << 10)
	for i := 0; i < count; i++ {
		blocks = append(blocks, make([]byte, 64<<10))
	}
	return count * 64 << 10, count
}

func plantSessions() (int, int) { return growSessions(20_000 * 512) }

func growSessions(bytes int) (int, int) {
	count, first := (bytes+511)/512, len(sessions)
	var previous *session
	for i := 0; i < count; i++ {
		made := &session{id: "session-" + strconv.Itoa(1_000_000+first+i), token: make([]byte, 512)}
		if i%2 == 1 {
			made.previous = previous
		}
		previous = made
		sessions[made.id] = made
	}
	return count * 512, count
}

func plantPrices() (int, int) {
	for i := 0; i < 40_000; i++ {
		prices[i] = price{item: int64(i)}
	}
	return 40_000 * 64, 40_000
}

// plantIndex fills a map until its directory has a type in front of it (more than 512 bytes), and longer.
func plantIndex() (int, int) {
	for i := 0; i < 64_000; i++ {
		index[i] = &price{item: int64(i)}
	}
	return 64_000 * 64, 64_000
}

func plantCatalog() (int, int) {
	for i := 0; i < 4000; i++ {
		catalog.Store("item-"+strconv.Itoa(i), &event{name: "item", body: make([]byte, 1024)})
	}
	return 4000 * 1024, 4000
}

func plantOnEvict() (int, int) {
	kept := make([][]byte, 64)
	for i := range kept {
		kept[i] = make([]byte, 32<<10)
	}
	onEvict = func(key string) int { return len(kept[len(key)%len(kept)]) }
	return 64 * 32 << 10, 64
}

func plantJobs() (int, int) {
	jobs = make(chan *event, 4096)
	for i := 0; i < 3000; i++ {
		jobs <- &event{name: "job", body: make([]byte, 1024)}
	}
	return 3000 * 1024, 3000
}

func plantLastCall() (int, int) {
	call := context.Background()
	for i := 0; i < 2000; i++ {
		call = context.WithValue(call, contextKey(i), make([]byte, 2048))
	}
	lastCall = call
	return 2000 * 2048, 2000
}

func plantHistory() (int, int) { return growHistory(8000 * 512) }

func growHistory(bytes int) (int, int) {
	count := (bytes + 511) / 512
	for i := 0; i < count; i++ {
		history.PushBack(&event{name: "visit", body: make([]byte, 512)})
	}
	return count * 512, count
}

func plantChain() (int, int) {
	for i := 0; i < 50_000; i++ {
		chain = &link{next: chain}
	}
	return 50_000 * 88, 50_000
}

func plantAnything() (int, int) {
	for i := 0; i < 1000; i++ {
		anything = append(anything,
			&event{body: make([]byte, 1024)},
			make([]byte, 1024),
			strings.Repeat("any", 341)+"!",
			[16]int64{})
	}
	return 1000 * (3*1024 + 128), 4000
}

func plantLines() (int, int) { return growLines(3000 * 1024) }

func growLines(bytes int) (int, int) {
	count := (bytes + 1023) / 1024
	for i := 0; i < count; i++ {
		lines = append(lines, strings.Repeat("x", 1024))
	}
	return count * 1024, count
}

func plantManual() (int, int) {
	manual = strings.Repeat("m", 2<<20)
	return 2 << 20, 1
}

func plantRecent() (int, int) {
	for i := 0; i < 8000; i++ {
		recent.Add("key-"+strconv.Itoa(i), &event{name: "hit", body: make([]byte, 512)})
	}
	return recent.Len() * 512, recent.Len()
}

func plantQuotes() (int, int) {
	for i := 0; i < 6000; i++ {
		quotes.Put(i, &event{name: "quote", body: make([]byte, 512)})
	}
	return quotes.Len() * 512, quotes.Len()
}

func plantShards() (int, int) {
	for i := 0; i < 4096; i++ {
		at := &shards[i%len(shards)]
		if at.entries == nil {
			at.entries = make(map[int]*event)
		}
		at.entries[i] = &event{name: "entry", body: make([]byte, 512)}
	}
	return 4096 * 512, 4096
}

func plantRecords() (int, int) {
	for i := 0; i < 200; i++ {
		made := &wide{number: int64(i), note: "record"}
		for j := range made.events {
			made.events[j] = &event{body: make([]byte, 128)}
		}
		records = append(records, made)
	}
	return 200 * 96 * 128, 200 * 96
}

func plantWindow() (int, int) {
	whole := make([]byte, 4<<20)
	window = whole[1<<20 : 1<<20+10 : 1<<20+10]
	return 4 << 20, 1
}

func plantShop() (int, int) {
	shop.rows = &memoryStore{}
	return growShop(4096 * 1024)
}

func growShop(bytes int) (int, int) {
	count := (bytes + 1023) / 1024
	for i := 0; i < count; i++ {
		shop.rows.put(make([]byte, 1024))
	}
	return count * 1024, count
}

func plantCache() (int, int) {
	for i := 0; i < 1100; i++ {
		tenant.cache.put(make([]byte, 1024))
	}
	return 1100 * 1024, 1100
}

func plantPlugins() (int, int) {
	for i := 0; i < 1200; i++ {
		tenant.plugins[i%len(tenant.plugins)].put(make([]byte, 1024))
	}
	return 1200 * 1024, 1200
}

func plantSink() (int, int) {
	for i := 0; i < 900; i++ {
		tenant.sink.put(make([]byte, 1024))
	}
	return 900 * 1024, 900
}

func plantPrimary() (int, int) {
	primary = &memoryStore{}
	for i := 0; i < 2048; i++ {
		primary.put(make([]byte, 1024))
	}
	replica = primary
	return 2048 * 1024, 2048
}

func plantTimers() (int, int) {
	for i := 0; i < 100; i++ {
		late := make([]byte, 32<<10)
		time.AfterFunc(1000*time.Hour, func() { fmt.Fprint(discard{}, len(late), late[0]) })
	}
	return 100 * 32 << 10, 100
}

func plantFinalizers() (int, int) {
	for i := 0; i < 100; i++ {
		side, of := make([]byte, 16<<10), &resource{handle: new(int)}
		runtime.SetFinalizer(of, func(*resource) { fmt.Fprint(discard{}, len(side), side[0]) })
		resources = append(resources, of)
	}
	return 100 * 16 << 10, 100
}

func plantLocals() (int, int) {
	for i := 0; i < 10; i++ {
		go waitWithLocal(128 << 10)
	}
	waitForParked("waitWithLocal", 10)
	return 10 * 128 << 10, 10
}

//go:noinline
func waitWithLocal(bytes int) {
	local := make([]byte, bytes)
	<-never
	// Without this the stack maps say that nobody needs it any more.
	runtime.KeepAlive(local)
}

func plantUploads() (int, int) {
	for i := 0; i < 64; i++ {
		part := make([]byte, 256<<10)
		go func() {
			<-never
			runtime.KeepAlive(part)
		}()
	}
	waitForParked("plantUploads.func1", 64)
	return 64 * 256 << 10, 64
}

// waitForParked returns when so many goroutines of a function wait for a channel.
func waitForParked(function string, count int) {
	text := make([]byte, 1<<20)
	for parked := 0; parked < count; {
		time.Sleep(time.Millisecond)
		parked = 0
		all := string(text[:runtime.Stack(text, true)])
		for _, one := range strings.Split(all, "\n\n") {
			head, _, _ := strings.Cut(one, "\n")
			if strings.Contains(head, "chan receive") && strings.Contains(one, "main."+function+"(") {
				parked++
			}
		}
	}
}

type discard struct{}

func (discard) Write(bytes []byte) (int, error) { return len(bytes), nil }
