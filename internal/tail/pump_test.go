package tail

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/session"
)

// TestNoWakeUpIsLost has watchers that sleep until they are woken read what a committer commits as fast as it can.
func TestNoWakeUpIsLost(t *testing.T) {
	const watchers, events = 50, 3000
	log := newFakeLog()
	log.append(one, 1, 10)
	h := newHub(t, Options{Log: log})
	var readers sync.WaitGroup
	for range watchers {
		wake := make(chan struct{}, 1)
		w, err := h.Watch(one, "", func() {
			select {
			case wake <- struct{}{}:
			default:
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		readers.Go(func() { readTo(t, w, wake, 1+events) })
	}
	for range events {
		commit(h, log, one, 1)
		runtime.Gosched()
	}
	readers.Wait()
}

func readTo(t *testing.T, w session.Watch, wake <-chan struct{}, last int64) {
	defer w.Close()
	place := session.Place{Sequence: 1}
	var events []*session.Event
	for place.Sequence < last {
		before := place.Sequence
		var progress session.Progress
		events, progress = w.Next(events[:0], &place, 1<<20)
		if place.Sequence != before+int64(len(events)) {
			t.Errorf("%d events from %d to %d", len(events), before, place.Sequence)
			return
		}
		switch progress {
		case session.Idle:
			select {
			case <-wake:
			case <-time.After(10 * time.Second):
				t.Errorf("not woken after %d", place.Sequence)
				return
			}
		case session.Behind:
			log, err := w.Load(t.Context(), place.Sequence)
			if err != nil {
				t.Errorf("Load: %v", err)
				return
			}
			if len(log.Events) > 0 {
				place.Sequence = lastOf(log)
			}
		case session.More, session.Draining:
		}
	}
}

// TestWatchesThatEndDuringASweepLeaveNoneOut ends half of the watches while the others are woken.
func TestWatchesThatEndDuringASweepLeaveNoneOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		log.append(one, 1, 10)
		h := newHub(t, Options{Log: log})
		watchers := make([]*watcher, 4*sweepChunk)
		for i := range watchers {
			watchers[i] = newWatcherAtHead(t, h, one)
			watchers[i].wantRead("idle")
		}
		// The first that is woken, of the newest, ends many of the oldest: others take their places.
		newest := watchers[len(watchers)-1]
		newest.Watch.(*watch).wake = func() {
			for i := range len(watchers) / 2 {
				watchers[i].Close()
			}
		}
		commit(h, log, one, 1)
		for _, w := range watchers[len(watchers)/2 : len(watchers)-1] {
			w.wantWakes(1)
		}
	})
}

func TestAWatchThatEndedDuringASweepIsNotWoken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		log.append(one, 1, 10)
		h := newHub(t, Options{Log: log})
		first, second := newWatcherAtHead(t, h, one), newWatcherAtHead(t, h, one)
		first.Watch.(*watch).wake = second.Close
		first.wantRead("idle")
		second.wantRead("idle")
		commit(h, log, one, 1)
		second.wantWakes(0)
	})
}

func TestATopicIsSweptAgainForWhatComesDuringASweep(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		log.append(one, 1, 10)
		h := newHub(t, Options{Log: log})
		first, second := newWatcherAtHead(t, h, one), newWatcherAtHead(t, h, one)
		second.Watch.(*watch).wake = func() { // the first was swept before, and becomes idle again
			first.wantRead("2 idle")
			commit(h, log, one, 1)
		}
		first.wantRead("idle")
		second.wantRead("idle")
		commit(h, log, one, 1)
		first.wantWakes(2)
	})
}

func TestACommitDoesNotLoopOverWatches(t *testing.T) {
	log := newFakeLog()
	log.append(one, 1, 10)
	h := newHub(t, Options{Log: log})
	pumps, resume := runtime.GOMAXPROCS(0), make(chan struct{})
	occupy(t, h, pumps, resume)
	defer close(resume)

	var woken atomic.Int64
	for range 10_000 {
		w, err := h.Watch(one, "", func() { woken.Add(1) })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Close)
		w.Load(t.Context(), 1)
		if _, progress := w.Next(nil, &session.Place{Sequence: 1}, 1); progress != session.Idle {
			t.Fatalf("Next = %s", progressName(progress))
		}
	}
	commit(h, log, one, 1)
	if n := woken.Load(); n > 0 {
		t.Errorf("%d watches were woken by the commit itself", n)
	}
	event := log.append(one, 1, 10)
	if n := testing.AllocsPerRun(100, func() { h.Committed(event) }); n > 0 {
		t.Errorf("a commit allocates %g times with 10,000 watches", n)
	}
}

// occupy keeps all pumps busy until the channel is closed.
func occupy(t *testing.T, h *Hub, pumps int, resume chan struct{}) {
	inside := make(chan struct{})
	for i := range pumps {
		uid := session.UID{100, byte(i)}
		w, err := h.Watch(uid, "", func() { inside <- struct{}{}; <-resume })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Close)
		h.Head(uid, 1)
		w.Next(nil, &session.Place{Sequence: 1}, 1)
		h.Committed([]*session.Event{message(uid, 2, 10)})
		<-inside
	}
}

func TestAWakeDoesNotAllocate(t *testing.T) {
	log := newFakeLog()
	log.append(one, 1, 10)
	h := newHub(t, Options{Log: log})
	woken := make(chan struct{}, 1)
	w, err := h.Watch(one, "", func() { woken <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.Load(t.Context(), 1)
	place := session.Place{Sequence: 1}
	events := make([]*session.Event, 0, 8)
	committed := []*session.Event{ephemeral(one, 1)}
	allocations := testing.AllocsPerRun(1000, func() {
		events, _ = w.Next(events[:0], &place, 1<<20)
		events, _ = w.Next(events[:0], &place, 1<<20)
		h.Committed(committed)
		<-woken
	})
	if allocations > 0.5 { // the slice of the ring moves now and then
		t.Errorf("a wake-up allocates %g times", allocations)
	}
}

// BenchmarkFanOut delivers one event to a thousand watches, each with a goroutine.
func BenchmarkFanOut(b *testing.B) {
	const watchers = 1000
	log := newFakeLog()
	log.append(one, 1, 10)
	h := New(Options{Log: log})
	defer h.Close()
	var readers, delivered sync.WaitGroup
	quit := make(chan struct{})
	for range watchers {
		wake := make(chan struct{}, 1)
		w, err := h.Watch(one, "", func() { wake <- struct{}{} })
		if err != nil {
			b.Fatal(err)
		}
		h.Head(one, 1)
		place := session.Place{Sequence: 1}
		var events []*session.Event
		w.Next(nil, &place, 1)
		readers.Go(func() {
			defer w.Close()
			for {
				select {
				case <-quit:
					return
				case <-wake:
				}
				for progress := session.More; progress == session.More; {
					events, progress = w.Next(events[:0], &place, 1<<20)
					for range events {
						delivered.Done()
					}
				}
			}
		})
	}
	b.ReportAllocs()
	sequence := int64(1)
	for b.Loop() {
		delivered.Add(watchers)
		sequence++
		h.Committed([]*session.Event{message(one, sequence, 10)})
		delivered.Wait()
	}
	close(quit)
	readers.Wait()
}
