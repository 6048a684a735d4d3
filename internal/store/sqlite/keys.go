package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/schema"
)

// APIKeys implements session.APIKeys.
func (s *Store) APIKeys(ctx context.Context) (keys []session.APIKey, err error) {
	err = s.read(ctx, func(c *conn) (err error) {
		keys, err = c.apiKeys()
		return err
	})
	return keys, err
}

// apiKeys returns all API keys, in the order in which they were made.
func (c *conn) apiKeys() (keys []session.APIKey, err error) {
	err = c.query(`SELECT id, name, role, hash, created, revoked FROM api_keys ORDER BY number`, nil, func(row []driver.Value) error {
		hash := row[3].([]byte)
		if len(hash) != session.HashBytes {
			return fmt.Errorf("the API key %s: its hash has %d bytes", row[0], len(hash))
		}
		keys = append(keys, session.APIKey{
			ID: row[0].(string), Name: row[1].(string), Role: session.Role(row[2].(string)), Hash: session.CredentialHash(hash),
			CreateTime: session.Time(row[4].(int64)), RevokeTime: session.Time(row[5].(int64)),
		})
		return nil
	})
	return keys, err
}

// Keys makes and revokes the API keys of a store, for the command line. A server may have the store open meanwhile: it
// sees what changes, and its writes wait for the few milliseconds that a change takes. A Keys is for one goroutine.
type Keys struct {
	conn *conn
	path string
	made bool
}

// keysPragmas are those of a connection beside a server's. Emptying the log into the file is the server's work.
var keysPragmas = append(slices.Clip(commonPragmas), "wal_autocheckpoint(0)")

// OpenKeys opens the API keys of the store in the data directory, and makes the store or brings it up to date if need
// be. It fails if a newer version of Parley wrote it, or if it is to be brought up to date and a server has it open.
func OpenKeys(ctx context.Context, dir string) (_ *Keys, err error) {
	k := &Keys{path: filepath.Join(dir, FileName)}
	if err := makeStoreFile(k.path); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", k.path, err)
		}
	}()
	if k.conn, err = open(k.path, keysPragmas...); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.Close())
		}
	}()
	if err := k.migrate(ctx, dir); err != nil {
		return nil, err
	}
	// BEGIN IMMEDIATE is to be tried often: see begin.
	_, err = k.conn.integer("PRAGMA busy_timeout = 1")
	return k, err
}

// migrate brings the store up to date, if it is not and no server has it open.
func (k *Keys) migrate(ctx context.Context, dir string) (err error) {
	unmade, err := schema.Unmade(migrations)
	if err != nil {
		return err
	}
	knows := unmade.Knows
	has, err := k.conn.schema()
	if err != nil {
		return err
	}
	if has == knows {
		return nil
	}
	if has > knows {
		return schema.NewerError(has, knows)
	}
	lock, err := lockDir(dir)
	if errors.Is(err, errInUse) {
		return fmt.Errorf("the server that uses it is of an older version of Parley (schema %d; this one needs %d), or is starting: "+
			"start this version's server first", has, knows)
	}
	if err != nil {
		return err
	}
	k.made = has == 0
	return errors.Join(migrate(ctx, k.path), lock.Close())
}

// Made tells whether there was no store before: OpenKeys has made it.
func (k *Keys) Made() bool { return k.made }

// schema is the version of the file's schema; 0: it has none.
func (c *conn) schema() (int64, error) {
	has, err := c.integer(`SELECT count(*) FROM sqlite_schema WHERE name = 'goose_db_version'`)
	if err != nil || has == 0 {
		return 0, err
	}
	return c.integer(`SELECT max(version_id) FROM goose_db_version WHERE is_applied`)
}

// Close closes the connection.
func (k *Keys) Close() error { return k.conn.close() }

// List returns all keys, also those that were revoked, in the order in which they were made.
func (k *Keys) List(ctx context.Context) (keys []session.APIKey, err error) {
	err = k.patiently(ctx, func() (err error) {
		keys, err = k.conn.apiKeys()
		return err
	})
	return keys, err
}

// Create keeps a key. Its name must not be the name or the id of another.
func (k *Keys) Create(ctx context.Context, key session.APIKey) error {
	return k.write(ctx, func() error {
		keys, err := k.conn.apiKeys()
		if err != nil {
			return err
		}
		if err := session.CheckNewAPIKey(keys, &key); err != nil {
			return err
		}
		return k.conn.insertAPIKey(key)
	})
}

func (c *conn) insertAPIKey(key session.APIKey) error {
	return c.exec(`INSERT INTO api_keys (id, name, role, hash, created, revoked) VALUES (?, ?, ?, ?, ?, ?)`,
		key.ID, key.Name, string(key.Role), key.Hash[:], int64(key.CreateTime), int64(key.RevokeTime))
}

// Revoke revokes the key of an id or name as of a time, and returns it as it is then. A key that was revoked before
// stays as it is.
func (k *Keys) Revoke(ctx context.Context, idOrName string, at session.Time) (revoked session.APIKey, err error) {
	err = k.write(ctx, func() error {
		keys, err := k.conn.apiKeys()
		if err != nil {
			return err
		}
		if revoked, err = session.RevokedAPIKey(keys, idOrName, at); err != nil {
			return err
		}
		return k.conn.exec(`UPDATE api_keys SET revoked = ? WHERE id = ?`, int64(revoked.RevokeTime), revoked.ID)
	})
	return revoked, err
}

// write does something in a transaction.
func (k *Keys) write(ctx context.Context, do func() error) error {
	err := k.patiently(ctx, func() error { return k.conn.exec("BEGIN IMMEDIATE") })
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return errors.Join(err, k.conn.exec("ROLLBACK"))
	}
	if err := k.conn.exec("COMMIT"); err != nil {
		_ = k.conn.exec("ROLLBACK") // fails if SQLite has done it already
		return err
	}
	return nil
}

// patience is how long a busy server is waited for.
const patience = 30 * time.Second

// patiently tries a statement again as long as others keep the store busy. A server under load leaves it free for a
// moment between two transactions, so it is tried about each millisecond: SQLite's own way of waiting, longer and longer,
// would miss those moments.
func (k *Keys) patiently(ctx context.Context, try func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := try()
		switch {
		case code(err) != sqlite3.SQLITE_BUSY:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case time.Now().After(deadline):
			return fmt.Errorf("the server kept the database busy for %v: try again: %w", patience, err)
		}
	}
}
