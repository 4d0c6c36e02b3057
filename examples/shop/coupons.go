package main

import (
	"context"
	"time"
)

const (
	// couponBytes is about what an entry takes in a map that grows.
	couponBytes = 112
	couponCount = 500_000
	couponsLeft = 5_000
	saleTime    = 30 * time.Second
)

// coupon is small enough to lie in the map itself.
type coupon struct {
	code    [48]byte
	percent int64
	until   int64
}

// couponSales gives coupons out at bytesPerSecond. After each sale nearly all are deleted; the map keeps
// its room, which the next sale uses again.
func couponSales(ctx context.Context, bytesPerSecond float64) error {
	const tick = 50 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	coupons := make(map[int]coupon)
	for owed := 0.0; ; {
		for len(coupons) < couponCount {
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C:
			}
			owed += bytesPerSecond * tick.Seconds() / couponBytes
			for ; owed >= 1 && len(coupons) < couponCount; owed-- {
				number := len(coupons)
				coupons[number] = coupon{percent: int64(number % 50)}
			}
		}
		for number := couponsLeft; number < couponCount; number++ {
			delete(coupons, number)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(saleTime):
		}
	}
}
