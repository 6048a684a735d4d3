package postgres

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/pgtest"
	"github.com/parleyhq/parley/internal/store/storetest"
)

// inOneGroup has writes wait for one that is held up, so that they make one group, and returns their errors.
func inOneGroup(t *testing.T, store *Store, writes []*session.Write) []error {
	t.Helper()
	begun, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	holds := &session.Write{ID: "holds", Decide: func(*session.View) (session.Change, error) {
		once.Do(func() { close(begun) })
		<-release
		return session.Change{}, nil
	}}
	errs := make([]error, len(writes))
	var writing sync.WaitGroup
	writing.Go(func() {
		if err := store.Write(t.Context(), holds); err != nil {
			t.Error(err)
		}
	})
	<-begun
	for i, w := range writes {
		writing.Go(func() { errs[i] = store.Write(t.Context(), w) })
	}
	close(release)
	writing.Wait()
	return errs
}

// TestAWriteThatTheDatabaseRefusesFailsAlone has a group with a text that PostgreSQL does not take.
func TestAWriteThatTheDatabaseRefusesFailsAlone(t *testing.T) {
	t.Parallel()
	store := openStore(t, Config{URL: pgtest.Database(t), Lanes: 1})
	record := create(t, store, storetest.Creation{ID: "s", Spec: session.Spec{Owners: []string{"user-1"}}})
	const n, bad = 12, 5
	writes := make([]*session.Write, n)
	for i := range writes {
		user := strconv.Itoa(i)
		if i == bad {
			user = "\x00"
		}
		writes[i] = publishing(user)
	}
	for i, err := range inOneGroup(t, store, writes) {
		switch f := fault.From(err); {
		case i != bad && err != nil:
			t.Errorf("a write beside the bad one: %v", err)
		case i == bad && (err == nil || f.Kind != fault.Unavailable || !strings.Contains(f.Message, "nothing was done")):
			t.Errorf("the bad write: %v, want a fault that says that nothing was done", err)
		default:
		}
	}
	if events := wantWhole(t, store, record.UID); len(events) != n {
		t.Errorf("the log has %d events, want %d", len(events), n)
	}
}

// publishing publishes a message in the session s as a user.
func publishing(user string) *session.Write {
	return &session.Write{ID: "s", Decide: func(v *session.View) (session.Change, error) {
		after := *v.Current
		after.Head.Sequence++
		return session.Change{Kind: session.Append, Record: &after, Events: []*session.Event{{
			UID: after.UID, ID: after.ID, Kind: session.MessagePublished, Sequence: after.Head.Sequence, Time: v.Now, Actor: user,
			Document: []byte(`{"text":"x"}`),
		}}}, nil
	}}
}

func TestAPanicInADecisionIsItsWritersAlone(t *testing.T) {
	t.Parallel()
	store := openStore(t, Config{URL: pgtest.Database(t), Lanes: 1})
	create(t, store, storetest.Creation{ID: "s", Spec: session.Spec{Owners: []string{"user-1"}}})
	panics := &session.Write{ID: "s", Decide: func(*session.View) (session.Change, error) { panic("a defect") }}
	errs := inOneGroup(t, store, []*session.Write{publishing("1"), panics, publishing("2")})
	if errs[0] != nil || !fault.Is(errs[1], fault.Internal) || errs[2] != nil {
		t.Errorf("errors %v, want an internal fault between two that are nil", errs)
	}
}

