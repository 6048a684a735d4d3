package tail

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/internal/session"
)

func TestCommittedEventsReachTheWatch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		h := newHub(t, Options{Log: log})
		commit(h, log, one, 3)
		w := newWatcherAtHead(t, h, one)
		w.wantRead("idle")
		commit(h, log, one, 2)
		commit(h, log, two, 2)
		w.wantWakes(1)
		w.wantRead("4 5 idle")
		h.Committed(log.end(one, true))
		w.wantWakes(2)
		w.wantRead("6. idle")
	})
}

func TestAWatchWithoutAKnownHeadIsBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		h := newHub(t, Options{Log: log})
		commit(h, log, one, 3)
		w := newWatcher(t, h, one, 3)
		w.wantRead("behind")
		commit(h, log, one, 1)
		w.wantRead("4 idle")
	})
}

func TestAPlaceBeyondTheHeadIsBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		h := newHub(t, Options{Log: log})
		commit(h, log, one, 3)
		w := newWatcherAtHead(t, h, one)
		w.place.Sequence = 4
		w.wantRead("behind")
		got, err := w.Load(t.Context(), 4)
		if err != nil || len(got.Events) > 0 || got.Record.Head.Sequence != 3 {
			t.Errorf("Load = %+v, %v, want an empty part of a log of 3", got, err)
		}
	})
}

func TestNextKeepsToTheBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		h := newHub(t, Options{Log: log})
		commit(h, log, one, 1)
		w := newWatcherAtHead(t, h, one)
		commit(h, log, one, 5)
		size := message(one, 2, 10).Size()
		for _, test := range []struct{ maxBytes, want int }{{1, 1}, {2*size - 1, 1}, {2 * size, 2}, {9 * size, 1}} {
			events, progress := w.Next(nil, &w.place, test.maxBytes)
			if len(events) != test.want || progress != session.More {
				t.Errorf("Next of %d bytes = %d events, %s; want %d, more", test.maxBytes, len(events), progressName(progress), test.want)
			}
		}
		w.wantRead("idle")
	})
}

func TestWakeComesOncePerIdle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		h := newHub(t, Options{Log: log})
		commit(h, log, one, 1)
		w := newWatcherAtHead(t, h, one)
		commit(h, log, one, 1)
		w.wantWakes(0) // it was not idle
		w.wantRead("2 idle")
		for range 3 {
			commit(h, log, one, 1)
			w.wantWakes(1)
		}
		events, _ := w.Next(nil, &w.place, 1)
		if len(events) != 1 {
			t.Errorf("Next = %d events, want 1", len(events))
		}
		commit(h, log, one, 1)
		w.wantWakes(1) // it has not been idle again
		w.wantRead("4 5 6 idle")
		commit(h, log, one, 1)
		w.wantWakes(2)
	})
}

func TestAClosedWatchIsNotWoken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		h := newHub(t, Options{Log: log})
		commit(h, log, one, 1)
		closed, open := newWatcherAtHead(t, h, one), newWatcherAtHead(t, h, one)
		closed.wantRead("idle")
		open.wantRead("idle")
		closed.Close()
		closed.Close()
		commit(h, log, one, 1)
		closed.wantWakes(0)
		open.wantWakes(1)
		closed.wantRead("idle")
	})
}

func TestWakeMayUseTheWatch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		h := newHub(t, Options{Log: log})
		commit(h, log, one, 1)
		w := newWatcherAtHead(t, h, one)
		got := ""
		w.Watch.(*watch).wake = func() {
			got = w.read()
			w.Close()
		}
		w.wantRead("idle")
		commit(h, log, one, 1)
		synctest.Wait()
		if got != "2 idle" {
			t.Errorf("Next within wake = %q, want 2 idle", got)
		}
	})
}

func TestEphemeralEventsComeInTheirOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		h := newHub(t, Options{Log: log})
		commit(h, log, one, 1)
		h.Committed([]*session.Event{ephemeral(one, 1)}) // nobody watches
		w := newWatcherAtHead(t, h, one)
		h.Committed([]*session.Event{ephemeral(one, 2)})
		commit(h, log, one, 2)
		h.Committed([]*session.Event{ephemeral(one, 3)})
		commit(h, log, one, 1)
		w.wantRead("~2 2 3 ~3 4 idle")
		later := newWatcherAtHead(t, h, one)
		h.Committed([]*session.Event{ephemeral(one, 4)})
		w.wantWakes(1)
		w.wantRead("~4 idle")
		later.wantRead("~4 idle")
	})
}

func TestTheNewest64EphemeralEventsAreKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		h := newHub(t, Options{Log: log})
		commit(h, log, one, 1)
		w := newWatcherAtHead(t, h, one)
		var want []string
		for i := 1; i <= 70; i++ {
			h.Committed([]*session.Event{ephemeral(one, i)})
			if i > 6 {
				want = append(want, fmt.Sprintf("~%d", i))
			}
		}
		w.wantRead(strings.Join(want, " ") + " idle")
	})
}

