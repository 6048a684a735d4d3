package storetest

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/session"
)

// testCommitted holds an engine to what it says of Options.Committed.
func testCommitted(t *testing.T, open Opener) {
	t.Run("in order, durable, and before the answer", testTold(open))
	t.Run("nothing of what was refused", func(t *testing.T) {
		var told recorder
		store := open(t, Options{Dir: t.TempDir(), Now: NewClock().Now, Committed: told.committed})
		record := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		err := store.Write(t.Context(), &session.Write{ID: "s", Decide: func(v *session.View) (session.Change, error) {
			return ending(v, session.Digest{}), errMissing
		}})
		if !errors.Is(err, errMissing) {
			t.Errorf("Write = %v, want %v", err, errMissing)
		}
		look(t, store, "s", session.RequestKey{})
		wantEvents(t, []*session.Event{record.Created()}, told.all())
	})
	t.Run("the end", func(t *testing.T) {
		var told recorder
		store := open(t, Options{Dir: t.TempDir(), Now: NewClock().Now, Committed: told.committed})
		record := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		if err := End(t.Context(), store, "s"); err != nil {
			t.Fatal(err)
		}
		wantEvents(t, []*session.Event{record.Created(), readLog(t, store, record.UID, 0).End}, told.all())
	})
	t.Run("expiry", func(t *testing.T) {
		var told recorder
		clock := NewClock()
		store := open(t, Options{Dir: t.TempDir(), Now: clock.Now, Committed: told.committed})
		record := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1"), Lifetime: time.Minute}).Create(t.Context(), store))
		said := say(t, store, "s", "user-1", "a")
		clock.Advance(2 * time.Minute)
		wantSession(t, store, "s", nil)
		for log := readLog(t, store, record.UID, 0); log.End == nil; log = readLog(t, store, record.UID, 0) {
			if log.Record == nil || !log.Expired || log.Record.Head.Sequence != 2 {
				t.Fatalf("Log = %+v, want what has expired until its end is there", log)
			}
		}
		eventually(t, "the session's end is told", func() bool { return len(told.ofKind(session.SessionExpired)) > 0 })
		log := readLog(t, store, record.UID, 0)
		if log.Record != nil || log.End == nil || log.End.Sequence != 3 || log.End.Kind != session.SessionExpired || log.End.Actor != "" {
			t.Fatalf("Log = %+v, want the end of what expired, 3", log)
		}
		wantEvents(t, []*session.Event{record.Created(), said[0], log.End}, told.all())
	})
	t.Run("expiry, once", testExpiredOnce(open))
}

// testTold looks, at the time when an event is told, whether readers find it; and, when its writer is answered,
// whether it was told.
func testTold(open Opener) func(t *testing.T) {
	return func(t *testing.T) {
		const writers, rounds = 8, 10
		var told recorder
		var store session.Store
		store = open(t, Options{Dir: t.TempDir(), Now: NewClock().Now, Committed: func(events []*session.Event) {
			for _, ev := range events {
				log, err := store.Log(t.Context(), ev.UID, ev.Sequence-1, 1, 1)
				if err != nil || len(log.Events) != 1 || log.Events[0].Sequence != ev.Sequence {
					t.Errorf("the event %d is told, and readers find %+v, %v", ev.Sequence, log, err)
				}
			}
			told.committed(events)
		}})
		errs := inParallel(writers, func(writer int) error {
			id := strconv.Itoa(writer / 2)
			_, err := (&Creation{ID: id, Spec: publicSpec("user-1")}).Create(t.Context(), store)
			if err != nil && !errors.Is(err, errTaken) {
				return err
			}
			for range rounds {
				event, err := (&Publication{User: strconv.Itoa(writer), Text: "x"}).Publish(t.Context(), store, id)
				if err != nil {
					return err
				}
				if all := told.all(); !contains(all, event) {
					t.Errorf("the event %d of %s is answered, and is not told yet", event.Sequence, id)
				}
			}
			return nil
		})
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		bySession := make(map[session.UID][]*session.Event)
		for _, ev := range told.all() {
			bySession[ev.UID] = append(bySession[ev.UID], ev)
		}
		for uid, events := range bySession {
			wantUnbroken(t, events)
			wantEvents(t, readLog(t, store, uid, 0).Events, events)
		}
		if len(bySession) != writers/2 {
			t.Errorf("events of %d sessions are told, want %d", len(bySession), writers/2)
		}
	}
}

func contains(events []*session.Event, wanted *session.Event) bool {
	for _, ev := range events {
		if ev.UID == wanted.UID && ev.Sequence == wanted.Sequence {
			return true
		}
	}
	return false
}

// testExpiredOnce has many creates of one id come when its session has expired, while the store may sweep it.
func testExpiredOnce(open Opener) func(t *testing.T) {
	return func(t *testing.T) {
		var told recorder
		clock := NewClock()
		store := open(t, Options{Dir: t.TempDir(), Now: clock.Now, Committed: told.committed})
		const rounds = 20
		var records []*session.Record
		for range rounds {
			records = append(records, must(t)((&Creation{ID: "s", Spec: publicSpec("user-1"), Lifetime: time.Minute}).Create(t.Context(), store)))
			say(t, store, "s", "user-1", "a")
			clock.Advance(2 * time.Minute)
		}
		eventually(t, "all ends are told", func() bool { return len(told.ofKind(session.SessionExpired)) >= rounds })
		var want []*session.Event
		for _, record := range records { // they had one id, so each begins after the one before has ended
			end := readLog(t, store, record.UID, 0).End
			if end == nil || end.Kind != session.SessionExpired || end.Sequence != 3 {
				t.Fatalf("%v has the end %+v, want it expired, 3", record.UID, end)
			}
			want = append(want, record.Created(), end)
		}
		got := slices.DeleteFunc(told.all(), func(ev *session.Event) bool { return ev.Kind == session.MessagePublished })
		wantEvents(t, want, got)
	}
}
