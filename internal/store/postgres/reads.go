package postgres

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/parleyhq/parley/internal/session"
)

// How much one call of Log, Messages or Members looks at, as with List.
const (
	readRows  = 10_000
	readBytes = 16 << 20
	readTime  = 50 * time.Millisecond

	// readTimeout is how long a read may take, with the waiting for a connection.
	readTimeout = 10 * time.Second
)

// read lends a connection to do.
func (s *Store) read(ctx context.Context, do func(ctx context.Context, conn *pgx.Conn) error) error {
	return lend(ctx, s.readers, readTimeout, do)
}

// lend lends a connection of the pool to do, and another one if the first is lost: all are lost when the database begins
// anew. It takes so long at most, however many wait for a connection, and whether or not the database answers; half of that
// at most goes into waiting, so that whoever has a connection has the time to use it.
func lend(ctx context.Context, pool *pgxpool.Pool, most time.Duration, do func(ctx context.Context, conn *pgx.Conn) error) error {
	until := time.Now().Add(most)
	err := lendOnce(ctx, pool, until.Add(-most/2), until, do)
	if lost(err) && ctx.Err() == nil {
		pool.Reset()
		err = lendOnce(ctx, pool, until.Add(-most/2), until, do)
	}
	if err != nil && ctx.Err() != nil {
		return canceled(ctx)
	}
	if err != nil {
		return classify(err)
	}
	return nil
}

// lendOnce lends a connection to do. The context counts only until there is one: interrupting a statement would cost the
// connection, and each is over soon.
func lendOnce(
	ctx context.Context, pool *pgxpool.Pool, waitUntil, until time.Time, do func(ctx context.Context, conn *pgx.Conn) error,
) error {
	waiting, stop := context.WithDeadline(ctx, waitUntil)
	defer stop()
	lent, err := pool.Acquire(waiting)
	if stat := pool.Stat(); err != nil && waiting.Err() != nil && stat.AcquiredConns() == stat.MaxConns() {
		return tooBusy(err)
	}
	if err != nil {
		return &lostError{cause: err}
	}
	defer lent.Release()
	bounded, cancel := context.WithDeadline(context.WithoutCancel(ctx), until)
	defer cancel()
	return lostIfClosed(lent.Conn(), do(bounded, lent.Conn()))
}

// snapshotSQL begins a transaction whose statements all see the same.
const snapshotSQL = `BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ`

// snapshot lends a connection to do, in one read transaction.
func (s *Store) snapshot(ctx context.Context, do func(ctx context.Context, conn *pgx.Conn) error) error {
	return s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, snapshotSQL); err != nil {
			return err
		}
		err := do(ctx, conn)
		if err != nil {
			rollback(ctx, conn)
			return err
		}
		_, err = conn.Exec(ctx, `COMMIT`)
		return err
	})
}

// one gives the row of a query to scan, if there is one.
func one(ctx context.Context, conn *pgx.Conn, scan func(row pgx.Row) error, text string, args ...any) error {
	rows, err := conn.Query(ctx, text, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	return each(rows, scan)
}

const selectWithMember = `SELECT ` + columns + `, ` + clockSQL + `, m.joined, m.channels
	FROM ` + sessions + ` LEFT JOIN members m ON m.uid = s.uid AND m.user_name = $2 WHERE s.id = $1`

// Get implements session.Store.
func (s *Store) Get(ctx context.Context, id, user string) (record *session.Record, member *session.Member, err error) {
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return one(ctx, conn, func(row pgx.Row) error {
			var now session.Time
			var joined *int64
			var channels []int32
			found, err := readState(row, (*int64)(&now), &joined, &channels)
			if err != nil || found.record.Expired(s.clock.present(now)) {
				return err
			}
			record = found.record
			if joined != nil {
				member = &session.Member{User: user, Channels: channels, JoinTime: session.Time(*joined)}
			}
			return nil
		}, selectWithMember, id, user)
	})
	if err != nil {
		return nil, nil, err
	}
	return record, member, nil
}

