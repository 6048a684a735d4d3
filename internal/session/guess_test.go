package session

import (
	"strconv"
	"testing"
	"time"
)

func TestGuessesAreLimited(t *testing.T) {
	now := Time(1)
	g := newGuesses(func() Time { return now })
	guess := func(user, id string) guessVerdict {
		verdict := g.begin(Caller{User: user}, id)
		if verdict == guessAllowed {
			g.settle(Caller{User: user}, id, verdict, true)
		}
		return verdict
	}
	for i := range guessesCaller {
		if guess("mallory", "s") != guessAllowed {
			t.Fatalf("guess %d is refused", i+1)
		}
	}
	if guess("mallory", "s") != guessRefused {
		t.Error("the guess after the last is allowed")
	}
	if guess("mallory", "other") != guessAllowed || guess("ada", "s") != guessAllowed {
		t.Error("the guesses on one session count for another, or those of one caller for another")
	}
	now = now.Add(guessWindow - time.Second)
	if guess("mallory", "s") != guessRefused {
		t.Error("guesses are forgotten within the minute")
	}
	now = now.Add(2 * time.Second)
	if guess("mallory", "s") != guessAllowed {
		t.Error("guesses are not forgotten after a minute")
	}
}

func TestARightSecretDoesNotCount(t *testing.T) {
	g := newGuesses(func() Time { return 1 })
	for range 2 * guessesCaller {
		if g.begin(Caller{User: "ada"}, "s") != guessAllowed {
			t.Fatal("right secrets are counted")
		}
		g.settle(Caller{User: "ada"}, "s", guessAllowed, false)
	}
	for range guessesCaller { // at the same time
		g.begin(Caller{User: "mallory"}, "s")
	}
	if g.begin(Caller{User: "mallory"}, "s") != guessRefused {
		t.Error("guesses that are under way do not count")
	}
}

// Many who guess a little on one session are stopped too, and those who have not guessed get in.
func TestGuessesOfManyOnOneSession(t *testing.T) {
	g := newGuesses(func() Time { return 1 })
	for i := range guessesID {
		g.begin(Caller{User: strconv.Itoa(i)}, "s")
	}
	if g.begin(Caller{User: "0"}, "s") != guessRefused {
		t.Error("one of the many may go on")
	}
	if g.begin(Caller{User: "ada"}, "s") != guessAllowed {
		t.Error("who has not guessed is refused")
	}
}

// Who makes up ids, or callers, must neither fill the memory nor have the guesses of anybody forgotten.
func TestGuessesTakeBoundedMemoryAndAreNotForgotten(t *testing.T) {
	now := Time(1)
	g := newGuesses(func() Time { return now })
	for range guessesCaller {
		g.begin(Caller{User: "mallory"}, "s")
	}
	refused := 0
	for i := range 2 * maxGuessEntries {
		if g.begin(Caller{User: "mallory"}, strconv.Itoa(i)) == guessRefused {
			refused++
		}
	}
	if want := 2*maxGuessEntries - (guessesAll - guessesCaller); refused != want {
		t.Errorf("%d guesses on made-up ids are refused, want %d", refused, want)
	}
	for i := range maxGuessEntries {
		g.begin(Caller{User: "m" + strconv.Itoa(i)}, "other"+strconv.Itoa(i))
	}
	if n := len(g.callers) + len(g.ids); n > maxGuessEntries+2 {
		t.Errorf("%d entries are kept, want at most %d", n, maxGuessEntries)
	}
	if g.begin(Caller{User: "mallory"}, "s") != guessRefused {
		t.Error("the guesses were forgotten")
	}
	now = now.Add(guessWindow + time.Second)
	if g.begin(Caller{User: "ada"}, "s") != guessAllowed {
		t.Error("there is no room again after a minute")
	}
}