func TestATailLingers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log, bus := newFakeLog(), newFakeBus()
		h := newHub(t, Options{Log: log, Bus: bus})
		commit(h, log, one, 1)
		first := newWatcherAtHead(t, h, one)
		first.Close()
		wait(29 * time.Second)
		second := newWatcher(t, h, one, 1)
		second.wantRead("idle")
		wait(29 * time.Second)
		if got := bus.listening(one); got != 1 {
			t.Errorf("%d listeners while somebody watches, want 1", got)
		}
		second.Close()
		wait(29 * time.Second)
		if got := bus.listening(one); got != 1 {
			t.Errorf("%d listeners 29 s after the last watch, want 1", got)
		}
		wait(2 * time.Second)
		if got := bus.listening(one); got != 0 {
			t.Errorf("%d listeners 31 s after the last watch, want none", got)
		}
		if h.topic(one) != nil {
			t.Error("the tail is still there 31 s after the last watch")
		}
		newWatcher(t, h, one, 1).wantRead("behind")
	})
}

func TestDrain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		h := newHub(t, Options{Log: log})
		commit(h, log, one, 1)
		w, busy := newWatcherAtHead(t, h, one), newWatcherAtHead(t, h, one)
		w.wantRead("idle")
		commit(h, log, two, 1)
		h.Drain()
		w.wantWakes(1)
		w.wantRead("draining")
		busy.wantWakes(0)
		busy.wantRead("draining")
		newWatcher(t, h, two, 0).wantRead("draining")
	})
}

func TestNothingIsWatchedAfterClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		h := New(Options{Log: log})
		commit(h, log, one, 1)
		w := newWatcherAtHead(t, h, one)
		w.wantRead("idle")
		h.Close()
		w.wantWakes(1)
		w.wantRead("draining")
		if _, err := h.Watch(one, "", func() {}); err == nil {
			t.Error("Watch after Close succeeded")
		}
		if _, err := w.Load(t.Context(), 0); err == nil {
			t.Error("Load after Close succeeded")
		}
		commit(h, log, one, 1)
		w.Close()
	})
}

func TestAWatchFailsWithTheBus(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log, bus := newFakeLog(), newFakeBus()
		h := newHub(t, Options{Log: log, Bus: bus})
		bus.fail(errBoom)
		if _, err := h.Watch(one, "", func() {}); err != errBoom {
			t.Errorf("Watch: %v, want %v", err, errBoom)
		}
		bus.fail(nil)
		commit(h, log, one, 1)
		newWatcherAtHead(t, h, one).wantRead("idle")
	})
}

func TestOnlineCountsWatches(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, Options{Log: newFakeLog()})
		want := func(want bool) {
			t.Helper()
			if got := h.Online(one, "users/ada"); got != want {
				t.Errorf("Online = %t, want %t", got, want)
			}
		}
		want(false)
		first, second := newWatcher(t, h, one, 0), newWatcher(t, h, one, 0)
		want(true)
		first.Close()
		first.Close()
		want(true)
		if h.Online(two, "users/ada") || h.Online(one, "users/eve") || h.Online(one, "") {
			t.Error("somebody is online who is not")
		}
		second.Close()
		want(false)
	})
}

func TestARewoundLogIsNoticed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		h := newHub(t, Options{Log: log})
		commit(h, log, one, 5)
		w := newWatcherAtHead(t, h, one)
		commit(h, log, one, 5)
		w.wantRead("6 7 8 9 10 idle")
		log.restore(one, 5)
		again := log.append(one, 1, 10)
		again[0].Time += 1000
		h.Committed(again)
		w.wantWakes(1)
		w.wantRead("behind")
		got, err := w.Load(t.Context(), w.place.Sequence)
		if err != nil || len(got.Events) > 0 || got.Record.Head.Sequence != 6 {
			t.Errorf("Load = %+v, %v, want a log of 6", got, err)
		}
		w.place.Sequence = 6
		w.wantRead("idle")
	})
}

func TestARewoundLogIsNoticedByAnyRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		h := newHub(t, Options{Log: log})
		commit(h, log, one, 5)
		w, other := newWatcherAtHead(t, h, one), newWatcherAtHead(t, h, one)
		w.wantRead("idle")
		log.restore(one, 3)
		other.Load(t.Context(), 5)
		w.wantWakes(1)
		w.wantRead("behind")
	})
}

func TestAHubThatHasLeftReadsNothingAndStillAnnounces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, 1)
		here := newWatcherAtHead(t, p.here, one)
		there := newWatcherAtHead(t, newHub(t, Options{Log: p.log, Bus: p.bus, Key: theKey}), one)
		here.wantRead("idle")
		there.wantRead("idle")
		p.here.Head(one, 100) // which it is about to read
		p.here.Leave()
		reads := p.log.countReads()
		wait(time.Minute)
		wantReads(t, p.log, reads)
		commit(p.here, p.log, one, 1)
		there.wantWakes(1)
	})
}