// Log implements session.Store.
func (s *Store) Log(ctx context.Context, uid session.UID, after int64, limit, maxBytes int) (*session.Log, error) {
	var r logReader
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		r = logReader{uid: uid, after: after, limit: limit, maxBytes: maxBytes}
		return r.read(ctx, conn, s)
	})
	if err != nil {
		return nil, err
	}
	return &r.result, nil
}

// logReader collects a part of a log.
type logReader struct {
	uid             session.UID
	after           int64
	limit, maxBytes int
	bytes           int
	result          session.Log
	id              string // of the session; empty: nothing is known of it
	head            int64  // the sequence of the last event that may be in the table
}

// selectLog is the events $1 after $2, at most $3, and no more after the first that would make them larger than $4, by what
// the table has of them: that is less than their Size.
const selectLog = `SELECT ` + eventColumns + ` FROM (
		SELECT ` + eventColumns + `, sum(size) OVER (ORDER BY sequence) - size AS before FROM (
			SELECT ` + eventColumns + `, ` + eventSize + ` AS size
			FROM events WHERE uid = $1 AND sequence > $2 ORDER BY sequence LIMIT $3) first) counted
	WHERE before <= $4 ORDER BY sequence`

// eventSize is how many bytes an event has in the table.
const eventSize = `coalesce(octet_length(doc), 0) + octet_length(actor) + octet_length(message_id)`

// read reads all in one transaction, of which one exchange with the database is enough.
func (r *logReader) read(ctx context.Context, conn *pgx.Conn, s *Store) error {
	key := [16]byte(r.uid)
	batch := &pgx.Batch{}
	batch.Queue(snapshotSQL)
	batch.Queue(`SELECT `+columns+`, `+clockSQL+` FROM `+sessions+` WHERE s.uid = $1`, key).Query(func(rows pgx.Rows) error {
		return each(rows, func(row pgx.Row) error { return r.readSession(row, s) })
	})
	batch.Queue(`SELECT id, kind, actor, ended, sequence, first FROM tombstones WHERE uid = $1`, key).Query(func(rows pgx.Rows) error {
		return each(rows, r.readEnd)
	})
	batch.Queue(selectLog, key, max(r.after, 1), min(r.limit, readRows), r.maxBytes).Query(func(rows pgx.Rows) error {
		return each(rows, r.readEvent)
	})
	batch.Queue(`COMMIT`)
	err := conn.SendBatch(ctx, batch).Close()
	if err != nil {
		rollback(ctx, conn)
	}
	return err
}

func (r *logReader) readSession(row pgx.Row, s *Store) error {
	var now session.Time
	found, err := readState(row, (*int64)(&now))
	if err != nil {
		return err
	}
	r.result.Record, r.result.Expired = found.record, found.record.Expired(s.clock.present(now))
	r.id, r.head, r.result.First = found.record.ID, found.record.Head.Sequence, found.first
	if r.after < 1 && found.first <= 1 {
		r.add(found.record.Created())
	}
	return nil
}

// readEnd reads what is left of a session that has ended.
func (r *logReader) readEnd(row pgx.Row) error {
	end := &session.Event{UID: r.uid}
	var kind int16
	err := row.Scan(&end.ID, &kind, &end.Actor, (*int64)(&end.Time), &end.Sequence, &r.result.First)
	end.Kind = session.EventKind(kind)
	r.id, r.head, r.result.End = end.ID, end.Sequence-1, end
	return err
}

func (r *logReader) readEvent(row pgx.Row) error {
	if r.id == "" || r.full() {
		return nil
	}
	ev, err := readEvent(row, r.uid, r.id)
	if err == nil && ev.Sequence >= r.result.First {
		r.add(ev)
	}
	return err
}

func (r *logReader) add(ev *session.Event) {
	r.result.Events = append(r.result.Events, ev)
	r.bytes += ev.Size()
}

