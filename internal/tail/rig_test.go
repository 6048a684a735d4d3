package tail

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/parleyhq/parley/internal/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeLog is a store's log: in memory, and told to fail or to wait.
type fakeLog struct {
	before func() // called before each read; nil: nothing is
	after  func()

	mu       sync.Mutex // guards the fields below
	sessions map[session.UID]*fakeSession
	reads    int
	running  int
	most     int // reads at once
	err      error
}

type fakeSession struct {
	uid    session.UID
	events []*session.Event // those that are kept
	head   int64
	end    *session.Event
}

func newFakeLog() *fakeLog { return &fakeLog{sessions: make(map[session.UID]*fakeSession)} }

func (l *fakeLog) Log(_ context.Context, uid session.UID, after int64, limit, maxBytes int) (*session.Log, error) {
	l.enter()
	if l.before != nil {
		l.before()
	}
	log, err := l.read(uid, after, limit, maxBytes)
	if l.after != nil {
		l.after()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running--
	return log, err
}

func (l *fakeLog) enter() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	l.running++
	l.most = max(l.most, l.running)
}

func (l *fakeLog) read(uid session.UID, after int64, limit, maxBytes int) (*session.Log, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	s := l.sessions[uid]
	if s == nil {
		return &session.Log{}, nil
	}
	log := &session.Log{First: s.head + 1, End: s.end}
	if s.end == nil {
		log.Record = &session.Record{UID: uid, Head: session.Head{Sequence: s.head}}
	}
	if len(s.events) > 0 {
		log.First = s.events[0].Sequence
	}
	size := 0
	for _, e := range s.events {
		if e.Sequence <= after {
			continue
		}
		if len(log.Events) == limit || size > maxBytes {
			break
		}
		size += e.Size()
		log.Events = append(log.Events, e)
	}
	return log, nil
}

func (l *fakeLog) countReads() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reads
}

// fail has reads fail, or not any more.
func (l *fakeLog) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// append commits n messages of some bytes each.
func (l *fakeLog) append(uid session.UID, n, bytes int) []*session.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sessions[uid]
	if s == nil {
		s = &fakeSession{uid: uid}
		l.sessions[uid] = s
	}
	if s.end != nil {
		return nil
	}
	var added []*session.Event
	for range n {
		s.head++
		added = append(added, message(uid, s.head, bytes))
	}
	s.events = append(s.events, added...)
	return added
}

// trim drops the events up to a sequence.
func (l *fakeLog) trim(uid session.UID, upTo int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sessions[uid]
	s.events = slices.DeleteFunc(slices.Clone(s.events), func(e *session.Event) bool { return e.Sequence <= upTo })
}

// end ends a session, and keeps its rows or not.
func (l *fakeLog) end(uid session.UID, keep bool) []*session.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sessions[uid]
	if s == nil || s.end != nil {
		return nil
	}
	s.end = &session.Event{UID: uid, Kind: session.SessionDeleted, Sequence: s.head + 1, Time: session.Time(s.head + 1)}
	if !keep {
		s.events = nil
	}
	return []*session.Event{s.end}
}

// restore has the log go back to a sequence.
func (l *fakeLog) restore(uid session.UID, head int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sessions[uid]
	s.head = head
	s.events = slices.DeleteFunc(slices.Clone(s.events), func(e *session.Event) bool { return e.Sequence > head })
}

func message(uid session.UID, sequence int64, bytes int) *session.Event {
	return &session.Event{
		UID: uid, ID: "s1", Kind: session.MessagePublished, Sequence: sequence, Time: session.Time(sequence),
		Actor: "users/ada", Document: []byte(`{"content":"` + strings.Repeat("x", bytes) + `"}`),
	}
}

func ephemeral(uid session.UID, n int) *session.Event {
	e := message(uid, 0, 0)
	e.Time = session.Time(n)
	return e
}

// fakeBus delivers to all listeners at once, unless it is told otherwise.
type fakeBus struct {
	mu        sync.Mutex // guards the fields below
	err       error      // of Listen
	alone     bool
	carry     func(deliver func()) // nil: deliver is called
	listeners map[session.UID]map[int]func([]byte)
	next      int
	announced map[session.UID][][]byte
}

func newFakeBus() *fakeBus {
	return &fakeBus{listeners: make(map[session.UID]map[int]func([]byte)), announced: make(map[session.UID][][]byte)}
}

