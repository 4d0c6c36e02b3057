package main

import (
	"context"
	"fmt"
	"hash/crc32"
	"net/http"
	"sync"
	"time"

	"example.com/shop/internal/traffic"
)

const (
	offersBytes = 512 << 10
	offersTime  = 10 * time.Second // until the visitor's page asks again
)

// liveOffers is a long poll: it keeps its visitor's connection, and the list of what it shows, for a while.
func (s *Shop) liveOffers(w http.ResponseWriter, r *http.Request) {
	shown := make([]byte, offersBytes)
	for at := range shown {
		shown[at] = blankLine[at%len(blankLine)]
	}
	select {
	case <-r.Context().Done():
	case <-time.After(offersTime):
	}
	fmt.Fprintf(w, "%08x\n", crc32.ChecksumIEEE(shown))
}

// audience has visitors look at live offers: their number climbs to crest, in a straight line, in half of a
// period, and falls to none in the other half.
func audience(ctx context.Context, base string, crest float64, period time.Duration) error {
	const tick = 50 * time.Millisecond
	client := traffic.NewClient(base, int(crest)+1, false)
	defer client.Close()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var group sync.WaitGroup
	var leave []context.CancelFunc
	defer func() {
		for _, one := range leave {
			one()
		}
		group.Wait()
	}()
	for start := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			phase := now.Sub(start).Seconds() / period.Seconds()
			phase -= float64(int(phase))
			wanted := int(crest * min(2*phase, 2-2*phase))
			for len(leave) < wanted {
				visit, end := context.WithCancel(ctx)
				leave = append(leave, end)
				group.Add(1)
				go func() {
					defer group.Done()
					for visit.Err() == nil {
						_ = client.Get(visit, "/offers") // an error when the visitor goes
					}
				}()
			}
			for len(leave) > wanted {
				leave[len(leave)-1]()
				leave = leave[:len(leave)-1]
			}
		}
	}
}
