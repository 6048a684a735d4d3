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

	tidyEvery = time.Second
	tidyRows  = 1000 // at most so many rows are purged in one transaction
	tidyEnds  = 100  // at most so many sessions expire in one transaction
)

// end ends a session: its id is free, and it is found no more. What the lookups have of it is purged later.
func (e *engine) end(r *session.Record, kind int64, now session.Time) error {
	created := int64(r.CreateTime)
	waiting, err := e.index.drop(e.conn, created)
	if err != nil {
		return err
	}
	if err := e.exec(`DELETE FROM sessions WHERE created = ?`, created); err != nil {
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
	err = e.exec(`INSERT INTO tombstones (created, uid, kind, ended, sequence, display_name, users) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		created, r.UID[:], kind, int64(now), r.Head.Sequence, r.DisplayName, users)
	return err
}

// earlier returns what a successful write left under the request's key.
func (e *engine) earlier(key session.RequestKey, now session.Time) (found *session.Earlier, err error) {
	err = e.query(`SELECT uid, digest FROM requests WHERE key = ? AND at > ?`,
		[]driver.Value{key[:], int64(now.Add(-keepRequests))}, func(row []driver.Value) error {
			found = &session.Earlier{UID: session.UID(row[0].([]byte)), Digest: session.Digest(row[1].([]byte))}
			return nil
		})
	return found, err
}

// untidy tells whether there is something for tidy to do.
const untidy = `SELECT EXISTS (SELECT 1 FROM sessions WHERE expires > 0 AND expires <= ?1)
	OR EXISTS (SELECT 1 FROM tombstones WHERE users <> '')
	OR EXISTS (SELECT 1 FROM tombstones WHERE ended < ?2)
	OR EXISTS (SELECT 1 FROM requests WHERE at < ?2)`

// tidyLoop ends what has expired and purges what has ended, a bounded piece at a time, until the context ends.
func (s *Store) tidyLoop(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
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
	return s.committer.Submit(ctx, &job{tidy: func(*engine) error { return nil }})
}

// tidy works until nothing is left to do. Requests get their turns in between.
func (s *Store) tidy(ctx context.Context) error {
	for ctx.Err() == nil {
		var work bool
		err := s.read(ctx, func(c *conn) error {
			now := s.now()
			n, err := c.integer(untidy, int64(now), int64(now.Add(-keepTombstones)))
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

// tidy is one bounded piece of the work, in its transaction.
func (e *engine) tidy() error {
	now := e.clock()
	if err := e.expire(now); err != nil {
		return err
	}
	if err := e.purge(); err != nil {
		return err
	}
	old := int64(now.Add(-keepTombstones))
	if err := e.exec(`DELETE FROM tombstones WHERE created IN
		(SELECT created FROM tombstones WHERE ended < ? AND users = '' LIMIT ?)`, old, int64(tidyRows)); err != nil {
		return err
	}
	err := e.exec(`DELETE FROM requests WHERE key IN (SELECT key FROM requests WHERE at < ? LIMIT ?)`, old, int64(tidyRows))
	return err
}

// expire ends sessions whose deadline has passed.
func (e *engine) expire(now session.Time) error {
	var due []*session.Record
	err := e.query(`SELECT `+columns+` FROM sessions s WHERE s.expires > 0 AND s.expires <= ? ORDER BY s.expires LIMIT ?`,
		[]driver.Value{int64(now), int64(tidyEnds)}, func(row []driver.Value) error {
			record, err := readRecord(row)
			due = append(due, record)
			return err
		})
	for _, record := range due {
		if err == nil {
			err = e.end(record, tombstoneExpired, now)
		}
	}
	return err
}

// purge takes ended sessions out of the lookups, as many as fit into a bounded number of rows.
func (e *engine) purge() error {
	type remains struct {
		created int64
		name    string
		users   []string
	}
	var found []remains
	rows := 0
	err := e.query(`SELECT created, display_name, users FROM tombstones WHERE users <> '' ORDER BY created`, nil,
		func(row []driver.Value) error {
			r := remains{created: row[0].(int64), name: row[1].(string)}
			if err := json.Unmarshal([]byte(row[2].(string)), &r.users); err != nil {
				return err
			}
			rows += len(r.users) + 1
			if rows > tidyRows && len(found) > 0 {
				return errStop
			}
			found = append(found, r)
			return nil
		})
	if err != nil {
		return err
	}
	for _, r := range found {
		if err := e.purgeOne(r.created, r.name, r.users); err != nil {
			return err
		}
	}
	return nil
}

func (e *engine) purgeOne(created int64, name string, users []string) error {
	epoch, err := e.integer(selectEpoch, created)
	if err != nil {
		return err
	}
	if err := replaceUsers(e.conn, epoch, created, users, nil); err != nil {
		return err
	}
	if err := e.exec(deleteName, epoch, name, created); err != nil {
		return err
	}
	err = e.exec(`UPDATE tombstones SET users = '' WHERE created = ?`, created)
	return err
}
