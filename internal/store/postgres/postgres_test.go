package postgres

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/pgtest"
	"github.com/parleyhq/parley/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Tests(m)) }

var testKeys = session.NewKeyRing()

func TestStore(t *testing.T) {
	t.Parallel()
	whole := t             // a database outlives the test that opens it: another one may open it again
	var databases sync.Map // by the directories that name the stores
	storetest.Run(t, func(t *testing.T, o storetest.Options) session.Store {
		url, known := databases.Load(o.Dir)
		if !known {
			url = pgtest.Database(whole)
			databases.Store(o.Dir, url)
		}
		return openStore(t, Config{URL: url.(string), Now: o.Now, Committed: o.Committed})
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
