// Package schema brings the tables of a store up to date, and tells how far they are. Each engine has migrations of its
// own, and a lock that keeps others away meanwhile.
package schema

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/pressly/goose/v3"
)

// State is how far a database is.
type State struct {
	Has        int64 // the version of its newest migration; 0: it has none
	Knows      int64 // that of the newest one of this version of Parley
	Migrations []Migration
}

// Migration is one step of the tables.
type Migration struct {
	Version int64
	Name    string    // of its file
	Applied time.Time // as the database has it; zero: it is not applied
}

// Newer is an error if the database was brought further than this version of Parley knows; nil: it was not.
func (s *State) Newer() error {
	if s.Has <= s.Knows {
		return nil
	}
	return NewerError(s.Has, s.Knows)
}

// Current is an error unless the database is as this version of Parley wants it.
func (s *State) Current() error {
	switch {
	case s.Has == 0:
		return errors.New("there is no store of Parley in it")
	case s.Has < s.Knows:
		return fmt.Errorf("the database is of an older version of Parley (schema %d; this one needs %d): run parley migrate up first",
			s.Has, s.Knows)
	default:
		return s.Newer()
	}
}

// NewerError refuses a database of a later version.
func NewerError(has, knows int64) error {
	return fmt.Errorf("the database is of a newer version of Parley (schema %d; this one knows %d)", has, knows)
}

// Up applies the migrations, the files of the folder "migrations", that the database does not have yet, and tells whether it
// had none. It refuses a database that a newer version wrote.
func Up(ctx context.Context, dialect goose.Dialect, db *sql.DB, migrations embed.FS) (made bool, err error) {
	provider, err := newProvider(dialect, db, migrations)
	if err != nil {
		return false, err
	}
	has, knows, err := provider.GetVersions(ctx)
	if err != nil {
		return false, err
	}
	if has > knows {
		return false, NewerError(has, knows)
	}
	_, err = provider.Up(ctx)
	return has == 0, err
}

func newProvider(dialect goose.Dialect, db *sql.DB, migrations embed.FS) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(dialect, db, files, goose.WithDisableGlobalRegistry(true))
}

// Unmade is the state of a database that is not there. None is asked.
func Unmade(migrations embed.FS) (*State, error) {
	s := &State{}
	files, err := fs.Glob(migrations, "migrations/*.sql") // in their order: the numbers have zeros before them
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		version, err := goose.NumericComponent(file)
		if err != nil {
			return nil, err
		}
		s.Migrations = append(s.Migrations, Migration{Version: version, Name: path.Base(file)})
		s.Knows = max(s.Knows, version)
	}
	return s, nil
}

// Look tells how far the database is, and changes nothing.
func Look(ctx context.Context, dialect goose.Dialect, db *sql.DB, migrations embed.FS) (*State, error) {
	s, err := Unmade(migrations)
	if err != nil {
		return nil, err
	}
	provider, err := newProvider(dialect, db, migrations)
	if err != nil {
		return nil, err
	}
	if begun, err := begun(ctx, dialect, db); err != nil || !begun {
		return s, err // asking further would make the table
	}
	if s.Has, err = provider.GetDBVersion(ctx); err != nil {
		return nil, err
	}
	found, err := provider.Status(ctx)
	if err != nil {
		return nil, err
	}
	for i, status := range found { // in the same order
		if status.State == goose.StateApplied {
			s.Migrations[i].Applied = status.AppliedAt
		}
	}
	return s, nil
}

// versionTables are how to ask whether a database has the table of the versions.
var versionTables = map[goose.Dialect]string{
	goose.DialectSQLite3:  `SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '` + goose.DefaultTablename + `')`,
	goose.DialectPostgres: `SELECT to_regclass('` + goose.DefaultTablename + `') IS NOT NULL`,
}

func begun(ctx context.Context, dialect goose.Dialect, db *sql.DB) (found bool, err error) {
	err = db.QueryRowContext(ctx, versionTables[dialect]).Scan(&found)
	return found, err
}
