package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
)

func testLog(t *testing.T, open Opener) {
	t.Run("heads", func(t *testing.T) {
		store, _ := openFresh(t, open)
		record := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		wantHead(t, store, record, session.Head{Sequence: 1})
		said := say(t, store, "s", "user-1", "a", "b")
		wantHead(t, store, record, session.Head{Sequence: 3, LastMessageTime: said[1].Time})
		if _, err := Join(t.Context(), store, "s", "user-2"); err != nil {
			t.Fatal(err)
		}
		wantHead(t, store, record, session.Head{Sequence: 4, Members: 1, LastMessageTime: said[1].Time})
		updated := must(t)(Update(t.Context(), store, "s", func(s *session.Spec) { s.DisplayName = "new" }))
		wantHead(t, store, record, session.Head{Sequence: 4, Members: 1, LastMessageTime: said[1].Time})
		wantSession(t, store, "s", updated)
	})
	t.Run("no holes under concurrency", testSequences(open))
	t.Run("a part of it", testLogParts(open))
	t.Run("a part of a long one", testLongLog(open))
	t.Run("a hole is refused", func(t *testing.T) {
		store, _ := openFresh(t, open)
		record := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		err := store.Write(t.Context(), &session.Write{ID: "s", Decide: func(v *session.View) (session.Change, error) {
			after := *v.Current
			after.Head.Sequence = 3
			hole := &session.Event{UID: after.UID, ID: "s", Kind: session.SessionUpdated, Sequence: 3, Time: v.Now}
			return session.Change{Kind: session.Append, Record: &after, Events: []*session.Event{hole}}, nil
		}})
		if !fault.Is(err, fault.Internal) {
			t.Errorf("Write = %v, want an internal fault", err)
		}
		wantHead(t, store, record, session.Head{Sequence: 1})
		say(t, store, "s", "user-1", "a")
	})
	t.Run("of an ephemeral message", func(t *testing.T) {
		var told recorder
		store := open(t, Options{Dir: t.TempDir(), Now: NewClock().Now, Committed: told.committed})
		record := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		publication := Publication{User: "user-1", Text: "a", Ephemeral: true, Request: session.RequestKey{1}}
		event, err := publication.Publish(t.Context(), store, "s")
		if err != nil {
			t.Fatal(err)
		}
		wantHead(t, store, record, session.Head{Sequence: 1})
		wantEvents(t, []*session.Event{record.Created()}, readLog(t, store, record.UID, 0).Events)
		wantEvents(t, []*session.Event{record.Created(), event}, told.all())
		want := session.Earlier{UID: record.UID, Time: event.Time}
		if seen := look(t, store, "s", session.RequestKey{1}); seen.Earlier == nil || *seen.Earlier != want {
			t.Errorf("Earlier = %+v, want %+v", seen.Earlier, want)
		}
	})
	t.Run("of a session that ended", testEndedLog(open))
	t.Run("a write that moves the deadline", func(t *testing.T) {
		store, clock := openFresh(t, open)
		must(t)((&Creation{ID: "s", Spec: publicSpec("user-1"), Lifetime: time.Minute}).Create(t.Context(), store))
		event, err := (&Publication{User: "user-1", Text: "a", Lifetime: time.Hour}).Publish(t.Context(), store, "s")
		if err != nil {
			t.Fatal(err)
		}
		clock.Advance(59 * time.Minute)
		got, _, err := store.Get(t.Context(), "s", "")
		if err != nil || got == nil || got.ExpireTime != event.Time.Add(time.Hour) {
			t.Errorf("Get = %v, %v, want the session, with the later deadline", got, err)
		}
		clock.Advance(2 * time.Minute)
		wantSession(t, store, "s", nil)
	})
}

// testSequences has many writers publish in a few sessions at the same time.
func testSequences(open Opener) func(t *testing.T) {
	return func(t *testing.T) {
		const writers, rounds, rooms = 16, 30, 3
		store, _ := openFresh(t, open)
		records := make([]*session.Record, rooms)
		for i := range records {
			records[i] = must(t)((&Creation{ID: strconv.Itoa(i), Spec: publicSpec("user-1")}).Create(t.Context(), store))
		}
		published := make([][]*session.Event, writers)
		errs := inParallel(writers, func(writer int) error {
			for round := range rounds {
				publication := Publication{User: strconv.Itoa(writer), Text: strconv.Itoa(round)}
				event, err := publication.Publish(t.Context(), store, strconv.Itoa(writer%rooms))
				if err != nil {
					return err
				}
				published[writer] = append(published[writer], event)
			}
			return nil
		})
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		for room, record := range records {
			wantUnbroken(t, readLog(t, store, record.UID, 0).Events)
			got := make(map[string][]*session.Event)
			for _, event := range readLog(t, store, record.UID, 1).Events {
				got[event.Actor] = append(got[event.Actor], event)
			}
			for writer := room; writer < writers; writer += rooms {
				wantEvents(t, published[writer], got[strconv.Itoa(writer)])
			}
		}
	}
}

