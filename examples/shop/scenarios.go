package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math"
	"math/rand/v2"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/shop/internal/receipt"
	"example.com/shop/internal/traffic"
)

const mib = 1 << 20

var (
	errUnknownScenario = errors.New("no such scenario")
	errNeedsCgo        = errors.New("this shop was built without cgo")
	errBadRate         = errors.New("the rate must be a number above 0")
)

// scenario is one kind of visitors, or of housekeeping, that can be switched on.
type scenario struct {
	unit     string // of its rate
	usual    float64
	truth    truth
	run      work // leaves nothing of its own running
	needsCgo bool
}

// Scenarios switches scenarios on and off.
type Scenarios struct {
	known map[string]scenario

	mu      sync.Mutex
	running map[string]*running
}

type running struct {
	rate   float64
	cancel context.CancelFunc
	done   chan struct{}
}

// Settings are what the scenarios need to know beside their rate.
type Settings struct {
	Base       string // URL of the shop
	WavePeriod time.Duration
	Day        time.Duration // of slow-leak
	FeedDir    string
	FeedBytes  int64
}

// NewScenarios returns the scenarios of a shop that serves at settings.Base.
func NewScenarios(settings Settings) *Scenarios {
	return &Scenarios{running: make(map[string]*running), known: table(settings)}
}

// strangers lets visitors without cookies ask for paths.
func strangers(ctx context.Context, base string, perSecond float64, path func() string) error {
	const connections = 4
	client := traffic.NewClient(base, connections, false)
	defer client.Close()
	traffic.Run(ctx, connections, traffic.Steady(perSecond), func(ctx context.Context, _ int) {
		_ = client.Get(ctx, path()) // the shop's own counters tell how it went
	})
	return nil
}

// wave lets shoppers fill carts and pay by card, crest of them at once in the middle of each period.
func wave(ctx context.Context, base string, crest float64, period time.Duration) error {
	shoppers := int(crest*1.25) + 1
	free := make(chan *traffic.Client, shoppers)
	for range shoppers {
		free <- traffic.NewClient(base, 1, true)
	}
	rate := func(elapsed time.Duration) float64 {
		phase := 2 * math.Pi * elapsed.Seconds() / period.Seconds()
		return crest / cardTime.Seconds() * (1 - math.Cos(phase)) / 2
	}
	traffic.Run(ctx, shoppers, rate, func(ctx context.Context, _ int) {
		shopper := <-free
		defer func() { free <- shopper }()
		if shopper.Post(ctx, fmt.Sprintf("/cart?id=%d", rand.IntN(catalogSize))) == nil {
			_ = shopper.Post(ctx, "/checkout?pay=card")
		}
	})
	for range shoppers {
		(<-free).Close()
	}
	return nil
}

// Start switches a scenario on; rate 0 is its usual one. One that is on goes on at the new rate.
func (s *Scenarios) Start(name string, rate float64) error {
	if err := s.check(name); err != nil {
		return err
	}
	chosen := s.known[name]
	if rate == 0 {
		rate = chosen.usual
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop(name)
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{rate: rate, cancel: cancel, done: make(chan struct{})}
	s.running[name] = r
	go func() {
		defer close(r.done)
		if err := chosen.run(ctx, rate); err != nil {
			log.Printf("scenario %s: %v", name, err)
		}
	}()
	return nil
}

// check tells why a scenario cannot be started, if so.
func (s *Scenarios) check(name string) error {
	if _, ok := s.known[name]; !ok {
		return fmt.Errorf("%w: %q (there are %s)", errUnknownScenario, name, strings.Join(s.names(), ", "))
	}
	if s.known[name].needsCgo && !receipt.Native {
		return fmt.Errorf("%s: %w", name, errNeedsCgo)
	}
	return nil
}

// Stop switches a scenario off and returns when it has ended. What it did stays done.
func (s *Scenarios) Stop(name string) error {
	if _, ok := s.known[name]; !ok {
		return fmt.Errorf("%w: %q", errUnknownScenario, name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop(name)
	return nil
}

// StopAll switches all of them off.
func (s *Scenarios) StopAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.running {
		s.stop(name)
	}
}

func (s *Scenarios) stop(name string) {
	if r, ok := s.running[name]; ok {
		r.cancel()
		<-r.done
		delete(s.running, name)
	}
}

func (s *Scenarios) names() []string {
	names := make([]string, 0, len(s.known))
	for name := range s.known {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// ServeHTTP lists the scenarios, after a POST with what it changed: name, and rate or off=1.
func (s *Scenarios) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
	case http.MethodPost:
		if err := s.change(r); err != nil {
			http.Error(w, err.Error(), statusOf(err))
			return
		}
	default:
		http.Error(w, "GET or POST", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s.states())
}

func (s *Scenarios) change(r *http.Request) error {
	name := r.FormValue("name")
	if off := r.FormValue("off"); off != "" && off != "0" {
		return s.Stop(name)
	}
	rate, err := parseRate(r.FormValue("rate"))
	if err != nil {
		return err
	}
	return s.Start(name, rate)
}

// parseRate reads a rate; none at all is 0, the scenario's usual one.
func parseRate(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	rate, err := strconv.ParseFloat(text, 64)
	if err != nil || !(rate > 0) || math.IsInf(rate, 0) {
		return 0, fmt.Errorf("%w, not %q", errBadRate, text)
	}
	return rate, nil
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, errUnknownScenario):
		return http.StatusNotFound
	case errors.Is(err, errNeedsCgo):
		return http.StatusNotImplemented
	default:
		return http.StatusBadRequest
	}
}

type scenarioState struct {
	Name  string  `json:"name"`
	On    bool    `json:"on"`
	Rate  float64 `json:"rate"`
	Usual float64 `json:"usual"`
	Unit  string  `json:"unit"`
}

func (s *Scenarios) states() []scenarioState {
	s.mu.Lock()
	defer s.mu.Unlock()
	var states []scenarioState
	for _, name := range s.names() {
		state := scenarioState{Name: name, Usual: s.known[name].usual, Unit: s.known[name].unit}
		if r, ok := s.running[name]; ok {
			state.On, state.Rate = true, r.rate
		}
		states = append(states, state)
	}
	return states
}
