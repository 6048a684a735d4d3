package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/parleyhq/parley/internal/session"
)

// querier is a connection, or a transaction of one.
type querier interface {
	Query(ctx context.Context, text string, args ...any) (pgx.Rows, error)
}

// APIKeys implements session.APIKeys.
func (s *Store) APIKeys(ctx context.Context) (keys []session.APIKey, err error) {
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		keys, err = apiKeys(ctx, conn)
		return err
	})
	return keys, err
}

// apiKeys returns all API keys, in the order in which they were made.
func apiKeys(ctx context.Context, from querier) ([]session.APIKey, error) {
	rows, err := from.Query(ctx, `SELECT id, name, role, hash, created, revoked FROM api_keys ORDER BY number`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (key session.APIKey, err error) {
		var hash []byte
		err = row.Scan(&key.ID, &key.Name, (*string)(&key.Role), &hash, (*int64)(&key.CreateTime), (*int64)(&key.RevokeTime))
		if err == nil && len(hash) != session.HashBytes {
			err = fmt.Errorf("the API key %s: its hash has %d bytes", key.ID, len(hash))
		}
		if err == nil {
			key.Hash = session.CredentialHash(hash)
		}
		return key, err
	})
}

// Keys makes and revokes the API keys of a store, for the command line. Nodes may have the store open meanwhile: they see
// what changes, and wait for nothing.
type Keys struct{ database *database }

// OpenKeys opens the API keys of the store in the database, and makes the store or brings it up to date if need be. It
// fails if a newer version of Parley wrote it.
func OpenKeys(ctx context.Context, url string) (*Keys, error) {
	database, err := connect(ctx, url, 1)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	return &Keys{database}, nil
}

// Made tells whether there was no store before: OpenKeys has made it.
func (k *Keys) Made() bool { return k.database.made }

// Close closes the connection.
func (k *Keys) Close() error {
	k.database.Close()
	return nil
}

// List returns all keys, also those that were revoked, in the order in which they were made.
func (k *Keys) List(ctx context.Context) ([]session.APIKey, error) { return apiKeys(ctx, k.database) }

// Create keeps a key. Its name must not be the name or the id of another.
func (k *Keys) Create(ctx context.Context, key session.APIKey) error {
	return k.change(ctx, func(ctx context.Context, tx pgx.Tx, keys []session.APIKey) error {
		if err := session.CheckNewAPIKey(keys, &key); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO api_keys (id, name, role, hash, created, revoked) VALUES ($1, $2, $3, $4, $5, $6)`,
			key.ID, key.Name, string(key.Role), key.Hash[:], int64(key.CreateTime), int64(key.RevokeTime))
		return err
	})
}

// Revoke revokes the key of an id or name as of a time, and returns it as it is then. A key that was revoked before
// stays as it is.
func (k *Keys) Revoke(ctx context.Context, idOrName string, at session.Time) (revoked session.APIKey, err error) {
	err = k.change(ctx, func(ctx context.Context, tx pgx.Tx, keys []session.APIKey) error {
		if revoked, err = session.RevokedAPIKey(keys, idOrName, at); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE api_keys SET revoked = $1 WHERE id = $2`, int64(revoked.RevokeTime), revoked.ID)
		return err
	})
	return revoked, err
}

// change changes the keys while nobody else does.
func (k *Keys) change(ctx context.Context, do func(ctx context.Context, tx pgx.Tx, keys []session.APIKey) error) error {
	return inTransaction(ctx, k.database.Pool, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE`); err != nil { // it is still read
			return err
		}
		keys, err := apiKeys(ctx, tx)
		if err != nil {
			return err
		}
		return do(ctx, tx, keys)
	})
}
