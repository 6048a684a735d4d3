package sqlite

import (
	"context"
	"database/sql/driver"
	"math"
	"time"

	"github.com/parleyhq/parley/internal/session"
)

// How much one call of Log, Messages or Members looks at, as with List.
const (
	readRows  = 10_000
	readBytes = 16 << 20
	readTime  = 50 * time.Millisecond
)

// Get implements session.Store. The two look-ups need no transaction in common: whatever happens between them, the answer
// is one that could have been given a moment earlier or later.
func (s *Store) Get(ctx context.Context, id, user string) (record *session.Record, member *session.Member, err error) {
	err = s.read(ctx, func(c *conn) error {
		found, err := c.findByID(id)
		if err != nil {
			return err
		}
		created := int64(0) // of no session: the look-up for a member is not left out, so that it takes as long
		if found != nil && !found.record.Expired(s.now()) {
			record = found.record
			created = int64(record.CreateTime)
		}
		if user != "" {
			member, err = c.findMember(created, user)
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return record, member, nil
}

// Log implements session.Store.
func (s *Store) Log(ctx context.Context, uid session.UID, after int64, limit, maxBytes int) (log *session.Log, err error) {
	err = s.snapshot(ctx, func(c *conn) error {
		r := logReader{conn: c, after: after, limit: limit, maxBytes: maxBytes, deadline: time.Now().Add(readTime)}
		log = &r.result
		return r.read(uid, s.now())
	})
	if err != nil {
		return nil, err
	}
	return log, nil
}

// logReader collects a part of a log, within one read transaction.
type logReader struct {
	*conn

	after           int64
	limit, maxBytes int
	deadline        time.Time
	bytes           int
	result          session.Log
}

func (r *logReader) read(uid session.UID, now session.Time) error {
	found, err := r.find(selectByTime, int64(uid.Time()))
	if err != nil {
		return err
	}
	if found == nil || found.record.UID != uid {
		return r.readEnded(uid)
	}
	record := found.record
	r.result.Record, r.result.Expired, r.result.First = record, record.Expired(now), found.first
	if r.after < 1 && found.first <= 1 {
		r.add(record.Created())
	}
	return r.readEvents(found.chain())
}

// readEnded reads what is left of a session that has ended.
func (r *logReader) readEnded(uid session.UID) error {
	end, log, err := r.findEnding(uid)
	if err != nil || end == nil {
		return err
	}
	r.result.End, r.result.First = end, log.first
	return r.readEvents(log)
}

func (r *logReader) readEvents(log *chain) error {
	rows := int64(min(r.limit, readRows) - len(r.result.Events))
	if r.full() || r.after >= log.head {
		return nil
	}
	from := max(r.after+1, log.oldest())
	return r.events(log, from, from+rows-1, false, func(ev *session.Event) error {
		r.add(ev)
		if r.full() {
			return errStop
		}
		return nil
	})
}

func (r *logReader) add(ev *session.Event) {
	r.result.Events = append(r.result.Events, ev)
	r.bytes += ev.Size()
}

// full tells whether this is all that may be read at once.
func (r *logReader) full() bool {
	n := len(r.result.Events)
	return n >= r.limit || r.bytes > r.maxBytes || n%256 == 255 && time.Now().After(r.deadline)
}

// liveLog is the log of a session that has not ended; nil: it has, or never was.
func (c *conn) liveLog(uid session.UID, now session.Time) (log *chain, err error) {
	err = c.query(`SELECT s.id, coalesce(h.first, 1), coalesce(h.sequence, 1), coalesce(h.last, 0) FROM `+sessions+`
		WHERE s.created = ? AND s.uid = ? AND (s.expires = 0 OR s.expires > ?)`,
		[]driver.Value{int64(uid.Time()), uid[:], int64(now)}, func(row []driver.Value) error {
			log = &chain{uid: uid, id: idOf(uid, row[0].(string)), first: row[1].(int64), head: row[2].(int64), last: row[3].(int64)}
			return nil
		})
	return log, err
}

// Message implements session.Store.
func (s *Store) Message(ctx context.Context, uid session.UID, id string) (message *session.Event, err error) {
	err = s.snapshot(ctx, func(c *conn) error {
		log, err := c.liveLog(uid, s.now())
		if log != nil && err == nil {
			message, err = c.findMessage(log, id)
		}
		return err
	})
	return message, err
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

// Messages implements session.Store.
func (s *Store) Messages(ctx context.Context, q *session.MessageQuery) (*session.MessagePage, error) {
	page := &session.MessagePage{}
	err := s.snapshot(ctx, func(c *conn) error {
		log, err := c.liveLog(q.UID, s.now())
		if log == nil || err != nil {
			return err
		}
		return c.readMessages(q, log, page)
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

func (c *conn) readMessages(q *session.MessageQuery, log *chain, page *session.MessagePage) error {
	from, to := log.oldest(), log.head
	switch {
	case q.Descending && q.After != 0:
		to = min(to, q.After-1)
	case !q.Descending && q.After >= log.head:
		return nil
	case !q.Descending:
		from = max(from, q.After+1)
	default:
	}
	next := int64(0)
	scan := scan{size: q.Size, deadline: time.Now().Add(readTime)}
	return c.events(log, from, to, q.Descending, func(ev *session.Event) error {
		if scan.full() {
			page.Next = next
			return errStop
		}
		scan.looked++
		next = ev.Sequence
		scan.bytes += ev.Size()
		if ev.Kind == session.MessagePublished && (q.Match == nil || q.Match(ev)) {
			page.Events = append(page.Events, ev)
			scan.found++
		}
		return nil
	})
}

// Members implements session.Store.
func (s *Store) Members(ctx context.Context, q *session.MemberQuery) (*session.MemberPage, error) {
	page := &session.MemberPage{}
	err := s.snapshot(ctx, func(c *conn) error {
		log, err := c.liveLog(q.UID, s.now())
		if log == nil || err != nil {
			return err
		}
		return c.readMembers(q, page)
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

func (c *conn) readMembers(q *session.MemberQuery, page *session.MemberPage) error {
	text := `SELECT ` + memberColumns + ` FROM members WHERE session = ? AND joined > ? ORDER BY joined LIMIT ?`
	edge := q.After
	if q.Descending {
		text = `SELECT ` + memberColumns + ` FROM members WHERE session = ? AND joined < ? ORDER BY joined DESC LIMIT ?`
	}
	if q.Descending && edge == 0 {
		edge = math.MaxInt64
	}
	next := session.Time(0)
	scan := scan{size: q.Size, deadline: time.Now().Add(readTime)}
	return c.query(text, []driver.Value{int64(q.UID.Time()), int64(edge), int64(readRows + 1)}, func(row []driver.Value) error {
		if scan.full() {
			page.Next = next
			return errStop
		}
		scan.looked++
		m, err := readMember(row)
		if err != nil {
			return err
		}
		next = m.JoinTime
		if q.Match == nil || q.Match(m) {
			page.Members = append(page.Members, m)
			scan.found++
		}
		return nil
	})
}
