package storetest

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/session"
)

// OpenGuesses opens counts that begin with none: one for each node, all the same ones.
type OpenGuesses func(t *testing.T, now session.Clock) []session.Guesses

// RunGuesses tests counts of wrong secretKeys.
func RunGuesses(t *testing.T, open OpenGuesses) {
	for _, suite := range []struct {
		name string
		run  func(t *testing.T, g *guessers)
	}{
		{"OfACallerOnASession", testGuessesOfACaller},
		{"RightOnes", testRightGuesses},
		{"UnderWay", testGuessesUnderWay},
		{"OfManyOnASession", testGuessesOfMany},
		{"OfACallerOnAll", testGuessesOnAll},
		{"RefusedOnes", testRefusedGuesses},
	} {
		t.Run(suite.name, func(t *testing.T) {
			t.Parallel()
			clock := NewClock()
			suite.run(t, &guessers{nodes: open(t, clock.Now), clock: clock})
		})
	}
}

// guessers guess on one node after the other.
type guessers struct {
	nodes []session.Guesses
	clock *Clock
	turn  atomic.Uint32
}

func (g *guessers) next() session.Guesses { return g.nodes[int(g.turn.Add(1))%len(g.nodes)] }

// wrong makes a guess that is wrong, and tells whether it was compared.
func (g *guessers) wrong(t *testing.T, user, id string) (allowed bool) {
	t.Helper()
	allowed, err := g.next().BeginGuess(t.Context(), user, id)
	if err != nil {
		t.Fatal(err)
	}
	return allowed
}

// right makes one of ada's that is right.
func (g *guessers) right(t *testing.T, id string) (allowed bool) {
	t.Helper()
	if allowed = g.wrong(t, "ada", id); allowed {
		g.next().TakeBackGuess(t.Context(), "ada", id)
	}
	return allowed
}

func testGuessesOfACaller(t *testing.T, g *guessers) {
	for i := range session.GuessesCaller {
		if !g.wrong(t, "mallory", "s") {
			t.Fatalf("guess %d is refused", i+1)
		}
		g.clock.Advance(time.Second)
	}
	for range g.nodes {
		if g.wrong(t, "mallory", "s") {
			t.Error("the guess after the last is allowed")
		}
	}
	if !g.wrong(t, "mallory", "other") || !g.wrong(t, "ada", "s") {
		t.Error("the guesses on one session count for another, or those of one caller for another")
	}
	g.clock.Advance(session.GuessWindow - (session.GuessesCaller+1)*time.Second)
	if g.wrong(t, "mallory", "s") {
		t.Error("guesses are forgotten within the minute")
	}
	g.clock.Advance(2 * time.Second)
	for i := range session.GuessesCaller {
		if !g.wrong(t, "mallory", "s") {
			t.Errorf("guess %d is refused after a minute", i+1)
		}
	}
	if g.wrong(t, "mallory", "s") {
		t.Error("the guess after the last is allowed in the second minute")
	}
}

func testRightGuesses(t *testing.T, g *guessers) {
	for range 2 * session.GuessesCaller {
		if !g.right(t, "s") {
			t.Fatal("right secrets are counted")
		}
	}
	for range session.GuessesCaller {
		g.wrong(t, "ada", "s")
	}
	if g.right(t, "s") {
		t.Error("a right secret is compared after too many wrong ones")
	}
}

// testGuessesUnderWay has many guesses begin at the same time.
func testGuessesUnderWay(t *testing.T, g *guessers) {
	const each = 20
	var allowed atomic.Int32
	var under sync.WaitGroup
	for _, user := range []string{"mallory", "trudy"} {
		for range each {
			under.Go(func() {
				ok, err := g.next().BeginGuess(t.Context(), user, "s")
				if err != nil {
					t.Errorf("BeginGuess: %v", err)
				}
				if ok {
					allowed.Add(1)
				}
			})
		}
	}
	under.Wait()
	if got := allowed.Load(); got != 2*session.GuessesCaller {
		t.Errorf("%d guesses of two callers at the same time are allowed, want %d", got, 2*session.GuessesCaller)
	}
	for range session.GuessesCaller {
		under.Go(func() { g.next().TakeBackGuess(t.Context(), "mallory", "s") })
		under.Go(func() { g.next().TakeBackGuess(t.Context(), "trudy", "s") })
	}
	under.Wait()
	for i := range session.GuessesCaller {
		if !g.wrong(t, "mallory", "s") {
			t.Errorf("guess %d is refused after all were taken back", i+1)
		}
	}
	if g.wrong(t, "mallory", "s") {
		t.Error("more guesses were taken back than there were")
	}
}

// testGuessesOfMany: many who guess a little on one session are stopped too, and those who have not guessed get in.
func testGuessesOfMany(t *testing.T, g *guessers) {
	for i := range session.GuessesID {
		if !g.wrong(t, strconv.Itoa(i), "s") {
			t.Fatalf("guess %d is refused", i+1)
		}
	}
	if g.wrong(t, "0", "s") {
		t.Error("one of the many may go on")
	}
	if !g.wrong(t, "0", "other") {
		t.Error("one of the many may not guess on another session")
	}
	for range 2 {
		if !g.right(t, "s") {
			t.Error("who has not guessed is refused")
		}
	}
}

func testGuessesOnAll(t *testing.T, g *guessers) {
	for i := range session.GuessesAll {
		if !g.wrong(t, "mallory", strconv.Itoa(i)) {
			t.Fatalf("guess %d is refused", i+1)
		}
	}
	if g.wrong(t, "mallory", "one more") {
		t.Error("the guess after the last is allowed")
	}
	if !g.wrong(t, "ada", "one more") {
		t.Error("the guesses of one caller count for another")
	}
}

// testRefusedGuesses: what was not compared is not counted.
func testRefusedGuesses(t *testing.T, g *guessers) {
	for range session.GuessesID + 2 {
		g.wrong(t, "mallory", "s")
	}
	g.wrong(t, "ada", "s")
	if !g.wrong(t, "ada", "s") {
		t.Error("the refused guesses of one caller stop another who has guessed")
	}
}
