package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/commit"
)

// job is what waits in a lane's queue: a write, or work of the store's own.
type job struct {
	write  *session.Write
	expire []string // ids of sessions that are to end if they have expired

	events  []*session.Event // what happened, to be announced once it is durable
	refusal error
}

// lane runs groups of jobs, each in a transaction. Its committer's goroutine alone uses it.
type lane struct {
	store    *Store
	patience patience
	part     int16 // of the numbers of creators' sessions, which this lane adds to
	jobs     []*job
	group    session.UID // of the transaction that runs
	scene    *scene
	rules    rulesCache
	away     bool // the database: the group before could not reach it
}

// How long things may take. A statement's time includes that of waiting for locks.
const (
	connectTimeout   = 5 * time.Second
	lockTimeout      = 5 * time.Second
	statementTimeout = 10 * time.Second
	idleTimeout      = 10 * time.Second // until the database ends a transaction that we do not go on with
	groupTimeout     = 20 * time.Second // until we give up a connection that does not answer
)

// How often a group is tried again.
const maxCollisions = 10

// patience is how long to wait before each time that the database is tried again.
type patience struct {
	again  []time.Duration // for a group that was not done
	most   time.Duration   // for such a group in all: then it is not tried again
	settle []time.Duration // to ask what became of a transaction
}

var defaultPatience = patience{
	again: []time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond, time.Second},
	most:  groupTimeout + time.Second, // so a connection that does not answer has it tried once more
	settle: []time.Duration{
		0, 100 * time.Millisecond, 300 * time.Millisecond, time.Second, time.Second, 2 * time.Second, 3 * time.Second,
	},
}

// Try implements commit.Engine.
func (l *lane) Try(next func() (*job, bool), refuse func(int, error)) error {
	defer l.forget()
	for j, ok := next(); ok; j, ok = next() {
		l.jobs = append(l.jobs, j)
	}
	err := l.attempts()
	l.away = lost(err)
	switch {
	case err == nil:
	case errors.Is(err, commit.ErrUnknown):
		return err
	case lost(err):
		// Each of the writes would meet the same, one after the other. So all are told now.
		err = unreachable(err)
		for _, j := range l.jobs {
			j.refusal = err
		}
	default:
		return fmt.Errorf("%w: %w", commit.ErrNothingDone, classify(err))
	}
	for place, j := range l.jobs {
		if j.refusal != nil {
			refuse(place, j.refusal)
		}
	}
	return nil
}

func (l *lane) forget() {
	clear(l.jobs)
	l.jobs, l.scene = l.jobs[:0], nil
}

// unreachable is the answer to writes while the database cannot be reached or cannot write.
func unreachable(err error) error {
	if classified := fault.From(classify(err)); classified.Kind == fault.Unavailable {
		return classified
	}
	return fault.New(fault.Unavailable, "STORE_FAILED", "the server's store failed: nothing was done").After(retryAfter).Because(err)
}

// attempts runs the group until it is done, or nothing is to be hoped for. While the database is away, the first group waits
// for it to come back; those behind it have waited for that already, and each only looks whether it is back.
func (l *lane) attempts() error {
	began, collisions, losses := time.Now(), 0, 0
	again := l.patience.again
	if l.away {
		again = nil
	}
	for {
		err := l.attempt()
		switch {
		case err == nil, errors.Is(err, commit.ErrUnknown):
			return err
		case collided(err) && collisions < maxCollisions:
			collisions++
		case lost(err) && losses < len(again) && time.Since(began) < l.patience.most:
			l.store.writers.Reset() // the other connections are likely lost too
			<-time.After(again[losses])
			losses++
		default:
			return err
		}
	}
}

// attempt runs the group once, on a connection of its own.
func (l *lane) attempt() error {
	ctx, cancel := context.WithTimeout(context.Background(), groupTimeout)
	defer cancel()
	lent, err := l.store.writers.Acquire(ctx)
	if err != nil {
		return &lostError{cause: err}
	}
	defer lent.Release() // and it is closed if it is in a transaction
	conn := lent.Conn()
	if err := l.prepare(ctx, conn); err != nil {
		rollback(ctx, conn)
		return lostIfClosed(conn, err)
	}
	return l.commit(ctx, lent)
}

func rollback(ctx context.Context, conn *pgx.Conn) {
	_, _ = conn.Exec(ctx, `ROLLBACK`) // fails if the connection is lost
}

// prepare does all that the transaction does but for its end.
func (l *lane) prepare(ctx context.Context, conn *pgx.Conn) error {
	if err := l.open(ctx, conn); err != nil {
		return err
	}
	if err := l.decide(ctx, conn); err != nil {
		return err
	}
	return l.write(ctx, conn)
}

// decide runs the jobs on the scene, in the order of their arrival.
func (l *lane) decide(ctx context.Context, conn *pgx.Conn) error {
	for _, j := range l.jobs {
		j.refusal = l.run(ctx, conn, j)
		if broken, ok := errors.AsType[*brokenError](j.refusal); ok {
			return broken.cause
		}
	}
	return nil
}

// commit ends the transaction. If that fails then only the database knows whether it was done.
func (l *lane) commit(ctx context.Context, lent *pgxpool.Conn) error {
	conn := lent.Conn()
	if l.refused() {
		// To commit its locks would wait for the disk: the time of the answer would tell a session from none.
		rollback(ctx, conn)
		return nil
	}
	tag, err := conn.Exec(ctx, `COMMIT`)
	switch {
	case err == nil && tag.String() == "COMMIT":
		return nil
	case err == nil: // it had failed before
		return fmt.Errorf("the transaction ended with %s", tag)
	case l.scene.latest == 0: // it changed nothing
		return lostIfClosed(conn, err)
	}
	rollback(ctx, conn)
	lent.Release()       // to settle takes one, which may be the last
	return l.settle(err) //nolint:contextcheck // the transaction's time may be over
}

// refused tells whether all jobs were. What was done before, and is answered once more, is no refusal: it is to be as durable
// as what is done now.
func (l *lane) refused() bool {
	return !slices.ContainsFunc(l.jobs, func(j *job) bool { return j.refusal == nil })
}

// settle finds out whether the transaction was committed whose COMMIT failed with an error. Nil: it was. A lostError: it
// was not, and never will be.
func (l *lane) settle(cause error) error {
	var err error
	for _, pause := range l.patience.settle {
		l.store.writers.Reset()
		<-time.After(pause)
		var void bool
		if void, err = l.ask(); err != nil {
			continue
		}
		if void {
			return &lostError{cause: cause}
		}
		return nil
	}
	return fmt.Errorf("%w: %w", commit.ErrUnknown, errors.Join(cause, err))
}

// ask asks what became of the transaction, by inserting its row once more. It waits for the transaction if that is still
// going on. If the row is there then it is written again as it is: then the answer is not given before the row would
// survive what this transaction survives, with a standby that is waited for too.
func (l *lane) ask() (void bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), lockTimeout)
	defer cancel()
	err = l.store.writers.QueryRow(ctx, `INSERT INTO commits (group_id, at, void, uids, sequences) VALUES ($1, $2, true, '{}', '{}')
		ON CONFLICT (group_id) DO UPDATE SET at = commits.at RETURNING void`, [16]byte(l.group), int64(l.scene.latest)).Scan(&void)
	return void, err
}
