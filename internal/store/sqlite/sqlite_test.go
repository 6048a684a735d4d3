package sqlite

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testKeys = session.NewKeyRing()

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T, o storetest.Options) session.Store {
		return openStore(t, Config{Dir: o.Dir, Now: o.Now, Committed: o.Committed})
	})
}

// openStore opens a store that the test's end closes.
func openStore(tb testing.TB, config Config) *Store {
	tb.Helper()
	store, err := tryOpen(tb, config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { closeStore(tb, store) })
	return store
}

func tryOpen(tb testing.TB, config Config) (*Store, error) {
	tb.Helper()
	if config.Keys == nil {
		config.Keys = testKeys
	}
	config.Log = slog.New(slog.DiscardHandler)
	return Open(context.Background(), config)
}

func closeStore(tb testing.TB, store *Store) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := store.Close(ctx); err != nil {
		tb.Errorf("Close: %v", err)
	}
}
