package tail

import (
	"bytes"
	"slices"
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
		got, err := newPeers(theKey).decode(sealed(&want), e.UID)
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
		data := sealed(&a)
		i := rapid.IntRange(0, len(data)-1).Draw(rt, "place")
		if _, err := newPeers(theKey).decode(slices.Clone(data[:i]), e.UID); err == nil {
			rt.Errorf("decode of the first %d bytes succeeded", i)
		}
		data[i] ^= byte(1 << rapid.IntRange(0, 7).Draw(rt, "bit"))
		if _, err := newPeers(theKey).decode(data, e.UID); err == nil {
			rt.Errorf("decode succeeded with byte %d changed", i)
		}
	})
}

// sealed is the announcement as its node sends it.
func sealed(a *announcement) []byte { return a.encode(cipherOf(theKey, a.node)) }

// seal makes an announcement of any content.
func seal(content []byte) []byte {
	header := appendHeader(nil, nodeID{9}, 1)
	nonce, additional := bound(header, one)
	return cipherOf(theKey, nodeID{9}).Seal(header, nonce, content, additional)
}

func FuzzDecode(f *testing.F) {
	for _, a := range []announcement{
		{what: anEvent, uid: one, event: message(one, 4, 10)},
		{what: aSequence, uid: one, sequence: 4},
		{what: aPresence, uid: one, body: attendance{one, "ada"}.append([]byte{byte(presenceHere)})},
	} {
		_, _, content, err := newPeers(theKey).open(sealed(&a), one)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	p := newPeers(theKey)
	f.Fuzz(func(_ *testing.T, content []byte) {
		a, err := p.decode(seal(content), one)
		switch {
		case err != nil:
		case a.what == anEvent:
			a.event.JSON() // does not panic
		case a.what == aPresence:
			decodePresence(a.body)
		}
	})
}

// as is the announcement with another node's name on it.
func as(node nodeID, a *announcement) []byte {
	data := sealed(a)
	copy(data[1:], node[:])
	return data
}

// numbered is the announcement with another number on it.
func numbered(number byte, a *announcement) []byte {
	data := sealed(a)
	data[headerBytes-1] = number
	return data
}

func TestOnlyAnnouncementsOfOtherNodesWithTheKeyCount(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, 3)
		w := newWatcherAtHead(t, p.here, one)
		w.wantRead("idle")
		before := p.log.countReads()
		next := p.log.append(one, 1, 10)[0]
		for name, data := range map[string][]byte{
			"another key":      (&announcement{what: anEvent, node: nodeID{9}, uid: one, event: next}).encode(cipherOf([]byte("another"), nodeID{9})),
			"no key":           (&announcement{what: anEvent, node: nodeID{9}, uid: one, event: next}).encode(cipherOf(nil, nodeID{9})),
			"our own":          sealed(&announcement{what: anEvent, node: p.here.node, uid: one, event: next}),
			"another session":  sealed(&announcement{what: anEvent, node: nodeID{9}, uid: two, event: message(two, 4, 10)}),
			"a forged number":  (&announcement{what: aSequence, node: nodeID{9}, uid: one, sequence: 9}).encode(cipherOf([]byte("another"), nodeID{9})),
			"presence":         sealed(&announcement{what: aPresence, node: nodeID{9}, uid: one}),
			"another node's":   as(nodeID{8}, &announcement{what: anEvent, node: nodeID{9}, uid: one, event: next}),
			"another number":   numbered(7, &announcement{what: anEvent, node: nodeID{9}, uid: one, event: next}),
			"too short":        {1, 2, 3},
			"nothing":          nil,
			"another version":  append([]byte{sealVersion + 1}, sealed(&announcement{what: anEvent, node: nodeID{9}, uid: one, event: next})[1:]...),
			"an unknown thing": seal(append([]byte{byte(noSuchThing)}, make([]byte, 40)...)),
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

func TestNothingOfAMessageIsReadableOnTheBus(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bus := newFakeBus()
		h := newHub(t, Options{Log: newFakeLog(), Bus: bus, Key: theKey})
		e := message(one, 1, 0)
		e.MessageID, e.Document = "m-secret", []byte(`{"content":"hello secret"}`)
		h.Committed([]*session.Event{e})
		newWatcher(t, h, one, 0)
		synctest.Wait()
		for uid, least := range map[session.UID]int{one: 1, {}: 2} {
			sent := bus.sent(uid)
			if len(sent) < least {
				t.Errorf("%d announcements for %s, want %d", len(sent), uid, least)
			}
			for _, data := range sent {
				for _, plain := range []string{"secret", "hello", "content", "ada", string(one[:])} {
					if bytes.Contains(data, []byte(plain)) {
						t.Errorf("%q is readable in %q", plain, data)
					}
				}
			}
		}
	})
}

func TestTheSameIsSealedAnewEachTimeAndByEachRun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bus := newFakeBus()
		seen := make(map[string]bool)
		for range 2 { // runs of a node
			h := newHub(t, Options{Log: newFakeLog(), Bus: bus, Key: theKey})
			for range 100 {
				h.Committed([]*session.Event{ephemeral(one, 1)})
			}
			synctest.Wait()
		}
		for _, data := range bus.sent(one) {
			seen[string(data[headerBytes:len(data)-sealBytes])] = true
		}
		if len(seen) != 200 {
			t.Errorf("200 announcements of the same have %d different contents: a nonce was used twice with a key", len(seen))
		}
	})
}

func TestForgersAreNotRemembered(t *testing.T) {
	p := newPeers(theKey)
	for i := range 2 * maxPeers {
		node := nodeID{byte(i), byte(i >> 8), 1}
		a := announcement{what: aSequence, node: node, uid: one, sequence: 1}
		if _, err := p.decode(a.encode(cipherOf([]byte("another"), node)), one); err == nil {
			t.Fatal("decode of a forged announcement succeeded")
		}
	}
	if n := len(p.known); n != 0 {
		t.Errorf("%d forgers are remembered", n)
	}
	for i := range 2 * maxPeers {
		if _, err := p.decode(sealed(&announcement{what: aSequence, node: nodeID{byte(i), byte(i >> 8)}, uid: one, sequence: 1}), one); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(p.known); n != maxPeers {
		t.Errorf("%d nodes are remembered, want %d", n, maxPeers)
	}
}
