package sqlite

import (
	"context"
	"errors"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/parleyhq/parley/internal/fault"
)

// code is SQLite's primary result code in err's chain; 0: there is none.
func code(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

// environmental tells whether err comes from the disk or the memory rather than from a statement: then the transaction
// is lost, whatever SQLite made of it.
func environmental(err error) bool {
	switch code(err) {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CORRUPT,
		sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL:
		return true
	}
	return false
}

// retryAfter is what callers are told to wait when the disk is at fault.
const retryAfter = 5 * time.Second

// classify turns what SQLite says into what callers may know; the rest stays in the chain, for the log.
func classify(err error) error {
	var reason, message string
	switch code(err) {
	case sqlite3.SQLITE_FULL:
		reason, message = "DISK_FULL", "the server's disk is full: nothing was done"
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN:
		reason, message = "STORE_READ_ONLY", "the server's disk cannot be written: nothing was done"
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL:
		reason, message = "STORE_FAILED", "the server's store failed: nothing was done"
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		reason, message = "STORE_CORRUPT", "the server's store is damaged: nothing was done"
	default:
		return err
	}
	return fault.New(fault.Unavailable, reason, "%s", message).After(retryAfter).Because(err)
}

// canceled is the answer to a reader whose context ended before its turn.
func canceled(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fault.New(fault.DeadlineExceeded, "DEADLINE_EXCEEDED", "the request's time ran out").Because(context.Cause(ctx))
	}
	return fault.New(fault.Canceled, "CANCELED", "the request was canceled").Because(context.Cause(ctx))
}
