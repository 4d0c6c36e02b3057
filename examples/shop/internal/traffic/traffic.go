// Package traffic plays the shop's visitors: paced loopback requests over few kept connections.
package traffic

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"sync"
	"time"
)

// Client makes requests against one shop.
type Client struct {
	base string
	http *http.Client
}

// NewClient returns a client of the shop at base that keeps at most connections open. With cookies
// it is one visitor who comes back; without, each request is a stranger's, as crawlers' are.
func NewClient(base string, connections int, cookies bool) *Client {
	c := &http.Client{
		Transport: &http.Transport{
			MaxConnsPerHost:     connections,
			MaxIdleConnsPerHost: connections,
			IdleConnTimeout:     10 * time.Second,
			DisableCompression:  true,
		},
		Timeout: 30 * time.Second,
	}
	if cookies {
		c.Jar, _ = cookiejar.New(nil) // its error is always nil
	}
	return &Client{base: base, http: c}
}

// Get and Post make one request and read the whole answer. An answer of any status is no error.
func (c *Client) Get(ctx context.Context, path string) error { return c.do(ctx, http.MethodGet, path) }

// Post is Get with the other method.
func (c *Client) Post(ctx context.Context, path string) error {
	return c.do(ctx, http.MethodPost, path)
}

func (c *Client) do(ctx context.Context, method, path string) error {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, nil)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// Close gives the kept connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

const (
	tick = 25 * time.Millisecond
	// owedMax is how much of the past is made up for after a stall, in seconds' worth of requests.
	owedMax = 5.0
)

// Rate is a number of visits a second, as a function of the time since the start.
type Rate func(elapsed time.Duration) float64

// Steady is the same rate at all times.
func Steady(perSecond float64) Rate { return func(time.Duration) float64 { return perSecond } }

// Run calls visit at the given rate, from at most workers goroutines, until ctx is done; it returns
// when all of them have. What cannot be served within a few seconds is not asked for any more.
func Run(ctx context.Context, workers int, rate Rate, visit func(ctx context.Context, number int)) {
	numbers := make(chan int)
	var group sync.WaitGroup
	for range workers {
		group.Add(1)
		go func() {
			defer group.Done()
			for number := range numbers {
				visit(ctx, number)
			}
		}()
	}
	pace(ctx, rate, numbers)
	close(numbers)
	group.Wait()
}

func pace(ctx context.Context, rate Rate, numbers chan<- int) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	start := time.Now()
	last, owed, number := start, 0.0, 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		perSecond := rate(now.Sub(start))
		owed = min(owed+perSecond*now.Sub(last).Seconds(), perSecond*owedMax+1)
		last = now
		for ; owed >= 1; owed-- {
			select {
			case numbers <- number:
				number++
			case <-ctx.Done():
				return
			}
		}
	}
}
