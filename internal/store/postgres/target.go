package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/transfer"
)

// Target implements transfer.Target in an empty database. All that it writes is one transaction. It has the lock of the
// migrations meanwhile: a node that is started waits until the transaction is over.
type Target struct {
	pool *pgxpool.Pool
	tx   pgx.Tx
}

// OpenTarget makes the tables of an empty store in a database, unless they are there. It fails if the database has anything
// of a store, even if that is only the mark of a server that was started with it once.
func OpenTarget(ctx context.Context, url string) (_ *Target, err error) {
	if err := checkEmpty(ctx, url); err != nil { // before anything is made
		return nil, named(err)
	}
	database, err := connect(ctx, url, 1)
	if err != nil {
		return nil, named(err)
	}
	t := &Target{pool: database.Pool}
	defer func() { //nolint:contextcheck // the context may have ended: that may be the error
		if err != nil {
			err = errors.Join(named(err), t.Close())
		}
	}()
	if t.tx, err = t.pool.Begin(ctx); err != nil {
		return nil, err
	}
	for _, statement := range []string{
		unlimitedSQL,
		fmt.Sprintf(`SELECT pg_advisory_xact_lock(%d),
			CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'local', true) END`, migrationLock),
		`LOCK TABLE sessions, settings IN EXCLUSIVE MODE`,
	} {
		if _, err := t.tx.Exec(ctx, statement); err != nil {
			return nil, err
		}
	}
	return t, wantEmpty(ctx, t.tx)
}

func checkEmpty(ctx context.Context, url string) error {
	pool, err := newPool(ctx, url, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	return wantEmpty(ctx, pool)
}

// tables are all that a store has.
var tables = []string{
	"sessions", "heads", "events", "members", "session_users", "tombstones", "requests", "tickets", "api_keys", "creators",
	"commits", "settings",
}

// wantEmpty is an error if one of the tables has a row.
func wantEmpty(ctx context.Context, db interface {
	QueryRow(ctx context.Context, text string, args ...any) pgx.Row
},
) error {
	for _, table := range tables {
		var found bool
		if err := db.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, table).Scan(&found); err != nil {
			return err
		}
		if !found {
			continue
		}
		if err := db.QueryRow(ctx, `SELECT EXISTS (SELECT FROM `+table+`)`).Scan(&found); err != nil {
			return err
		}
		if found {
			return fmt.Errorf("the target is not empty: it has rows in the table %s; name a database that no server was started with", table)
		}
	}
	return nil
}

// Write implements transfer.Target.
func (t *Target) Write(ctx context.Context, b *transfer.Batch) error {
	return named(inTurn(
		func() error { return t.addSessions(ctx, b.Sessions) },
		add(ctx, t, b.Events, "events", []string{"uid", "sequence", "time", "channel", "kind", "actor", "message_id", "doc"},
			func(ev *session.Event) []any {
				return []any{
					[16]byte(ev.UID), ev.Sequence, int64(ev.Time), ev.Channel, int16(ev.Kind), ev.Actor, ev.MessageID, textOf(ev.Document),
				}
			}),
		add(ctx, t, b.Members, "members", []string{"uid", "user_name", "joined", "channels"}, func(m transfer.Member) []any {
			return []any{[16]byte(m.UID), m.User, int64(m.JoinTime), notNil(m.Channels)}
		}),
		add(ctx, t, b.Ended, "tombstones", []string{"uid", "id", "kind", "actor", "ended", "sequence", "first", "users", "purged"},
			func(ev *session.Event) []any {
				return []any{
					[16]byte(ev.UID), ev.ID, int16(ev.Kind), ev.Actor, int64(ev.Time), ev.Sequence, ev.Sequence, []string{}, true,
				}
			}),
		add(ctx, t, b.Requests, "requests", []string{"key", "at", "uid", "digest", "sequence"}, func(r transfer.Request) []any {
			return []any{[16]byte(r.Key), int64(r.Time), [16]byte(r.UID), [16]byte(r.Digest), r.Sequence}
		}),
		add(ctx, t, b.APIKeys, "api_keys", []string{"id", "name", "role", "hash", "created", "revoked"}, func(k session.APIKey) []any {
			return []any{k.ID, k.Name, string(k.Role), k.Hash[:], int64(k.CreateTime), int64(k.RevokeTime)}
		}),
	))
}

