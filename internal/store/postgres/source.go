package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/transfer"
)

// Source implements transfer.Source on a database, as one snapshot has it.
type Source struct {
	pool     *pgxpool.Pool
	tx       pgx.Tx
	snapshot string
}

// OpenSource opens the store in a database, to be read. It changes nothing, and keeps nobody from writing: what is written
// afterwards is not in the snapshot, so no node may run. It fails if another version of Parley wrote the store.
func OpenSource(ctx context.Context, url string) (_ *Source, err error) {
	state, err := Migrations(ctx, url)
	if err != nil {
		return nil, err
	}
	if err := state.Current(); err != nil {
		return nil, named(err)
	}
	s := &Source{}
	if s.pool, err = newPool(ctx, url, 2); err != nil { // one of them asks what the snapshot does not have
		return nil, named(err)
	}
	defer func() { //nolint:contextcheck // the context may have ended: that may be the error
		if err != nil {
			err = errors.Join(named(err), s.Close())
		}
	}()
	s.tx, err = s.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	if _, err := s.tx.Exec(ctx, unlimitedSQL); err != nil {
		return nil, err
	}
	return s, s.tx.QueryRow(ctx, `SELECT pg_current_snapshot()::text`).Scan(&s.snapshot)
}

// named is the error as one of the database's. pgx leaves the password out of what it says.
func named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("PostgreSQL: %w", err)
}

// unlimitedSQL lets a transaction take its time, but for waiting for locks.
const unlimitedSQL = `SELECT set_config('lock_timeout', '5s', true), set_config('statement_timeout', '0', true),
	set_config('idle_in_transaction_session_timeout', '0', true)`

// Totals implements transfer.Source. The heads say how many events there are: so a hole in a log is noticed.
func (s *Source) Totals(ctx context.Context) (transfer.Counts, error) {
	return counts(ctx, s.tx, `SELECT coalesce(sum(sequence - greatest(first, 2) + 1), 0)::bigint FROM heads`)
}

// counts is how many rows there are, with the events that a statement counts.
func counts(ctx context.Context, tx pgx.Tx, events string) (n transfer.Counts, err error) {
	err = tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM `+sessions+`), (`+events+`),
		(SELECT count(*) FROM members JOIN heads USING (uid)), (SELECT count(*) FROM tombstones), (SELECT count(*) FROM requests),
		(SELECT count(*) FROM api_keys)`).Scan(&n.Sessions, &n.Events, &n.Members, &n.Ended, &n.Requests, &n.APIKeys)
	return n, named(err)
}

// Settings implements transfer.Source.
func (s *Source) Settings(ctx context.Context) (transfer.Settings, error) {
	var found transfer.Settings
	rows, err := s.tx.Query(ctx, `SELECT name, value FROM settings`)
	if err != nil {
		return transfer.Settings{}, named(err)
	}
	err = each(rows, func(row pgx.Row) error {
		var name string
		var value []byte
		err := row.Scan(&name, &value)
		switch name {
		case oldestKey:
			found.Oldest = value
		case newestKey:
			found.Newest = value
		case keyRing:
			found.Ring = value
		}
		return err
	})
	if err != nil {
		return transfer.Settings{}, named(err)
	}
	err = s.tx.QueryRow(ctx, `SELECT greatest((SELECT coalesce(max(at), 0) FROM commits), (SELECT coalesce(max(latest), 0) FROM heads))`).
		Scan((*int64)(&found.Latest))
	return found, named(err)
}

// pageSessions is how many sessions are read at once. Their logs are read with one statement.
const pageSessions = 500

// Read implements transfer.Source.
func (s *Source) Read(ctx context.Context, give func(*transfer.Batch) error) error {
	r := &sourceReader{tx: s.tx, Batcher: transfer.NewBatcher(give)}
	for _, read := range []func(context.Context) error{r.readSessions, r.readEnded, r.readRequests, r.readAPIKeys} {
		if err := read(ctx); err != nil {
			return err
		}
	}
	return r.Flush()
}

// Unchanged implements transfer.Source.
func (s *Source) Unchanged(ctx context.Context) error {
	var changed bool
	err := s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM commits WHERE xid >= pg_snapshot_xmin($1::text::pg_snapshot)
		AND NOT pg_visible_in_snapshot(xid, $1::text::pg_snapshot))`, s.snapshot).Scan(&changed)
	if err == nil && changed {
		err = errors.New("a server has written to the source meanwhile: stop all servers that use it first")
	}
	if err != nil {
		return named(err)
	}
	return named(s.unchangedKeys(ctx))
}

// unchangedKeys is an error if an API key was made or revoked, of which no commit tells.
func (s *Source) unchangedKeys(ctx context.Context) error {
	const text = `SELECT count(*), count(*) FILTER (WHERE revoked <> 0) FROM api_keys`
	var read, now [2]int64
	if err := s.tx.QueryRow(ctx, text).Scan(&read[0], &read[1]); err != nil {
		return err
	}
	if err := s.pool.QueryRow(ctx, text).Scan(&now[0], &now[1]); err != nil {
		return err
	}
	if read != now {
		return errors.New("API keys of the source were made or revoked meanwhile: copy again")
	}
	return nil
}