// full tells whether this is all that was asked for.
func (r *logReader) full() bool { return len(r.result.Events) >= r.limit || r.bytes > r.maxBytes }

// liveSQL is the session $1, if it has not ended at the time $2 or, if that is 0, now.
const liveSQL = `(SELECT uid, id FROM sessions WHERE uid = $1
	AND (expires = 0 OR expires > CASE WHEN $2::bigint > 0 THEN $2 ELSE ` + clockSQL + ` END))`

// now is the second parameter of liveSQL.
func (s *Store) now() int64 {
	if s.clock.instead == nil {
		return 0
	}
	return int64(s.clock.instead())
}

// selectMessage is the message of the session $1 with the id $3, or, if that was made, with the sequence $4 and the time $5.
const selectMessage = `SELECT s.id, e.sequence, e.time, e.channel, e.kind, e.actor, e.message_id, e.doc
	FROM ` + liveSQL + ` s JOIN heads h ON h.uid = s.uid
		JOIN events e ON e.uid = s.uid AND e.message_id = $3 AND e.message_id <> '' AND e.sequence >= h.first
	UNION ALL
	SELECT s.id, e.sequence, e.time, e.channel, e.kind, e.actor, e.message_id, e.doc
	FROM ` + liveSQL + ` s JOIN heads h ON h.uid = s.uid
		JOIN events e ON e.uid = s.uid AND e.sequence = $4 AND e.time = $5 AND e.kind = 8 AND e.message_id = '' AND e.sequence >= h.first
	LIMIT 1`

// Message implements session.Store.
func (s *Store) Message(ctx context.Context, uid session.UID, id string) (message *session.Event, err error) {
	made, sequence, _ := session.MadeMessageID(id) // 0 if it was not made
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return one(ctx, conn, func(row pgx.Row) error {
			ev := &session.Event{UID: uid}
			var kind int16
			err := row.Scan(&ev.ID, &ev.Sequence, (*int64)(&ev.Time), &ev.Channel, &kind, &ev.Actor, &ev.MessageID, &ev.Document)
			ev.Kind = session.EventKind(kind)
			message = ev
			return err
		}, selectMessage, [16]byte(uid), s.now(), id, sequence, int64(made))
	})
	if err != nil {
		return nil, err
	}
	return message, nil
}

// live is the id of the session of the uid; "": it has ended, or never was.
func (s *Store) live(ctx context.Context, conn *pgx.Conn, uid session.UID) (id string, err error) {
	err = one(ctx, conn, func(row pgx.Row) error { return row.Scan(&id) },
		`SELECT id FROM `+liveSQL+` s`, [16]byte(uid), s.now())
	return id, err
}

// scan bounds what one page looks at.
type scan struct {
	size     int // of the page
	deadline time.Time
	looked   int
	found    int
	bytes    int
}

// full tells whether the page is to end before the next row.
func (s *scan) full() bool {
	if s.found >= s.size || s.looked >= readRows || s.bytes > readBytes {
		return true
	}
	return s.looked%256 == 255 && time.Now().After(s.deadline)
}

// batch is how many rows a page reads at once: if all will be wanted, about as many as it has, and the one that tells
// whether there are more.
func (s *scan) batch(all bool) int {
	const some = 256
	if all {
		return min(s.size-s.found+1, 1000)
	}
	return some
}

// errStop ends a page early, without an error.
var errStop = errors.New("stop")

