// Package tail keeps the recent events of the sessions that someone watches, and tells watchers when there are new ones.
//
// A watcher is a number, its Place in the log: it has no queue, so a slow one costs nothing and falls behind by itself.
// What a tail no longer holds is read from the log; so whatever is dropped here, for room or because an announcement
// was lost, costs a read and never an event.
package tail

import (
	"context"
	"crypto/rand"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
)

// Log is the part of a session.Store that tails read. Log is what session.Store says of it.
type Log interface {
	Log(ctx context.Context, uid session.UID, after int64, limit, maxBytes int) (*session.Log, error)
}

// Bus carries announcements between nodes. It may lose, delay, reorder and repeat them. The zero UID stands for what is
// not of one session.
type Bus interface {
	// Announce sends the data to the other nodes that listen for the UID; whether to this one too does not matter. It
	// does not wait for them, and reports no error. One goroutine calls it.
	Announce(uid session.UID, data []byte)

	// Listen has receive called with what is announced for the UID, on goroutines of the bus; the data is receive's.
	// When Listen has returned, the server knows of it, or will when it is back. Stop ends it: receive may still be called for a moment.
	Listen(uid session.UID, receive func(data []byte)) (stop func(), err error)

	// Alone tells that nobody but this node is on the bus, so that there is nobody to announce anything to. A bus that
	// does not know says false.
	Alone() bool
}

// Options configure a Hub. All but Log may be left zero.
type Options struct {
	Log Log

	// Bus leads to other nodes. Nil: there are none.
	Bus Bus

	// Key seals announcements; all nodes have the same. It is derived for this purpose alone. Nodes with other keys do
	// not hear each other: what they commit is found in the log, and ephemeral events and presence are not found.
	Key []byte

	// Spread says that the bus is a cluster, where interest in a session reaches other servers only some time after
	// Listen returned: then the log is read again a few times after that.
	Spread bool

	// Budget is how many bytes tails and blocks of the log may hold together, by Event.Size. 0: 32 MiB.
	Budget int

	// Logger is told of reads that failed. Nil: nobody is.
	Logger *slog.Logger
}

const (
	defaultBudget = 32 << 20
	lingerTime    = 30 * time.Second // for how long a tail is kept when its last watch has ended
)

// Hub holds the tails of a node. It implements session.Tail; any number of goroutines may use it.
type Hub struct {
	options  Options
	node     nodeID
	budget   *budget
	blocks   *blocks
	pumps    *pumps
	outbox   *outbox // nil: there is no bus
	peers    *peers
	presence *presence
	draining atomic.Bool

	background context.Context //nolint:containedctx // of reads that belong to no caller; ends with the Hub
	cancel     context.CancelFunc

	mu     sync.RWMutex // guards the fields below, topic.holds and topic.linger
	topics map[session.UID]*topic
	closed bool
	work   sync.WaitGroup // goroutines and callbacks under way; nothing is added once closed is true
}

