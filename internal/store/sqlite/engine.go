package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/commit"
)

// job is what waits in the committer's queue: a write, or work of the store's own.
type job struct {
	write *session.Write
	tidy  func(*engine) ([]*session.Event, error) // its events are what happened

	events []*session.Event // what happened, to be announced once it is durable
}

// engine runs groups of jobs on the one connection that writes.
type engine struct {
	*conn

	clock    session.Clock // ascending: each time once
	index    index
	cache    cache
	creators creators

	// shrink asks for the write-ahead log to be emptied before the next transaction. Whoever sets it holds all readers.
	// A connection of its own would have to wait for a gap between transactions, which under load does not come.
	shrink atomic.Bool
}

// Try implements commit.Engine.
func (e *engine) Try(next func() (*job, bool), refuse func(int, error)) error {
	if e.shrink.Swap(false) {
		_, _ = e.integer("PRAGMA wal_checkpoint(TRUNCATE)") // the log stays as it is if this fails, and is tried again
	}
	if err := e.exec("BEGIN IMMEDIATE"); err != nil {
		return e.nothingDone(err)
	}
	for place := 0; ; place++ {
		j, ok := next()
		if !ok {
			break
		}
		err := e.run(j)
		if lost, ok := errors.AsType[*lostError](err); ok {
			return e.nothingDone(lost.cause)
		}
		if err != nil {
			refuse(place, err)
		}
	}
	if err := e.cache.flush(e.conn); err != nil {
		return e.nothingDone(err)
	}
	if err := e.index.flush(e.conn); err != nil {
		return e.nothingDone(err)
	}
	if err := e.creators.flush(e.conn); err != nil {
		return e.nothingDone(err)
	}
	if err := e.exec("COMMIT"); err != nil {
		return e.commitFailed(err)
	}
	e.creators.committed()
	return nil
}

// lostError says that the transaction is gone, and all of the group's work with it.
type lostError struct{ cause error }

func (l *lostError) Error() string { return "the transaction is lost: " + l.cause.Error() }

// nothingDone rolls back what there may be, and reports a group that did not happen.
func (e *engine) nothingDone(cause error) error {
	e.rollback()
	return fmt.Errorf("%w: %w", commit.ErrNothingDone, classify(cause))
}

// commitFailed reports a COMMIT that failed. When the disk is full then the commit record was not written. After any
// other failure it may lie on the disk, to be found after a crash, although this process goes on without it.
func (e *engine) commitFailed(cause error) error {
	e.rollback()
	if classified := fault.From(classify(cause)); classified.Reason == "DISK_FULL" {
		return fmt.Errorf("%w: %w", commit.ErrNothingDone, classified)
	}
	return fmt.Errorf("%w: %w", commit.ErrUnknown, cause)
}

// countCreators has the creators counted as their first question would, but in transactions of some sessions each. No
// group runs meanwhile.
func (e *engine) countCreators(ctx context.Context, some int) error {
	for !e.creators.loaded {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := e.exec("BEGIN IMMEDIATE"); err != nil {
			return err
		}
		err := e.creators.loadNext(e.conn, some)
		if err == nil {
			err = e.exec("COMMIT")
		}
		if err != nil {
			e.rollback()
			return err
		}
		e.creators.committed()
	}
	return nil
}

func (e *engine) rollback() {
	_ = e.exec("ROLLBACK") // fails if SQLite has done it already
	e.index.forget()
	e.cache.forget()
	e.creators.lost()
}

// run runs one job. Its error is the job's own, unless it is a lostError.
func (e *engine) run(j *job) (err error) {
	j.events = j.events[:0]
	before := len(e.creators.running)
	defer func() {
		if err != nil {
			e.creators.undo(before)
		}
	}()
	if j.write != nil {
		return e.runWrite(j)
	}
	if err := e.cache.flush(e.conn); err != nil { // what tidies looks at the tables, and forgets what it changes in them
		return &lostError{cause: err}
	}
	return e.atomically(func() (err error) {
		j.events, err = j.tidy(e)
		return err
	})
}

// atomically does all of several statements or none.
func (e *engine) atomically(do func() error) error {
	if err := e.exec("SAVEPOINT job"); err != nil {
		return &lostError{cause: err}
	}
	if err := do(); err != nil {
		return e.undo(err)
	}
	if err := e.exec("RELEASE job"); err != nil {
		return &lostError{cause: err}
	}
	return nil
}

// undo takes back what a job did, and passes on why; a lostError if more than the job is gone.
func (e *engine) undo(cause error) error {
	e.index.forget()
	if environmental(cause) {
		return &lostError{cause: cause}
	}
	if err := e.exec("ROLLBACK TO job"); err != nil { // there is no such savepoint: SQLite rolled all of it back
		return &lostError{cause: errors.Join(cause, err)}
	}
	if err := e.exec("RELEASE job"); err != nil {
		return &lostError{cause: errors.Join(cause, err)}
	}
	return cause
}

func lostIfEnvironmental(err error) error {
	if environmental(err) {
		return &lostError{cause: err}
	}
	return err
}
