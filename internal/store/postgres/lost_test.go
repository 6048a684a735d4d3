package postgres

import (
	"errors"
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

// hasty has a store give up soon.
var hasty = patience{again: []time.Duration{0, 0, 0}, most: time.Minute, settle: []time.Duration{0, time.Millisecond, time.Millisecond}}

// openThrough opens a store of one lane behind a proxy, with the session s.
func openThrough(t *testing.T) (*Store, *proxy, *session.Record) {
	t.Helper()
	p, url := through(t, pgtest.Database(t))
	store := openStore(t, Config{URL: url, TidyEvery: time.Hour, Lanes: 1, patience: hasty})
	return store, p, create(t, store, storetest.Creation{ID: "s", Spec: session.Spec{Owners: []string{"user-1"}}})
}

func TestAConnectionThatIsLostCostsNothingAndDoublesNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		where cut
		times int
	}{
		{"before the locks", atLock, 1},
		{"before the locks, again and again", atLock, len(hasty.again)},
		{"before COMMIT", beforeCommit, 1},
		{"before COMMIT, again and again", beforeCommit, len(hasty.again)},
		{"after COMMIT", afterCommit, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			store, p, record := openThrough(t)
			for round := range 3 {
				p.cutNext(c.where, c.times)
				errs := make([]error, 10) // some are refused
				var writing sync.WaitGroup
				for i := range errs {
					publication := storetest.Publication{User: "user-1", MessageID: "m-" + strconv.Itoa(round) + "-" + strconv.Itoa(i/2), Text: "x"}
					writing.Go(func() { _, errs[i] = publication.Publish(t.Context(), store, "s") })
				}
				writing.Wait()
				refused := 0
				for _, err := range errs {
					if err != nil && !strings.Contains(err.Error(), "id is taken") {
						t.Errorf("Publish = %v", err)
					}
					if err != nil {
						refused++
					}
				}
				if p.cuts() != c.times {
					t.Fatalf("%d connections were cut, want %d", p.cuts(), c.times)
				}
				if refused != len(errs)/2 {
					t.Errorf("%d writes were refused, want %d", refused, len(errs)/2)
				}
				if events := wantWhole(t, store, record.UID); len(events) != 1+(round+1)*len(errs)/2 {
					t.Errorf("the log has %d events after the round %d", len(events), round)
				}
			}
		})
	}
}

// TestARefusedWriteIsNotCommitted: to commit the lock on a session that the caller may not know of waits for the disk.
func TestARefusedWriteIsNotCommitted(t *testing.T) {
	t.Parallel()
	store, p, _ := openThrough(t)
	publication := storetest.Publication{User: "user-1", MessageID: "m", Text: "x"}
	if _, err := publication.Publish(t.Context(), store, "s"); err != nil {
		t.Fatal(err)
	}
	p.cutNext(beforeCommit, 1)
	if _, err := publication.Publish(t.Context(), store, "s"); err == nil || !strings.Contains(err.Error(), "id is taken") {
		t.Errorf("Publish = %v, want that the id is taken", err)
	}
	if n := p.cuts(); n != 0 {
		t.Errorf("%d transactions were to be committed", n)
	}
}

func TestWritesAreToldThatNothingWasDoneWhileTheDatabaseCannotBeReached(t *testing.T) {
	t.Parallel()
	store, p, record := openThrough(t)
	p.silence()
	var writing sync.WaitGroup
	for range 50 {
		writing.Go(func() {
			_, err := (&storetest.Publication{User: "user-1", Text: "x"}).Publish(t.Context(), store, "s")
			if f := fault.From(err); f == nil || f.Kind != fault.Unavailable || f.RetryAfter == 0 || !strings.Contains(f.Message, "nothing was done") {
				t.Errorf("Publish = %v, want an unavailable fault that says that nothing was done", err)
			}
		})
	}
	writing.Wait()
	if _, _, err := store.Get(t.Context(), "s", ""); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Get = %v, want an unavailable fault", err)
	}
	p.sound()
	if _, err := (&storetest.Publication{User: "user-1", Text: "x"}).Publish(t.Context(), store, "s"); err != nil {
		t.Errorf("Publish = %v when the database is back", err)
	}
	if events := wantWhole(t, store, record.UID); len(events) != 2 {
		t.Errorf("the log has %d events, want 2", len(events))
	}
}

// TestAnUnknownOutcomeIsSaidToBeUnknown loses the answer to COMMIT, and then the database. The request settles it.
func TestAnUnknownOutcomeIsSaidToBeUnknown(t *testing.T) {
	t.Parallel()
	for _, where := range []cut{beforeCommit, afterCommit} {
		store, p, record := openThrough(t)
		publication := storetest.Publication{User: "user-1", Text: "x", Request: session.RequestKey{1}}
		p.cutNext(where, 1)
		var watching sync.WaitGroup
		watching.Go(func() {
			if err := eventually(t, func() bool { return p.cuts() == 1 }); err != nil {
				t.Error(err)
			}
			p.silence()
		})
		_, err := publication.Publish(t.Context(), store, "s")
		watching.Wait()
		if f, ok := errors.AsType[*fault.Error](err); err != nil && (!ok || f.Reason != "OUTCOME_UNKNOWN") {
			t.Errorf("Publish = %v, want that the outcome is unknown, or nothing", err)
		}
		p.sound()
		if _, err := publication.Publish(t.Context(), store, "s"); err != nil {
			t.Errorf("the same request again: %v", err)
		}
		if events := wantWhole(t, store, record.UID); len(events) != 2 {
			t.Errorf("the log has %d events, want 2", len(events))
		}
	}
}

