package postgres

import (
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/parleyhq/parley/internal/session"
)

// clock gives writes their times. A time is the database's, read once for each group after its sessions are locked, but
//
//   - later than every time that this store has given out, so that no two of its writes have the same, and
//   - later than the time of the session's last write, of whichever node, so that times ascend with the sequences; the
//     head has that time, and it is read under the lock.
//
// So a database whose clock steps back, or that another one takes the place of, does not turn time back. Writes of two
// nodes to two sessions may have the same time.
type clock struct {
	instead session.Clock // in the place of the database's; nil: that
	floor   atomic.Int64  // the latest time that was given out
}

// present is the time at which the database's clock said so.
func (c *clock) present(database session.Time) session.Time {
	if c.instead != nil {
		return c.instead()
	}
	return database
}

// next is the time of a write, after a time.
func (c *clock) next(present, after session.Time) session.Time {
	for {
		before := c.floor.Load()
		next := max(int64(present), before+1, int64(after)+1)
		if c.floor.CompareAndSwap(before, next) {
			return session.Time(next)
		}
	}
}

// clockSQL is the database's time. It is the time of asking, not of the transaction's beginning.
const clockSQL = `(extract(epoch FROM clock_timestamp()) * 1000000)::bigint`

// readClock reads the time of a row that has nothing else.
func readClock(now *session.Time) func(row pgx.Row) error {
	return func(row pgx.Row) error { return row.Scan((*int64)(now)) }
}
