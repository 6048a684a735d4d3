package natsbus

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/tail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ tail.Bus = (*Bus)(nil)

var one, two = session.UID{1}, session.UID{2}

func open(t *testing.T, config Config) *Bus {
	b, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBus(t, b) })
	return b
}

// join opens another connection to the bus's embedded server, as another node would have.
func join(t *testing.T, b *Bus) *Bus {
	other := &Bus{log: b.log}
	var err error
	if other.conn, err = b.join(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBus(t, other) })
	return other
}

// wait returns when the condition holds.
func wait(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(15 * time.Second); !condition(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not in time", what)
		}
	}
}

func closeBus(t *testing.T, b *Bus) {
	if err := b.Close(context.Background()); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// listen returns what is received for the UID.
func listen(t *testing.T, b *Bus, uid session.UID) (received <-chan string, stop func()) {
	c := make(chan string, 100)
	stop, err := b.Listen(uid, func(data []byte) { c <- string(data) })
	if err != nil {
		t.Fatal(err)
	}
	return c, stop
}

func wantReceived(t *testing.T, received <-chan string, want string) {
	t.Helper()
	select {
	case got := <-received:
		if got != want {
			t.Errorf("received %q, want %q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("received nothing, want %q", want)
	}
}

func TestOtherNodesReceive(t *testing.T) {
	here := open(t, Config{})
	there := join(t, here)
	own, _ := listen(t, here, one)
	first, stop := listen(t, there, one)
	second, _ := listen(t, there, two)
	for i := range 3 {
		here.Announce(one, fmt.Append(nil, i))
	}
	for i := range 3 {
		wantReceived(t, first, strconv.Itoa(i))
	}
	here.Announce(two, []byte("for two"))
	wantReceived(t, second, "for two")
	stop()
	here.Announce(one, []byte("too late"))
	here.Announce(two, []byte("after it"))
	wantReceived(t, second, "after it")
	select {
	case got := <-first:
		t.Errorf("received %q after stop", got)
	case got := <-own:
		t.Errorf("received %q of its own", got)
	default:
	}
}

func TestWhatIsAnnouncedIsSentBeforeClose(t *testing.T) {
	here := open(t, Config{})
	there := join(t, here)
	received, _ := listen(t, here, one)
	there.Announce(one, []byte("last"))
	if err := there.conn.Flush(); err != nil {
		t.Fatal(err)
	}
	wantReceived(t, received, "last")
}

func TestNothingIsListenedToAfterClose(t *testing.T) {
	b, err := Open(t.Context(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	_, stop := listen(t, b, one)
	closeBus(t, b)
	b.Announce(one, []byte("too late"))
	stop()
	if _, err := b.Listen(one, func([]byte) {}); err == nil {
		t.Error("Listen after Close succeeded")
	}
}

// sharedLog is the log of one session, for two nodes.
type sharedLog struct {
	mu     sync.Mutex // guards the field below
	events []*session.Event
}

func (l *sharedLog) Log(_ context.Context, uid session.UID, after int64, limit, _ int) (*session.Log, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	head := int64(len(l.events))
	from := min(after, head)
	return &session.Log{
		Record: &session.Record{UID: uid, Head: session.Head{Sequence: head}},
		First:  1,
		Events: l.events[from:min(from+int64(limit), head)],
	}, nil
}

// commit commits an event, and has the node announce it.
func (l *sharedLog) commit(h *tail.Hub, bytes int) {
	l.mu.Lock()
	e := &session.Event{
		UID: one, ID: "s1", Kind: session.MessagePublished, Sequence: int64(len(l.events) + 1), Document: make([]byte, bytes),
	}
	l.events = append(l.events, e)
	l.mu.Unlock()
	h.Committed([]*session.Event{e})
}

func TestTwoNodesDeliverToEachOther(t *testing.T) {
	bus := open(t, Config{})
	log := &sharedLog{}
	var hubs [2]*tail.Hub
	for i, b := range []*Bus{bus, join(t, bus)} {
		hubs[i] = tail.New(tail.Options{Log: log, Bus: b, Key: []byte("a key")})
		t.Cleanup(hubs[i].Close)
	}
	log.commit(hubs[0], 1)
	const events = 200
	var readers sync.WaitGroup
	for _, h := range hubs {
		wake := make(chan struct{}, 1)
		w, err := h.Watch(one, "users/ada", func() {
			select {
			case wake <- struct{}{}:
			default:
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		readers.Go(func() { read(t, w, wake, 2*events+1) })
	}
	var writers sync.WaitGroup
	for _, h := range hubs {
		writers.Go(func() {
			for i := range events {
				log.commit(h, 100+i%50*2000) // some are too large to be announced whole
			}
		})
	}
	writers.Wait()
	readers.Wait()
}

// read reads everything, in order, up to the last event.
func read(t *testing.T, w session.Watch, wake <-chan struct{}, last int64) {
	defer w.Close()
	var place session.Place
	var had int64
	for had < last {
		events, progress := w.Next(nil, &place, 64<<10)
		if progress == session.Behind {
			log, err := w.Load(t.Context(), place.Sequence)
			if err != nil {
				t.Errorf("Load: %v", err)
				return
			}
			events = log.Events
		}
		for _, e := range events {
			if e.Sequence != had+1 {
				t.Errorf("event %d after %d", e.Sequence, had)
				return
			}
			had, place.Sequence = e.Sequence, e.Sequence
		}
		if progress != session.Idle {
			continue
		}
		select {
		case <-wake:
		case <-time.After(10 * time.Second):
			t.Errorf("not woken after %d", had)
			return
		}
	}
}

func TestAloneUntilAnotherNodeComes(t *testing.T) {
	here := open(t, Config{})
	listen(t, here, one)
	if !here.Alone() {
		t.Error("a bus is not alone on its own embedded server")
	}
	there := join(t, here)
	if here.Alone() || there.Alone() {
		t.Error("a bus is alone although there is another one")
	}
}
