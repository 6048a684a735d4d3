package postgres

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/parleyhq/parley/internal/session"
)

const (
	keepTombstones = 24 * time.Hour
	keepRequests   = 24 * time.Hour
	keepTickets    = time.Minute // after they have expired: so long it can be told that they were used, or came too late
	keepCommits    = time.Hour   // by the database's clock: much longer than anybody asks what became of a transaction

	// newestCommits are the rows of the newest transactions, which are kept: they say how far the time has come.
	newestCommits = 256

	tidyEvery    = time.Second
	tidyRows     = 1000 // so many rows are purged and trimmed in one transaction
	tidySessions = 100  // at most so many sessions expire at once
)

// tidyLoop ends what has expired and purges what has ended, a bounded piece at a time, until the context ends.
func (s *Store) tidyLoop(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.tidy(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("tidying the store failed, and will be tried again", "error", err)
		}
	}
}

// tidy works until nothing is left to do of what there was when it began. All nodes may do so at the same time: each piece
// of the work is done by who locks its rows first, and the others pass it over.
func (s *Store) tidy(ctx context.Context) error {
	now, err := s.askTime(ctx)
	if err != nil {
		return err
	}
	errs := []error{s.repeat(ctx, func() (bool, error) { return s.expire(ctx, now) })}
	for _, piece := range []func(ctx context.Context, tx pgx.Tx, now session.Time) (more bool, err error){
		s.trim, purge, forget, mergeCreators, s.forgetGuesses,
	} {
		errs = append(errs, s.repeat(ctx, func() (more bool, err error) {
			err = inTransaction(ctx, s.writers, func(ctx context.Context, tx pgx.Tx) error {
				more, err = piece(ctx, tx, now)
				return err
			})
			return more, err
		}))
	}
	return errors.Join(errs...)
}

// repeat does something until there is no more, or the context ends.
func (s *Store) repeat(ctx context.Context, piece func() (more bool, err error)) error {
	for ctx.Err() == nil {
		more, err := piece()
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// askTime is a time as a write would have it now.
func (s *Store) askTime(ctx context.Context) (now session.Time, err error) {
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return one(ctx, conn, readClock(&now), `SELECT `+clockSQL)
	})
	return s.clock.next(s.clock.present(now), 0), err
}

// inTransaction does something in a transaction of its own, beside the lanes. Once it has begun it is not interrupted.
func inTransaction(ctx context.Context, pool *pgxpool.Pool, do func(ctx context.Context, tx pgx.Tx) error) error {
	lent, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer lent.Release()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), groupTimeout)
	defer cancel()
	options := pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}
	return pgx.BeginTxFunc(bounded, lent, options, func(tx pgx.Tx) error {
		if _, err := tx.Exec(bounded, limitSQL); err != nil {
			return err
		}
		return do(bounded, tx)
	})
}

// expire ends sessions whose deadline has passed. Each goes through its lane, so that its last event is told after those
// that came before.
func (s *Store) expire(ctx context.Context, now session.Time) (more bool, err error) {
	var due [][]string // by lanes
	n := 0
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		due, n = make([][]string, len(s.lanes)), 0
		return one(ctx, conn, func(row pgx.Row) error {
			var id string
			err := row.Scan(&id)
			lane := s.laneFor([]byte(id))
			due[lane] = append(due[lane], id)
			n++
			return err
		}, `SELECT id FROM sessions WHERE expires > 0 AND expires <= $1 ORDER BY expires LIMIT $2`, int64(now), tidySessions)
	})
	if err != nil {
		return false, err
	}
	var errs []error
	ended := 0
	for lane, ids := range due {
		if len(ids) == 0 {
			continue
		}
		j := &job{expire: ids}
		if err := s.lanes[lane].Submit(ctx, j); err != nil {
			errs = append(errs, err)
			continue
		}
		ended += len(j.events)
	}
	return n == tidySessions && ended > 0, errors.Join(errs...)
}

// forgetCommits takes rows away that are older than $1, of the oldest $2, but for the newest. Among the oldest there may be
// some that are not old, if the database's clock was ahead: until they are, the others are looked at again.
var forgetCommits = `DELETE FROM commits WHERE group_id IN (SELECT group_id FROM (SELECT group_id, written FROM commits
	WHERE xid < (SELECT xid FROM commits ORDER BY xid DESC OFFSET ` + strconv.Itoa(newestCommits-1) + ` LIMIT 1)
	ORDER BY xid, group_id LIMIT $2 FOR UPDATE SKIP LOCKED) oldest WHERE written < ` + clockSQL + ` - $1::bigint)`

// forget forgets what was kept for some time.
func forget(ctx context.Context, tx pgx.Tx, now session.Time) (more bool, err error) {
	for _, each := range []struct {
		text string
		edge any
	}{
		{`DELETE FROM tombstones WHERE uid IN (SELECT uid FROM tombstones WHERE ended < $1 AND purged
			ORDER BY ended LIMIT $2 FOR UPDATE SKIP LOCKED)`, int64(now.Add(-keepTombstones))},
		{`DELETE FROM requests WHERE key IN (SELECT key FROM requests WHERE at < $1
			ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)`, int64(now.Add(-keepRequests))},
		{`DELETE FROM tickets WHERE hash IN (SELECT hash FROM tickets WHERE expire < $1
			ORDER BY expire LIMIT $2 FOR UPDATE SKIP LOCKED)`, int64(now.Add(-keepTickets))},
		{forgetCommits, keepCommits.Microseconds()},
	} {
		tag, err := tx.Exec(ctx, each.text, each.edge, tidyRows)
		if err != nil {
			return false, err
		}
		more = more || tag.RowsAffected() == tidyRows
	}
	return more, nil
}

// mergeCreatorsSQL puts the parts of creators' numbers together, of at most $1 creators of whom one is negative: else the
// parts of those whose sessions have all ended would stay for ever. Parts that are locked are passed over: the sum of the
// others is the same before and after, so nobody needs to wait for anybody.
const mergeCreatorsSQL = `WITH due AS (SELECT DISTINCT user_name FROM creators WHERE sessions < 0 ORDER BY user_name LIMIT $1),
	parts AS (SELECT user_name, part, sessions FROM creators WHERE user_name IN (SELECT user_name FROM due)
		ORDER BY user_name, part FOR UPDATE SKIP LOCKED),
	sums AS (SELECT user_name, min(part) AS kept, sum(sessions)::bigint AS sessions FROM parts GROUP BY user_name),
	gone AS (DELETE FROM creators c USING parts p JOIN sums s ON s.user_name = p.user_name
		WHERE c.user_name = p.user_name AND c.part = p.part AND (s.sessions = 0 OR p.part <> s.kept))
	UPDATE creators c SET sessions = s.sessions FROM sums s
	WHERE c.user_name = s.user_name AND c.part = s.kept AND s.sessions <> 0 AND c.sessions <> s.sessions`

func mergeCreators(ctx context.Context, tx pgx.Tx, _ session.Time) (more bool, err error) {
	_, err = tx.Exec(ctx, mergeCreatorsSQL, tidyRows)
	return false, err
}
