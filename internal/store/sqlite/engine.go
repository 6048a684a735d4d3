package sqlite

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/commit"
)

// job is what waits in the committer's queue: a write, or work of the store's own.
type job struct {
	write *session.Write
	tidy  func(*engine) error
}

// engine runs groups of jobs on the one connection that writes.
type engine struct {
	*conn

	clock session.Clock // ascending: each time once
	index index

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
	if err := e.index.flush(e.conn); err != nil {
		return e.nothingDone(err)
	}
	if err := e.exec("COMMIT"); err != nil {
		return e.commitFailed(err)
	}
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

func (e *engine) rollback() {
	_ = e.exec("ROLLBACK") // fails if SQLite has done it already
	e.index.forget()
}

// run runs one job. Its error is the job's own, unless it is a lostError.
func (e *engine) run(j *job) error {
	if j.tidy != nil {
		return e.atomically(func() error { return j.tidy(e) })
	}
	w := j.write
	view := session.View{Now: e.clock()}
	if err := e.look(w, &view); err != nil {
		return lostIfEnvironmental(err)
	}
	var expired *session.Record
	if view.Current != nil && view.Current.Expired(view.Now) {
		view.Current, expired = nil, view.Current
	}
	change, err := decide(w, &view)
	if err != nil {
		return err
	}
	if change.Kind == session.Create && expired == nil && w.Request == (session.RequestKey{}) {
		return e.create(&change) // one statement is atomic by itself
	}
	return e.atomically(func() error {
		if err := e.do(&view, expired, &change); err != nil {
			return err
		}
		return e.remember(w, &view, &change)
	})
}

// decide calls the write's rule. A panic there is a defect of the rule: it ends this write, not the server.
func decide(w *session.Write, view *session.View) (change session.Change, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a write's decision: %v\n%s", p, debug.Stack())
		}
	}()
	if change, err = w.Decide(view); err != nil {
		return change, err
	}
	needsCurrent := change.Kind == session.Update || change.Kind == session.End
	needsRecord := change.Kind == session.Create || change.Kind == session.Update
	if needsCurrent && view.Current == nil || needsRecord && change.Record == nil {
		return change, fmt.Errorf("a write's decision is incomplete: kind %d", change.Kind)
	}
	return change, nil
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

// create stores a new session.
func (e *engine) create(change *session.Change) error {
	if err := e.insert(change.Record); err != nil {
		return lostIfEnvironmental(err)
	}
	e.index.add(change.Record, change.After)
	return nil
}

// remember keeps a request's key, with what it did.
func (e *engine) remember(w *session.Write, view *session.View, change *session.Change) error {
	if w.Request == (session.RequestKey{}) || change.Kind == session.Nothing {
		return nil
	}
	record := change.Record
	if record == nil {
		record = view.Current
	}
	err := e.exec(`INSERT OR REPLACE INTO requests (key, at, uid, digest) VALUES (?, ?, ?, ?)`,
		w.Request[:], int64(view.Now), record.UID[:], change.Digest[:])
	return err
}

// look fills in what the write's decision is to see.
func (e *engine) look(w *session.Write, view *session.View) (err error) {
	if w.Request != (session.RequestKey{}) {
		if view.Earlier, err = e.earlier(w.Request, view.Now); err != nil {
			return err
		}
	}
	switch {
	case view.Earlier != nil:
		view.Current, err = e.find(selectByTime, int64(view.Earlier.UID.Time()))
	case w.ID != "":
		view.Current, err = e.findByID(w.ID)
	}
	return err
}

func (e *engine) do(view *session.View, expired *session.Record, change *session.Change) error {
	switch change.Kind {
	case session.Create:
		if expired != nil {
			if err := e.end(expired, tombstoneExpired, view.Now); err != nil {
				return err
			}
		}
		return e.create(change)
	case session.Update:
		if err := e.replace(change.Record); err != nil {
			return err
		}
		return e.index.change(e.conn, view.Current, change)
	case session.End:
		return e.end(view.Current, tombstoneDeleted, view.Now)
	default:
		return nil
	}
}