// TestAGroupSeesWhatItHasDone runs the life of a session, and of the next one of its id, in one transaction.
func TestAGroupSeesWhatItHasDone(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	store := openStore(t, Config{URL: url, Lanes: 1, TidyEvery: time.Hour})
	first := create(t, store, storetest.Creation{ID: "s", Spec: session.Spec{Owners: []string{"user-1"}}, Creator: "user-1"})
	l := &lane{store: store, patience: defaultPatience}
	var jobs []*job
	add := func(w *session.Write) { jobs = append(jobs, &job{write: w}) }
	end := func(v *session.View) (session.Change, error) {
		return session.Change{Kind: session.End, Events: []*session.Event{v.Current.Ended(session.SessionDeleted, "user-1", v.Now)}}, nil
	}
	add(publishing("1"))
	add(joining("guest"))
	add(&session.Write{ID: "s", Decide: end})
	add(createUnlessTaken("s", "user-2"))
	add(publishing("2"))
	add(&session.Write{ID: "s", Decide: end})
	add(createUnlessTaken("s", "user-3"))
	add(createUnlessTaken("s", "user-4")) // is refused
	add(joining("guest"))
	add(publishing("3"))
	runGroup(t, l, jobs)
	for i, j := range jobs {
		if refused := i == 7; refused != (j.refusal != nil) {
			t.Errorf("the write %d: %v", i, j.refusal)
		}
	}
	record, member, err := store.Get(t.Context(), "s", "guest")
	if err != nil || record == nil || member == nil || record.Creator != "user-3" || record.Head.Sequence != 3 || record.Head.Members != 1 {
		t.Fatalf("Get = %+v, %+v, %v, want the last session, its member, and the head 3", record, member, err)
	}
	wantWhole(t, store, record.UID)
	log, err := store.Log(t.Context(), first.UID, 0, 100, 1<<20)
	if err != nil || log.End == nil || log.End.Sequence != 4 || log.First+int64(len(log.Events)) != 4 {
		t.Errorf("the log of the first session is %+v, %v", log, err)
	}
	for query, want := range map[string]int{
		`SELECT count(*) FROM sessions`: 1, `SELECT count(*) FROM heads`: 1, `SELECT count(*) FROM tombstones`: 2,
		`SELECT sum(sessions) FROM creators`: 1, `SELECT count(*) FROM members`: 1,
	} {
		if got := count(t, url, query); got != want {
			t.Errorf("%s: %d, want %d", query, got, want)
		}
	}
	for user, want := range map[string]int{"user-1": 0, "user-2": 0, "user-3": 1, "guest": 1} {
		page, err := store.List(t.Context(), &session.Query{VisibleTo: user, Size: 10})
		if err != nil || len(page.Records) != want {
			t.Errorf("%s finds %d sessions, %v, want %d", user, len(page.Records), err, want)
		}
	}
}

// joining makes the user a member of the session s.
func joining(user string) *session.Write {
	return &session.Write{ID: "s", Users: []string{user}, Decide: func(v *session.View) (session.Change, error) {
		after := *v.Current
		after.Head.Members++
		after.Head.Sequence++
		return session.Change{
			Kind: session.Append, Record: &after, After: []string{user}, Join: &session.Member{User: user, JoinTime: v.Now},
			Events: []*session.Event{{
				UID: after.UID, ID: after.ID, Kind: session.MemberJoined, Sequence: after.Head.Sequence, Time: v.Now, Actor: user,
			}},
		}, nil
	}}
}

// runGroup runs jobs in one transaction.
func runGroup(t *testing.T, l *lane, jobs []*job) {
	t.Helper()
	next := 0
	err := l.Try(func() (*job, bool) {
		if next == len(jobs) {
			return nil, false
		}
		next++
		return jobs[next-1], true
	}, func(int, error) {})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTheDatabasesDefaultsDoNotMatter has every transaction be serializable and unflushed unless it says otherwise.
func TestTheDatabasesDefaultsDoNotMatter(t *testing.T) {
	t.Parallel()
	n := &nodes{url: pgtest.Database(t)}
	execute(t, n.url, `DO $$ BEGIN
		EXECUTE 'ALTER DATABASE ' || current_database() || ' SET default_transaction_isolation = serializable';
		EXECUTE 'ALTER DATABASE ' || current_database() || ' SET synchronous_commit = off';
	END $$`)
	for i := range n.stores {
		n.stores[i] = openStore(t, Config{URL: n.url})
	}
	record := create(t, n.stores[0], storetest.Creation{ID: "s", Spec: session.Spec{Owners: []string{"user-1"}}})
	const writes = 100
	succeeded(t, n.inParallel(writes, func(i int, store *Store) error {
		return store.Write(t.Context(), publishing(strconv.Itoa(i)))
	}), nil)
	if events := wantWhole(t, n.stores[0], record.UID); len(events) != writes+1 {
		t.Errorf("the log has %d events, want %d", len(events), writes+1)
	}
}
