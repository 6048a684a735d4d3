package rest

import (
	"sync"
	"sync/atomic"
	"time"
)

// pace is that of streams that catch up: one of them works at a time, and while there are requests, each stretch of work
// is followed by a rest of twice its length. Those who are behind have the whole log to read and would use every
// processor for it, and so would the clients that read from them: requests, which are short, would wait for both.
type pace struct {
	requests atomic.Int64 // how many there have been

	mu     sync.Mutex    // held by the stream that works; guards the fields below
	since  time.Time     // when it began
	worked time.Duration // since the last rest
	seen   int64         // of requests, at the last look
	latest time.Time     // when there was a new one
}

const (
	// paceStretch is the least work that is worth a rest: timers are not finer than some 50 us.
	paceStretch = 500 * time.Microsecond
	// paceRest is how long a rest is, in lengths of the work before it.
	paceRest = 2
	// paceMemory is how long a request counts: who sends ten in a second is to notice nothing.
	paceMemory = 100 * time.Millisecond
)

// begin waits for the stream's turn to work.
func (p *pace) begin() {
	p.mu.Lock()
	p.since = time.Now()
}

// end ends a turn, and rests if it is time for that.
func (p *pace) end() {
	defer p.mu.Unlock()
	now := time.Now()
	p.worked += now.Sub(p.since)
	if p.worked < paceStretch {
		return
	}
	if requests := p.requests.Load(); requests != p.seen {
		p.seen, p.latest = requests, now
	}
	if now.Sub(p.latest) < paceMemory {
		time.Sleep(paceRest * p.worked) //nolint:forbidigo // it waits for nothing: it makes room
	}
	p.worked = 0
}
