package tail

import (
	"slices"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/session"
)

// What one tail holds at most; the budget may make it less.
const (
	maxEvents         = 1024
	maxEventBytes     = 2 << 20
	maxPending        = 256
	maxPendingBytes   = 1 << 20
	maxEphemeral      = 64
	maxEphemeralBytes = 1 << 20
)

// topic is the tail of one session, and its watches.
//
// The tail is an unbroken run of events of the log. What is announced beyond its end waits in pending until the hole is
// filled, so no watcher ever sees one.
type topic struct {
	hub *Hub
	uid session.UID

	// Guarded by Hub.mu.
	holds  int         // watches, and those on the way to become one
	linger *time.Timer // runs while there are no holds

	listening chan struct{} // closed when listen is done; then the two below do not change
	stop      func()
	listenErr error

	queued bool   // guarded by pumps.mu: waits for a pump
	next   *topic // guarded by pumps.mu

	mu      sync.RWMutex // guards the fields below
	retired bool         // takes in nothing any more

	known     bool             // where the log ends; if not, every watcher is to look in the log
	events    []*session.Event // those up to last, without a hole
	last      int64            // the sequence of the tail's end, also while events is empty
	announced int64            // the highest sequence that the log is known to have; at least last
	pending   []*session.Event // after last+1, ascending

	ephemeral []passing // the newest, oldest first
	passed    uint64    // how many ephemeral events there have been
	heard     map[nodeID]uint64

	sizes   sizes
	holder  holder
	watches []*watch
	fill    fill
}

// passing is an ephemeral event, and the end of the tail when it came: those who are not there yet see it later.
type passing struct {
	event *session.Event
	after int64
}

// sizes are bytes by Event.Size.
type sizes struct{ events, pending, ephemeral int }

func newTopic(h *Hub, uid session.UID) *topic {
	t := &topic{hub: h, uid: uid, listening: make(chan struct{}), stop: func() {}, heard: make(map[nodeID]uint64)}
	t.holder.evict = t.evict
	return t
}

// listen begins to receive what other nodes announce. The topic is known to Committed before, so that no event can fall
// between the two.
func (t *topic) listen() {
	defer close(t.listening)
	if t.hub.options.Bus == nil {
		return
	}
	stop, err := t.hub.options.Bus.Listen(t.uid, t.hear)
	if err != nil {
		t.listenErr = err
		t.hub.forget(t)
		return
	}
	t.stop = stop
	if t.hub.options.Spread {
		t.readAgain()
	}
}

// stopLinger keeps the topic. Hub.mu is held.
func (t *topic) stopLinger() {
	if t.linger != nil {
		t.linger.Stop()
		t.linger = nil
	}
}

// retire frees what the topic holds. The hub knows it no more.
func (t *topic) retire() {
	<-t.listening
	t.stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.retired = true
	t.fill.stop()
	t.drop()
}

// receive takes in an event that is durable, or ephemeral, and has the watches woken.
func (t *topic) receive(e *session.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.retired {
		return
	}
	before := t.state()
	if e.Sequence == 0 {
		t.pass(e)
	} else {
		t.add(e)
		t.await()
	}
	t.changed(before)
}

// reached takes in that the log has come to a sequence.
func (t *topic) reached(sequence int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.retired {
		return
	}
	t.learn(sequence)
	t.await()
}

// state is what watchers wait to see another of.
type state struct {
	known  bool
	last   int64
	passed uint64
}

// state is the present one. t.mu is held.
func (t *topic) state() state { return state{known: t.known, last: t.last, passed: t.passed} }

// changed accounts for what the topic holds, and has the watches woken if there is something new for them. t.mu is held.
func (t *topic) changed(before state) {
	t.hub.budget.set(&t.holder, t.sizes.events+t.sizes.pending+t.sizes.ephemeral)
	if t.state() != before && len(t.watches) > 0 {
		t.hub.pumps.add(t)
	}
}

