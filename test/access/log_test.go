package access_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"sync"
)

// spoken is in every text that the tests publish, and no log may have it.
const spoken = "between ourselves"

// secrets are what no log may have: secretKeys, tokens, API keys, tickets, query strings, and what is said in a session.
// Ids of sessions and requests are shorter than tickets.
var secrets = regexp.MustCompile(`sesame|eyJ|pk_|[A-Za-z0-9_-]{60,}|\?|(ticket|cursor|token)=|` + spoken)

// watchedLog is everything that the server logs during the tests, of which it keeps the lines with a secret.
type watchedLog struct {
	mu    sync.Mutex // guards the fields below
	lines int
	bad   []string
}

func (l *watchedLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines++
	if secrets.Match(line) {
		l.bad = append(l.bad, string(line))
	}
	return len(line), nil
}

func (l *watchedLog) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(io.Writer(l), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// check is an error if the log has a secret, or nothing at all.
func (l *watchedLog) check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(l.bad) > 0:
		return fmt.Errorf("%d of %d lines of the log have secrets, such as: %s", len(l.bad), l.lines, strings.TrimSpace(l.bad[0]))
	case l.lines == 0:
		return errors.New("the server has logged nothing: there is no record of changes and denials")
	default:
		return nil
	}
}
