package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/parleyhq/parley/internal/session"
)

// The names in the table of settings: what identifies the oldest and the newest key that the store was used with, and, if
// it is not in a file, the ring itself. Which ring it is was decided once there is a row for the oldest key.
const (
	oldestKey = "keys"
	newestKey = "newest key"
	keyRing   = "key ring"
)

// LoadKeys returns the key ring that is kept in the database, which it brings up to date if need be. If no ring was ever
// used with the database, then it makes one: all nodes that start at the same moment get the same. It fails if the
// database was used with a ring that is kept elsewhere.
func LoadKeys(ctx context.Context, url string) (keys *session.KeyRing, err error) {
	database, err := connect(ctx, url, 1)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	defer database.Close()
	err = inTransaction(ctx, database.Pool, func(ctx context.Context, tx pgx.Tx) error {
		keys, err = loadKeys(ctx, tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: server key: %w", err)
	}
	return keys, nil
}

func loadKeys(ctx context.Context, tx pgx.Tx) (*session.KeyRing, error) {
	fresh := session.NewKeyRing()
	tag, err := tx.Exec(ctx, `INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`,
		oldestKey, fresh.Fingerprint()) // waits for another node that is just doing so
	if err != nil {
		return nil, err
	}
	if tag.RowsAffected() == 1 {
		_, err := tx.Exec(ctx, `INSERT INTO settings (name, value) VALUES ($1, $2)`, keyRing, fresh.Encode())
		return fresh, err
	}
	kept, err := keptKeys(ctx, tx)
	if err == nil && kept == nil {
		err = errors.New("the database was made with a key ring that is kept in a file: give that file")
	}
	return kept, err
}

// keptKeys returns the ring that is in the database, and locks it; nil: there is none.
func keptKeys(ctx context.Context, tx pgx.Tx) (*session.KeyRing, error) {
	var text []byte
	err := tx.QueryRow(ctx, `SELECT value FROM settings WHERE name = $1 FOR UPDATE`, keyRing).Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // as the comment says
	}
	if err != nil {
		return nil, err
	}
	return session.ParseKeyRing(text)
}

// RotateKeys adds a fresh key to the ring that is kept in the database. Nodes that run do not notice; they must all be
// restarted together to take it. It fails if the ring is kept elsewhere, or if there is none yet.
func RotateKeys(ctx context.Context, url string) error {
	pool, err := newPool(ctx, url, 1)
	if err != nil {
		return fmt.Errorf("PostgreSQL: %w", err)
	}
	defer pool.Close()
	if err := inTransaction(ctx, pool, rotateKeys); err != nil {
		return fmt.Errorf("PostgreSQL: server key: %w", err)
	}
	return nil
}

func rotateKeys(ctx context.Context, tx pgx.Tx) error {
	var used bool
	if err := tx.QueryRow(ctx, `SELECT to_regclass('settings') IS NOT NULL`).Scan(&used); err != nil {
		return err
	}
	if used {
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM settings WHERE name = $1)`, oldestKey).Scan(&used); err != nil {
			return err
		}
	}
	if !used {
		return errors.New("no server has used this database yet, so there is no key ring in it")
	}
	kept, err := keptKeys(ctx, tx)
	if err != nil {
		return err
	}
	if kept == nil {
		return errors.New("the key ring of this database is not kept in it, but in a file: rotate the keys of that file")
	}
	rotated, err := kept.Rotate()
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE settings SET value = $2 WHERE name = $1`, keyRing, rotated.Encode())
	return err
}

// checkKeys refuses a ring that does not follow the one that the store was used with last, and remembers it.
func checkKeys(ctx context.Context, tx pgx.Tx, keys *session.KeyRing) error {
	_, err := tx.Exec(ctx, `INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`,
		oldestKey, keys.Fingerprint())
	if err != nil {
		return err
	}
	var oldest, newest []byte
	if err := tx.QueryRow(ctx, `SELECT value FROM settings WHERE name = $1 FOR UPDATE`, oldestKey).Scan(&oldest); err != nil {
		return err
	}
	err = tx.QueryRow(ctx, `SELECT value FROM settings WHERE name = $1`, newestKey).Scan(&newest)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	if err := keys.Follows(oldest, newest); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO settings (name, value) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE settings.value <> excluded.value`, newestKey, keys.Newest())
	return err
}
