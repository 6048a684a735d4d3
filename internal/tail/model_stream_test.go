package tail

import (
	"bytes"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/session"
)

// stream is a watcher's stream, as session.Service makes one.
type stream struct {
	m    *model
	name int
	uid  session.UID

	mu      sync.Mutex // guards stalled
	stalled bool
	wake    chan struct{}
	quit    chan struct{}
	left    chan struct{}

	// The goroutine's until it has left.
	have      int64 // the sequence of the last event that it was given
	ended     bool
	whispered map[session.Time]bool
}

func (r *stream) start(h *Hub) {
	r.wake, r.quit, r.left = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	r.whispered = make(map[session.Time]bool)
	go func() {
		defer close(r.left)
		r.run(h)
	}()
}

func (r *stream) leave() {
	if r.quit != nil {
		close(r.quit)
		<-r.left
		r.quit = nil
	}
}

func (r *stream) setStalled(stalled bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stalled = stalled
}

// pause lasts for as long as the reader is stalled; false: it is to leave.
func (r *stream) pause() bool {
	for {
		select {
		case <-r.quit:
			return false
		default:
		}
		r.mu.Lock()
		stalled := r.stalled
		r.mu.Unlock()
		if !stalled {
			return true
		}
		wait(time.Millisecond)
	}
}

func (r *stream) run(h *Hub) {
	w, err := h.Watch(r.uid, "users/ada", r.woken)
	if err != nil {
		r.m.flawf("watcher %d: Watch: %v", r.name, err)
		return
	}
	defer w.Close()
	place := session.Place{Sequence: r.have}
	r.load(w, &place)
	var events []*session.Event
	for r.pause() && !r.ended {
		var progress session.Progress
		events, progress = w.Next(events[:0], &place, 16<<10)
		for _, e := range events {
			r.take(e)
		}
		if place.Sequence != r.have {
			r.m.flawf("watcher %d: place %d after event %d", r.name, place.Sequence, r.have)
		}
		switch progress {
		case session.Idle:
			r.idle()
		case session.Behind:
			r.load(w, &place)
		case session.More, session.Draining:
		}
	}
}

func (r *stream) woken() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *stream) idle() {
	select {
	case <-r.wake:
	case <-r.quit:
	}
}

// load catches up by one read, or finds that it can not.
func (r *stream) load(w session.Watch, place *session.Place) {
	m := r.m
	m.mu.Lock()
	head := m.heads[r.uid] // what the answer may not be older than, if it is empty
	m.mu.Unlock()
	log, err := w.Load(m.ctx, place.Sequence)
	if err != nil {
		wait(10 * time.Millisecond)
		return
	}
	end, found := headOf(log)
	switch {
	case !found:
		m.flawf("watcher %d: no log of %s", r.name, r.uid)
		r.ended = true
	case end < place.Sequence:
		if place.Sequence <= head {
			m.flawf("watcher %d: told that %d is beyond %d, and %d was committed", r.name, place.Sequence, end, head)
		}
		r.have = end // the reset
	case log.Record != nil && log.First > place.Sequence+1:
		r.checkTrimmed(log.First, place.Sequence)
		r.have = log.First - 1 // the reset
	default:
		r.loaded(log, head)
	}
	place.Sequence = r.have
}

func (r *stream) loaded(log *session.Log, head int64) {
	if len(log.Events) == 0 && log.End == nil && r.have < head {
		r.m.flawf("watcher %d: loaded nothing after %d, and %d was committed", r.name, r.have, head)
	}
	gone := len(log.Events) == 0 || log.Events[0].Sequence != r.have+1
	if log.End != nil && gone { // what is missing may be: the session has ended
		r.have, r.ended = log.End.Sequence, true
		return
	}
	for _, e := range log.Events {
		r.take(e)
	}
}

func (r *stream) checkTrimmed(first, place int64) {
	r.m.mu.Lock()
	trimmed := r.m.trimmed[r.uid]
	r.m.mu.Unlock()
	if place >= trimmed {
		r.m.flawf("watcher %d: told that the log begins with %d, and it was trimmed up to %d only", r.name, first, trimmed)
	}
}

// take compares an event with the log.
func (r *stream) take(e *session.Event) {
	if e.Sequence == 0 {
		if r.whispered[e.Time] {
			r.m.flawf("watcher %d: ephemeral event %d twice", r.name, e.Time)
		}
		r.whispered[e.Time] = true
		return
	}
	r.m.mu.Lock()
	want := r.m.history[r.uid][e.Sequence]
	r.m.mu.Unlock()
	switch {
	case e.UID != r.uid || want == nil || !bytes.Equal(want.JSON(), e.JSON()):
		r.m.flawf("watcher %d: event %d is not the log's", r.name, e.Sequence)
	case e.Sequence != r.have+1:
		r.m.flawf("watcher %d: event %d after %d", r.name, e.Sequence, r.have)
	}
	r.have = e.Sequence
	r.ended = r.ended || e.Kind.Ends()
}

// check looks whether a watcher that was there until the end has all.
func (r *stream) check() {
	if r.left == nil {
		return // it was not watching
	}
	r.m.mu.Lock()
	head := r.m.heads[r.uid]
	r.m.mu.Unlock()
	if r.have != head {
		r.m.flawf("watcher %d of session %s has come to %d of %d", r.name, r.uid, r.have, head)
	}
}
