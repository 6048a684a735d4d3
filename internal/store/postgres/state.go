package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/parleyhq/parley/internal/store/schema"
)

const (
	oldestKey = "keys"
	newestKey = "newest key"
	keyRing   = "key ring"
)

// Migrate makes the store in a database, or brings it up to date, while no other node does. It fails if a newer version of
// Parley wrote it.
func Migrate(ctx context.Context, url string) error {
	pool, err := newPool(ctx, url, 1)
	if err != nil {
		return named(err)
	}
	defer pool.Close()
	return named(migrate(ctx, pool.Config().ConnConfig))
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
