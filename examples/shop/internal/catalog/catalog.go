// Package catalog holds the products the shop sells and finds them again.
package catalog

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Product is one article. Prices are in cents.
type Product struct {
	ID          int      `json:"id"`
	Name        string   `json:"name"`
	Category    string   `json:"category"`
	Cents       int      `json:"cents"`
	Stock       int      `json:"stock"`
	Description string   `json:"description"`
	Reviews     []Review `json:"reviews"`
}

// Review is what a buyer wrote about a product.
type Review struct {
	Stars int    `json:"stars"`
	By    string `json:"by"`
	Text  string `json:"text"`
}

// Catalog is read-only once made, so it needs no lock.
type Catalog struct {
	products []*Product
	byWord   map[string][]*Product
}

var (
	adjectives = []string{"plain", "folding", "waxed", "copper", "quiet", "woven", "tall", "narrow", "blue", "felted"}
	articles   = []string{"kettle", "lamp", "basket", "stool", "satchel", "clock", "ladder", "blanket", "mug", "shelf"}
	categories = []string{"kitchen", "light", "storage", "seating", "travel", "textile"}
	phrases    = []string{
		"made by hand in a small workshop", "packed without plastic", "easy to take apart and mend",
		"tested for ten years of daily use", "sold in pairs on request", "a favourite of our own staff",
	}
	buyers = []string{"Ada", "Jun", "Mira", "Olu", "Pavel", "Rosa"}
)

// New makes a catalogue of n products, the same one for the same seed. Product ids run from 0 to n-1.
func New(n int, seed uint64) *Catalog {
	random := rand.New(rand.NewPCG(seed, 1))
	c := &Catalog{byWord: make(map[string][]*Product)}
	for id := range n {
		p := newProduct(id, random)
		c.products = append(c.products, p)
		for _, word := range strings.Fields(p.Name + " " + p.Category) {
			c.byWord[word] = append(c.byWord[word], p)
		}
	}
	return c
}

func newProduct(id int, random *rand.Rand) *Product {
	p := &Product{
		ID:       id,
		Name:     pick(random, adjectives) + " " + pick(random, articles),
		Category: pick(random, categories),
		Cents:    500 + random.IntN(20000),
		Stock:    1 + random.IntN(40),
	}
	if id%10 == 0 {
		p.Stock = 0 // on back order: the supplier is asked for a price
	}
	p.Description = fmt.Sprintf("Our %s, %s. %s.", p.Name, sentence(random, 4), sentence(random, 4))
	for range 3 {
		p.Reviews = append(p.Reviews, Review{
			Stars: 1 + random.IntN(5), By: pick(random, buyers), Text: sentence(random, 3),
		})
	}
	return p
}

// Len is the number of products.
func (c *Catalog) Len() int { return len(c.products) }

// Product returns the product with that id.
func (c *Catalog) Product(id int) (*Product, bool) {
	if id < 0 || id >= len(c.products) {
		return nil, false
	}
	return c.products[id], true
}

// Search returns at most limit products that have word in their name or category.
func (c *Catalog) Search(word string, limit int) []*Product {
	found := c.byWord[strings.ToLower(word)]
	return found[:min(limit, len(found))]
}

// Featured returns count products for the front page, another slice of the catalogue for each page number.
func (c *Catalog) Featured(page, count int) []*Product {
	if len(c.products) == 0 {
		return nil
	}
	first := page * count % len(c.products)
	return c.products[first:min(first+count, len(c.products))]
}

func pick(random *rand.Rand, words []string) string { return words[random.IntN(len(words))] }

func sentence(random *rand.Rand, parts int) string {
	chosen := make([]string, parts)
	for i := range chosen {
		chosen[i] = pick(random, phrases)
	}
	return strings.Join(chosen, ", ")
}
