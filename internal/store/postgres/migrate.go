package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrationLock is the advisory lock that a node holds while it brings the database up to date.
const migrationLock = 0x7061726c6579 // "parley"

// migrate brings the database up to date, and tells whether nothing was there. Nodes that start at the same time do so one
// after the other.
func migrate(ctx context.Context, config *pgx.ConnConfig) (made bool, err error) {
	lock, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, lock.Close(context.WithoutCancel(ctx))) }()
	// The lock is the transaction's, not the connection's, which behind a proxy is not ours between transactions.
	tx, err := lock.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	_, err = tx.Exec(ctx, `SELECT set_config('idle_in_transaction_session_timeout', '0', true), pg_advisory_xact_lock($1)`,
		int64(migrationLock))
	if err != nil {
		return false, err
	}
	db := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, db.Close()) }()
	return up(ctx, db)
}

func up(ctx context.Context, db *sql.DB) (made bool, err error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return false, err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return false, err
	}
	has, knows, err := provider.GetVersions(ctx)
	if err != nil {
		return false, err
	}
	if has > knows {
		return false, fmt.Errorf("the database is of a newer version of Parley (schema %d; this one knows %d)", has, knows)
	}
	_, err = provider.Up(ctx)
	return has == 0, err
}
