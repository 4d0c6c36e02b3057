// Many small things of every kind that the runtime has roots for.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"
)

type session struct {
	id   int
	next *session
}

var (
	sessions []*session
	queue    = make(chan *session)
	lock     sync.Mutex
	total    int
)

// Of each kind a goroutine has its own session.
func receive(s *session) { s.next = <-queue }

func choose(s *session, other chan *session) {
	select {
	case s.next = <-queue:
	case s.next = <-other:
	}
}

func contend(s *session) {
	lock.Lock()
	s.next = nil
	lock.Unlock()
}

func timers(n int) {
	for i := 0; i < n; i++ {
		s := &session{id: i}
		switch i % 4 {
		case 0:
			time.AfterFunc(time.Hour, func() { s.next = s })
		case 1: // A function value without pointers.
			own := i
			time.AfterFunc(time.Hour, func() { total += own })
		case 2:
			time.NewTimer(time.Hour)
		case 3:
			s.next = &session{}
			go func() {
				time.Sleep(time.Hour)
				s.next = nil
			}()
		}
	}
}

func goroutines(n int) {
	lock.Lock()
	other := make(chan *session)
	for i := 0; i < n; i++ {
		s := &session{id: i}
		switch i % 3 {
		case 0:
			go receive(s)
		case 1:
			go choose(s, other)
		case 2:
			go contend(s)
		}
	}
}

func finalizers(n int) {
	for i := 0; i < n; i++ {
		s := &session{id: i}
		sessions = append(sessions, s)
		own := i
		runtime.SetFinalizer(s, func(s *session) { total += own })
	}
}

func main() {
	count, _ := strconv.Atoi(os.Args[1])
	timers(count)
	goroutines(count)
	finalizers(count)
	time.Sleep(300 * time.Millisecond)
	runtime.GC()
	fmt.Println("READY")
	os.Stdin.Read(make([]byte, 1))
	runtime.KeepAlive(sessions)
}
