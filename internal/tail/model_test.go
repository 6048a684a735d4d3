package tail

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/parleyhq/parley/internal/session"
)

// The model test has two nodes serve sessions of one log, over a bus that loses, delays, reorders and repeats, while
// watchers come at any place, stall, leave and come again. What each watcher is given is compared with the log.

const (
	modelSessions = 3
	modelWatchers = 6
	feedTime      = time.Second
)

// step is one thing that happens in a model run.
type step struct {
	what    string
	node    int
	slot    int // which session, by its id
	watcher int
	n       int
	wait    time.Duration
}

func (s step) String() string {
	return fmt.Sprintf("%s(node %d, session %d, watcher %d, n %d) %s", s.what, s.node, s.slot, s.watcher, s.n, s.wait)
}

func drawSteps(rt *rapid.T) []step {
	whats := rapid.SampledFrom([]string{
		"commit", "commit", "commit", "commit", "large", "many", "whisper", "trim", "end", "recreate",
		"watch", "watch", "watch", "stall", "vanish", "pause",
	})
	waits := rapid.SampledFrom([]time.Duration{
		0, 0, 0, time.Millisecond, 5 * time.Millisecond, 12 * time.Millisecond, 300 * time.Millisecond, 3 * time.Second, 31 * time.Second,
	})
	return rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
		return step{
			what:    whats.Draw(rt, "what"),
			node:    rapid.IntRange(0, 1).Draw(rt, "node"),
			slot:    rapid.IntRange(0, modelSessions-1).Draw(rt, "session"),
			watcher: rapid.IntRange(0, modelWatchers-1).Draw(rt, "watcher"),
			n:       rapid.IntRange(0, 20).Draw(rt, "n"),
			wait:    waits.Draw(rt, "wait"),
		}
	}), 5, 60).Draw(rt, "steps")
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := drawSteps(rt)
		seed := rapid.Uint64().Draw(rt, "seed")
		budget := rapid.SampledFrom([]int{0, 0, 200 << 10, 4 << 10}).Draw(rt, "budget")
		var flaws []string
		synctest.Test(t, func(*testing.T) { flaws = runModel(steps, seed, budget) })
		if len(flaws) > 0 {
			rt.Fatalf("%s", strings.Join(flaws, "\n"))
		}
	})
}

// model is one run.
type model struct {
	log      *fakeLog
	bus      *fakeBus
	hubs     [2]*Hub
	commits  [2]chan []*session.Event
	watchers [modelWatchers]*stream
	ids      [modelSessions]session.UID
	made     byte
	whispers int
	work     sync.WaitGroup
	ctx      context.Context

	mu      sync.Mutex // guards the fields below
	random  *rand.Rand
	sound   bool                                     // the bus and the log do not fail any more
	history map[session.UID]map[int64]*session.Event // all that was ever committed
	heads   map[session.UID]int64
	trimmed map[session.UID]int64
	flaws   []string
}

func runModel(steps []step, seed uint64, budget int) []string {
	ctx, cancel := context.WithCancel(context.Background())
	m := &model{
		log: newFakeLog(), bus: newFakeBus(), ctx: ctx,
		random:  rand.New(rand.NewPCG(seed, 0)),
		history: make(map[session.UID]map[int64]*session.Event),
		heads:   make(map[session.UID]int64),
		trimmed: make(map[session.UID]int64),
	}
	m.bus.setCarry(m.carry)
	m.log.before = func() { m.nap(3 * time.Millisecond); m.fail() }
	m.log.after = func() { m.nap(3 * time.Millisecond) }
	for i := range m.hubs {
		m.hubs[i] = New(Options{Log: m.log, Bus: m.bus, Key: theKey, Budget: budget, Spread: true})
		m.commits[i] = make(chan []*session.Event, 1000)
		m.work.Go(func() { m.commit(i) })
	}
	for i := range m.ids {
		m.recreate(i)
	}
	m.work.Go(func() { m.feed(ctx) })
	for _, s := range steps {
		m.do(s)
		wait(s.wait)
	}
	m.settle()
	cancel()
	for i, h := range m.hubs {
		close(m.commits[i])
		h.Close()
	}
	m.work.Wait()
	return m.flaws
}

// settle ends the failures, lets everyone catch up, and looks whether they did.
func (m *model) settle() {
	m.mu.Lock()
	m.sound = true
	m.mu.Unlock()
	for _, r := range m.watchers {
		if r != nil {
			r.setStalled(false)
		}
	}
	wait(20 * time.Second)
	synctest.Wait()
	for _, r := range m.watchers {
		if r != nil {
			r.leave()
			r.check()
		}
	}
}

