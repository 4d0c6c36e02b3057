package traffic

import (
	"context"
	"fmt"
	"math/rand/v2"
)

var searchWords = []string{"kettle", "lamp", "copper", "kitchen", "travel", "mug", "blue", "shelf"}

const (
	shopperCount       = 32
	shopperConnections = 4
)

// Shop sends ordinary shoppers at perSecond requests a second until ctx is done. They look at pages,
// search, fill carts and check out; each keeps its cookie. products is the number of products.
func Shop(ctx context.Context, base string, perSecond float64, products int) {
	shoppers := make([]*Client, shopperCount)
	shared := NewClient(base, shopperConnections, true)
	defer shared.Close()
	for i := range shoppers {
		own := NewClient(base, shopperConnections, true)
		own.http.Transport = shared.http.Transport
		shoppers[i] = own
	}
	Run(ctx, shopperConnections, Steady(perSecond), func(ctx context.Context, number int) {
		shopper := shoppers[number%shopperCount]
		// An error is a shopper who gives up: the shop's own counters tell.
		if number < shopperCount {
			_ = shopper.Get(ctx, "/") // all come in by the front door
			return
		}
		_ = shopper.step(ctx, products)
	})
}

func (c *Client) step(ctx context.Context, products int) error {
	id := rand.IntN(products)
	switch dice := rand.IntN(100); {
	case dice < 60:
		return c.Get(ctx, fmt.Sprintf("/product/%d", id))
	case dice < 70:
		return c.Get(ctx, fmt.Sprintf("/thumb/%d", id))
	case dice < 78:
		return c.Get(ctx, "/search?q="+searchWords[rand.IntN(len(searchWords))])
	case dice < 86:
		return c.Get(ctx, fmt.Sprintf("/?page=%d", rand.IntN(20)))
	case dice < 91:
		return c.Post(ctx, fmt.Sprintf("/cart?id=%d", id))
	case dice < 95:
		return c.Get(ctx, fmt.Sprintf("/receipt/%d", rand.IntN(100000)))
	case dice < 97:
		return c.Get(ctx, fmt.Sprintf("/quote/%d", id-id%10+1)) // articles in stock
	default:
		return c.Post(ctx, "/checkout?pay=invoice")
	}
}