// TestAStandbyIsNotWrittenAndNotReadUntilItTakesThePlace has a database become one, and then the one to write to, of
// another history.
func TestAStandbyIsNotWrittenAndNotReadUntilItTakesThePlace(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, "wal_level=replica")
	url, h := server.Database(t), &heard{}
	store := openStore(t, Config{URL: url, TidyEvery: time.Hour, patience: hasty})
	f, err := newFeed(t.Context(), store, h.reached)
	if err != nil {
		t.Fatal(err)
	}
	record := create(t, store, storetest.Creation{ID: "s", Spec: someone})
	look(t, f)
	if err := server.Standby(); err != nil {
		t.Fatal(err)
	}
	_, err = (&storetest.Publication{User: "user-1", Text: "x"}).Publish(t.Context(), store, "s")
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.From(err).Message, "nothing was done") {
		t.Errorf("Publish = %v, want an unavailable fault that says that nothing was done", err)
	}
	if _, _, err := store.Get(t.Context(), "s", ""); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Get = %v, want an unavailable fault", err)
	}
	if err := f.look(t.Context()); err == nil {
		t.Error("the feed reads a standby")
	}
	execute(t, url, `SELECT pg_promote()`)
	publish(t, store, "s")
	look(t, f)
	wantAllTold(t, f, h, record)
	if got := len(wantWhole(t, store, record.UID)); got != 2 || h.end(record.UID) != 2 {
		t.Errorf("the log has %d events, and is told to end at %d, want 2", got, h.end(record.UID))
	}
}

// TestAnOrderlyStopOfTheDatabaseIsWaitedFor has it end and begin anew, as for an upgrade, while a write is on its way.
func TestAnOrderlyStopOfTheDatabaseIsWaitedFor(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	store := openStore(t, Config{URL: server.Database(t), TidyEvery: time.Hour, Lanes: 1})
	record := create(t, store, storetest.Creation{ID: "s", Spec: someone})
	begun, stopped := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var writing sync.WaitGroup
	writing.Go(func() {
		write := publishing("user-1")
		decide := write.Decide
		write.Decide = func(v *session.View) (session.Change, error) {
			once.Do(func() {
				close(begun)
				<-stopped
			})
			return decide(v)
		}
		if err := store.Write(t.Context(), write); err != nil {
			t.Errorf("Write = %v", err)
		}
	})
	<-begun
	server.Stop()
	if err := server.Start(); err != nil {
		t.Error(err)
	}
	close(stopped)
	writing.Wait()
	if got := len(wantWhole(t, store, record.UID)); got != 2 {
		t.Errorf("the log has %d events, want 2", got)
	}
}

// TestARestartLosesNothing has the database crash and begin anew while many publish: what was acknowledged is there, what
// was not done is not, and no log has a hole.
func TestARestartLosesNothing(t *testing.T) {
	t.Parallel()
	const writers, rooms, restarts = 16, 4, 3
	server := pgtest.Start(t)
	store := openStore(t, Config{URL: server.Database(t)})
	records := make([]*session.Record, rooms)
	for i := range records {
		records[i] = create(t, store, storetest.Creation{ID: strconv.Itoa(i), Spec: session.Spec{Owners: []string{"user-1"}}})
	}
	stop := make(chan struct{})
	published := make([]int, writers)
	var writing sync.WaitGroup
	for writer := range writers {
		writing.Go(func() {
			for round := 0; ; round++ {
				select {
				case <-stop:
					return
				default:
				}
				publishUntilDone(t, store, writer, round, rooms)
				published[writer]++
			}
		})
	}
	for range restarts {
		<-time.After(300 * time.Millisecond) // for some writes
		if err := server.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	<-time.After(300 * time.Millisecond)
	close(stop)
	writing.Wait()
	want, got := 0, 0
	for _, n := range published {
		want += n
	}
	for _, record := range records {
		got += len(wantWhole(t, store, record.UID)) - 1
	}
	if got != want {
		t.Errorf("the logs have %d messages, want %d", got, want)
	}
	t.Logf("%d messages", got)
}

// publishUntilDone publishes a message, with the same request as often as it takes.
func publishUntilDone(t *testing.T, store *Store, writer, round, rooms int) {
	publication := storetest.Publication{
		User: strconv.Itoa(writer), Text: "x", Request: session.RequestKey{1, byte(writer), byte(round), byte(round >> 8), byte(round >> 16)},
	}
	err := eventually(t, func() bool {
		_, err := publication.Publish(t.Context(), store, strconv.Itoa((writer+round)%rooms))
		if err != nil && !fault.Is(err, fault.Unavailable) {
			t.Errorf("Publish = %v", err)
		}
		return err == nil
	})
	if err != nil {
		t.Error(err)
	}
}