// wantUnbroken checks that a log is whole: each sequence once, and times that ascend.
func wantUnbroken(t *testing.T, events []*session.Event) {
	t.Helper()
	last := session.Time(0)
	for i, event := range events {
		if event.Sequence != int64(i+1) || event.Time <= last {
			t.Fatalf("event %d has the sequence %d and the time %v, after %v", i+1, event.Sequence, event.Time, last)
		}
		last = event.Time
	}
}

func testLogParts(open Opener) func(t *testing.T) {
	return func(t *testing.T) {
		store, _ := openFresh(t, open)
		record := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1"), Creator: "user-1"}).Create(t.Context(), store))
		want := []*session.Event{record.Created()}
		want = append(want, say(t, store, "s", "user-1", "a", strings.Repeat("b", 5000), "ü", "d", "e")...)
		for _, c := range []struct {
			after       int64
			limit, size int
			want        []*session.Event
		}{
			{0, 100, 1 << 20, want},
			{1, 100, 1 << 20, want[1:]},
			{0, 1, 1 << 20, want[:1]},
			{1, 2, 1 << 20, want[1:3]},
			{5, 2, 1 << 20, want[5:]},
			{6, 2, 1 << 20, nil},
			{7, 2, 1 << 20, nil}, // beyond the head
			{0, 100, 1, want[:1]},
			{2, 100, 1, want[2:3]},
			{1, 100, want[1].Size() + want[2].Size() - 1, want[1:3]},
		} {
			t.Run(fmt.Sprintf("after %d, at most %d and %d bytes", c.after, c.limit, c.size), func(t *testing.T) {
				log, err := store.Log(t.Context(), record.UID, c.after, c.limit, c.size)
				if err != nil {
					t.Fatal(err)
				}
				wantEvents(t, c.want, log.Events)
				if log.Record == nil || log.Record.Head.Sequence != 6 || log.First != 1 || log.End != nil {
					t.Errorf("Log = %+v, want the session, the first sequence 1, and no end", log)
				}
			})
		}
		for name, uid := range map[string]session.UID{
			"none": {}, "another with the same time": session.NewUID(record.CreateTime, 1), "a later one": session.NewUID(record.CreateTime+1, 1),
		} {
			if diff := cmp.Diff(&session.Log{}, readLog(t, store, uid, 0), sameEvents); diff != "" {
				t.Errorf("the log of an unknown session, %s (-want +got):\n%s", name, diff)
			}
		}
	}
}

