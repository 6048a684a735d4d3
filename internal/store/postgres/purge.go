package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/parleyhq/parley/internal/session"
)

// purge takes away what is left of one session that ended: a piece of it, the oldest events first, and then its members
// and the rows that it was found by.
func purge(ctx context.Context, tx pgx.Tx, _ session.Time) (more bool, err error) {
	var key [16]byte
	var first, sequence int64
	var users []string
	err = tx.QueryRow(ctx, `SELECT uid, first, sequence, users FROM tombstones WHERE NOT purged
		ORDER BY uid LIMIT 1 FOR UPDATE SKIP LOCKED`).Scan(&key, &first, &sequence, &users)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	upto := min(first+tidyRows, sequence) // the first event that is kept
	if _, err := tx.Exec(ctx, `DELETE FROM events WHERE uid = $1 AND sequence < $2`, key, upto); err != nil {
		return false, err
	}
	if upto < sequence {
		_, err := tx.Exec(ctx, `UPDATE tombstones SET first = $2 WHERE uid = $1`, key, upto)
		return true, err
	}
	if more, err := purgeMembers(ctx, tx, key); err != nil || more {
		return more, err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM session_users WHERE uid = $1 AND user_name = ANY ($2)`, key, users); err != nil {
		return false, err
	}
	_, err = tx.Exec(ctx, `UPDATE tombstones SET first = sequence, users = '{}', purged = true WHERE uid = $1`, key)
	return true, err
}

// purgeMembers takes away members of an ended session, and has them find it no longer.
func purgeMembers(ctx context.Context, tx pgx.Tx, key [16]byte) (more bool, err error) {
	rows, err := tx.Query(ctx, `DELETE FROM members WHERE uid = $1 AND user_name IN
		(SELECT user_name FROM members WHERE uid = $1 ORDER BY user_name LIMIT $2) RETURNING user_name`, key, tidyRows)
	if err != nil {
		return false, err
	}
	users, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(users) == 0 {
		return false, err
	}
	_, err = tx.Exec(ctx, `DELETE FROM session_users WHERE uid = $1 AND user_name = ANY ($2)`, key, users)
	if err != nil || len(users) < tidyRows {
		return false, err
	}
	_, err = tx.Exec(ctx, `UPDATE tombstones SET first = sequence WHERE uid = $1`, key)
	return true, err
}

// trim takes away what is too old or too much in the log of one session that is due. It waits for the session's lock: the
// head of a busy session is hardly ever free.
func (s *Store) trim(ctx context.Context, tx pgx.Tx, now session.Time) (more bool, err error) {
	var due *state
	rows, err := tx.Query(ctx, `SELECT `+columns+` FROM `+sessions+` WHERE h.trim_at > 0 AND h.trim_at <= $1
		ORDER BY h.trim_at LIMIT 1 FOR UPDATE OF h`, int64(now))
	if err != nil {
		return false, err
	}
	err = each(rows, func(row pgx.Row) error {
		found, err := readState(row)
		due = &found
		return err
	})
	if err != nil || due == nil {
		return false, err
	}
	rules, err := due.record.Rules()
	if err != nil {
		return false, err
	}
	if err := due.trim(ctx, tx, rules.Settings, now); err != nil {
		return false, err
	}
	_, err = tx.Exec(ctx, `UPDATE heads SET first = $2, trim_at = $3 WHERE uid = $1`, [16]byte(due.record.UID), due.first, int64(due.trimAt))
	return true, err
}

// trim takes away events that are too old or too many, and says what is kept and when to trim again: at once, if there
// may be more.
func (s *state) trim(ctx context.Context, tx pgx.Tx, settings session.Settings, now session.Time) error {
	from := int64(0) // those before it are too many
	if settings.HistorySize > 0 {
		from = s.record.Head.Sequence - settings.HistorySize + 1
	}
	keep := func(sequence int64, t session.Time) bool {
		return sequence >= from && (settings.HistoryTTL == 0 || t.Add(settings.HistoryTTL) > now)
	}
	kept := s.record.CreateTime // of the oldest event that is kept; 0: none is
	if s.first > 1 || !keep(1, kept) {
		var err error
		if kept, err = s.trimEvents(ctx, tx, keep); err != nil {
			return err
		}
	}
	switch {
	case kept == 0 && s.first <= s.record.Head.Sequence: // it is still due
	case kept == 0 || settings.HistoryTTL == 0:
		s.trimAt = 0
	default:
		s.trimAt = kept.Add(settings.HistoryTTL)
	}
	return nil
}

// trimEvents takes away the oldest events, up to the first that is to be kept, and sets first. It returns the time of that
// one; 0: none is to be kept, or there is more to take away.
func (s *state) trimEvents(ctx context.Context, tx pgx.Tx, keep func(sequence int64, t session.Time) bool) (kept session.Time, err error) {
	key := [16]byte(s.record.UID)
	s.first = max(s.first, 2)
	rows, err := tx.Query(ctx, `SELECT sequence, time FROM events WHERE uid = $1 AND sequence >= $2 ORDER BY sequence LIMIT $3`,
		key, s.first, tidyRows+1)
	if err != nil {
		return 0, err
	}
	n := 0
	err = each(rows, func(row pgx.Row) error {
		var sequence int64
		var t session.Time
		if err := row.Scan(&sequence, (*int64)(&t)); err != nil || kept != 0 || n == tidyRows {
			return err
		}
		if keep(sequence, t) {
			kept = t
			return nil
		}
		n++
		s.first = sequence + 1
		return nil
	})
	if err != nil || n == 0 {
		return kept, err
	}
	_, err = tx.Exec(ctx, `DELETE FROM events WHERE uid = $1 AND sequence < $2`, key, s.first)
	return kept, err
}
