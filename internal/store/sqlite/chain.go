package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/parleyhq/parley/internal/session"
)

// blockSize is how many events of a log make a block: reading begins at the end of one, and goes back.
const blockSize = 64

// chain is the stored part of one session's log, as one transaction sees it: a chain of events that each lead to the one
// before. It has all events from first to head but session.created, which is never stored. It can be followed past its
// first event only into what was trimmed: a position of that has no row, because positions are used again only if no row
// has a higher one, or it has a row of another session, which the statements here leave out.
type chain struct {
	uid   session.UID
	id    string // of the session
	first int64  // the sequence of the oldest event that is kept
	head  int64  // and of the newest; less than first: none is kept
	last  int64  // the position of the newest
}

func (s *state) chain() *chain {
	return &chain{uid: s.record.UID, id: s.record.ID, first: s.first, head: s.record.Head.Sequence, last: s.last}
}

// oldest is the sequence of the oldest event that is stored, if there is one.
func (l *chain) oldest() int64 { return max(l.first, 2) }

// created is the session's key in the tables.
func (l *chain) created() int64 { return int64(l.uid.Time()) }

// blockEnd is the sequence of the last event of the block that an event is in.
func blockEnd(sequence int64) int64 { return sequence - sequence%blockSize + blockSize - 1 }

// back is a chain of the session ?1, down to the sequence ?4. It begins at the end of the block ?2, or if that is not full
// at the position ?3, the chain's last.
const back = `WITH RECURSIVE back (position, sequence, prev) AS (
		SELECT position, sequence, prev FROM events
			WHERE position = coalesce((SELECT position FROM event_blocks WHERE session = ?1 AND block = ?2), ?3) AND session = ?1
		UNION ALL
		SELECT e.position, e.sequence, e.prev FROM back JOIN events e ON e.position = back.prev
			WHERE back.sequence > ?4 AND e.session = ?1)`

// walk is the positions of the events with the sequences from ?4 to ?5. A query for them reads them in order, however the
// walk goes, and each row only when its turn comes.
const walk = `(` + back + ` SELECT position FROM back WHERE sequence BETWEEN ?4 AND ?5)`

// walkArgs are those of back and walk, for a part of a block.
func (l *chain) walkArgs(from, to int64) []driver.Value {
	return []driver.Value{l.created(), to / blockSize, l.last, from, to}
}

// eventColumns are those of an event, in the order of readEvent.
const eventColumns = `sequence, kind, channel, time, actor, message_id, doc`

// Going back needs no list of positions, and does not walk further than what is read of it.
const (
	selectEvents     = `SELECT ` + eventColumns + ` FROM events WHERE position IN ` + walk + ` ORDER BY position`
	selectEventsBack = back + ` SELECT ` + eventColumns + ` FROM (SELECT position AS place FROM back WHERE sequence BETWEEN ?4 AND ?5)
		CROSS JOIN events ON position = place`
)

// readEvent makes an event of a row of eventColumns.
func (l *chain) readEvent(row []driver.Value) *session.Event {
	ev := &session.Event{
		UID:       l.uid,
		ID:        l.id,
		Sequence:  row[0].(int64),
		Kind:      session.EventKind(row[1].(int64)),
		Channel:   int32(row[2].(int64)),
		Time:      session.Time(row[3].(int64)),
		Actor:     row[4].(string),
		MessageID: row[5].(string),
	}
	if doc, ok := row[6].(string); ok {
		ev.Document = []byte(doc)
	}
	return ev
}

// events gives the stored events with the sequences from one to another to visit, those that there are, until it returns
// errStop or another error. The oldest comes first, or if descending the newest. It looks at no more than a block of
// events that are not visited.
func (c *conn) events(l *chain, from, to int64, descending bool, visit func(*session.Event) error) error {
	text := selectEvents
	if descending {
		text = selectEventsBack
	}
	return eachBlock(max(from, l.oldest()), min(to, l.head), descending, func(from, to int64) error {
		return c.part(l, text, from, to, func(row []driver.Value) error { return visit(l.readEvent(row)) })
	})
}

// eachBlock cuts the sequences from one to another at the ends of the blocks, and gives each part to do, until that
// returns errStop or another error. Nothing is to be done if to is before from.
func eachBlock(from, to int64, descending bool, do func(from, to int64) error) (err error) {
	for from <= to && err == nil {
		if descending {
			part := max(from, to-to%blockSize)
			err = do(part, to)
			to = part - 1
		} else {
			part := min(to, blockEnd(from))
			err = do(from, part)
			from = part + 1
		}
	}
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

// part gives the rows that a statement selects with a walk over a part of a block to visit. Unlike query it passes
// errStop on. It fails if the chain is broken: all of the part is stored.
func (c *conn) part(l *chain, text string, from, to int64, visit func(row []driver.Value) error) error {
	rows, stopped := int64(0), false
	err := c.query(text, l.walkArgs(from, to), func(row []driver.Value) error {
		rows++
		err := visit(row)
		stopped = err != nil
		return err
	})
	switch {
	case err != nil:
		return err
	case stopped:
		return errStop
	case rows != to-from+1:
		return fmt.Errorf("the log of %v is broken: of the events from %d to %d there are %d", l.uid, from, to, rows)
	default:
		return nil
	}
}

// findMessage returns the message of the id in a session's log; nil if there is none.
func (c *conn) findMessage(l *chain, id string) (found *session.Event, err error) {
	if t, sequence, ok := session.MadeMessageID(id); ok {
		err = c.events(l, sequence, sequence, false, func(ev *session.Event) error {
			if ev.Kind == session.MessagePublished && ev.Time == t && ev.MessageID == "" {
				found = ev
			}
			return nil
		})
		if found != nil || err != nil {
			return found, err
		}
	}
	err = c.query(`SELECT `+eventColumns+` FROM events WHERE session = ? AND message_id = ? AND message_id <> ''`,
		[]driver.Value{l.created(), id}, func(row []driver.Value) error {
			found = l.readEvent(row)
			return nil
		})
	return found, err
}

// insertEvent stores an event of the session at a position, after the one at prev.
func (c *conn) insertEvent(created, position, prev int64, ev *session.Event) error {
	var doc driver.Value
	if ev.Document != nil {
		doc = string(ev.Document)
	}
	err := c.exec(`INSERT INTO events (position, session, sequence, prev, kind, channel, time, actor, message_id, doc)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		position, created, ev.Sequence, prev, int64(ev.Kind), int64(ev.Channel), int64(ev.Time), ev.Actor, ev.MessageID, doc)
	if err != nil || !endsBlock(ev) {
		return err
	}
	return c.exec(`INSERT INTO event_blocks (session, block, position) VALUES (?, ?, ?)`, created, ev.Sequence/blockSize, position)
}

// endsBlock tells whether the event fills its block, so that storing it takes more than one statement.
func endsBlock(ev *session.Event) bool {
	return ev.Sequence > 0 && ev.Sequence == blockEnd(ev.Sequence)
}

// deleteEvents takes away events of the session, by position, and the ends of the blocks from one to before another.
func (c *conn) deleteEvents(created int64, positions []int64, fromBlock, toBlock int64) error {
	for _, position := range positions {
		if err := c.exec(`DELETE FROM events WHERE position = ? AND session = ?`, position, created); err != nil {
			return err
		}
	}
	return c.exec(`DELETE FROM event_blocks WHERE session = ? AND block >= ? AND block < ?`, created, fromBlock, toBlock)
}