// Close implements transfer.Source.
func (s *Source) Close() error {
	closePool(s.pool, s.tx)
	return nil
}

// closePool ends what a transaction has not committed, and closes its connection with the others.
func closePool(pool *pgxpool.Pool, tx pgx.Tx) {
	if tx != nil {
		ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
		defer cancel()
		_ = tx.Rollback(ctx) // fails if it has ended, or the connection is lost, which ends it too
	}
	pool.Close()
}

type sourceReader struct {
	*transfer.Batcher

	tx pgx.Tx
}

// rows gives every row that a statement selects to visit.
func (r *sourceReader) rows(ctx context.Context, visit func(pgx.Row) error, text string, args ...any) error {
	rows, err := r.tx.Query(ctx, text, args...)
	if err != nil {
		return named(err)
	}
	defer rows.Close()
	return each(rows, visit)
}

func (r *sourceReader) readSessions(ctx context.Context) error {
	var after [16]byte
	for {
		var uids [][16]byte
		ids := make(map[session.UID]string, pageSessions)
		err := r.rows(ctx, func(row pgx.Row) error {
			s, err := readState(row)
			if err != nil {
				return err
			}
			uids, ids[s.record.UID] = append(uids, s.record.UID), s.record.ID
			return r.Session(&transfer.Session{Record: s.record, Latest: s.latest, First: s.first, TrimAt: s.trimAt})
		}, `SELECT `+columns+` FROM `+sessions+` WHERE s.uid > $1 ORDER BY s.uid LIMIT $2`, after, pageSessions)
		if err != nil || len(uids) == 0 {
			return err
		}
		if err := r.readEvents(ctx, uids, ids); err != nil {
			return err
		}
		if err := r.readMembers(ctx, uids); err != nil {
			return err
		}
		after = uids[len(uids)-1]
	}
}

func (r *sourceReader) readEvents(ctx context.Context, uids [][16]byte, ids map[session.UID]string) error {
	return r.rows(ctx, func(row pgx.Row) error {
		var uid session.UID
		ev, err := readEvent(rest{row, []any{(*[16]byte)(&uid)}}, uid, "")
		if err != nil {
			return err
		}
		ev.UID, ev.ID = uid, ids[uid]
		return r.Event(ev)
	}, `SELECT uid, `+eventColumns+` FROM events WHERE uid = ANY ($1) ORDER BY uid, sequence`, uids)
}

func (r *sourceReader) readMembers(ctx context.Context, uids [][16]byte) error {
	return r.rows(ctx, func(row pgx.Row) error {
		var uid session.UID
		m, err := readMember(rest{row, []any{(*[16]byte)(&uid)}})
		if err != nil {
			return err
		}
		return r.Member(transfer.Member{UID: uid, Member: m})
	}, `SELECT m.uid, `+memberColumns+` FROM members m WHERE m.uid = ANY ($1) ORDER BY m.uid, m.user_name`, uids)
}

func (r *sourceReader) readEnded(ctx context.Context) error {
	return r.rows(ctx, func(row pgx.Row) error {
		ev := &session.Event{}
		var kind int16
		err := row.Scan((*[16]byte)(&ev.UID), &ev.ID, &kind, &ev.Actor, (*int64)(&ev.Time), &ev.Sequence)
		if err != nil {
			return err
		}
		ev.Kind = session.EventKind(kind)
		return r.Ended(ev)
	}, `SELECT uid, id, kind, actor, ended, sequence FROM tombstones ORDER BY uid`)
}

func (r *sourceReader) readRequests(ctx context.Context) error {
	return r.rows(ctx, func(row pgx.Row) error {
		var found transfer.Request
		err := row.Scan((*[16]byte)(&found.Key), (*int64)(&found.Time), (*[16]byte)(&found.UID), (*[16]byte)(&found.Digest), &found.Sequence)
		if err != nil {
			return err
		}
		return r.Request(found)
	}, `SELECT key, at, uid, digest, sequence FROM requests`)
}

func (r *sourceReader) readAPIKeys(ctx context.Context) error {
	return r.rows(ctx, func(row pgx.Row) error {
		var key session.APIKey
		var hash []byte
		err := row.Scan(&key.ID, &key.Name, (*string)(&key.Role), &hash, (*int64)(&key.CreateTime), (*int64)(&key.RevokeTime))
		if err != nil {
			return err
		}
		if len(hash) != session.HashBytes {
			return fmt.Errorf("the API key %s: its hash has %d bytes", key.ID, len(hash))
		}
		key.Hash = session.CredentialHash(hash)
		return r.APIKey(key)
	}, `SELECT id, name, role, hash, created, revoked FROM api_keys ORDER BY number`)
}