func (b *fakeBus) Announce(uid session.UID, data []byte) {
	b.mu.Lock()
	b.announced[uid] = append(b.announced[uid], data)
	var receivers []func([]byte)
	for _, receive := range b.listeners[uid] {
		receivers = append(receivers, receive)
	}
	carry := b.carry
	b.mu.Unlock()
	for _, receive := range receivers {
		deliver := func() { receive(slices.Clone(data)) }
		if carry != nil {
			carry(deliver)
		} else {
			deliver()
		}
	}
}

// Alone implements Bus.
func (b *fakeBus) Alone() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.alone
}

// fail has Listen fail, or not any more.
func (b *fakeBus) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

// setCarry has deliveries done by the function; nil: they are done at once.
func (b *fakeBus) setCarry(carry func(deliver func())) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.carry = carry
}

func (b *fakeBus) Listen(uid session.UID, receive func([]byte)) (func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return nil, b.err
	}
	if b.listeners[uid] == nil {
		b.listeners[uid] = make(map[int]func([]byte))
	}
	b.next++
	n := b.next
	b.listeners[uid][n] = receive
	return func() { b.forget(uid, n) }, nil
}

func (b *fakeBus) forget(uid session.UID, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.listeners[uid], n)
}

func (b *fakeBus) listening(uid session.UID) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.listeners[uid])
}

func (b *fakeBus) sent(uid session.UID) [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.announced[uid])
}

var (
	one     = session.UID{1}
	two     = session.UID{2}
	theKey  = []byte("a key for announcements")
	errBoom = errors.New("boom")
)

// bubble runs a test in a synctest bubble.
func bubble(t *testing.T, run func(t *testing.T)) { synctest.Test(t, run) }

// wait passes the bubble's time.
func wait(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // it is the bubble's

func newHub(t *testing.T, options Options) *Hub {
	h := New(options)
	t.Cleanup(h.Close)
	return h
}

// commit commits messages and tells the hub.
func commit(h *Hub, l *fakeLog, uid session.UID, n int) { h.Committed(l.append(uid, n, 10)) }

// watcher is a watch with its place and a count of its wake-ups.
type watcher struct {
	session.Watch

	t     *testing.T
	place session.Place

	mu    sync.Mutex // guards woken
	woken int
}

// newWatcher watches from a place, near the head or not.
func newWatcher(t *testing.T, h *Hub, uid session.UID, after int64) *watcher {
	w := &watcher{t: t, place: session.Place{Sequence: after}}
	watch, err := h.Watch(uid, "users/ada", w.wake)
	if err != nil {
		t.Fatalf("Watch: %v", err)
	}
	w.Watch = watch
	t.Cleanup(watch.Close)
	return w
}

// newWatcherAtHead watches from the end of the log, and knows it.
func newWatcherAtHead(t *testing.T, h *Hub, uid session.UID) *watcher {
	w := newWatcher(t, h, uid, 0)
	log, err := w.Load(t.Context(), 0)
	for err == nil && len(log.Events) > 0 {
		w.place.Sequence = lastOf(log)
		log, err = w.Load(t.Context(), w.place.Sequence)
	}
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return w
}

func (w *watcher) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.woken++
}

func (w *watcher) wakes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.woken
}

// read calls Next until it returns anything but More, and describes what it got: "1 2 ~7 idle".
func (w *watcher) read() string {
	var told []string
	for {
		events, progress := w.Next(nil, &w.place, 1<<20)
		for _, e := range events {
			told = append(told, describe(e))
		}
		if progress != session.More {
			return strings.Join(append(told, progressName(progress)), " ")
		}
	}
}

func (w *watcher) wantRead(want string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.read()); diff != "" {
		w.t.Errorf("Next (-want +got):\n%s", diff)
	}
}

func (w *watcher) wantWakes(want int) {
	w.t.Helper()
	synctest.Wait()
	if got := w.wakes(); got != want {
		w.t.Errorf("woken %d times, want %d", got, want)
	}
}

func describe(e *session.Event) string {
	switch {
	case e.Sequence == 0:
		return fmt.Sprintf("~%d", e.Time)
	case e.Kind.Ends():
		return fmt.Sprintf("%d.", e.Sequence)
	default:
		return strconv.FormatInt(e.Sequence, 10)
	}
}

func progressName(p session.Progress) string {
	return [...]string{session.Idle: "idle", session.More: "more", session.Behind: "behind", session.Draining: "draining"}[p]
}

func wantReads(t *testing.T, l *fakeLog, want int) {
	t.Helper()
	if got := l.countReads(); got != want {
		t.Errorf("the log was read %d times, want %d", got, want)
	}
}
