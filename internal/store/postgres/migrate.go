package postgres

import (
	"context"
	"embed"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/parleyhq/parley/internal/store/schema"
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
	return schema.Up(ctx, goose.DialectPostgres, db, migrations)
}

// Migrate makes the store in a database, or brings it up to date, while no node does. It fails if a newer version of Parley
// wrote it.
func Migrate(ctx context.Context, url string) error {
	database, err := connect(ctx, url, 1)
	if err != nil {
		return named(err)
	}
	database.Close()
	return nil
}

// Migrations tells how far the store in a database is, and changes nothing.
func Migrations(ctx context.Context, url string) (_ *schema.State, err error) {
	pool, err := newPool(ctx, url, 1)
	if err != nil {
		return nil, named(err)
	}
	defer pool.Close()
	db := stdlib.OpenDB(*pool.Config().ConnConfig)
	defer func() { err = errors.Join(err, db.Close()) }()
	state, err := schema.Look(ctx, goose.DialectPostgres, db, migrations)
	return state, named(err)
}
