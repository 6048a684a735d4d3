package main

import (
	"bytes"
	"database/sql"
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/parleyhq/parley/internal/store/pgtest"
	"github.com/parleyhq/parley/internal/store/sqlite"
)

const newer = `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)`

func TestMigrate(t *testing.T) {
	dir, url := filepath.Join(t.TempDir(), "data"), pgtest.Start(t).Database(t)
	for _, c := range []struct {
		name   string
		flag   []string
		change func(text string) error
	}{
		{"SQLite", []string{"--data-dir", dir}, func(text string) error {
			db, err := sql.Open("sqlite", filepath.Join(dir, sqlite.FileName))
			if err != nil {
				return err
			}
			_, err = db.ExecContext(t.Context(), text)
			return errors.Join(err, db.Close())
		}},
		{"PostgreSQL", []string{"--database-url", url}, func(text string) error {
			conn, err := pgx.Connect(t.Context(), url)
			if err != nil {
				return err
			}
			_, err = conn.Exec(t.Context(), text)
			return errors.Join(err, conn.Close(t.Context()))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			migrate := func(what string) (string, error) {
				var out bytes.Buffer
				err := run(t.Context(), append([]string{"migrate", what}, c.flag...), &out, &bytes.Buffer{})
				return out.String(), err
			}
			const pending, applied = `(?m)^1 .*\.sql +-$`, `(?m)^1 .*\.sql +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d$`
			for _, step := range []struct{ what, want, says string }{
				{"status", pending, "There is no store yet"},
				{"status", pending, "There is no store yet"}, // asking has made nothing
				{"up", applied, "The store is up to date."},
				{"up", applied, "The store is up to date."},
				{"status", applied, "The store is up to date."},
			} {
				out, err := migrate(step.what)
				if err != nil || !strings.HasSuffix(strings.TrimSpace(out), step.says) && !strings.Contains(out, step.says) ||
					!regexp.MustCompile(step.want).MatchString(out) {
					t.Errorf("%s says %q, %v; want %s and %q", step.what, out, err, step.want, step.says)
				}
			}
			if err := c.change(newer); err != nil {
				t.Fatal(err)
			}
			if out, err := migrate("status"); err != nil || !strings.Contains(out, "of a newer version of Parley (schema 99;") {
				t.Errorf("status says %q, %v of a newer store", out, err)
			}
			if _, err := migrate("up"); err == nil || !strings.Contains(err.Error(), "of a newer version of Parley (schema 99;") {
				t.Errorf("up says %v of a newer store", err)
			}
		})
	}
}

// TestMigrateWaitsForNoServer that uses the data directory: it is refused. Asking how far the store is goes on.
func TestMigrateWaitsForNoServer(t *testing.T) {
	dir := t.TempDir()
	startServer(t, dir)
	err := run(t.Context(), []string{"migrate", "up", "--data-dir", dir}, &bytes.Buffer{}, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "another server uses this data directory") {
		t.Errorf("up says %v", err)
	}
	if err := run(t.Context(), []string{"migrate", "status", "--data-dir", dir}, &bytes.Buffer{}, &bytes.Buffer{}); err != nil {
		t.Errorf("status says %v", err)
	}
}
