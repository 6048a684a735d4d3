package postgres

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/pgtest"
	"github.com/parleyhq/parley/internal/store/storetest"
)

var _ session.Guesses = (*Store)(nil)

func TestGuessesOfThreeNodes(t *testing.T) {
	t.Parallel()
	storetest.RunGuesses(t, func(t *testing.T, now session.Clock) (nodes []session.Guesses) {
		t.Helper()
		url := pgtest.Database(t)
		for range 3 {
			nodes = append(nodes, openStore(t, Config{URL: url, Now: now, TidyEvery: time.Hour}))
		}
		return nodes
	})
}

// TestGuessesTakeBoundedRoom fills the table as callers with made-up ids would, within a minute.
func TestGuessesTakeBoundedRoom(t *testing.T) {
	t.Parallel()
	url, clock := pgtest.Database(t), storetest.NewClock()
	store := openStore(t, Config{URL: url, Now: clock.Now, TidyEvery: 10 * time.Millisecond})
	begin := func(user string) bool {
		allowed, err := store.BeginGuess(t.Context(), user, "s")
		if err != nil {
			t.Fatal(err)
		}
		return allowed
	}
	for range session.GuessesCaller {
		begin("mallory")
	}
	_, err := store.writers.Exec(t.Context(), `INSERT INTO guesses SELECT gen_random_uuid(), 1, $1 FROM generate_series(1, $2)`,
		int64(clock.Now().Add(session.GuessWindow)), session.MaxGuessEntries)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	beginAsAnother := func() bool {
		n++
		return begin(strconv.Itoa(n))
	}
	if err := eventually(t, func() bool { return !beginAsAnother() }); err != nil {
		t.Error("who is not known is allowed though there is no room")
	}
	if begin("mallory") {
		t.Error("the guesses were forgotten")
	}
	clock.Advance(session.GuessWindow)
	if err := eventually(t, beginAsAnother); err != nil {
		t.Error("there is no room again after a minute")
	}
	if err := eventually(t, func() bool { return count(t, url, `SELECT count(*) FROM guesses WHERE wrong > 0`) <= 3 }); err != nil {
		t.Error("what a minute has forgotten is not taken away")
	}
}

func TestAGuessThatCannotBeCountedIsUnavailable(t *testing.T) {
	t.Parallel()
	proxy, url := through(t, pgtest.Database(t))
	store := openStore(t, Config{URL: url, TidyEvery: time.Hour})
	begin := func() (bool, error) { return store.BeginGuess(t.Context(), "ada", "s") }
	if allowed, err := begin(); !allowed || err != nil {
		t.Fatalf("BeginGuess() = %v, %v", allowed, err)
	}
	proxy.silence()
	if allowed, err := begin(); allowed || fault.From(err).Kind != fault.Unavailable {
		t.Errorf("BeginGuess() = %v, %v without a database, want an Unavailable fault", allowed, err)
	}
	store.TakeBackGuess(t.Context(), "ada", "s") // it does not hang
	proxy.sound()
	if allowed, err := begin(); !allowed || err != nil {
		t.Errorf("BeginGuess() = %v, %v when the database is back", allowed, err)
	}
	if got := count(t, url, `SELECT wrong FROM guesses LIMIT 1`); got != 2 {
		t.Errorf("%d guesses are counted, want 2: the one that could not be taken back, and the last", got)
	}
}

// TestARefusedGuessWritesNothing holds the rows that it would have to wait for.
func TestARefusedGuessWritesNothing(t *testing.T) {
	t.Parallel()
	store := openStore(t, Config{URL: pgtest.Database(t), TidyEvery: time.Hour})
	for range session.GuessesCaller {
		if _, err := store.BeginGuess(t.Context(), "mallory", "s"); err != nil {
			t.Fatal(err)
		}
	}
	tx, err := store.writers.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), `SELECT FROM guesses FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	if allowed, err := store.BeginGuess(t.Context(), "mallory", "s"); allowed || err != nil {
		t.Errorf("BeginGuess() = %v, %v, want that it is refused without waiting", allowed, err)
	}
}
