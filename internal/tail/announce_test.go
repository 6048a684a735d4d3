package tail

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/parleyhq/parley/internal/session"
)

func drawEvent(rt *rapid.T) *session.Event {
	return &session.Event{
		UID:       session.UID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(rt, "uid")),
		ID:        rapid.String().Draw(rt, "id"),
		Kind:      session.EventKind(rapid.IntRange(int(session.SessionCreated), int(session.MessagePublished)).Draw(rt, "kind")),
		Sequence:  rapid.Int64Min(0).Draw(rt, "sequence"),
		Time:      session.Time(rapid.Int64().Draw(rt, "time")),
		Actor:     rapid.String().Draw(rt, "actor"),
		Channel:   rapid.Int32().Draw(rt, "channel"),
		MessageID: rapid.String().Draw(rt, "message"),
		Document:  rapid.OneOf(rapid.Just[[]byte](nil), rapid.SliceOfN(rapid.Byte(), 1, -1)).Draw(rt, "document"),
		Gap:       rapid.Bool().Draw(rt, "gap"),
	}
}

var sameEvent = cmpopts.IgnoreUnexported(session.Event{})

func TestAnAnnouncedEventIsTheSame(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e := drawEvent(rt)
		want := announcement{what: anEvent, node: nodeID{7}, number: rapid.Uint64().Draw(rt, "number"), uid: e.UID, event: e}
		got, err := decode(want.encode(theKey), theKey)
		if err != nil {
			rt.Fatalf("decode: %v", err)
		}
		if got.what != want.what || got.node != want.node || got.number != want.number || got.uid != want.uid {
			rt.Errorf("decode = %+v, want %+v", got, want)
		}
		if diff := cmp.Diff(e, got.event, sameEvent); diff != "" {
			rt.Errorf("the event (-want +got):\n%s", diff)
		}
	})
}

func TestAnAnnouncementCanNotBeChanged(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e := drawEvent(rt)
		a := announcement{what: anEvent, uid: e.UID, event: e}
		data := a.encode(theKey)
		i := rapid.IntRange(0, len(data)-1).Draw(rt, "place")
		if _, err := decode(data[:i], theKey); err == nil {
			rt.Errorf("decode of the first %d bytes succeeded", i)
		}
		data[i] ^= byte(1 << rapid.IntRange(0, 7).Draw(rt, "bit"))
		if _, err := decode(data, theKey); err == nil {
			rt.Errorf("decode succeeded with byte %d changed", i)
		}
	})
}

// sign makes an announcement of any bytes.
func sign(body []byte) []byte { return append(sumOf(body, theKey), body...) }

func FuzzDecode(f *testing.F) {
	a := announcement{what: anEvent, uid: one, event: message(one, 4, 10)}
	f.Add(a.encode(theKey)[32:])
	a = announcement{what: aSequence, uid: one, sequence: 4}
	f.Add(a.encode(theKey)[32:])
	a = announcement{what: aPresence, body: attendance{one, "ada"}.append([]byte{byte(presenceHere)})}
	f.Add(a.encode(theKey)[32:])
	f.Fuzz(func(_ *testing.T, body []byte) {
		a, err := decode(sign(body), theKey)
		switch {
		case err != nil:
		case a.what == anEvent:
			a.event.JSON() // does not panic
		case a.what == aPresence:
			decodePresence(a.body)
		}
	})
}

func TestOnlyAnnouncementsOfOtherNodesWithTheKeyCount(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, 3)
		w := newWatcherAtHead(t, p.here, one)
		w.wantRead("idle")
		before := p.log.countReads()
		next := p.log.append(one, 1, 10)[0]
		for name, data := range map[string][]byte{
			"another key":      (&announcement{what: anEvent, node: nodeID{9}, uid: one, event: next}).encode([]byte("another")),
			"no key":           (&announcement{what: anEvent, node: nodeID{9}, uid: one, event: next}).encode(nil),
			"our own":          (&announcement{what: anEvent, node: p.here.node, uid: one, event: next}).encode(theKey),
			"another session":  (&announcement{what: anEvent, node: nodeID{9}, uid: two, event: message(two, 4, 10)}).encode(theKey),
			"a forged number":  (&announcement{what: aSequence, node: nodeID{9}, uid: one, sequence: 9}).encode([]byte("another")),
			"presence":         (&announcement{what: aPresence, node: nodeID{9}, uid: one}).encode(theKey),
			"too short":        {1, 2, 3},
			"nothing":          nil,
			"another version":  sign([]byte{announceVersion + 1, byte(anEvent)}),
			"an unknown thing": sign(append([]byte{announceVersion, byte(noSuchThing)}, make([]byte, 40)...)),
		} {
			p.bus.Announce(one, data)
			wait(time.Second)
			w.wantWakes(0)
			if got := w.read(); got != "idle" {
				t.Errorf("%s: Next = %s, want idle", name, got)
			}
		}
		wantReads(t, p.log, before)
		p.announce(next)
		w.wantRead("4 idle")
	})
}

func TestNothingIsAnnouncedWithoutABus(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, Options{Log: newFakeLog()})
		if h.outbox != nil {
			t.Error("there is an outbox, and no bus")
		}
	})
}

func TestNothingIsAnnouncedToNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bus := newFakeBus()
		h := newHub(t, Options{Log: newFakeLog(), Bus: bus, Key: theKey})
		for i, alone := range []bool{false, true, false} {
			bus.mu.Lock()
			bus.alone = alone
			bus.mu.Unlock()
			h.Committed([]*session.Event{message(one, int64(i+1), 10)})
			synctest.Wait()
		}
		if n := len(bus.sent(one)); n != 2 {
			t.Errorf("%d events were announced, want the 2 that another node could hear", n)
		}
	})
}

func TestAFullOutboxLosesAnnouncementsAndNoMemory(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bus, resume := newFakeBus(), make(chan struct{})
		bus.setCarry(func(func()) { <-resume })
		bus.Listen(one, func([]byte) {})
		h := newHub(t, Options{Log: newFakeLog(), Bus: bus, Key: theKey})
		for i := range int64(1000) {
			h.Committed([]*session.Event{message(one, i+1, 60<<10)})
		}
		synctest.Wait()
		if got := h.outbox.bytes; got > maxOutboxBytes+200<<10 {
			t.Errorf("the outbox holds %d bytes", got)
		}
		close(resume)
		synctest.Wait()
		if n := len(bus.sent(one)); n < 100 || n == 1000 {
			t.Errorf("%d of 1,000 events were announced", n)
		}
	})
}
