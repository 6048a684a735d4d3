package session_test

import (
	"testing"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/storetest"
)

func TestGuesses(t *testing.T) {
	storetest.RunGuesses(t, func(_ *testing.T, now session.Clock) []session.Guesses {
		return []session.Guesses{session.NewGuesses(now)}
	})
}
