package tail

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/internal/session"
)

// pair is two nodes with one log, of which the first hears what the second announces.
type pair struct {
	log  *fakeLog
	bus  *fakeBus
	here *Hub
}

func newPair(t *testing.T, events int) *pair {
	p := &pair{log: newFakeLog(), bus: newFakeBus()}
	p.log.append(one, events, 10)
	p.here = newHub(t, Options{Log: p.log, Bus: p.bus, Key: theKey})
	return p
}

// announce has another node announce an event.
func (p *pair) announce(e *session.Event) {
	a := announcement{what: announcedAs(e), node: nodeID{9}, number: uint64(e.Time), uid: e.UID, event: e, sequence: e.Sequence}
	p.bus.Announce(e.UID, sealed(&a))
	synctest.Wait()
}

func TestAnnouncedEventsReachTheWatch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, 3)
		there := newHub(t, Options{Log: p.log, Bus: p.bus, Key: theKey})
		w, w2 := newWatcherAtHead(t, p.here, one), newWatcherAtHead(t, there, one)
		w.wantRead("idle")
		w2.wantRead("idle")
		commit(there, p.log, one, 2)
		there.Committed([]*session.Event{ephemeral(one, 1)})
		there.Committed(p.log.end(one, true))
		synctest.Wait()
		w.wantRead("4 5 ~1 6. idle")
		w2.wantRead("4 5 ~1 6. idle")
	})
}

func TestOldAnnouncementsAreIgnored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, 3)
		w := newWatcherAtHead(t, p.here, one)
		events := p.log.append(one, 1, 10)
		for range 3 {
			p.announce(events[0])
		}
		p.announce(message(one, 2, 10))
		whisper := ephemeral(one, 1)
		p.announce(whisper)
		p.announce(whisper)
		w.wantRead("4 ~1 idle")
		p.announce(events[0])
		w.wantRead("idle")
	})
}

func TestCrossedAnnouncementsAreNotRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, 3)
		w := newWatcherAtHead(t, p.here, one)
		w.wantRead("idle")
		before := p.log.countReads()
		events := p.log.append(one, 3, 10)
		p.announce(events[2])
		p.announce(events[1])
		w.wantRead("idle")
		wait(9 * time.Millisecond)
		p.announce(events[0])
		w.wantWakes(1)
		w.wantRead("4 5 6 idle")
		wait(time.Second)
		wantReads(t, p.log, before)
	})
}

func TestAHoleIsReadOnceAfter10Milliseconds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, 3)
		first, second := newWatcherAtHead(t, p.here, one), newWatcherAtHead(t, p.here, one)
		before := p.log.countReads()
		events := p.log.append(one, 5, 10)
		p.announce(events[1]) // 5
		wait(6 * time.Millisecond)
		p.announce(events[3]) // 7: the hole before 5 does not get more time
		wait(3 * time.Millisecond)
		first.wantRead("idle")
		second.wantRead("idle")
		wantReads(t, p.log, before)
		wait(2 * time.Millisecond)
		first.wantRead("4 5 6 7 8 idle")
		second.wantRead("4 5 6 7 8 idle")
		wait(time.Minute)
		wantReads(t, p.log, before+1)
	})
}

func TestEachHoleHasItsTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, 3)
		w := newWatcherAtHead(t, p.here, one)
		before := p.log.countReads()
		events := p.log.append(one, 4, 10)
		p.announce(events[1]) // 5
		wait(8 * time.Millisecond)
		p.announce(events[3]) // 7
		p.announce(events[0]) // 4: another hole is the first now, at 6
		wait(8 * time.Millisecond)
		p.announce(events[2])
		w.wantRead("4 5 6 7 idle")
		wait(time.Second)
		wantReads(t, p.log, before)
	})
}

func TestHeadFindsWhatWasNotAnnounced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, 3)
		w := newWatcherAtHead(t, p.here, one)
		w.wantRead("idle")
		before := p.log.countReads()
		p.here.Head(one, 3)
		p.here.Head(two, 3)
		wait(time.Second)
		wantReads(t, p.log, before)
		p.log.append(one, 2, 10)
		p.here.Head(one, 5)
		w.wantWakes(0)
		wait(11 * time.Millisecond)
		w.wantWakes(1)
		w.wantRead("4 5 idle")
		wantReads(t, p.log, before+1)
	})
}

