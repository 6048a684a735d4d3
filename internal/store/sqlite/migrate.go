package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/pressly/goose/v3"

	"github.com/parleyhq/parley/internal/store/schema"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the file up to date. The data directory's lock keeps others away meanwhile.
func migrate(ctx context.Context, path string) (err error) {
	db, err := openSQL(path, commonPragmas)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = schema.Up(ctx, goose.DialectSQLite3, db, migrations)
	return err
}

func openSQL(path string, pragmas []string, mode ...string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", address(path, pragmas, mode...))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// address is the file as the driver takes it, with pragmas, each as "name(value)", and perhaps the mode in which to open it.
func address(path string, pragmas []string, mode ...string) string {
	query := url.Values{"_pragma": pragmas}
	if len(mode) > 0 {
		query["mode"] = mode
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + query.Encode()
}

// Migrate makes the store in the data directory, or brings it up to date. It fails if a server uses it, or if a newer
// version of Parley wrote it.
func Migrate(ctx context.Context, dir string) (err error) {
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	path := filepath.Join(dir, FileName)
	if err := makeStoreFile(path); err != nil {
		return err
	}
	if err := migrate(ctx, path); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Migrations tells how far the store in the data directory is, and changes nothing. A server may use it meanwhile.
func Migrations(ctx context.Context, dir string) (*schema.State, error) {
	state, err := lookAt(ctx, filepath.Join(dir, FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return schema.Unmade(migrations)
	}
	return state, err
}

// readOnly is the mode of a connection that cannot change the file. It may still have to make the files beside it.
const readOnly = "ro"

var lookPragmas = []string{"query_only(ON)", "busy_timeout(5000)"}

func lookAt(ctx context.Context, path string) (_ *schema.State, err error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	db, err := openSQL(path, lookPragmas, readOnly)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	state, err := schema.Look(ctx, goose.DialectSQLite3, db, migrations)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return state, nil
}
