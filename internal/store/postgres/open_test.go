package postgres

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/pgtest"
	"github.com/parleyhq/parley/internal/store/storetest"
)

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, url string) string // returns the URL to open
		keys    *session.KeyRing
		want    string
	}{
		{"a newer schema", func(t *testing.T, url string) string {
			makeStore(t, url)
			execute(t, url, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)`)
			return url
		}, nil, "of a newer version of Parley (schema 99999; this one knows 2)"},
		{"another server's key", func(t *testing.T, url string) string {
			makeStore(t, url)
			return url
		}, session.NewKeyRing(), "another server key"},
		{"another encoding", func(t *testing.T, url string) string {
			execute(t, url, `CREATE DATABASE latin1 ENCODING 'LATIN1' TEMPLATE template0`)
			t.Cleanup(func() { execute(t, url, `DROP DATABASE latin1 WITH (FORCE)`) })
			before, after, _ := strings.Cut(url, "?")
			return before[:strings.LastIndex(before, "/")] + "/latin1?" + after
		}, nil, "the database's encoding is LATIN1: it must be UTF8"},
		{"a database that is not there", func(_ *testing.T, url string) string {
			return strings.Replace(url, "/test_", "/none_", 1)
		}, nil, "does not exist"},
		{"what is no URL", func(*testing.T, string) string { return "postgres://user:secret@[" }, nil, "cannot parse"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			store, err := tryOpen(t, Config{URL: c.prepare(t, pgtest.Database(t)), Keys: c.keys})
			if err == nil {
				closeStore(t, store)
				t.Fatal("Open succeeded")
			}
			if !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "PostgreSQL: ") || strings.Contains(err.Error(), "secret") {
				t.Errorf("Open = %q, want it to say %q, and no password", err, c.want)
			}
		})
	}
}

// TestNodesThatStartTogetherMakeOneSchema has many stores open an empty database at the same time.
func TestNodesThatStartTogetherMakeOneSchema(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	var opening sync.WaitGroup
	for range 8 {
		opening.Go(func() {
			store, err := tryOpen(t, Config{URL: url})
			if err != nil {
				t.Error(err)
				return
			}
			closeStore(t, store)
		})
	}
	opening.Wait()
}

// makeStore leaves a store of a few sessions.
func makeStore(t *testing.T, url string) {
	t.Helper()
	store, err := tryOpen(t, Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, store)
	for range 5 {
		create := storetest.Creation{Spec: session.Spec{Owners: []string{"user-1"}}}
		if _, err := create.Create(t.Context(), store); err != nil {
			t.Fatal(err)
		}
	}
}

// execute runs a statement beside all stores.
func execute(t *testing.T, url, statement string) {
	t.Helper()
	ctx := context.Background() // also in a cleanup
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, statement); err != nil {
		t.Fatal(err)
	}
}
