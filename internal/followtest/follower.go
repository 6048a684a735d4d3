// Package followtest has clients for tests that listen to a session over any transport, and that follow it as an
// application does: whatever cuts them off, they come back with their last cursor. What they heard is then compared with
// what was acknowledged.
package followtest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// Server is where a server is reached.
type Server struct {
	Base string // the URL of the sessions
	GRPC string // host and port
}

// Event is what a stream tells of one event.
type Event struct {
	Event      string    `json:"event"`
	Cursor     string    `json:"cursor"`
	Sequence   int64     `json:"sequence,string"`
	CreateTime time.Time `json:"createTime"`
	Channel    int32     `json:"channel"`
	Message    struct {
		Text string `json:"text"`
	} `json:"message"`
}

// Follower follows one session.
type Follower struct {
	Name      string
	Transport Transport
	Header    http.Header // says who follows

	// Stay, if not nil, says for how long the next connection is kept at most; otherwise each is kept until it breaks.
	Stay func() time.Duration

	more chan struct{} // holds one: an event has come since it was last looked

	mu     sync.Mutex // guards the fields below
	cursor string
	events []Event // those of the log
	resets int
	drains int
	opened int
}

// New makes a follower of a session that has heard nothing yet.
func New(name string, transport Transport) *Follower {
	return &Follower{Name: name, Transport: transport, more: make(chan struct{}, 1)}
}

// pause is how long a follower waits before it comes back.
const pause = 5 * time.Millisecond

// Follow listens until ctx ends. Where to is asked for anew each time.
func (f *Follower) Follow(ctx context.Context, session string, present func() Server) {
	for ctx.Err() == nil {
		f.once(ctx, session, present())
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (f *Follower) once(ctx context.Context, session string, server Server) {
	if f.Stay != nil {
		limited, cancel := context.WithTimeout(ctx, f.Stay())
		defer cancel()
		ctx = limited
	}
	f.mu.Lock()
	request := Request{Session: session, Cursor: "beginning", Last: f.cursor, Header: f.Header}
	f.opened++
	f.mu.Unlock()
	_ = f.Transport.Listen(ctx, server, request, f.heard) // it breaks again and again: that is the test
}

func (f *Follower) heard(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.Cursor != "" {
		f.cursor = e.Cursor
	}
	switch e.Event {
	case "reset":
		f.resets++
	case "server.draining":
		f.drains++
	default:
	}
	if e.Sequence > 0 {
		f.events = append(f.events, e)
		select {
		case f.more <- struct{}{}:
		default:
		}
	}
}

// Head is the sequence of the last event that came.
func (f *Follower) Head() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.events) == 0 {
		return 0
	}
	return f.events[len(f.events)-1].Sequence
}

// Await waits until the event of a sequence has come, and tells whether it did in time.
func (f *Follower) Await(sequence int64, limit time.Duration) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for f.Head() < sequence {
		select {
		case <-f.more:
		case <-deadline.C:
			return false
		}
	}
	return true
}

// Events are the events of the log that came, in their order.
func (f *Follower) Events() []Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clip(f.events)
}

// Opened is how often a connection was tried.
func (f *Follower) Opened() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.opened
}

// Drains is how often the follower was told to leave.
func (f *Follower) Drains() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.drains
}

// Check compares what came with what was acknowledged, a sequence by text: everything came once, in order, with no hole,
// at times that do not decrease, and no stream was reset.
func (f *Follower) Check(tb testing.TB, acknowledged map[string]int64) {
	tb.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, wrong := range compare(f.events, acknowledged) {
		tb.Errorf("%s: %s", f.Name, wrong)
	}
	if f.resets > 0 {
		tb.Errorf("%s: %d resets", f.Name, f.resets)
	}
}

// compare says what is wrong with the events.
func compare(events []Event, acknowledged map[string]int64) (wrong []string) {
	seen := make(map[string]int64)
	for i, e := range events {
		if e.Sequence != int64(i+1) {
			return append(wrong, fmt.Sprintf("event %d has the sequence %d", i+1, e.Sequence))
		}
		if i > 0 && e.CreateTime.Before(events[i-1].CreateTime) {
			wrong = append(wrong, fmt.Sprintf("event %d is of %s, and the one before of %s", i+1, e.CreateTime, events[i-1].CreateTime))
		}
		if e.Event != "message" {
			continue
		}
		if at, again := seen[e.Message.Text]; again {
			wrong = append(wrong, fmt.Sprintf("%q came twice, at %d and %d", e.Message.Text, at, e.Sequence))
		}
		seen[e.Message.Text] = e.Sequence
	}
	for text, sequence := range acknowledged {
		if seen[text] != sequence {
			wrong = append(wrong, fmt.Sprintf("%q was acknowledged at %d, and came at %d (0: never)", text, sequence, seen[text]))
		}
	}
	return wrong
}