// add puts an event of the log in its place. t.mu is held.
func (t *topic) add(e *session.Event) {
	switch {
	case !t.known:
		t.begin(e.Sequence - 1)
		t.push(e)
	case e.Sequence <= t.last:
		t.compare(e)
	case e.Sequence == t.last+1:
		t.push(e)
		t.join()
	default:
		t.learn(e.Sequence)
		t.keep(e)
	}
}

// begin lets the tail begin after a sequence, with nothing in it. t.mu is held.
func (t *topic) begin(last int64) {
	t.known = true
	t.events, t.sizes.events = nil, 0
	t.last = last
	t.announced = max(t.announced, last)
}

// learn raises what the log is known to have. t.mu is held.
func (t *topic) learn(sequence int64) {
	if !t.known {
		t.begin(sequence)
	}
	t.announced = max(t.announced, sequence)
}

// push appends the event after the last, and drops what is too old. t.mu is held.
func (t *topic) push(e *session.Event) {
	t.last = e.Sequence
	t.announced = max(t.announced, t.last)
	t.events = append(t.events, e)
	t.sizes.events += e.Size()
	for len(t.events) > maxEvents || t.sizes.events > maxEventBytes && len(t.events) > 1 {
		t.sizes.events -= t.events[0].Size()
		t.events[0] = nil
		t.events = t.events[1:]
	}
}

// compare looks at an event that should be in the tail already. Another one of the same sequence means that the log has
// gone back, as a database does that was restored: then nothing is known. t.mu is held.
func (t *topic) compare(e *session.Event) {
	i := e.Sequence - t.first()
	if i >= 0 && t.events[i].Time != e.Time {
		t.doubt()
	}
}

// doubt forgets all that is known of the log; every watcher will look in it. t.mu is held.
func (t *topic) doubt() {
	t.known = false
	t.last, t.announced = 0, 0
	t.events, t.sizes.events = nil, 0
	t.pending, t.sizes.pending = nil, 0
	t.hub.blocks.forget(t.uid)
}

// first is the sequence of the oldest event in the tail, or of the next one. t.mu is held.
func (t *topic) first() int64 { return t.last - int64(len(t.events)) + 1 }

// keep holds on to an event that lies after a hole. t.mu is held.
func (t *topic) keep(e *session.Event) {
	i, found := slices.BinarySearchFunc(t.pending, e.Sequence, compareSequence)
	full := len(t.pending) >= maxPending || t.sizes.pending+e.Size() > maxPendingBytes
	if found || full {
		return
	}
	t.pending = slices.Insert(t.pending, i, e)
	t.sizes.pending += e.Size()
}

// join moves what follows without a hole from pending to the tail. t.mu is held.
func (t *topic) join() {
	n := 0
	for n < len(t.pending) && t.pending[n].Sequence <= t.last+1 {
		e := t.pending[n]
		if e.Sequence == t.last+1 {
			t.push(e)
		}
		t.sizes.pending -= e.Size()
		n++
	}
	t.pending = slices.Delete(t.pending, 0, n)
}

func compareSequence(e *session.Event, sequence int64) int { return int(e.Sequence - sequence) }

// pass takes in an ephemeral event. t.mu is held.
func (t *topic) pass(e *session.Event) {
	t.passed++
	t.ephemeral = append(t.ephemeral, passing{event: e, after: t.last})
	t.sizes.ephemeral += e.Size()
	for len(t.ephemeral) > maxEphemeral || t.sizes.ephemeral > maxEphemeralBytes && len(t.ephemeral) > 1 {
		t.sizes.ephemeral -= t.ephemeral[0].event.Size()
		t.ephemeral[0] = passing{}
		t.ephemeral = t.ephemeral[1:]
	}
}

// evict makes room for others. Those who still need what was here read the log.
func (t *topic) evict() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop()
}

// drop empties the tail, which stays where it is. t.mu is held.
func (t *topic) drop() {
	t.events, t.pending, t.ephemeral = nil, nil, nil
	t.sizes = sizes{}
	t.hub.budget.set(&t.holder, 0)
}

// announceDrain has the watches woken. Those who have looked before Drain began are waiting once the lock is held.
func (t *topic) announceDrain() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hub.pumps.add(t)
}
