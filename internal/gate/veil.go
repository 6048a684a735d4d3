package gate

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

const (
	defaultVeil = 2 * time.Millisecond
	longestNap  = 2 * time.Millisecond // of the thread that sleeps
)

// Veil is called before err is answered. If it says that there is no such session, it waits: to look into a session that
// the caller may not know of takes a little longer than to find none, and averaged over many calls that would tell them
// apart. When the wait ends depends on when the call arrived, and not on what was found. It ends early with ctx.
func (c *Call) Veil(ctx context.Context, err error) {
	if !fault.Is(err, fault.NotFound) || fault.From(err).Reason != reasonNoSession {
		return
	}
	elapsed, veil := time.Since(c.arrived), c.gate.config.Veil
	select {
	case <-c.gate.alarms.at(c.arrived.Add(elapsed - elapsed%veil + veil)):
	case <-ctx.Done():
	}
}

// alarms wake those who wait for a moment, to within some microseconds. The runtime's timers are as coarse as a
// millisecond when the process has nothing else to do, and count it from when the wait begins: which tells how long
// the work before it took. One thread sleeps for all, while anybody waits.
type alarms struct {
	sleep func(time.Duration)

	mu    sync.Mutex // guards the fields below
	set   []alarm    // the next one first
	rings bool       // the goroutine of ring runs
}

type alarm struct {
	at   time.Time
	rung chan struct{}
}

// at returns a channel that is closed at the time.
func (a *alarms) at(t time.Time) <-chan struct{} {
	set := alarm{at: t, rung: make(chan struct{})}
	a.mu.Lock()
	defer a.mu.Unlock()
	place, _ := slices.BinarySearchFunc(a.set, t, func(earlier alarm, t time.Time) int {
		return cmp.Or(earlier.at.Compare(t), -1) // behind those of the same time
	})
	a.set = slices.Insert(a.set, place, set)
	if !a.rings {
		a.rings = true
		go a.ring()
	}
	return set.rung
}

// ring closes the channels whose time has come, until none is left.
func (a *alarms) ring() {
	for {
		wait, left := a.due()
		if !left {
			return
		}
		if wait > 0 {
			a.sleep(min(wait, longestNap)) // one that is due earlier may come meanwhile
		}
	}
}

// due closes the channels whose time has come, and returns how long it is until the next. If none is left, the goroutine
// ends.
func (a *alarms) due() (wait time.Duration, left bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.set) > 0 {
		if wait := time.Until(a.set[0].at); wait > 0 {
			return wait, true
		}
		close(a.set[0].rung)
		a.set = a.set[1:]
	}
	a.set, a.rings = nil, false
	return 0, false
}
