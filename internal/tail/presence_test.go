package tail

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/internal/session"
)

func wantOnline(t *testing.T, h *Hub, want bool) {
	t.Helper()
	synctest.Wait()
	if got := h.Online(one, "users/ada"); got != want {
		t.Errorf("Online = %t, want %t", got, want)
	}
}

func TestPresenceIsToldToOtherNodes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, 1)
		first := newWatcher(t, p.here, one, 0)
		synctest.Wait()
		there := newHub(t, Options{Log: p.log, Bus: p.bus, Key: theKey})
		wantOnline(t, there, true) // it has asked
		told := len(p.bus.sent(session.UID{}))
		second := newWatcher(t, p.here, one, 0)
		first.Close()
		wantOnline(t, there, true)
		if n := len(p.bus.sent(session.UID{})) - told; n > 0 {
			t.Errorf("%d announcements of what changes nothing", n)
		}
		second.Close()
		wantOnline(t, there, false)
		newWatcher(t, p.here, one, 0)
		wantOnline(t, there, true)
		wait(time.Hour)
		wantOnline(t, there, true)
		p.here.Close()
		wantOnline(t, there, false)
	})
}

func TestPresenceOfALostNodeEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, 1)
		there := newHub(t, Options{Log: p.log, Bus: p.bus, Key: theKey})
		wait(5 * time.Second)
		newWatcher(t, p.here, one, 0)
		wantOnline(t, there, true)
		p.bus.setCarry(func(func()) {})
		wait(59 * time.Second)
		wantOnline(t, there, true)
		wait(2 * time.Second)
		wantOnline(t, there, false)
		wait(refreshTime)
		there.presence.mu.RLock()
		left := len(there.presence.remote)
		there.presence.mu.RUnlock()
		if left != 0 {
			t.Errorf("%d nodes are remembered, want none", left)
		}
	})
}

func TestALostJoinIsHealedByTheRefresh(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, 1)
		there := newHub(t, Options{Log: p.log, Bus: p.bus, Key: theKey})
		synctest.Wait()
		p.bus.setCarry(func(func()) {})
		newWatcher(t, p.here, one, 0)
		wantOnline(t, there, false)
		p.bus.setCarry(nil)
		wait(refreshTime)
		wantOnline(t, there, true)
	})
}

func TestPresenceNeedsTheKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, 1)
		newHub(t, Options{Log: p.log, Bus: p.bus, Key: []byte("another")})
		newWatcher(t, newHub(t, Options{Log: p.log, Bus: p.bus, Key: []byte("another")}), one, 0)
		wantOnline(t, p.here, false)
	})
}

func TestPresenceThatIsRepeatedChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, 1)
		there := newHub(t, Options{Log: p.log, Bus: p.bus, Key: theKey})
		synctest.Wait()
		before := len(p.bus.sent(session.UID{}))
		w := newWatcher(t, there, one, 0)
		wantOnline(t, p.here, true)
		here := p.bus.sent(session.UID{})[before]
		w.Close()
		wantOnline(t, p.here, false)
		p.bus.Announce(session.UID{}, here)
		wantOnline(t, p.here, false)
		wait(time.Hour)
		p.bus.Announce(session.UID{}, here)
		wantOnline(t, p.here, false)
	})
}

func TestNodesMeetWhenTheBusIsBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(t, 1)
		there := newHub(t, Options{Log: p.log, Bus: p.bus, Key: theKey})
		synctest.Wait()
		p.bus.setCarry(func(func()) {}) // the bus is away
		newWatcher(t, p.here, one, 0)
		newWatcher(t, there, two, 0)
		synctest.Wait()
		p.bus.setCarry(nil)
		wantOnline(t, there, false)
		p.here.Reconnected()
		wantOnline(t, there, true)
		if !p.here.Online(two, "users/ada") {
			t.Error("the node does not know who is at the other")
		}
	})
}

func TestReconnectedWithoutABusDoesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		newHub(t, Options{Log: newFakeLog()}).Reconnected()
	})
}
