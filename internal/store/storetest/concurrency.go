package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/session"
)

func testConcurrency(t *testing.T, open Opener) {
	t.Run("a refused write fails alone", func(t *testing.T) {
		store, _ := openFresh(t, open)
		must(t)((&Creation{ID: "s-50", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		records, errs := createMany(t, store, 100)
		for i, err := range errs {
			switch id := "s-" + strconv.Itoa(i); {
			case i == 50 && !errors.Is(err, errTaken):
				t.Errorf("the write that is to be refused: %v", err)
			case i != 50 && err != nil:
				t.Errorf("a write beside the refused one: %v", err)
			case i != 50:
				wantSession(t, store, id, records[i])
			}
		}
	})
	t.Run("no two writes have one time", func(t *testing.T) {
		store, _ := openFresh(t, open)
		records, errs := createMany(t, store, 200)
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		seen := make(map[session.Time]string)
		for _, r := range records {
			if other, has := seen[r.CreateTime]; has {
				t.Errorf("%s and %s were both created at %v", other, r.ID, r.CreateTime)
			}
			seen[r.CreateTime] = r.ID
		}
	})
	t.Run("of many creates of one id, one succeeds", func(t *testing.T) {
		store, _ := openFresh(t, open)
		results := inParallel(50, func(i int) error {
			_, err := (&Creation{ID: "s", Spec: publicSpec(strconv.Itoa(i))}).Create(t.Context(), store)
			return err
		})
		made := 0
		for _, err := range results {
			if err == nil {
				made++
			} else if !errors.Is(err, errTaken) {
				t.Error(err)
			}
		}
		if made != 1 {
			t.Errorf("%d creates succeeded, want 1", made)
		}
	})
	t.Run("one request runs once", func(t *testing.T) {
		store, _ := openFresh(t, open)
		uids := make([]session.UID, 50)
		results := inParallel(len(uids), func(i int) error {
			create := Creation{Spec: publicSpec("user-1"), Request: session.RequestKey{1}}
			record, err := create.Create(t.Context(), store)
			if err == nil {
				uids[i] = record.UID
			}
			return err
		})
		if err := errors.Join(results...); err != nil {
			t.Fatal(err)
		}
		for _, uid := range uids {
			if uid != uids[0] {
				t.Fatalf("one request made %v and %v", uids[0], uid)
			}
		}
		if got := listAll(t, store, &session.Query{All: true, Size: 100}); len(got) != 1 {
			t.Errorf("one request left %d sessions", len(got))
		}
	})
	t.Run("updates of one session follow one another", testUpdatesInOrder(open))
}

// testUpdatesInOrder has each of many writers append its mark many times: none may be lost, and those of one writer,
// which arrive one after the other, stand in their order.
func testUpdatesInOrder(open Opener) func(t *testing.T) {
	return func(t *testing.T) {
		const writers, rounds = 16, 10
		store, _ := openFresh(t, open)
		must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		results := inParallel(writers, func(writer int) error {
			for round := range rounds {
				mark := fmt.Sprintf("%d-%d", writer, round)
				_, err := Update(t.Context(), store, "s", func(s *session.Spec) { s.AllowedUsers = append(s.AllowedUsers, mark) })
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err := errors.Join(results...); err != nil {
			t.Fatal(err)
		}
		record, _, err := store.Get(t.Context(), "s", "")
		if err != nil {
			t.Fatal(err)
		}
		spec, err := record.Spec()
		if err != nil {
			t.Fatal(err)
		}
		want, got := make(map[string][]string), make(map[string][]string)
		for writer := range writers {
			for round := range rounds {
				name := strconv.Itoa(writer)
				want[name] = append(want[name], fmt.Sprintf("%d-%d", writer, round))
			}
		}
		for _, mark := range spec.AllowedUsers {
			var writer, round int
			if _, err := fmt.Sscanf(mark, "%d-%d", &writer, &round); err != nil {
				t.Fatal(err)
			}
			name := strconv.Itoa(writer)
			got[name] = append(got[name], mark)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("marks by writer (-want +got):\n%s", diff)
		}
	}
}

// createMany creates the sessions s-0, s-1 and so on at the same time.
func createMany(t *testing.T, store session.Store, n int) ([]*session.Record, []error) {
	t.Helper()
	records := make([]*session.Record, n)
	errs := inParallel(n, func(i int) (err error) {
		records[i], err = (&Creation{ID: "s-" + strconv.Itoa(i), Spec: publicSpec("user-1")}).Create(t.Context(), store)
		return err
	})
	return records, errs
}

// inParallel calls do with 0 to n-1 at the same time, and returns its errors.
func inParallel(n int, do func(i int) error) []error {
	errs := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { errs[i] = do(i) })
	}
	group.Wait()
	return errs
}

// testReopen finds everything again.
func testReopen(t *testing.T, open Opener) {
	const sessions = 300
	options := Options{Dir: t.TempDir(), Now: NewClock().Now}
	request := session.RequestKey{1}
	var want []*session.Record
	var log []*session.Event
	var member *session.Member
	t.Run("write", func(t *testing.T) {
		store := open(t, options)
		for i := range sessions {
			create := Creation{ID: "s-" + strconv.Itoa(i), Spec: fullSpec()}
			if i == 0 {
				create.Request = request
			}
			want = append(want, must(t)(create.Create(t.Context(), store)))
		}
		for i := 0; i < sessions; i += 7 {
			want[i] = must(t)(Update(t.Context(), store, want[i].ID, func(s *session.Spec) { s.DisplayName = "new"; s.Owners = []string{"new"} }))
		}
		if err := End(t.Context(), store, "s-299"); err != nil {
			t.Fatal(err)
		}
		member = mustJoin(t, store, "s-1", "user-9", 1, 2)
		say(t, store, "s-1", "user-9", "a", "b")
		log = readLog(t, store, want[1].UID, 0).Events
	})
	t.Run("read", func(t *testing.T) {
		store := open(t, options)
		last := log[len(log)-1]
		want[1].Head = session.Head{Sequence: 4, Members: 1, LastMessageTime: last.Time}
		for _, record := range want[:sessions-1] {
			wantSession(t, store, record.ID, record)
		}
		wantEvents(t, log, readLog(t, store, want[1].UID, 0).Events)
		wantMember(t, store, "s-1", "user-9", member)
		wantIDs(t, store, &session.Query{VisibleTo: "user-9"}, "s-1")
		if end := readLog(t, store, want[sessions-1].UID, 0).End; end == nil || end.Sequence != 2 {
			t.Errorf("the ended session has the end %+v, want 2", end)
		}
		if next := say(t, store, "s-1", "user-9", "c")[0]; next.Sequence != 5 || next.Time <= last.Time {
			t.Errorf("the next event is %d at %v, after 4 at %v", next.Sequence, next.Time, last.Time)
		}
		wantSession(t, store, "s-299", nil)
		seen := look(t, store, "", request)
		if seen.Earlier == nil || seen.Earlier.UID != want[0].UID {
			t.Errorf("Earlier = %v, want the uid %v", seen.Earlier, want[0].UID)
		}
		if newest := want[sessions-1].CreateTime; seen.Now <= newest {
			t.Errorf("a write's time is %v, not after %v", seen.Now, newest)
		}
		if got := listAll(t, store, &session.Query{VisibleTo: "new", Size: 50}); len(got) != (sessions+6)/7 {
			t.Errorf("the updated owner sees %d sessions, want %d", len(got), (sessions+6)/7)
		}
	})
}
