package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/pgtest"
	"github.com/parleyhq/parley/internal/store/storetest"
)

// soonEnough is much sooner than what waits for the database to answer gives up.
const soonEnough = 8 * time.Second

// TestWhoWaitsForAConnectionIsToldInTime has others use all connections, and not come back: the request has no deadline of
// its own. The others keep their connections: to begin new ones while many wait would have more wait.
func TestWhoWaitsForAConnectionIsToldInTime(t *testing.T) {
	t.Parallel()
	pool, err := newPool(t.Context(), pgtest.Database(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	taken, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = lend(ctx, pool, 50*time.Millisecond, func(context.Context, *pgx.Conn) error { return nil })
	if f := fault.From(err); f == nil || f.Kind != fault.Unavailable || f.Reason != "QUEUE_FULL" {
		t.Errorf("lend = %v, want an unavailable fault", err)
	}
	pid := taken.Conn().PgConn().PID()
	taken.Release()
	err = lend(ctx, pool, time.Minute, func(_ context.Context, conn *pgx.Conn) error {
		if got := conn.PgConn().PID(); got != pid {
			t.Errorf("the connection is another one: %d, and was %d", got, pid)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestAReadThatGetsNoAnswerIsNotBegunAnew has a database take a connection and answer nothing.
func TestAReadThatGetsNoAnswerIsNotBegunAnew(t *testing.T) {
	t.Parallel()
	p, url := through(t, pgtest.Database(t))
	pool, err := newPool(t.Context(), url, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if err := pool.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.stall(t)
	tries := 0
	err = lend(t.Context(), pool, 50*time.Millisecond, func(ctx context.Context, conn *pgx.Conn) error {
		tries++
		_, err := conn.Exec(ctx, `SELECT`)
		return err
	})
	if !fault.Is(err, fault.Unavailable) || tries != 1 {
		t.Errorf("lend = %v after %d tries, want an unavailable fault after one", err, tries)
	}
}

// TestWritesBehindThoseThatLostTheDatabaseDoNotWaitForIt: else each group in the queue would wait as long as the one before.
func TestWritesBehindThoseThatLostTheDatabaseDoNotWaitForIt(t *testing.T) {
	t.Parallel()
	store, p, _ := openThrough(t)
	l := &lane{store: store, patience: hasty}
	tryOnce := func() (refusal error) {
		jobs := []*job{{write: publishing("user-1")}}
		err := l.Try(func() (j *job, ok bool) {
			if len(jobs) > 0 {
				j, ok, jobs = jobs[0], true, nil
			}
			return j, ok
		}, func(_ int, err error) { refusal = err })
		return errors.Join(err, refusal)
	}
	try := func() error {
		tried := make(chan error, 1)
		go func() { tried <- tryOnce() }()
		select {
		case err := <-tried:
			return err
		case <-time.After(soonEnough):
			t.Fatal("it waits for the database")
			return nil
		}
	}
	p.silence()
	for _, patience := range []patience{
		{again: []time.Duration{0, time.Hour}, most: time.Nanosecond},        // the first has waited for long enough
		{again: []time.Duration{time.Hour, time.Hour}, most: 24 * time.Hour}, // the next is behind it
	} {
		l.patience = patience
		if err := try(); !fault.Is(err, fault.Unavailable) {
			t.Errorf("Try = %v, want an unavailable fault", err)
		}
	}
	l.patience = hasty
	p.sound()
	if err := try(); err != nil {
		t.Errorf("Try = %v when the database is back", err)
	}
	p.cutNext(beforeCommit, len(hasty.again)) // it is waited for again
	if err := try(); err != nil {
		t.Errorf("Try = %v", err)
	}
}

// TestAnOutcomeIsSettledWithoutAnotherConnection has somebody else use all connections but the lane's own.
func TestAnOutcomeIsSettledWithoutAnotherConnection(t *testing.T) {
	t.Parallel()
	store, p, record := openThrough(t)
	taken, err := store.writers.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Release()
	if most := store.writers.Config().MaxConns; most != 2 {
		t.Fatalf("there are %d connections, want that of the lane and one more", most)
	}
	for _, where := range []cut{beforeCommit, afterCommit} {
		p.cutNext(where, 1)
		if _, err := (&storetest.Publication{User: "user-1", Text: "x"}).Publish(t.Context(), store, "s"); err != nil {
			t.Errorf("Publish = %v", err)
		}
	}
	if events := wantWhole(t, store, record.UID); len(events) != 3 {
		t.Errorf("the log has %d events, want 3", len(events))
	}
}

// TestCloseDoesNotWaitForADatabaseThatDoesNotAnswer has the store's own work wait for an answer.
func TestCloseDoesNotWaitForADatabaseThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	p, url := through(t, pgtest.Database(t))
	reached := func(session.UID, int64) {}
	store := openStore(t, Config{URL: url, TidyEvery: time.Millisecond, FeedEvery: time.Millisecond, Reached: reached, patience: hasty})
	end := p.stall(t)
	if err := eventually(t, p.holds); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- store.Close(ctx) }()
	select {
	case err := <-closed:
		if err == nil {
			t.Error("Close = nil, though the store was waiting")
		}
	case <-time.After(soonEnough):
		t.Error("Close waits for the database")
		end()
		<-closed
	}
	end()
}