func TestLargeEventsAreAnnouncedAsNumbers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, 3)
		there := newHub(t, Options{Log: p.log, Bus: p.bus, Key: theKey})
		w := newWatcherAtHead(t, p.here, one)
		there.Committed(p.log.append(one, 1, 64<<10))
		synctest.Wait()
		if sent := p.bus.sent(one); len(sent) != 1 || len(sent[0]) > 200 {
			t.Errorf("announced %d times, %d bytes; want a short one", len(sent), len(sent[0]))
		}
		w.wantRead("idle")
		wait(11 * time.Millisecond)
		w.wantRead("4 idle")
		there.Committed(p.log.append(one, 1, 60<<10))
		synctest.Wait()
		w.wantRead("5 idle")

		whisper := message(one, 0, 100<<10)
		there.Committed([]*session.Event{whisper})
		synctest.Wait()
		w.wantRead("~0 idle")
	})
}

func TestAFailedReadIsRepeated(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, 3)
		w := newWatcherAtHead(t, p.here, one)
		w.wantRead("idle")
		p.log.append(one, 1, 10)
		p.log.fail(errBoom)
		p.here.Head(one, 4)
		wait(500 * time.Millisecond)
		p.log.fail(nil)
		w.wantWakes(0)
		wait(600 * time.Millisecond)
		w.wantWakes(1)
		w.wantRead("4 idle")
	})
}

func TestALargeHoleIsLeftToLoad(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, 3)
		w := newWatcherAtHead(t, p.here, one)
		w.wantRead("idle")
		p.log.append(one, 1000, 10)
		p.here.Head(one, 1003)
		wait(11 * time.Millisecond)
		w.wantWakes(1)
		w.wantRead("behind")
		newWatcher(t, p.here, one, 1003).wantRead("idle")
	})
}

func TestAHoleWhoseEventsAreGone(t *testing.T) {
	for _, test := range []struct {
		name string
		lose func(l *fakeLog)
		next int64 // the first event that is left
		want string
	}{
		{"trimmed", func(l *fakeLog) { l.trim(one, 6) }, 7, "7 8 idle"},
		{"ended", func(l *fakeLog) { l.end(one, false) }, 9, "9. idle"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := newPair(t, 3)
				w := newWatcherAtHead(t, p.here, one)
				w.wantRead("idle")
				p.log.append(one, 5, 10)
				test.lose(p.log)
				p.here.Head(one, 8)
				wait(11 * time.Millisecond)
				w.wantWakes(1)
				w.wantRead("behind")
				w.place.Sequence = test.next - 1
				w.wantRead(test.want)
			})
		})
	}
}

func TestASessionWithoutATraceIsLeftToLoad(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, 3)
		w := newWatcherAtHead(t, p.here, one)
		w.wantRead("idle")
		p.log.mu.Lock()
		delete(p.log.sessions, one)
		p.log.mu.Unlock()
		p.here.Head(one, 4)
		wait(11 * time.Millisecond)
		w.wantWakes(1)
		w.wantRead("behind")
	})
}

func TestASpreadBusHasTheLogReadAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log, bus := newFakeLog(), newFakeBus()
		log.append(one, 3, 10)
		h := newHub(t, Options{Log: log, Bus: bus, Key: theKey, Spread: true})
		w := newWatcherAtHead(t, h, one)
		w.wantRead("idle")
		for i, d := range []int{49, 199, 749} {
			before := log.countReads()
			log.append(one, 1, 10) // nobody is told
			wait(time.Duration(d) * time.Millisecond)
			wantReads(t, log, before)
			w.wantWakes(i)
			wait(time.Millisecond)
			w.wantWakes(i + 1)
			wantReads(t, log, before+1)
			w.wantRead(describe(message(one, int64(4+i), 0)) + " idle")
		}
		before := log.countReads()
		wait(time.Hour)
		wantReads(t, log, before)
	})
}

func TestARewoundLogIsNoticedByFillingAHole(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, 3)
		w := newWatcherAtHead(t, p.here, one)
		w.wantRead("idle")
		p.log.restore(one, 2)
		p.here.Head(one, 4)
		wait(11 * time.Millisecond)
		w.wantWakes(1)
		w.wantRead("behind")
	})
}
