package tail

import (
	"context"
	"sync"

	"github.com/parleyhq/parley/internal/session"
)

// watch implements session.Watch.
type watch struct {
	topic *topic
	user  string
	since uint64 // topic.passed when it began: ephemeral events up to then are not for it
	index int    // in topic.watches; guarded by topic.mu

	wake func()

	mu     sync.Mutex // guards the fields below; taken before topic.mu
	armed  bool       // Next has returned Idle, and wake was not called since
	closed bool
}

// watch begins a watch; the topic is held for it.
func (t *topic) watch(user string, wake func()) *watch {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := &watch{topic: t, user: user, since: t.passed, index: len(t.watches), wake: wake}
	t.watches = append(t.watches, w)
	return w
}

// Next is session.Watch's. It returns Idle only if it has appended nothing, so that nobody is woken while writing. The
// Place's Ephemeral is of this watch alone.
func (w *watch) Next(events []*session.Event, place *session.Place, maxBytes int) ([]*session.Event, session.Progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = false
	if w.closed {
		return events, session.Idle
	}
	t := w.topic
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.hub.draining.Load() {
		return events, session.Draining
	}
	if t.behind(place.Sequence) {
		return events, session.Behind
	}
	had := len(events)
	events = t.read(events, place, w.since, maxBytes)
	if len(events) > had {
		return events, session.More
	}
	// Whatever comes now takes t.mu for writing, which is held: so it comes later, and its sweep finds the mark.
	w.armed = true
	return events, session.Idle
}

// Load is session.Watch's. It fails as the log does, when ctx ends, and when the Hub is closed. Of a block that was
// cached, Record and First are as old as the block; only an answer that holds no events is as new as the call.
func (w *watch) Load(ctx context.Context, after int64) (*session.Log, error) {
	return w.topic.hub.blocks.load(ctx, w.topic, after)
}

// Close is session.Watch's. It may be called repeatedly, and by wake. A wake that had been decided on before may still
// begin; Next then returns Idle.
func (w *watch) Close() {
	w.mu.Lock()
	closed := w.closed
	w.closed, w.armed = true, false
	w.mu.Unlock()
	if closed {
		return
	}
	w.topic.remove(w)
	w.topic.hub.presence.leave(w.topic.uid, w.user)
	w.topic.hub.release(w.topic)
}

// ring calls wake if the watch waits for it, and tells whether it did. It holds no lock meanwhile: wake may call Next and
// Close.
func (w *watch) ring() bool {
	w.mu.Lock()
	armed := w.armed
	w.armed = false
	w.mu.Unlock()
	if armed {
		w.wake()
	}
	return armed
}

// remove puts the newest watch in the place of this one.
func (t *topic) remove(w *watch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	end := len(t.watches) - 1
	moved := t.watches[end]
	t.watches[w.index] = moved
	moved.index = w.index
	t.watches[end] = nil
	t.watches = t.watches[:end]
}

// behind tells whether only the log can say what comes after the place. A place beyond the log's known end is, too: the
// log has it, and the tail learns of that by the read; or the log has not, and the watcher is to know. t.mu is held for
// reading.
func (t *topic) behind(place int64) bool {
	return !t.known || place < t.first()-1 || place > t.announced
}

// read is what Next does for a watcher who is not behind. t.mu is held for reading.
func (t *topic) read(events []*session.Event, place *session.Place, since uint64, maxBytes int) []*session.Event {
	oldest := t.passed - uint64(len(t.ephemeral))
	place.Ephemeral = min(max(place.Ephemeral, since, oldest), t.passed)
	for taken := 0; ; {
		e := t.after(place)
		if e == nil {
			return events
		}
		size := e.Size()
		if taken > 0 && taken+size > maxBytes {
			return events
		}
		taken += size
		events = append(events, e)
		if e.Sequence == 0 {
			place.Ephemeral++
		} else {
			place.Sequence = e.Sequence
		}
	}
}

// after is the event that comes after the place: an ephemeral one when what preceded it has been read. t.mu is held for
// reading.
func (t *topic) after(place *session.Place) *session.Event {
	var stored *session.Event
	if place.Sequence < t.last {
		stored = t.events[place.Sequence+1-t.first()]
	}
	if place.Ephemeral >= t.passed {
		return stored
	}
	oldest := t.passed - uint64(len(t.ephemeral))
	next := t.ephemeral[place.Ephemeral-oldest]
	if stored != nil && place.Sequence < next.after {
		return stored
	}
	return next.event
}