// Messages implements session.Store.
func (s *Store) Messages(ctx context.Context, q *session.MessageQuery) (*session.MessagePage, error) {
	page := &session.MessagePage{}
	err := s.snapshot(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		*page = session.MessagePage{}
		id, err := s.live(ctx, conn, q.UID)
		if id == "" || err != nil {
			return err
		}
		return readMessages(ctx, conn, q, id, page)
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

// selectLogBack is as selectLog, backwards from before $2.
const selectLogBack = `SELECT ` + eventColumns + ` FROM (
		SELECT ` + eventColumns + `, sum(size) OVER (ORDER BY sequence DESC) - size AS before FROM (
			SELECT ` + eventColumns + `, ` + eventSize + ` AS size
			FROM events WHERE uid = $1 AND sequence < $2 ORDER BY sequence DESC LIMIT $3) first) counted
	WHERE before <= $4 ORDER BY sequence DESC`

func readMessages(ctx context.Context, conn *pgx.Conn, q *session.MessageQuery, id string, page *session.MessagePage) error {
	text, edge := selectLog, q.After
	if q.Descending {
		text = selectLogBack
	}
	if q.Descending && edge == 0 {
		edge = math.MaxInt64
	}
	scan := scan{size: q.Size, deadline: time.Now().Add(readTime)}
	visit := func(row pgx.Row) error {
		if scan.full() {
			page.Next = edge
			return errStop
		}
		ev, err := readEvent(row, q.UID, id)
		if err != nil {
			return err
		}
		scan.looked++
		edge = ev.Sequence
		scan.bytes += ev.Size()
		if ev.Kind == session.MessagePublished && (q.Match == nil || q.Match(ev)) {
			page.Events = append(page.Events, ev)
			scan.found++
		}
		return nil
	}
	return readAll(func() (more bool, err error) {
		n, err := visitRows(ctx, conn, visit, text, [16]byte(q.UID), edge, scan.batch(q.Match == nil), readBytes)
		return n > 0, err // the last one may be cut by its size
	})
}

// readAll reads piece after piece, until one says that there is no more, or stops.
func readAll(piece func() (more bool, err error)) error {
	for {
		more, err := piece()
		if errors.Is(err, errStop) {
			return nil
		}
		if err != nil || !more {
			return err
		}
	}
}

// visitRows gives the rows of a query to visit, until that returns an error, and counts them.
func visitRows(ctx context.Context, conn *pgx.Conn, visit func(row pgx.Row) error, text string, args ...any) (n int, err error) {
	rows, err := conn.Query(ctx, text, args...)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	err = each(rows, func(row pgx.Row) error {
		n++
		return visit(row)
	})
	return n, err
}

// Members implements session.Store.
func (s *Store) Members(ctx context.Context, q *session.MemberQuery) (*session.MemberPage, error) {
	page := &session.MemberPage{}
	err := s.snapshot(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		*page = session.MemberPage{}
		id, err := s.live(ctx, conn, q.UID)
		if id == "" || err != nil {
			return err
		}
		return readMembers(ctx, conn, q, page)
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

func readMembers(ctx context.Context, conn *pgx.Conn, q *session.MemberQuery, page *session.MemberPage) error {
	text, edge := `SELECT `+memberColumns+` FROM members m WHERE m.uid = $1 AND m.joined > $2 ORDER BY m.joined LIMIT $3`, q.After
	if q.Descending {
		text = `SELECT ` + memberColumns + ` FROM members m WHERE m.uid = $1 AND m.joined < $2 ORDER BY m.joined DESC LIMIT $3`
	}
	if q.Descending && edge == 0 {
		edge = math.MaxInt64
	}
	scan := scan{size: q.Size, deadline: time.Now().Add(readTime)}
	visit := func(row pgx.Row) error {
		if scan.full() {
			page.Next = edge
			return errStop
		}
		m, err := readMember(row)
		if err != nil {
			return err
		}
		scan.looked++
		edge = m.JoinTime
		if q.Match == nil || q.Match(m) {
			page.Members = append(page.Members, m)
			scan.found++
		}
		return nil
	}
	return readAll(func() (more bool, err error) {
		limit := scan.batch(q.Match == nil)
		n, err := visitRows(ctx, conn, visit, text, [16]byte(q.UID), int64(edge), limit)
		return n == limit, err
	})
}