// inTurn does one thing after the other, until one fails.
func inTurn(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// add is to add rows to a table.
func add[T any](ctx context.Context, t *Target, rows []T, table string, columns []string, values func(T) []any) func() error {
	return func() error {
		if len(rows) == 0 {
			return nil
		}
		_, err := t.tx.CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
			return values(rows[i]), nil
		}))
		return err
	}
}

// finder is somebody by whom a session is found.
type finder struct {
	uid  [16]byte
	user string
}

func (t *Target) addSessions(ctx context.Context, rows []*transfer.Session) error {
	var finders []finder
	for _, s := range rows {
		spec, err := s.Spec()
		if err != nil {
			return fmt.Errorf("the session %s: %w", s.ID, err)
		}
		for _, user := range spec.Principals() {
			finders = append(finders, finder{s.UID, user})
		}
	}
	return inTurn(
		add(ctx, t, rows, "sessions",
			[]string{"uid", "id", "type", "display_name", "creator", "updated", "expires", "secret_key", "secret", "doc"},
			func(s *transfer.Session) []any {
				return []any{
					[16]byte(s.UID), s.ID, int16(s.Type), s.DisplayName, s.Creator, int64(s.UpdateTime), int64(s.ExpireTime),
					int64(s.Secret.KeyID), s.Secret.Hash, string(s.Document),
				}
			}),
		add(ctx, t, rows, "heads", []string{"uid", "sequence", "members", "last_message", "latest", "first", "trim_at"},
			func(s *transfer.Session) []any {
				return []any{
					[16]byte(s.UID), s.Head.Sequence, s.Head.Members, int64(s.Head.LastMessageTime), int64(s.Latest), s.First, int64(s.TrimAt),
				}
			}),
		add(ctx, t, finders, "session_users", []string{"uid", "user_name"}, func(f finder) []any { return []any{f.uid, f.user} }),
	)
}

// Count implements transfer.Target.
func (t *Target) Count(ctx context.Context) (transfer.Counts, error) {
	return counts(ctx, t.tx, `SELECT count(*) FROM events`)
}

// Commit implements transfer.Target.
func (t *Target) Commit(ctx context.Context, s transfer.Settings) error {
	if err := t.finish(ctx, s); err != nil {
		return named(err)
	}
	if err := t.tx.Commit(context.WithoutCancel(ctx)); err != nil { // to break it off here is not to know how it ends
		return fmt.Errorf("nobody knows whether the copy is in the target: copy again, which is refused if it is: %w", named(err))
	}
	return nil
}

// finish writes what follows from the rest, and what the store as a whole has.
func (t *Target) finish(ctx context.Context, s transfer.Settings) error {
	for _, statement := range []string{
		`INSERT INTO session_users (user_name, uid) SELECT user_name, uid FROM members ON CONFLICT (user_name, uid) DO NOTHING`,
		`INSERT INTO creators (user_name, sessions) SELECT creator, count(*) FROM sessions GROUP BY creator`,
		`ANALYZE sessions, heads, events, members, session_users, tombstones, requests, creators`,
	} {
		if _, err := t.tx.Exec(ctx, statement); err != nil {
			return err
		}
	}
	for name, value := range map[string][]byte{oldestKey: s.Oldest, newestKey: s.Newest, keyRing: s.Ring} {
		if value == nil {
			continue
		}
		if _, err := t.tx.Exec(ctx, `INSERT INTO settings (name, value) VALUES ($1, $2)`, name, value); err != nil {
			return err
		}
	}
	// So the time does not step back behind what was given out: see readFloor.
	_, err := t.tx.Exec(ctx, `INSERT INTO commits (group_id, at, void, uids, sequences) VALUES ($1, $2, false, '{}', '{}')`,
		[16]byte(session.NewUID(s.Latest, rand.Uint64())), int64(s.Latest)) //nolint:gosec // it is to be unique, not secret
	return err
}

// Close implements transfer.Target.
func (t *Target) Close() error {
	closePool(t.pool, t.tx)
	return nil
}
