package main

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"sync"
	"time"
)

const (
	sessionCookie = "sid"
	// historyLength is how many views a session remembers, for "you looked at".
	historyLength = 512
)

// View is one page that a visitor looked at.
type View struct {
	Product  int64 // -1 in an empty slot
	At       int64 // Unix seconds
	Seconds  int64
	Referrer [40]byte
}

// Session is what the shop knows about one visitor.
type Session struct {
	ID      string
	started time.Time

	mu    sync.Mutex
	views []View
	next  int
	cart  []int
}

// SessionCache keeps the visitors' sessions by id.
type SessionCache struct {
	mu       sync.RWMutex
	sessions map[string]*Session
}

// NewSessionCache returns an empty cache.
func NewSessionCache() *SessionCache {
	return &SessionCache{sessions: make(map[string]*Session)}
}

// Get returns the session with that id.
func (c *SessionCache) Get(id string) (*Session, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	session, ok := c.sessions[id]
	return session, ok
}

// Put starts a session under a new id.
func (c *SessionCache) Put(id string, now time.Time) *Session {
	session := &Session{ID: id, started: now}
	session.views = make([]View, historyLength) // culprit: session-cache
	for i := range session.views {
		session.views[i].Product = -1
	}
	c.mu.Lock()
	c.sessions[id] = session
	sessionsActive.Set(float64(len(c.sessions)))
	c.mu.Unlock()
	return session
}

// Len is the number of sessions.
func (c *SessionCache) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.sessions)
}

// session returns the visitor's session: the one its cookie names, else a new one with a new cookie.
func (s *Shop) session(w http.ResponseWriter, r *http.Request) *Session {
	if cookie, err := r.Cookie(sessionCookie); err == nil {
		if session, ok := s.sessions.Get(cookie.Value); ok {
			return session
		}
	}
	session := s.sessions.Put(newSessionID(), time.Now())
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: session.ID, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	return session
}

func newSessionID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails since Go 1.24; before, a zero id is only a shared session
	return hex.EncodeToString(id[:])
}

// Saw notes that the visitor looked at a product. The oldest view makes room.
func (s *Session) Saw(product int, referrer string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	view := View{Product: int64(product), At: now.Unix()}
	copy(view.Referrer[:], referrer)
	s.views[s.next] = view
	s.next = (s.next + 1) % len(s.views)
}

// AddToCart puts a product into the visitor's cart and tells whether the cart was empty. A full cart
// stays as it is.
func (s *Session) AddToCart(product int) (first bool) {
	const cartMax = 12
	s.mu.Lock()
	defer s.mu.Unlock()
	first = len(s.cart) == 0
	if len(s.cart) < cartMax {
		s.cart = append(s.cart, product)
	}
	return first
}

// TakeCart empties the visitor's cart and returns what was in it.
func (s *Session) TakeCart() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	cart := s.cart
	s.cart = nil
	return cart
}
