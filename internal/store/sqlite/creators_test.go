package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/storetest"
)

// inTurn does something as the engine, in a transaction of its own.
func inTurn(t *testing.T, store *Store, do func(e *engine) error) {
	t.Helper()
	err := store.committer.Submit(t.Context(), &job{tidy: func(e *engine) ([]*session.Event, error) { return nil, do(e) }})
	if err != nil {
		t.Fatal(err)
	}
}

// takeTurns has the next parts put into the table, one in each transaction.
func takeTurns(t *testing.T, store *Store, turns int) {
	t.Helper()
	for range turns {
		inTurn(t, store, func(e *engine) error {
			e.creators.steps = creatorStep
			return nil
		})
	}
}

// wantCounted checks what the store knows of all creators against the sessions.
func wantCounted(t *testing.T, store *Store) {
	t.Helper()
	want, got := make(map[string]int), make(map[string]int)
	inTurn(t, store, func(e *engine) error {
		clear(want)
		err := e.query(`SELECT creator, count(*) FROM sessions GROUP BY creator UNION ALL SELECT user, 0 FROM creators`, nil,
			func(row []driver.Value) error {
				want[row[0].(string)] += int(row[1].(int64))
				return nil
			})
		for user := range want {
			if err == nil {
				got[user], err = e.creators.count(e.conn, user)
			}
		}
		return err
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sessions by creator (-want +got):\n%s", diff)
	}
}

// createdBy is a write that creates a session, and asks how many its creator has.
func createdBy(creator, id string, spec session.Spec) *session.Write {
	w := create(id, spec)
	decide := w.Decide
	w.Creator, w.Decide = creator, func(v *session.View) (session.Change, error) {
		change, err := decide(v)
		change.Record.Creator = creator
		return change, err
	}
	return w
}

// TestCreatorsAreCounted does many things at random, while parts are put into the table, and the store is opened again.
func TestCreatorsAreCounted(t *testing.T) { //nolint:tparallel // its subtests follow each other
	t.Parallel()
	dir, random := t.TempDir(), rand.New(rand.NewPCG(7, 8))
	var ids []string
	for round := range 4 {
		t.Run(fmt.Sprintf("opened %d times", round+1), func(t *testing.T) {
			store := openStore(t, Config{Dir: dir})
			for i := range 15 {
				writes := make([]*session.Write, 0, 20)
				for n := range 12 {
					id := fmt.Sprintf("%d-%d-%d", round, i, n)
					w := createdBy("user-"+strconv.Itoa(random.IntN(40)), id, smallSpec)
					if random.IntN(2) == 0 {
						w.Creator = ""
					}
					writes, ids = append(writes, w), append(ids, id)
				}
				random.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
				for _, id := range ids[:8] { // some of them are not there yet, or no more
					writes = append(writes, &session.Write{ID: id, Decide: func(v *session.View) (session.Change, error) {
						if v.Current == nil {
							return session.Change{}, nil
						}
						return session.Change{
							Kind: session.End, Events: []*session.Event{v.Current.Ended(session.SessionDeleted, "", v.Now)},
						}, nil
					}})
				}
				for _, err := range inGroup(t, store, writes) {
					if err != nil {
						t.Fatal(err)
					}
				}
				if random.IntN(2) == 0 {
					takeTurns(t, store, random.IntN(20))
				}
				if i%5 == 4 {
					wantCounted(t, store)
				}
			}
			wantCount(t, store, 0, `SELECT count(*) FROM creators WHERE sessions <= 0`)
		})
	}
}

// TestCreatorsAfterAFailedGroup fills the file in the middle of groups, in which parts are put into the table.
func TestCreatorsAfterAFailedGroup(t *testing.T) {
	dir := t.TempDir()
	large := smallSpec
	large.Options = []byte(`{"x":"` + strings.Repeat("x", 60<<10) + `"}`)
	t.Run("full", func(t *testing.T) {
		store := openStore(t, Config{Dir: dir, MaxPages: 200})
		full, created := 0, make(map[string]int)
		for round := range 4 {
			writes := make([]*session.Write, 40)
			for i := range writes {
				spec := smallSpec
				if i%2 == 1 {
					spec = large
				}
				writes[i] = createdBy("user-"+strconv.Itoa(i%5), fmt.Sprintf("%d-%d", round, i), spec)
				decide := writes[i].Decide
				writes[i].Decide = func(v *session.View) (session.Change, error) {
					store.engine.creators.steps = creatorStep // this runs as the engine
					return decide(v)
				}
			}
			for i, err := range inGroup(t, store, writes) {
				switch {
				case err == nil:
					created["user-"+strconv.Itoa(i%5)]++
				case fault.From(err).Reason == "DISK_FULL":
					full++
				default:
					t.Error(err)
				}
			}
			for user, want := range created {
				if got := storetest.Created(t, store, user); got != want {
					t.Errorf("%d sessions of %s exist, want the %d that were acknowledged", got, user, want)
				}
			}
			wantCounted(t, store)
		}
		if full == 0 || full == 80 {
			t.Errorf("%d of the 80 large writes found the disk full, want some", full)
		}
	})
	t.Run("room again", func(t *testing.T) { wantCounted(t, openStore(t, Config{Dir: dir})) })
}

// TestTheFirstQuestionInAFailedGroup: what was counted in a transaction that was lost is counted anew.
func TestTheFirstQuestionInAFailedGroup(t *testing.T) {
	store := openStore(t, Config{Dir: t.TempDir()})
	for i := range 3 {
		w := createdBy("user-1", strconv.Itoa(i), smallSpec)
		w.Creator = ""
		if err := store.Write(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	err := store.engine.Try(func() func() (*job, bool) {
		jobs := []*job{
			{write: createdBy("user-1", "lost", smallSpec)},
			{tidy: func(*engine) ([]*session.Event, error) { return nil, &lostError{cause: errors.New("lost")} }},
		}
		return func() (*job, bool) {
			if len(jobs) == 0 {
				return nil, false
			}
			next := jobs[0]
			jobs = jobs[1:]
			return next, true
		}
	}(), func(int, error) {})
	if err == nil {
		t.Fatal("the group did not fail")
	}
	wantCounted(t, store)
	if got := storetest.Created(t, store, "user-1"); got != 3 {
		t.Errorf("%d sessions exist, want 3", got)
	}
}

// insertSessions stores sessions of so many users, with the createTimes from one to another, unnoticed.
func insertSessions(c *conn, from, to, users int) error {
	return c.exec(`WITH RECURSIVE n (i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
		INSERT INTO sessions SELECT i, zeroblob(16), '', 1, '', 'user-' || (i % ?3), i, 0, 0, NULL, '{}' FROM n`,
		int64(from), int64(to), int64(users))
}

// TestCreatorsCatchUp has far more sessions than are read at once, made before anybody asked.
func TestCreatorsCatchUp(t *testing.T) {
	const some, sessions, users = 2000, 9500, 100
	dir := t.TempDir()
	t.Run("first", func(t *testing.T) {
		store := openStore(t, Config{Dir: dir})
		inTurn(t, store, func(e *engine) error {
			return errors.Join(insertSessions(e.conn, 1, sessions, users), e.creators.load(e.conn, some))
		})
		if got := storetest.Created(t, store, "user-7"); got != sessions/users {
			t.Errorf("%d sessions exist, want %d", got, sessions/users)
		}
		wantCounted(t, store)
		wantCount(t, store, sessions/some*some, `SELECT sum(sessions) FROM creators`)
		takeTurns(t, store, creatorParts)
		wantCount(t, store, sessions, `SELECT sum(sessions) FROM creators`)
		wantCount(t, store, users, `SELECT count(*) FROM creators`)
		wantCounted(t, store)
	})
	t.Run("again", func(t *testing.T) {
		store := openStore(t, Config{Dir: dir})
		inTurn(t, store, func(e *engine) error { // one that the table has, before anybody asked
			found, err := e.find(selectByTime, int64(7))
			if err != nil {
				return err
			}
			return e.end(found, found.record.Ended(session.SessionDeleted, "", session.Now()))
		})
		wantCount(t, store, sessions-1, `SELECT sum(sessions) FROM creators`)
		wantCounted(t, store)
	})
}

// TestCreatorsCatchUpWithPartsApart has some parts far ahead of others when the store is opened again: by more than is
// counted before the counts are put into the table.
func TestCreatorsCatchUpWithPartsApart(t *testing.T) {
	const sessions, users, turns = 3100, 200, 20
	dir := t.TempDir()
	counted := make([]int64, creatorParts)
	for run, some := range []int{creatorLoad, 500, 500, creatorLoad, 499, 1} {
		opened(t, Config{Dir: dir}, func(store *Store) {
			inTurn(t, store, func(e *engine) error {
				return errors.Join(insertSessions(e.conn, run*sessions+1, (run+1)*sessions, users), e.creators.load(e.conn, some))
			})
			wantCounted(t, store)
			takeTurns(t, store, turns)
			wantCounted(t, store)
			inTurn(t, store, func(e *engine) error {
				for part, p := range e.creators.parts {
					if p.counted < counted[part] {
						t.Errorf("run %d: the part %d is set back from %d to %d", run, part, counted[part], p.counted)
					}
					counted[part] = p.counted
				}
				return nil
			})
		})
	}
}

// TestCreatorsAfterAFailedRead: what could not be counted leaves nothing behind, neither in memory nor in the table.
func TestCreatorsAfterAFailedRead(t *testing.T) {
	for name, c := range map[string]struct{ before, after string }{
		"nothing is read": {`ALTER TABLE creator_parts RENAME TO away`, `ALTER TABLE away RENAME TO creator_parts`},
		"a part cannot be put into the table": {
			`CREATE TRIGGER stop BEFORE INSERT ON creator_parts WHEN NEW.part = 50 BEGIN SELECT RAISE(ABORT, 'stopped'); END`,
			`DROP TRIGGER stop`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			opened(t, Config{Dir: dir}, func(store *Store) {
				inTurn(t, store, func(e *engine) error {
					return errors.Join(insertSessions(e.conn, 1, 3100, 200), e.creators.load(e.conn, 1000))
				})
				takeTurns(t, store, 20)
			})
			store := openStore(t, Config{Dir: dir})
			inTurn(t, store, func(e *engine) error { return errors.Join(insertSessions(e.conn, 3101, 6200, 200), e.exec(c.before)) })
			w := createdBy("user-1", "", smallSpec)
			w.Creator, w.Decide = "", func(*session.View) (session.Change, error) { // this runs as the engine
				return session.Change{}, store.engine.creators.load(store.engine.conn, 1000)
			}
			if err := store.Write(t.Context(), w); err == nil {
				t.Error("the creators were counted")
			}
			inTurn(t, store, func(e *engine) error { return e.exec(c.after) })
			wantCounted(t, store)
		})
	}
}

// TestCreatorsAreCountedBeforeOpenReturns, in transactions of some sessions each.
func TestCreatorsAreCountedBeforeOpenReturns(t *testing.T) {
	const some, sessions, users = 2000, 9500, 100
	dir := t.TempDir()
	opened(t, Config{Dir: dir}, func(store *Store) {
		inTurn(t, store, func(e *engine) error {
			return errors.Join(insertSessions(e.conn, 1, sessions, users), e.exec(`CREATE TRIGGER stop BEFORE INSERT ON creator_parts
				WHEN NEW.counted > 5000 BEGIN SELECT RAISE(ABORT, 'stopped'); END`))
		})
	})
	c, err := open(filepath.Join(dir, FileName), writerPragmas...)
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{conn: c}
	for range 2 {
		if err := e.countCreators(t.Context(), some); err == nil || !strings.Contains(err.Error(), "stopped") {
			t.Errorf("the third transaction: %v", err)
		}
		if n, err := c.integer(`SELECT sum(sessions) FROM creators`); n != 2*some || err != nil {
			t.Errorf("the table has %d sessions, %v, want those of two transactions", n, err)
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.countCreators(canceled, some); !errors.Is(err, context.Canceled) {
		t.Errorf("countCreators = %v, want %v", err, context.Canceled)
	}
	if err := errors.Join(c.exec(`DROP TRIGGER stop`), c.close()); err != nil {
		t.Fatal(err)
	}
	store := openStore(t, Config{Dir: dir, CountCreators: true})
	inTurn(t, store, func(e *engine) error {
		if !e.creators.loaded {
			t.Error("the creators are not counted")
		}
		return nil
	})
	wantCounted(t, store)
}

// TestAnExpiredSessionMakesRoom for the one that takes its place, although it has not been purged yet.
func TestAnExpiredSessionMakesRoom(t *testing.T) {
	clock := storetest.NewClock()
	store := openStore(t, Config{Dir: t.TempDir(), Now: clock.Now, TidyEvery: time.Hour})
	for id, lifetime := range map[string]time.Duration{"short": time.Minute, "long": 0} {
		c := storetest.Creation{ID: id, Spec: smallSpec, Creator: "user-1", Lifetime: lifetime}
		if _, err := c.Create(t.Context(), store); err != nil {
			t.Fatal(err)
		}
	}
	clock.Advance(2 * time.Minute)
	for creator, want := range map[string]int{"user-1": 1, "user-2": 0} {
		err := store.Write(t.Context(), &session.Write{ID: "short", Creator: creator, Decide: func(v *session.View) (session.Change, error) {
			if v.Created != want {
				t.Errorf("%d sessions of %s exist, want %d", v.Created, creator, want)
			}
			return session.Change{}, nil
		}})
		if err != nil {
			t.Error(err)
		}
	}
	c := storetest.Creation{ID: "short", Spec: smallSpec, Creator: "user-1", Quota: 2}
	if _, err := c.Create(t.Context(), store); err != nil {
		t.Errorf("a create in the place of the expired session: %v", err)
	}
	if got := storetest.Created(t, store, "user-1"); got != 2 {
		t.Errorf("%d sessions exist, want 2", got)
	}
	wantCounted(t, store)
}

// TestCreatorsCostNothingUnasked: nothing is remembered, and nothing written.
func TestCreatorsCostNothingUnasked(t *testing.T) {
	store := openStore(t, Config{Dir: t.TempDir()})
	for i := range 10 {
		w := createdBy("user-1", strconv.Itoa(i), smallSpec)
		w.Creator = ""
		if err := store.Write(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	takeTurns(t, store, 3)
	wantCount(t, store, 0, `SELECT count(*) FROM creator_parts`)
	inTurn(t, store, func(e *engine) error {
		for _, p := range e.creators.parts {
			if len(p.tallies) > 0 {
				t.Errorf("%d creators are remembered", len(p.tallies))
			}
		}
		return nil
	})
}

// TestCreatorsAreForgotten: those who only ask are not remembered for ever.
func TestCreatorsAreForgotten(t *testing.T) {
	store := openStore(t, Config{Dir: t.TempDir()})
	const turns = 3
	for turn := range turns {
		inTurn(t, store, func(e *engine) error {
			for i := range creatorStep {
				if _, err := e.creators.count(e.conn, strconv.Itoa(turn*creatorStep+i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	wantCount(t, store, turns, `SELECT count(*) FROM creator_parts`)
	takeTurns(t, store, creatorParts)
	inTurn(t, store, func(e *engine) error {
		for part, p := range e.creators.parts {
			if len(p.tallies) > 0 {
				t.Errorf("part %d remembers %d users", part, len(p.tallies))
			}
		}
		return nil
	})
	wantCount(t, store, 0, `SELECT count(*) FROM creators`)
}

// TestEveryPartHasItsTurn also if the store is opened again and again.
func TestEveryPartHasItsTurn(t *testing.T) {
	dir := t.TempDir()
	for run := range 4 {
		opened(t, Config{Dir: dir}, func(store *Store) {
			if err := store.Write(t.Context(), createdBy("user-1", strconv.Itoa(run), smallSpec)); err != nil {
				t.Error(err)
			}
			takeTurns(t, store, creatorParts/4)
		})
	}
	opened(t, Config{Dir: dir}, func(store *Store) {
		wantCount(t, store, creatorParts, `SELECT count(*) FROM creator_parts`)
	})
}
