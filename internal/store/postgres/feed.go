package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parleyhq/parley/internal/session"
)

const (
	feedEvery = time.Second
	feedRows  = 500 // of transactions, that are read at once

	// surelyFlushed is much longer than it takes until the database has on its disk which transaction ids it has given
	// out: after a crash it may give out later ones once more.
	surelyFlushed = 10 * time.Second

	recountRows  = 1000 // sessions that are read at once
	recountPages = 64   // that are read between two looks at what was committed
)

// feed tells what was committed, by whichever node. Each transaction has left a row in commits. At each look the feed
// reads those that it saw and the snapshot of the look before did not: of the transactions that were still running then,
// and of later ones. So it does not matter how long a transaction takes, nor what others run meanwhile, and a quiet second
// costs one statement that finds nothing.
//
// The ids of transactions order nothing once the database is another one than before. It is not if it has crashed, or a
// standby has taken its place: see follow. Then, or if the node was away for so long that rows were taken away which it
// has not read, all sessions are told where their logs end.
//
// A feed is for one goroutine.
type feed struct {
	store   *Store
	reached func(session.UID, int64)

	since  moment    // what its snapshot sees has been told
	next   *moment   // the same, once this look has read all its pages; nil: it has not begun
	after  place     // of this look, where its next page begins
	older  [2]moment // earlier ones; the first is at least surelyFlushed before since, unless the feed began later
	marked time.Time // when the second of them was since
	page   []commitRow
	all    *recount // tells of all sessions; nil: there is no need
	failed bool     // the last look
}

// moment is what the database says of itself.
type moment struct {
	snapshot   string
	timeline   string       // another one once a standby has taken the place
	checkpoint string       // the newest; another one after each crash, but not only then
	clock      session.Time // of the database
}

// place is that of a row among the others.
type place struct {
	xid   string
	group [16]byte
}

// commitRow is one of commits.
type commitRow struct {
	place

	uids      [][16]byte
	sequences []int64
}

// selectMoment is what a moment is made of.
const selectMoment = `SELECT pg_current_snapshot()::text, left(pg_walfile_name(pg_current_wal_insert_lsn()), 8),
	control.checkpoint_lsn::text, ` + clockSQL

// selectCommits is the moment, the rows that its snapshot sees and the snapshot $1 does not, after a place, and whether it
// is from before $1. There is a row without a transaction if there is none.
const selectCommits = selectMoment + `,
		pg_snapshot_xmax(pg_current_snapshot()) < pg_snapshot_xmax($1::text::pg_snapshot),
		coalesce(c.xid::text, ''), coalesce(c.group_id, '00000000-0000-0000-0000-000000000000'), coalesce(c.uids, '{}'),
		coalesce(c.sequences, '{}')
	FROM pg_control_checkpoint() control LEFT JOIN (
		SELECT xid, group_id, uids, sequences FROM (
			SELECT xid, group_id, uids, sequences FROM commits
			WHERE xid = ANY (ARRAY (SELECT pg_snapshot_xip($1::text::pg_snapshot)))
			UNION ALL
			SELECT xid, group_id, uids, sequences FROM commits
			WHERE xid >= pg_snapshot_xmax($1::text::pg_snapshot) AND xid < pg_snapshot_xmax(pg_current_snapshot())) unseen
		WHERE (xid, group_id) > ($2::text::xid8, $3::uuid) ORDER BY xid, group_id LIMIT $4) c ON true
	ORDER BY c.xid, c.group_id`

// newFeed makes a feed of what is committed from now on.
func newFeed(ctx context.Context, store *Store, reached func(session.UID, int64)) (*feed, error) {
	f := &feed{store: store, reached: reached, after: place{xid: "0"}}
	err := store.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return one(ctx, conn, func(row pgx.Row) (err error) {
			f.since, err = readMoment(row)
			return err
		}, selectMoment+` FROM pg_control_checkpoint() control`)
	})
	f.begin(f.since)
	return f, err
}

// begin has the feed tell from a moment on.
func (f *feed) begin(now moment) {
	f.since, f.next, f.after = now, nil, place{xid: "0"}
	f.older, f.marked = [2]moment{now, now}, time.Now()
}