// New starts a Hub. Close ends it.
func New(options Options) *Hub {
	if options.Budget == 0 {
		options.Budget = defaultBudget
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Hub{
		options: options,
		budget:  newBudget(options.Budget),
		topics:  make(map[session.UID]*topic),
	}
	rand.Read(h.node[:]) // never fails: the runtime ends the process instead
	h.background, h.cancel = context.WithCancel(context.Background())
	h.blocks = newBlocks(h)
	h.peers = newPeers(options.Key)
	h.pumps = startPumps(runtime.GOMAXPROCS(0))
	if options.Bus != nil {
		h.outbox = startOutbox(h.node, options.Key, options.Bus)
	}
	h.presence = startPresence(h)
	return h
}

// Watch is session.Tail's. It fails if the bus does, or after Close.
func (h *Hub) Watch(uid session.UID, user string, wake func()) (session.Watch, error) {
	t, err := h.hold(uid)
	if err != nil {
		return nil, err
	}
	h.presence.arrive(uid, user)
	return t.watch(user, wake), nil
}

// Online is session.Tail's.
func (h *Hub) Online(uid session.UID, user string) bool { return h.presence.online(uid, user) }

// Committed takes events that have just become durable, in commit order, and announces them to the other nodes. A store
// calls it before it answers the writers. It takes time by the number of events, not of watches. The slice remains the
// caller's.
func (h *Hub) Committed(events []*session.Event) {
	for _, e := range events {
		if t := h.topic(e.UID); t != nil {
			t.receive(e)
		}
	}
	if h.outbox != nil {
		h.outbox.add(events)
	}
	h.budget.shrink()
}

// Head says that a session's log has reached a sequence, however that became known. If the tail is not told the events
// themselves in a moment, it reads them.
func (h *Hub) Head(uid session.UID, sequence int64) {
	if t := h.topic(uid); t != nil {
		t.reached(sequence)
	}
}

// Reconnected says that the bus was away and is back: nodes tell each other again who watches. Events of the log that were
// not heard meanwhile are not looked for: Head tells of them. Ephemeral events are lost.
func (h *Hub) Reconnected() { h.presence.meet() }

// Drain has every Next return Draining from now on, and wakes those who wait.
func (h *Hub) Drain() {
	h.draining.Store(true)
	h.mu.RLock()
	topics := slices.Collect(maps.Values(h.topics)) // a topic's lock is never taken under h.mu
	h.mu.RUnlock()
	for _, t := range topics {
		t.announceDrain()
	}
}

// Leave drains, ends all tails, and tells other nodes that nobody watches here any more. When it has returned the log is
// not read any more; what is committed is still announced. Watches may be closed before or after.
func (h *Hub) Leave() {
	h.Drain()
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return
	}
	h.closed = true
	topics := h.topics
	h.topics = make(map[session.UID]*topic)
	for _, t := range topics {
		t.stopLinger()
	}
	h.mu.Unlock()

	h.cancel()
	h.presence.stop()
	for _, t := range topics {
		t.retire()
	}
	h.work.Wait()
	h.pumps.stop()
}

// Close leaves, sends what is still to be announced, and returns when no goroutine of the Hub is left. Closing again does
// nothing.
func (h *Hub) Close() {
	h.Leave()
	if h.outbox != nil {
		h.outbox.stop()
	}
}

// topic returns the session's, or nil if nobody watches it.
func (h *Hub) topic(uid session.UID) *topic {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.topics[uid]
}

// hold returns the session's topic with one more hold on it, listening on the bus. Give it back with release.
func (h *Hub) hold(uid session.UID) (*topic, error) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, shuttingDown()
	}
	t, found := h.topics[uid]
	if !found {
		t = newTopic(h, uid)
		h.topics[uid] = t
	}
	t.holds++
	t.stopLinger()
	h.mu.Unlock()

	if !found {
		t.listen()
	}
	<-t.listening
	if t.listenErr != nil {
		return nil, t.listenErr
	}
	return t, nil
}

// release gives back a hold. The topic stays for a while: whoever lost a connection will soon be here again.
func (h *Hub) release(t *topic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t.holds--
	if t.holds == 0 && h.topics[t.uid] == t {
		t.linger = time.AfterFunc(lingerTime, func() { h.expire(t) })
	}
}

// expire removes a topic that nobody has held for a while.
func (h *Hub) expire(t *topic) {
	h.mu.Lock()
	gone := t.holds == 0 && h.topics[t.uid] == t
	if gone {
		delete(h.topics, t.uid)
	}
	h.mu.Unlock()
	if gone {
		t.retire()
	}
}

// forget removes a topic that could not listen; another Watch tries anew.
func (h *Hub) forget(t *topic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.topics[t.uid] == t {
		delete(h.topics, t.uid)
	}
}

// begin tells whether there may be more work in the background; if so, the caller calls h.work.Done after it.
func (h *Hub) begin() bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.closed {
		return false
	}
	h.work.Add(1)
	return true
}

func shuttingDown() error {
	return fault.New(fault.Unavailable, "SHUTTING_DOWN", "the server is stopping").After(time.Second)
}
