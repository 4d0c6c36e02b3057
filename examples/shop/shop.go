package main

import (
	"bytes"
	"encoding/json"
	"expvar"
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"

	"example.com/shop/internal/catalog"
	"example.com/shop/internal/paper"
	"example.com/shop/internal/receipt"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	catalogSize   = 1000
	catalogSeed   = 1
	searchResults = 20
	featuredCount = 20

	visitorPatience = 50 * time.Millisecond
	supplierTime    = 400 * time.Millisecond
)

// Shop is the state behind the pages.
type Shop struct {
	catalog  *catalog.Catalog
	sessions *SessionCache
	pages    *PageCache
	quotes   *QuoteDesk

	prices       *PriceWatch
	warehouse    *Warehouse
	reservations *Reservations
	leaflets     Leaflets
	claims       *Claims
	history      *OrderHistory
	searches     SavedSearches
	gallery      Gallery
	sheets       paper.Pool

	bestsellers map[int][]byte // their photographs; read-only
}

// NewShop returns a shop that serves at settings.Base and whose page cache holds at most pageCacheLimit
// bytes. The caller closes it.
func NewShop(pageCacheLimit int, settings Settings) *Shop {
	products := catalog.New(catalogSize, catalogSeed)
	return &Shop{
		catalog:  products,
		sessions: NewSessionCache(),
		pages:    NewPageCache(pageCacheLimit),
		quotes:   NewQuoteDesk(visitorPatience, supplierTime),

		prices:       NewPriceWatch(),
		warehouse:    NewWarehouse(settings.Base),
		reservations: NewReservations(),
		claims:       NewClaims(settings.FeedDir),
		history:      NewOrderHistory(settings.FeedDir),

		bestsellers: bestsellerPhotos(products.Featured(0, bestsellerCount)),
	}
}

// Close gives back what lies outside of the Go heap. What has leaked stays.
func (s *Shop) Close() error {
	s.prices.close()
	s.sheets.Close()
	return s.history.Close()
}

// Routes returns the pages, and beside them what operators look at.
func (s *Shop) Routes(desk http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", measured("front", s.front))
	mux.Handle("GET /product/{id}", measured("product", s.product))
	mux.Handle("GET /thumb/{id}", measured("thumb", s.thumb))
	mux.Handle("GET /search", measured("search", s.search))
	mux.Handle("POST /cart", measured("cart", s.addToCart))
	mux.Handle("POST /checkout", measured("checkout", s.checkout))
	mux.Handle("GET /receipt/{id}", measured("receipt", s.receipt))
	mux.Handle("GET /quote/{id}", measured("quote", s.quote))

	mux.Handle("GET /follow/{id}", measured("follow", s.followPrice))
	mux.Handle("GET /available/{id}", measured("available", s.available))
	mux.Handle("GET /shelf/{id}", measured("shelf", s.shelf))
	mux.Handle("GET /stock/{id}", measured("stock", s.stock))
	mux.Handle("GET /reserve/{id}", measured("reserve", s.reserve))
	mux.Handle("GET /leaflet/{id}", measured("leaflet", s.leaflet))
	mux.Handle("GET /enlarged/{id}", measured("enlarged", s.enlarged))
	mux.Handle("GET /label/{id}", measured("label", s.label))
	mux.Handle("GET /claim/{id}", measured("claim", s.claim))
	mux.Handle("GET /past/{id}", measured("past", s.pastOrder))
	mux.Handle("GET /saved", measured("saved", s.saveSearch))
	mux.Handle("GET /picture/{id}", measured("picture", s.picture))
	mux.Handle("GET /sheet/{id}", measured("sheet", s.sheet))
	mux.Handle("GET /offers", measured("offers", s.liveOffers))

	mux.Handle("/admin/scenario", desk)
	mux.Handle("GET /metrics", promhttp.Handler())
	mux.Handle("GET /debug/vars", expvar.Handler())
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

func (s *Shop) front(w http.ResponseWriter, r *http.Request) {
	number, _ := strconv.Atoi(r.FormValue("page")) // none, or none that is a number: the first
	s.session(w, r).Saw(-1, r.Referer(), time.Now())
	var page bytes.Buffer
	page.Grow(32 << 10)
	if err := frontTemplate.Execute(&page, s.catalog.Featured(max(number, 0), featuredCount)); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.send(w, "text/html; charset=utf-8", page.Bytes())
}

// product shows one article. Visitors without a session get the same page, so it is kept for them.
func (s *Shop) product(w http.ResponseWriter, r *http.Request) {
	p, ok := s.wanted(w, r)
	if !ok {
		return
	}
	_, err := r.Cookie(sessionCookie)
	stranger := err != nil
	if stranger {
		if page, ok := s.pages.Get(p.ID); ok {
			s.send(w, "text/html; charset=utf-8", page)
			return
		}
	} else {
		s.session(w, r).Saw(p.ID, r.Referer(), time.Now())
	}
	page, err := s.renderProduct(p)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if stranger {
		s.pages.Put(p.ID, page)
	}
	s.send(w, "text/html; charset=utf-8", page)
}

func (s *Shop) thumb(w http.ResponseWriter, r *http.Request) {
	if p, ok := s.wanted(w, r); ok {
		s.send(w, "image/bmp", s.thumbnail(p))
	}
}

func (s *Shop) search(w http.ResponseWriter, r *http.Request) {
	s.sendJSON(w, s.catalog.Search(r.FormValue("q"), searchResults))
}

func (s *Shop) addToCart(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.FormValue("id"))
	if _, ok := s.catalog.Product(id); err != nil || !ok {
		http.Error(w, "no such article", http.StatusNotFound)
		return
	}
	if s.session(w, r).AddToCart(id) {
		cartsOpen.Inc()
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Shop) receipt(w http.ResponseWriter, r *http.Request) {
	number, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		http.Error(w, "no such order", http.StatusNotFound)
		return
	}
	text, err := receipt.Print(receipt.Order{Number: number, Cents: number % 10000, Voucher: r.FormValue("voucher")})
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	s.send(w, "text/plain; charset=utf-8", text)
}

func (s *Shop) quote(w http.ResponseWriter, r *http.Request) {
	p, ok := s.wanted(w, r)
	if !ok {
		return
	}
	quote, err := s.quotes.Quote(p)
	if err != nil {
		http.Error(w, err.Error(), http.StatusGatewayTimeout)
		return
	}
	s.sendJSON(w, quote)
}

// wanted returns the article that the path names, or answers that there is none.
func (s *Shop) wanted(w http.ResponseWriter, r *http.Request) (*catalog.Product, bool) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err == nil {
		if p, ok := s.catalog.Product(id); ok {
			return p, true
		}
	}
	http.Error(w, "no such article", http.StatusNotFound)
	return nil, false
}

func (s *Shop) sendJSON(w http.ResponseWriter, value any) {
	var body bytes.Buffer
	body.Grow(64 << 10)
	if err := json.NewEncoder(&body).Encode(value); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.send(w, "application/json", body.Bytes())
}

func (s *Shop) send(w http.ResponseWriter, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // a visitor who left needs no answer
}
