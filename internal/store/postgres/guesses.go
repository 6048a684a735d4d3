package postgres

import (
	"context"
	"crypto/sha256"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/parleyhq/parley/internal/session"
)

// guessConnections is how many connections guesses have, all of them: whoever guesses on one session waits for its row, and
// must not hold up those who read.
const guessConnections = 2

// guessTime is how long the counting of a guess may take, with the waiting for a connection.
const guessTime = lockTimeout + time.Second

// guesses count wrong secretKeys for all nodes.
type guesses struct {
	pool *pgxpool.Pool
	rows atomic.Int64 // of the table, about: they are counted when the store is tidied
}

// The keys under which a guess is counted, in the order of the statements' parameters.
const (
	guessesOfCallerAndID = iota
	guessesOfCaller
	guessesOfID
	guessKinds
)

func guessKeys(user, id string) (keys [guessKinds][16]byte) {
	for kind, text := range [guessKinds]string{
		guessesOfCallerAndID: user + "\x00" + id, // neither has a zero
		guessesOfCaller:      user,
		guessesOfID:          id,
	} {
		sum := sha256.Sum256(append([]byte{byte(kind)}, text...))
		keys[kind] = [16]byte(sum[:])
	}
	return keys
}

var guessWindow = strconv.FormatInt(session.GuessWindow.Microseconds(), 10)

// guessClock is the time; the parameter is a clock in the place of the database's, or null.
const guessClock = `coalesce($1::bigint, ` + clockSQL + `)`

// beginGuess counts a guess, unless it is known without waiting that it is one too many. The rows are locked in one order.
var beginGuess = `WITH present AS (SELECT ` + guessClock + ` AS now), known AS (
		SELECT coalesce(max(g.wrong) FILTER (WHERE g.key = $2), 0) AS of_both,
			coalesce(max(g.wrong) FILTER (WHERE g.key = $3), 0) AS of_caller,
			coalesce(max(g.wrong) FILTER (WHERE g.key = $4), 0) AS of_id
		FROM guesses g, present WHERE g.key IN ($2::uuid, $3::uuid, $4::uuid) AND g.until > present.now)
	INSERT INTO guesses AS g (key, wrong, until)
	SELECT each.key, 1, present.now + ` + guessWindow + `
	FROM present, known, (VALUES ($2::uuid), ($3::uuid), ($4::uuid)) each (key)
	WHERE known.of_both < ` + strconv.Itoa(session.GuessesCaller) + ` AND known.of_caller < ` + strconv.Itoa(session.GuessesAll) + `
		AND (known.of_both = 0 OR known.of_id < ` + strconv.Itoa(session.GuessesID) + `)
	ORDER BY each.key
	ON CONFLICT (key) DO UPDATE SET
		wrong = CASE WHEN g.until <= excluded.until - ` + guessWindow + ` THEN 1 ELSE g.wrong + 1 END,
		until = CASE WHEN g.until <= excluded.until - ` + guessWindow + ` THEN excluded.until ELSE g.until END
	RETURNING key, wrong`

// BeginGuess implements session.Guesses. A guess that turns out to be too many when its rows are locked is rolled back: it
// was not counted.
func (s *Store) BeginGuess(ctx context.Context, user, id string) (allowed bool, err error) {
	if s.guesses.rows.Load() >= session.MaxGuessEntries {
		return false, nil
	}
	err = lend(ctx, s.guesses.pool, guessTime, func(ctx context.Context, conn *pgx.Conn) error {
		allowed, err = s.countGuess(ctx, conn, guessKeys(user, id))
		return err
	})
	return allowed, err
}

func (s *Store) countGuess(ctx context.Context, conn *pgx.Conn, keys [guessKinds][16]byte) (allowed bool, err error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback(ctx) }() // nothing if it was committed
	if _, err := tx.Exec(ctx, limitSQL); err != nil {
		return false, err
	}
	rows, err := tx.Query(ctx, beginGuess, s.guessNow(), keys[guessesOfCallerAndID], keys[guessesOfCaller], keys[guessesOfID])
	if err != nil {
		return false, err
	}
	before := make(map[[16]byte]int, guessKinds)
	begun := 0
	err = each(rows, func(row pgx.Row) error {
		var key [16]byte
		var wrong int
		err := row.Scan(&key, &wrong)
		before[key] = wrong - 1
		if wrong == 1 {
			begun++
		}
		return err
	})
	if err != nil || len(before) == 0 {
		return false, err
	}
	if !session.MayGuess(before[keys[guessesOfCallerAndID]], before[keys[guessesOfCaller]], before[keys[guessesOfID]]) {
		return false, nil
	}
	if err := tx.Commit(ctx); err != nil {
		return false, err
	}
	s.guesses.rows.Add(int64(begun))
	return true, nil
}

// takeBackGuess also locks the rows in that order.
const takeBackGuess = `WITH locked AS (SELECT key, wrong FROM guesses WHERE key IN ($1, $2, $3) ORDER BY key FOR UPDATE),
	done AS (DELETE FROM guesses g USING locked WHERE g.key = locked.key AND locked.wrong <= 1)
	UPDATE guesses g SET wrong = g.wrong - 1 FROM locked WHERE g.key = locked.key AND locked.wrong > 1`

// TakeBackGuess implements session.Guesses. If the database fails then the guess counts, for a minute.
func (s *Store) TakeBackGuess(ctx context.Context, user, id string) {
	keys := guessKeys(user, id)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), guessTime)
	defer cancel()
	err := lend(ctx, s.guesses.pool, guessTime, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, takeBackGuess, keys[guessesOfCallerAndID], keys[guessesOfCaller], keys[guessesOfID])
		return err
	})
	if err != nil {
		s.log.Warn("a right secretKey counts as a wrong one, for a minute", "error", err)
	}
}

// guessNow is the clock that is in the place of the database's; nil: there is none.
func (s *Store) guessNow() *int64 {
	if s.clock.instead == nil {
		return nil
	}
	now := int64(s.clock.instead())
	return &now
}

// forgetGuesses forgets those that count no longer, by the clock that they were counted by, and counts the others.
func (s *Store) forgetGuesses(ctx context.Context, tx pgx.Tx, _ session.Time) (more bool, err error) {
	tag, err := tx.Exec(ctx, `DELETE FROM guesses WHERE key IN (SELECT key FROM guesses WHERE until <= `+guessClock+`
		ORDER BY until LIMIT $2 FOR UPDATE SKIP LOCKED)`, s.guessNow(), tidyRows)
	if err != nil || tag.RowsAffected() == tidyRows {
		return err == nil, err
	}
	var rows int64
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM guesses`).Scan(&rows); err != nil {
		return false, err
	}
	s.guesses.rows.Store(rows)
	return false, nil
}
