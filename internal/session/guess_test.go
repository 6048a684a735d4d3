package session

import (
	"strconv"
	"testing"
	"time"
)

// Who makes up ids, or callers, must neither fill the memory nor have the guesses of anybody forgotten.
func TestGuessesTakeBoundedMemoryAndAreNotForgotten(t *testing.T) {
	now := Time(1)
	g := newGuesses(func() Time { return now })
	begin := func(user, id string) bool {
		allowed, err := g.BeginGuess(t.Context(), user, id)
		if err != nil {
			t.Fatal(err)
		}
		return allowed
	}
	for range GuessesCaller {
		begin("mallory", "s")
	}
	refused := 0
	for i := range 2 * MaxGuessEntries {
		if !begin("mallory", strconv.Itoa(i)) {
			refused++
		}
	}
	if want := 2*MaxGuessEntries - (GuessesAll - GuessesCaller); refused != want {
		t.Errorf("%d guesses on made-up ids are refused, want %d", refused, want)
	}
	for i := range MaxGuessEntries {
		begin("m"+strconv.Itoa(i), "other"+strconv.Itoa(i))
	}
	if n := len(g.callers) + len(g.ids); n > MaxGuessEntries+2 {
		t.Errorf("%d entries are kept, want at most %d", n, MaxGuessEntries)
	}
	if begin("mallory", "s") {
		t.Error("the guesses were forgotten")
	}
	now = now.Add(GuessWindow + time.Second)
	if !begin("ada", "s") {
		t.Error("there is no room again after a minute")
	}
}
