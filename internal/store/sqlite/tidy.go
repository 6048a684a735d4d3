package sqlite

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"os"
	"time"

	"github.com/parleyhq/parley/internal/session"
)

// The kinds of tombstone.
const (
	tombstoneDeleted = 1
	tombstoneExpired = 2
)

const (
	keepTombstones = 24 * time.Hour
	keepRequests   = 24 * time.Hour
	keepTickets    = time.Minute // after they have expired: so long it can be told that they were used, or came too late

	tidyEvery    = time.Second
	tidyRows     = 1000    // so many rows are purged and trimmed in one transaction
	tidyBytes    = 4 << 20 // or about so many bytes of events
	tidySessions = 100     // at most so many sessions expire, are purged or are trimmed in one transaction
)

// end ends a session: its id is free, and it is found no more. What else there is of it is purged later.
func (e *engine) end(s *state, ending *session.Event) error {
	r, created := s.record, int64(s.record.CreateTime)
	waiting, err := e.index.drop(e.conn, created)
	if err != nil {
		return err
	}
	if err := e.exec(`DELETE FROM sessions WHERE created = ?`, created); err != nil {
		return err
	}
	if err := e.exec(`DELETE FROM heads WHERE created = ?`, created); err != nil {
		return err
	}
	if err := e.creators.drop(e.conn, r); err != nil {
		return err
	}
	users := "" // nothing to purge
	if !waiting {
		spec, err := r.Spec()
		if err != nil {
			return err
		}
		encoded, err := json.Marshal(spec.Principals())
		if err != nil {
			return err
		}
		users = string(encoded)
	}
	return e.insertTombstone(&tombstone{ending: ending, name: r.DisplayName, users: users, first: s.chain().oldest(), log: s.toPurge()})
}

// tombstone is what is left of a session that has ended.
type tombstone struct {
	ending *session.Event
	name   string // for the lookups to purge
	users  string // likewise, as a JSON array; empty: nothing is to be purged of them
	first  int64  // the sequence of the oldest event that is kept; the ending's: none is
	log    int64  // what is to be purged of the log, and its members
}

