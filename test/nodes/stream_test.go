package nodes_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/followtest"
)

// stream is one that is open.
type stream struct {
	events chan followtest.Event // closed at the end
	close  func()                // returns when it is closed
}

// listen opens a stream, which must begin with ready.
func (n *node) listen(t *testing.T, over followtest.Transport, r followtest.Request) *stream {
	t.Helper()
	s := &stream{events: make(chan followtest.Event, 4096)}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() {
		defer close(s.events)
		ended <- over.Listen(ctx, n.server(), r, func(e followtest.Event) {
			select {
			case s.events <- e:
			case <-ctx.Done():
			}
		})
	}()
	s.close = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	t.Cleanup(s.close)
	if first := s.next(t); first.Event != "ready" {
		t.Fatalf("the first event over %s is %+v, want ready", over, first)
	}
	return s
}

// next is the next event; the zero event: the stream has ended.
func (s *stream) next(t *testing.T) followtest.Event {
	t.Helper()
	select {
	case e := <-s.events:
		return e
	case <-time.After(patience):
		t.Fatal("no event came, and the stream does not end")
	}
	return followtest.Event{}
}

// says waits for a message.
func (s *stream) says(t *testing.T, text string) followtest.Event {
	t.Helper()
	for {
		e := s.next(t)
		if e.Event == "" {
			t.Fatalf("the stream ended without the message %q", text)
		}
		if e.Message.Text == text {
			return e
		}
	}
}

// revoked fails unless the stream ends with access.revoked.
func (s *stream) revoked(t *testing.T) {
	t.Helper()
	last := ""
	for e := s.next(t); e.Event != ""; e = s.next(t) {
		last = e.Event
	}
	if last != "access.revoked" {
		t.Errorf("the stream ends with %q, want access.revoked", last)
	}
}
