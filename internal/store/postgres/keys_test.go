package postgres

import (
	"strings"
	"sync"
	"testing"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/pgtest"
	"github.com/parleyhq/parley/internal/store/storetest"
)

func TestKeys(t *testing.T) {
	t.Parallel()
	whole := t
	var databases sync.Map
	url := func(o storetest.Options) string {
		url, known := databases.Load(o.Dir)
		if !known {
			url = pgtest.Database(whole)
			databases.Store(o.Dir, url)
		}
		return url.(string)
	}
	storetest.RunKeys(t,
		func(t *testing.T, o storetest.Options) session.APIKeys {
			return openStore(t, Config{URL: url(o), Now: o.Now})
		},
		func(t *testing.T, o storetest.Options) storetest.Keys {
			keys, err := OpenKeys(t.Context(), url(o))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := keys.Close(); err != nil {
					t.Error(err)
				}
			})
			return keys
		})
}

func TestOpenKeysRefuses(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	makeStore(t, url)
	execute(t, url, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)`)
	for name, c := range map[string]struct{ url, want string }{
		"a newer schema":               {url, "of a newer version of Parley (schema 99999; this one knows 2)"},
		"a database that is not there": {strings.Replace(url, "/test_", "/none_", 1), "does not exist"},
	} {
		keys, err := OpenKeys(t.Context(), c.url)
		if err == nil {
			_ = keys.Close()
			t.Errorf("%s: OpenKeys succeeded", name)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "PostgreSQL: ") {
			t.Errorf("%s: OpenKeys = %q, want it to say %q", name, err, c.want)
		}
	}
}
