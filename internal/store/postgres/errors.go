package postgres

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/parleyhq/parley/internal/fault"
)

// code is PostgreSQL's error code (SQLSTATE) in err's chain; "": there is none.
func code(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// collided tells whether the transaction lost against another one, and is to be run again as it is.
func collided(err error) bool {
	switch code(err) {
	case "40001", "40P01": // serialization_failure, deadlock_detected
		return true
	}
	return errors.Is(err, errCollision)
}

// errCollision says that another transaction made first what this one was to make.
var errCollision = errors.New("another transaction was first")

// lostError says that there is no connection to the database, or no longer.
type lostError struct{ cause error }

func (l *lostError) Error() string {
	return "the connection to the database is lost: " + l.cause.Error()
}

func (l *lostError) Unwrap() error { return l.cause }

// lostIfClosed says so if it is, after an error on a connection.
func lostIfClosed(conn *pgx.Conn, err error) error {
	if err != nil && conn.IsClosed() {
		return &lostError{cause: err}
	}
	return err
}

// lost tells whether err is that the database cannot be reached or cannot write now: by no fault of a statement, so that
// each statement would meet it.
func lost(err error) bool {
	if _, ok := errors.AsType[*lostError](err); ok {
		return true
	}
	of := code(err)
	switch {
	case strings.HasPrefix(of, "08"), // connection exception
		strings.HasPrefix(of, "53"),                 // insufficient resources: the disk, the memory, connections
		strings.HasPrefix(of, "58"),                 // I/O
		of == "57P01", of == "57P02", of == "57P03", // it stops, has crashed, or is yet to start
		of == "25P03", of == "57P05", of == "25P04", // it waited too long for us
		of == "25006", of == "28000", of == "28P01": // it is read-only: a standby; it does not let us in
		return true
	}
	return false
}

// retryAfter is what callers are told to wait when the database is at fault.
const retryAfter = 5 * time.Second

// classify turns what PostgreSQL says into what callers may know; the rest stays in the chain, for the log.
func classify(err error) error {
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	var reason, message string
	switch of := code(err); {
	case of == "53100":
		reason, message = "DISK_FULL", "the database's disk is full: nothing was done"
	case of == "25006":
		reason, message = "STORE_READ_ONLY", "the database cannot be written: nothing was done"
	case lost(err), of == "55P03", of == "57014", collided(err): // a lock or a statement took too long
		reason, message = "STORE_FAILED", "the server's store failed: nothing was done"
	default:
		return err
	}
	return fault.New(fault.Unavailable, reason, "%s", message).After(retryAfter).Because(err)
}

// tooBusy is the answer to who has waited for a connection that others use. These are not lost: to take them away from those
// who read would make everybody wait longer.
func tooBusy(err error) error {
	return fault.New(fault.Unavailable, "QUEUE_FULL", "too many requests wait for the database").After(retryAfter).Because(err)
}

// canceled is the answer to a reader whose context ended before its turn.
func canceled(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fault.New(fault.DeadlineExceeded, "DEADLINE_EXCEEDED", "the request's time ran out").Because(context.Cause(ctx))
	}
	return fault.New(fault.Canceled, "CANCELED", "the request was canceled").Because(context.Cause(ctx))
}
