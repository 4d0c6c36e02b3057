package main

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	requestsTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "shop_http_requests_total",
		Help: "Requests answered, by handler and status code.",
	}, []string{"handler", "code"})
	requestSeconds = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "shop_http_request_duration_seconds",
		Help:    "Time to answer a request.",
		Buckets: []float64{.001, .005, .025, .1, .5, 2.5},
	}, []string{"handler"})
	requestsInFlight = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "shop_http_requests_in_flight",
		Help: "Requests being answered now.",
	})
	sessionsActive = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "shop_sessions_active",
		Help: "Sessions of visitors.",
	})
	cartsOpen = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "shop_carts_open",
		Help: "Carts filled and not yet paid for.",
	})
	pageCacheBytes = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "shop_page_cache_bytes",
		Help: "Size of the rendered product pages kept.",
	})
	ordersTotal = promauto.NewCounter(prometheus.CounterOpts{
		Name: "shop_orders_total",
		Help: "Orders placed.",
	})
)

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// measured counts and times the requests of one handler under its name.
func measured(name string, next http.HandlerFunc) http.Handler {
	seconds := requestSeconds.WithLabelValues(name)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requestsInFlight.Inc()
		defer requestsInFlight.Dec()
		begun := time.Now()
		recorded := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next(recorded, r)
		seconds.Observe(time.Since(begun).Seconds())
		requestsTotal.WithLabelValues(name, strconv.Itoa(recorded.status)).Inc()
	})
}