func (c *conn) insertTombstone(s *tombstone) error {
	end := s.ending
	return c.exec(`INSERT INTO tombstones (created, uid, id, kind, actor, ended, sequence, display_name, users, first, log)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		int64(end.UID.Time()), end.UID[:], idColumn(end.UID, end.ID), tombstoneKind(end.Kind), end.Actor, int64(end.Time), end.Sequence,
		s.name, s.users, s.first, s.log)
}

// toPurge is what a tombstone's log has of a session that ends.
func (s *state) toPurge() int64 {
	switch {
	case s.last != 0:
		return s.last
	case s.record.Head.Members > 0:
		return onlyMembers
	default:
		return 0
	}
}

func tombstoneKind(kind session.EventKind) int64 {
	if kind == session.SessionExpired {
		return tombstoneExpired
	}
	return tombstoneDeleted
}

// findEnding returns the last event of a session that has ended, and what is kept of its log; nil if nothing is known of
// it.
func (c *conn) findEnding(uid session.UID) (found *session.Event, log *chain, err error) {
	err = c.query(`SELECT id, kind, actor, ended, sequence, first, log FROM tombstones WHERE created = ? AND uid = ?`,
		[]driver.Value{int64(uid.Time()), uid[:]}, func(row []driver.Value) error {
			found = readEnding(uid, row)
			log = &chain{uid: uid, id: found.ID, first: row[5].(int64), head: found.Sequence - 1, last: row[6].(int64)}
			return nil
		})
	return found, log, err
}

// readEnding makes a session's last event of a row that begins with id, kind, actor, ended, sequence.
func readEnding(uid session.UID, row []driver.Value) *session.Event {
	end := &session.Event{
		UID: uid, ID: idOf(uid, row[0].(string)), Kind: session.SessionDeleted, Actor: row[2].(string),
		Time: session.Time(row[3].(int64)), Sequence: row[4].(int64),
	}
	if row[1].(int64) == tombstoneExpired {
		end.Kind = session.SessionExpired
	}
	return end
}

// earlier returns what a successful write left under the request's key.
func (e *engine) earlier(key session.RequestKey, now session.Time) (found *session.Earlier, err error) {
	err = e.query(`SELECT uid, digest, at, sequence FROM requests WHERE key = ? AND at > ?`,
		[]driver.Value{key[:], int64(now.Add(-keepRequests))}, func(row []driver.Value) error {
			found = readEarlier(row)
			return nil
		})
	return found, err
}

// readEarlier makes what a write left of a row of uid, digest, at, sequence.
func readEarlier(row []driver.Value) *session.Earlier {
	return &session.Earlier{
		UID: session.UID(row[0].([]byte)), Digest: session.Digest(row[1].([]byte)),
		Time: session.Time(row[2].(int64)), Sequence: row[3].(int64),
	}
}

// putRequest keeps what a write did under a request's key.
func (c *conn) putRequest(key session.RequestKey, done *session.Earlier) error {
	return c.exec(`INSERT OR REPLACE INTO requests (key, at, uid, digest, sequence) VALUES (?, ?, ?, ?, ?)`,
		key[:], int64(done.Time), done.UID[:], done.Digest[:], done.Sequence)
}

// untidy tells whether there is something for tidy to do.
const untidy = `SELECT EXISTS (SELECT 1 FROM sessions WHERE expires > 0 AND expires <= ?1)
	OR EXISTS (SELECT 1 FROM heads WHERE trim_at > 0 AND trim_at <= ?1)
	OR EXISTS (SELECT 1 FROM tombstones WHERE users <> '')
	OR EXISTS (SELECT 1 FROM tombstones WHERE log <> 0)
	OR EXISTS (SELECT 1 FROM tombstones WHERE ended < ?2)
	OR EXISTS (SELECT 1 FROM requests WHERE at < ?2)
	OR EXISTS (SELECT 1 FROM tickets WHERE expire < ?3)`

// tidyLoop ends what has expired and purges what has ended, a bounded piece at a time, until the context ends.
func (s *Store) tidyLoop(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := errors.Join(s.tidy(ctx), s.shrinkLog(ctx)); err != nil && ctx.Err() == nil {
			s.log.Warn("tidying the store failed, and will be tried again", "error", err)
		}
	}
}

// maxLogBytes is how large the write-ahead log may grow before readers are held back.
const maxLogBytes = 64 << 20

// shrinkLog empties the write-ahead log if it has grown too large. It begins anew by itself whenever a checkpoint finds
// no reader in it, which under a constant load of reads may never happen: then new readers are held until it is done.
func (s *Store) shrinkLog(ctx context.Context) error {
	info, err := os.Stat(s.path + "-wal")
	if err != nil || info.Size() <= maxLogBytes {
		return err
	}
	held := make([]*conn, 0, readerCount)
	defer func() {
		for _, c := range held {
			s.readers <- c
		}
	}()
	for len(held) < readerCount {
		select {
		case c := <-s.readers:
			held = append(held, c)
		case <-ctx.Done():
			return nil
		}
	}
	s.engine.shrink.Store(true)
	defer s.engine.shrink.Store(false) // if the job was never run, then nobody may do it once the readers are back
	return s.committer.Submit(ctx, &job{tidy: func(*engine) ([]*session.Event, error) { return nil, nil }})
}

// tidy works until nothing is left to do of what there was when it began. Requests get their turns in between.
func (s *Store) tidy(ctx context.Context) error {
	now := s.engine.clock()
	for ctx.Err() == nil {
		var work bool
		err := s.read(ctx, func(c *conn) error {
			n, err := c.integer(untidy, int64(now), int64(now.Add(-keepTombstones)), int64(now.Add(-keepTickets)))
			work = n != 0
			return err
		})
		if err != nil || !work {
			return err
		}
		if err := s.committer.Submit(ctx, &job{tidy: (*engine).tidy}); err != nil {
			return err
		}
	}
	return nil
}

// tidy is one bounded piece of the work, in its transaction. It returns what happened.
func (e *engine) tidy() ([]*session.Event, error) {
	now := e.clock()
	events, err := e.expire(now)
	if err != nil {
		return nil, err
	}
	left := tidyRows
	for _, step := range []func(left *int) error{
		e.purgeLookups,
		e.purgeLogs,
		func(left *int) error { return e.trim(now, left) },
	} {
		if err := step(&left); err != nil {
			return nil, err
		}
	}
	old := int64(now.Add(-keepTombstones))
	if err := e.exec(`DELETE FROM tombstones WHERE created IN
		(SELECT created FROM tombstones WHERE ended < ? AND users = '' AND log = 0 LIMIT ?)`, old, int64(tidyRows)); err != nil {
		return nil, err
	}
	err = e.exec(`DELETE FROM requests WHERE key IN (SELECT key FROM requests WHERE at < ? LIMIT ?)`, old, int64(tidyRows))
	if err != nil {
		return nil, err
	}
	return events, e.exec(`DELETE FROM tickets WHERE hash IN (SELECT hash FROM tickets WHERE expire < ? LIMIT ?)`,
		int64(now.Add(-keepTickets)), int64(tidyRows))
}

// expire ends sessions whose deadline has passed.
func (e *engine) expire(now session.Time) (events []*session.Event, err error) {
	var due []*state
	err = e.query(`SELECT `+columns+` FROM `+sessions+` WHERE s.expires > 0 AND s.expires <= ? ORDER BY s.expires LIMIT ?`,
		[]driver.Value{int64(now), int64(tidySessions)}, func(row []driver.Value) error {
			found, err := readState(row)
			due = append(due, &found)
			return err
		})
	if err != nil {
		return nil, err
	}
	for _, s := range due {
		ending := s.record.Ended(session.SessionExpired, "", now)
		if err := e.end(s, ending); err != nil {
			return nil, err
		}
		e.cache.drop(s.record.CreateTime)
		events = append(events, ending)
	}
	return events, nil
}
