package sqlite

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/storetest"
)

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		keys    *session.KeyRing
		want    string
	}{
		{"a directory in use", func(t *testing.T, dir string) { openStore(t, Config{Dir: dir}) }, nil, "another server uses this data directory"},
		{"a newer schema", makeNewer, nil, "of a newer version of Parley (schema 99999; this one knows 3)"},
		{"another server's key", makeStore, session.NewKeyRing(), "another server key"},
		{"a file that is no database", func(t *testing.T, dir string) {
			writeFile(t, filepath.Join(dir, FileName), strings.Repeat("not a database. ", 1000))
		}, nil, "not a database"},
		{"a damaged file", damage, nil, "malformed"},
		{"a directory that is not there", func(t *testing.T, dir string) {
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
		}, nil, "no such file or directory"},
		{"a directory that cannot be written", func(t *testing.T, dir string) {
			if os.Geteuid() == 0 {
				t.Skip("root may write everywhere")
			}
			if err := os.Chmod(dir, 0o500); err != nil {
				t.Fatal(err)
			}
		}, nil, "permission denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			c.prepare(t, dir)
			store, err := tryOpen(t, Config{Dir: dir, Keys: c.keys})
			if err == nil {
				closeStore(t, store)
				t.Fatal("Open succeeded")
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("Open = %q, want it to say %q and where", err, c.want)
			}
		})
	}
}

// TestOpenAfterRefusal: what refused a directory does not keep it.
func TestOpenAfterRefusal(t *testing.T) {
	dir := t.TempDir()
	makeStore(t, dir)
	if store, err := tryOpen(t, Config{Dir: dir, Keys: session.NewKeyRing()}); err == nil {
		closeStore(t, store)
		t.Fatal("Open with another key succeeded")
	}
	openStore(t, Config{Dir: dir})
}

func rotated(t *testing.T, keys *session.KeyRing) *session.KeyRing {
	t.Helper()
	keys, err := keys.Rotate()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestOpenRemembersTheNewestKey, also that of a ring that was rotated, and refuses a ring without it.
func TestOpenRemembersTheNewestKey(t *testing.T) {
	dir := t.TempDir()
	one := session.NewKeyRing()
	two, apart := rotated(t, one), rotated(t, one)
	four := rotated(t, rotated(t, two))
	for _, step := range []struct {
		keys *session.KeyRing
		want string // "": it opens
	}{
		{one, ""},
		{two, ""},
		{one, "lacks the key 2"},
		{apart, "rotated apart"},
		{rotated(t, apart), "rotated apart"},
		{two, ""},
		{four, ""},
		{two, "lacks the key 4"},
		{session.NewKeyRing(), "another server key"},
		{four, ""},
	} {
		store, err := tryOpen(t, Config{Dir: dir, Keys: step.keys})
		if err == nil {
			closeStore(t, store)
		}
		if step.want == "" && err != nil || step.want != "" && (err == nil || !strings.Contains(err.Error(), step.want)) {
			t.Errorf("Open = %v, want %q", err, step.want)
		}
	}
}

// TestOpenAStoreThatRemembersTheOldestKeyOnly, as earlier versions left it.
func TestOpenAStoreThatRemembersTheOldestKeyOnly(t *testing.T) {
	dir := t.TempDir()
	opened(t, Config{Dir: dir}, func(store *Store) {
		inTurn(t, store, func(e *engine) error { return e.exec(`DELETE FROM settings WHERE name = 'newest key'`) })
	})
	opened(t, Config{Dir: dir, Keys: rotated(t, testKeys)}, func(*Store) {})
	if store, err := tryOpen(t, Config{Dir: dir}); err == nil {
		closeStore(t, store)
		t.Error("Open with the ring of before succeeded")
	}
}

// wantFilesOfTheOwner checks that nobody else may read the database or what is beside it.
func wantFilesOfTheOwner(t *testing.T, dir string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(filepath.Join(dir, FileName+suffix))
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s%s: %v, %v, want the mode 0600", FileName, suffix, info, err)
		}
	}
}

func TestTheFilesAreTheOwners(t *testing.T) {
	t.Run("of a server", func(t *testing.T) {
		dir := t.TempDir()
		openStore(t, Config{Dir: dir})
		wantFilesOfTheOwner(t, dir)
	})
	t.Run("of a key", func(t *testing.T) {
		dir := t.TempDir()
		if err := openKeys(t, dir).Create(t.Context(), storetest.KeyNamed("billing", 1)); err != nil {
			t.Fatal(err)
		}
		wantFilesOfTheOwner(t, dir)
	})
}

func TestOpenSyncsEachCommit(t *testing.T) {
	store := openStore(t, Config{Dir: t.TempDir()})
	for pragma, want := range map[string]int64{"synchronous": 2, "foreign_keys": 1} {
		got, err := store.engine.integer("PRAGMA " + pragma)
		if err != nil || got != want {
			t.Errorf("PRAGMA %s = %d, %v, want %d", pragma, got, err, want)
		}
	}
	var mode driver.Value
	err := store.engine.query("PRAGMA journal_mode", nil, func(row []driver.Value) error {
		mode = row[0]
		return nil
	})
	if err != nil || mode != "wal" {
		t.Errorf("PRAGMA journal_mode = %v, %v, want wal", mode, err)
	}
}

// makeStore leaves a store of a few sessions.
func makeStore(t *testing.T, dir string) {
	t.Helper()
	store, err := tryOpen(t, Config{Dir: dir})
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

// makeFirstVersion leaves a store of the first version, with the session s and one that ended, whose uid it returns.
func makeFirstVersion(t *testing.T, dir string) session.UID {
	t.Helper()
	path := filepath.Join(dir, FileName)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	_, err = provider.UpTo(t.Context(), 1)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	c, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	ended := session.NewUID(filterTime, 1)
	err = errors.Join(
		c.insert(&session.Record{
			UID: session.NewUID(filterTime+1, 1), ID: "s", CreateTime: filterTime + 1, UpdateTime: filterTime + 1,
			Document: smallSpec.AppendJSON(nil),
		}),
		c.exec(`INSERT INTO tombstones (created, uid, kind, ended, sequence, display_name, users) VALUES (?, ?, 1, ?, 1, '', '')`,
			int64(filterTime), ended[:], int64(session.Now())),
		c.close(),
	)
	if err != nil {
		t.Fatal(err)
	}
	return ended
}

// makeNewer leaves a store of a later version.
func makeNewer(t *testing.T, dir string) {
	t.Helper()
	makeStore(t, dir)
	c, err := open(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)`); err != nil {
		t.Error(err)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
}

// damage leaves a store with its first page but for the header overwritten.
func damage(t *testing.T, dir string) {
	t.Helper()
	makeStore(t, dir)
	path := filepath.Join(dir, FileName)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(content[100:4096], strings.Repeat("x", 4096))
	writeFile(t, path, string(content))
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