func (m *model) do(s step) {
	uid := m.ids[s.slot]
	switch s.what {
	case "commit":
		m.publish(s.node, m.log.append(uid, s.n, 10))
	case "large":
		m.publish(s.node, m.log.append(uid, 1+s.n/8, 80<<10))
	case "many":
		m.publish(s.node, m.log.append(uid, 50*s.n, 10))
	case "whisper":
		m.whispers++
		m.commits[s.node] <- []*session.Event{ephemeral(uid, m.whispers)}
	case "trim":
		m.trim(uid, s.n)
	case "end":
		m.publish(s.node, m.log.end(uid, s.n%2 == 0))
	case "recreate":
		m.publish(s.node, m.log.end(uid, s.n%2 == 0))
		m.recreate(s.slot)
	case "watch", "vanish":
		m.comeOrGo(s, uid)
	case "stall":
		if r := m.watchers[s.watcher]; r != nil {
			r.setStalled(s.n%3 > 0)
		}
	}
}

// comeOrGo ends what the watcher does. It then resumes its own stream on some node, or begins another one.
func (m *model) comeOrGo(s step, uid session.UID) {
	old := m.watchers[s.watcher]
	next := &stream{m: m, name: s.watcher, uid: uid, have: m.placeOf(uid, s.n)}
	if old != nil {
		old.leave()
		if s.n%2 == 0 {
			next.uid, next.have, next.ended = old.uid, old.have, old.ended
		}
	}
	m.watchers[s.watcher] = next
	if s.what == "watch" && !next.ended {
		next.start(m.hubs[s.node])
	}
}

// placeOf is the beginning, somewhere in the log, its end, or beyond it.
func (m *model) placeOf(uid session.UID, n int) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	head := m.heads[uid]
	return []int64{0, head / 2, head, head + 1 + int64(n)}[n%4]
}

// publish keeps what was committed, and has the node's store tell the hub of it.
func (m *model) publish(node int, events []*session.Event) {
	if len(events) == 0 {
		return
	}
	m.mu.Lock()
	for _, e := range events {
		m.history[e.UID][e.Sequence] = e
		m.heads[e.UID] = e.Sequence
	}
	m.mu.Unlock()
	m.commits[node] <- events
}

// commit is the end of a node's commits: in order, but not in step with the other node's.
func (m *model) commit(node int) {
	for events := range m.commits[node] {
		m.nap(2 * time.Millisecond)
		m.hubs[node].Committed(events)
	}
}

func (m *model) trim(uid session.UID, n int) {
	m.mu.Lock()
	upTo := m.heads[uid] * int64(n) / 20
	m.trimmed[uid] = max(m.trimmed[uid], upTo)
	m.mu.Unlock()
	m.log.trim(uid, upTo)
}

func (m *model) recreate(slot int) {
	m.made++
	uid := session.UID{m.made, byte(slot)}
	m.ids[slot] = uid
	m.mu.Lock()
	m.history[uid] = make(map[int64]*session.Event)
	m.mu.Unlock()
	m.publish(0, m.log.append(uid, 1, 10))
}

// feed tells both hubs the heads, in the end, as the commit feed does.
func (m *model) feed(ctx context.Context) {
	for ctx.Err() == nil {
		m.tellHeads()
		select {
		case <-time.After(feedTime):
		case <-ctx.Done():
		}
	}
}

func (m *model) tellHeads() {
	m.mu.Lock()
	heads := maps.Clone(m.heads)
	m.mu.Unlock()
	for uid, head := range heads {
		m.hubs[0].Head(uid, head)
		m.hubs[1].Head(uid, head)
	}
}

// carry loses, delays or repeats a delivery.
func (m *model) carry(deliver func()) {
	for range m.choose(1, 1, 1, 1, 0, 2) {
		if d := time.Duration(m.choose(0, 0, 1, 3, 15, 500)) * time.Millisecond; d > 0 {
			m.later(d, deliver)
		} else {
			deliver()
		}
	}
}

func (m *model) later(d time.Duration, deliver func()) {
	m.work.Go(func() {
		select {
		case <-time.After(d):
			deliver()
		case <-m.ctx.Done():
		}
	})
}

func (m *model) choose(from ...int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sound {
		return from[0]
	}
	return from[m.random.IntN(len(from))]
}

func (m *model) nap(atMost time.Duration) {
	m.mu.Lock()
	d := time.Duration(m.random.Int64N(int64(atMost)))
	m.mu.Unlock()
	wait(d)
}

// fail has some of the reads fail.
func (m *model) fail() {
	failing := m.choose(0, 0, 0, 0, 0, 0, 0, 1) == 1
	m.log.fail(nil)
	if failing {
		m.log.fail(errBoom)
	}
}

func (m *model) flawf(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flaws = append(m.flaws, fmt.Sprintf(format, args...))
}