// testLongLog reads a log, that lies between the events of another one, after every sequence.
func testLongLog(open Opener) func(t *testing.T) {
	return func(t *testing.T) {
		const messages, limit = 150, 70
		store, _ := openFresh(t, open)
		record := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		must(t)((&Creation{ID: "other", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		want := []*session.Event{record.Created()}
		for i := range messages {
			want = append(want, say(t, store, "s", "user-1", strconv.Itoa(i))...)
			say(t, store, "other", "user-1", "x")
		}
		for after := range want {
			log, err := store.Log(t.Context(), record.UID, int64(after), limit, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			wantEvents(t, want[after:min(after+limit, len(want))], log.Events)
		}
		for _, message := range want[1:] {
			wantMessage(t, store, record.UID, message.MessageName(), message)
		}
		for _, size := range []int{1, 63, 64, 65, messages} {
			for _, descending := range []bool{false, true} {
				got := allMessages(t, store, &session.MessageQuery{UID: record.UID, Size: size, Descending: descending})
				if diff := cmp.Diff(turned(texts(want[1:]), descending), texts(got)); diff != "" {
					t.Errorf("messages in pages of %d, descending %v (-want +got):\n%s", size, descending, diff)
				}
			}
		}
	}
}

func testEndedLog(open Opener) func(t *testing.T) {
	return func(t *testing.T) {
		store, _ := openFresh(t, open)
		for _, id := range []string{"s", ""} {
			record := must(t)((&Creation{ID: id, Spec: publicSpec("user-1")}).Create(t.Context(), store))
			say(t, store, record.ID, "user-1", "a", "b")
			if err := End(t.Context(), store, record.ID); err != nil {
				t.Fatal(err)
			}
			log := readLog(t, store, record.UID, 0)
			if log.Record != nil || log.End == nil || log.First < 2 || log.First > 4 {
				t.Fatalf("Log = %+v, want an end, no session, and what is kept", log)
			}
			want := &session.Event{
				UID: record.UID, ID: record.ID, Kind: session.SessionDeleted, Sequence: 4, Time: log.End.Time, Actor: "user-1",
			}
			wantEvents(t, []*session.Event{want}, []*session.Event{log.End})
			if log.End.Time <= record.CreateTime {
				t.Errorf("the session ended at %v, and began at %v", log.End.Time, record.CreateTime)
			}
			for i, event := range log.Events { // they may be gone, the oldest first
				if event.Sequence != log.First+int64(i) || event.ID != record.ID {
					t.Errorf("event %d is %d of %s, want %d of %s", i, event.Sequence, event.ID, log.First+int64(i), record.ID)
				}
			}
			if other := readLog(t, store, session.NewUID(record.CreateTime, 1), 0); other.End != nil {
				t.Errorf("another uid with the same time has the end %+v", other.End)
			}
			if id == "" {
				continue
			}
			again := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
			wantEvents(t, []*session.Event{again.Created()}, readLog(t, store, again.UID, 0).Events)
		}
	}
}

// testTrim publishes more than is to be kept.
func testTrim(t *testing.T, open Opener) {
	limited := func(options string) session.Spec {
		spec := publicSpec("user-1")
		spec.Options = []byte(options)
		return spec
	}
	texts := strings.Split(strings.Repeat("x", 30), "")
	first := func(store session.Store, uid session.UID, want int64) func() bool {
		return func() bool { return readLog(t, store, uid, 0).First == want }
	}
	t.Run("by size", func(t *testing.T) {
		store, _ := openFresh(t, open)
		record := must(t)((&Creation{ID: "s", Spec: limited(`{"historySize":10}`)}).Create(t.Context(), store))
		said := say(t, store, "s", "user-1", texts...)
		eventually(t, "10 events are kept", first(store, record.UID, 22))
		wantEvents(t, said[20:], readLog(t, store, record.UID, 0).Events)
		said = append(said, say(t, store, "s", "user-1", "a", "b")...)
		eventually(t, "again", first(store, record.UID, 24))
		if message, err := store.Message(t.Context(), record.UID, said[0].MessageName()); message != nil || err != nil {
			t.Errorf("a trimmed message: %v, %v", message, err)
		}
		must(t)(Update(t.Context(), store, "s", func(s *session.Spec) { *s = limited(`{"historySize":3}`) }))
		eventually(t, "3 events are kept", first(store, record.UID, 31))
		wantEvents(t, said[29:], readLog(t, store, record.UID, 0).Events)
	})
	t.Run("by age", func(t *testing.T) {
		store, clock := openFresh(t, open)
		record := must(t)((&Creation{ID: "s", Spec: limited(`{"historyTtl":"60s"}`)}).Create(t.Context(), store))
		said := say(t, store, "s", "user-1", texts...)
		clock.Advance(30 * time.Second)
		said = append(said, say(t, store, "s", "user-1", "later")...)
		clock.Advance(45 * time.Second)
		eventually(t, "the older ones are gone", first(store, record.UID, 32))
		wantEvents(t, said[30:], readLog(t, store, record.UID, 0).Events)
		clock.Advance(45 * time.Second)
		eventually(t, "all are gone", first(store, record.UID, 33))
		wantHead(t, store, record, session.Head{Sequence: 32, LastMessageTime: said[30].Time})
		said = append(said, say(t, store, "s", "user-1", "last")...)
		wantEvents(t, said[31:], readLog(t, store, record.UID, 0).Events)
		clock.Advance(2 * time.Minute)
		eventually(t, "the last one is gone", first(store, record.UID, 34))
	})
	t.Run("once an update asks for it", func(t *testing.T) {
		store, clock := openFresh(t, open)
		record := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		say(t, store, "s", "user-1", texts...)
		clock.Advance(time.Hour)
		must(t)(Update(t.Context(), store, "s", func(s *session.Spec) { *s = limited(`{"historyTtl":"60s"}`) }))
		eventually(t, "all are gone", first(store, record.UID, 32))
	})
}