// run looks again and again, until the context ends.
func (f *feed) run(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := f.look(ctx)
		if err == nil {
			err = f.tellAll(ctx)
		}
		if err != nil && ctx.Err() == nil && !f.failed {
			f.store.log.Warn("reading what other nodes have committed failed, and will be tried again", "error", err)
		}
		f.failed = err != nil
	}
}

// look tells what was committed since the look before. After an error, the next look goes on from there.
func (f *feed) look(ctx context.Context) error {
	for ctx.Err() == nil {
		now, back, err := f.read(ctx)
		if err != nil {
			return err
		}
		if !f.follow(now, back) {
			continue
		}
		for _, c := range f.page {
			for i, uid := range c.uids {
				f.reached(uid, c.sequences[i])
			}
		}
		if n := len(f.page); n > 0 {
			f.after = f.page[n-1].place
		}
		if len(f.page) < feedRows {
			f.finish()
			return nil
		}
	}
	return ctx.Err()
}

// read reads a page, and what the database says of itself. It tells whether that is from before the look before.
func (f *feed) read(ctx context.Context) (now moment, back bool, err error) {
	err = f.store.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		f.page = f.page[:0]
		return one(ctx, conn, func(row pgx.Row) error {
			var c commitRow
			now, err = readMoment(row, &back, &c.xid, &c.group, &c.uids, &c.sequences)
			if err == nil && c.xid != "" {
				f.page = append(f.page, c)
			}
			return err
		}, selectCommits, f.since.snapshot, f.after.xid, f.after.group, feedRows)
	})
	return now, back, err
}

// readMoment makes a moment of a row that begins with it, and scans the rest of it.
func readMoment(row pgx.Row, more ...any) (m moment, err error) {
	err = row.Scan(append([]any{&m.snapshot, &m.timeline, &m.checkpoint, (*int64)(&m.clock)}, more...)...)
	return m, err
}

// follow tells whether the page that was read goes on from what was told. If not then it is to be read anew:
//
//   - Another database has taken the place, which may lack transactions and use their ids for others; or the last look was
//     so long ago that rows may be missing. All sessions are told where their logs end.
//   - The database may have crashed. Then ids of transactions that had not come to its disk are used again, but only such
//     as were given out the moment before.
func (f *feed) follow(now moment, back bool) bool {
	switch {
	case now.timeline != f.since.timeline, back, now.clock > f.since.clock.Add(keepCommits/2):
		f.begin(now)
		f.all = &recount{}
		return false
	case now.checkpoint != f.since.checkpoint:
		f.since.snapshot, f.since.checkpoint = f.older[0].snapshot, now.checkpoint
		f.next, f.after = nil, place{xid: "0"}
		return false
	case f.next == nil:
		f.next = &now
	}
	return true
}

// finish ends a look that has read all its pages.
func (f *feed) finish() {
	f.since, f.next, f.after = *f.next, nil, place{xid: "0"}
	if time.Since(f.marked) > surelyFlushed {
		f.older[0], f.older[1], f.marked = f.older[1], f.since, time.Now()
	}
}

// recount is how far it was told of all sessions where their logs end.
type recount struct {
	ended bool // it is at those that have ended: they come last, so that none is missed that ends meanwhile
	after [16]byte
}

// logEnd is where a session's log ends.
type logEnd struct {
	uid      session.UID
	sequence int64
}

const (
	selectHeads = `SELECT uid, sequence FROM heads WHERE uid > $1 ORDER BY uid LIMIT $2`
	selectEnds  = `SELECT uid, sequence FROM tombstones WHERE uid > $1 ORDER BY uid LIMIT $2`
)

// tellAll tells of some more sessions where their logs end, if it is to be told of all.
func (f *feed) tellAll(ctx context.Context) error {
	for page := 0; page < recountPages && f.all != nil; page++ {
		text := selectHeads
		if f.all.ended {
			text = selectEnds
		}
		var found []logEnd
		err := f.store.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
			found = found[:0]
			return one(ctx, conn, func(row pgx.Row) error {
				var end logEnd
				err := row.Scan((*[16]byte)(&end.uid), &end.sequence)
				found = append(found, end)
				return err
			}, text, f.all.after, recountRows)
		})
		if err != nil {
			return err
		}
		for _, end := range found {
			f.reached(end.uid, end.sequence)
			f.all.after = end.uid
		}
		switch {
		case len(found) == recountRows:
		case f.all.ended:
			f.all = nil
		default:
			f.all = &recount{ended: true}
		}
	}
	return nil
}
