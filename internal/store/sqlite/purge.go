package sqlite

import (
	"database/sql/driver"
	"encoding/json"

	"github.com/parleyhq/parley/internal/session"
)

// Purging takes away what is left of sessions that ended, and trimming what is too old or too much in the logs of the
// others. Both take from the number of rows that is left for the transaction what they have done.

// purgeLookups takes ended sessions out of the lookups by their own users and by name.
func (e *engine) purgeLookups(left *int) error {
	type remains struct {
		created int64
		name    string
		users   []string
	}
	var found []remains
	err := e.query(`SELECT created, display_name, users FROM tombstones WHERE users <> '' ORDER BY created`, nil,
		func(row []driver.Value) error {
			r := remains{created: row[0].(int64), name: row[1].(string)}
			if err := json.Unmarshal([]byte(row[2].(string)), &r.users); err != nil {
				return err
			}
			rows := len(r.users) + 1
			if rows > *left && len(found) > 0 {
				return errStop
			}
			*left -= rows
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
	return e.exec(`UPDATE tombstones SET users = '' WHERE created = ?`, created)
}

// onlyMembers stands in a tombstone's log for a session that has members to purge, and no events.
const onlyMembers = -1

// purgeLogs takes away the events and the members of ended sessions, and takes those out of the lookups by user.
func (e *engine) purgeLogs(left *int) error {
	type remains struct{ created, log int64 }
	var found []remains
	err := e.query(`SELECT created, log FROM tombstones WHERE log <> 0 ORDER BY created LIMIT ?`, []driver.Value{int64(tidySessions)},
		func(row []driver.Value) error {
			found = append(found, remains{row[0].(int64), row[1].(int64)})
			return nil
		})
	if err != nil {
		return err
	}
	for _, r := range found {
		if err := e.purgeMembers(r.created, left); err != nil {
			return err
		}
		if *left <= 0 {
			return nil
		}
		if err := e.purgeEvents(r.created, r.log, left); err != nil {
			return err
		}
	}
	return nil
}

func (e *engine) purgeMembers(created int64, left *int) error {
	if *left <= 0 {
		return nil
	}
	var users []string
	err := e.query(`SELECT user FROM members WHERE session = ? ORDER BY user LIMIT ?`, []driver.Value{created, int64(*left)},
		func(row []driver.Value) error {
			users = append(users, row[0].(string))
			return nil
		})
	if err != nil || len(users) == 0 {
		return err
	}
	*left -= len(users)
	epoch, err := e.integer(selectEpoch, created)
	if err != nil {
		return err
	}
	if err := replaceUsers(e.conn, epoch, created, users, nil); err != nil {
		return err
	}
	return e.changeMembers(created, users, nil)
}

// walkBack is the events of the session ?1 from the position ?2 back.
const walkBack = `WITH RECURSIVE back (position, sequence, prev, size) AS (
		SELECT position, sequence, prev, octet_length(doc) FROM events WHERE position = ?2 AND session = ?1
		UNION ALL
		SELECT e.position, e.sequence, e.prev, octet_length(e.doc) FROM back JOIN events e ON e.position = back.prev
			WHERE e.session = ?1)
	SELECT position, sequence, prev, size FROM back LIMIT ?3`

// purgeEvents takes away events of an ended session from a position back, and notes in the tombstone where to go on.
// From then on none is kept for those who read: what is left would be followed by a hole.
func (e *engine) purgeEvents(created, from int64, left *int) error {
	var positions []int64
	newest, oldest, next := int64(0), int64(0), int64(0)
	bytes := 0
	err := e.query(walkBack, []driver.Value{created, from, int64(*left)}, func(row []driver.Value) error {
		positions, oldest, next = append(positions, row[0].(int64)), row[1].(int64), row[2].(int64)
		newest = max(newest, oldest)
		size, _ := row[3].(int64)
		if bytes += int(size); bytes > tidyBytes {
			*left = 0
			return errStop
		}
		return nil
	})
	if err != nil {
		return err
	}
	if *left > len(positions) { // it went to the end
		next = 0
	}
	*left -= len(positions)
	if err := e.deleteEvents(created, positions, oldest/blockSize, newest/blockSize+1); err != nil {
		return err
	}
	return e.exec(`UPDATE tombstones SET log = ?, first = sequence WHERE created = ?`, next, created)
}

// oldest are the oldest events of a log, those that are to go.
type oldest struct {
	positions []int64
	end       int64        // the sequence after theirs
	kept      session.Time // of the event at end; 0: there is none, or it is to go too, later
}

const selectSizes = `SELECT position, sequence, time, octet_length(doc) FROM events WHERE position IN ` + walk + ` ORDER BY position`

// oldestEvents looks for the oldest events, up to the first that is to be kept, and no more than are left to do. If
// there may be more then nothing is left.
func (e *engine) oldestEvents(l *chain, left *int, keep func(sequence int64, t session.Time) bool) (oldest, error) {
	found := oldest{end: l.oldest()}
	bytes := 0
	visit := func(row []driver.Value) error {
		sequence, t := row[1].(int64), session.Time(row[2].(int64))
		if keep(sequence, t) {
			found.kept = t
			return errStop
		}
		if *left <= 0 || bytes > tidyBytes {
			*left = 0
			return errStop
		}
		*left--
		found.positions, found.end = append(found.positions, row[0].(int64)), sequence+1
		size, _ := row[3].(int64)
		bytes += int(size)
		return nil
	}
	err := eachBlock(l.oldest(), l.head, false, func(from, to int64) error { return e.part(l, selectSizes, from, to, visit) })
	return found, err
}

// trim takes away what is too old or too much in the logs that are due.
func (e *engine) trim(now session.Time, left *int) error {
	due, err := e.integers(`SELECT created FROM heads WHERE trim_at > 0 AND trim_at <= ? ORDER BY trim_at LIMIT ?`,
		int64(now), int64(tidySessions))
	if err != nil {
		return err
	}
	for _, created := range due {
		if *left <= 0 {
			return nil
		}
		if err := e.trimOne(created, now, left); err != nil {
			return err
		}
	}
	return nil
}

func (e *engine) trimOne(created int64, now session.Time, left *int) error {
	e.cache.drop(session.Time(created)) // what it knows is in the tables, and no longer true
	s, err := e.find(selectByTime, created)
	if err != nil {
		return err
	}
	if s == nil { // only a session has a head
		return e.exec(`DELETE FROM heads WHERE created = ?`, created)
	}
	rules, err := s.record.Rules()
	if err != nil {
		return err
	}
	ttl := rules.Settings.HistoryTTL
	kept, err := e.trimLog(s, rules.Settings, now, left)
	if err != nil {
		return err
	}
	switch {
	case kept == 0 && *left <= 0: // it is still due
	case kept == 0 || ttl == 0:
		s.trimAt = 0
	default:
		s.trimAt = kept.Add(ttl)
	}
	return e.putHeads([]*state{s})
}

// trimLog takes away the events of a session that are too old or too many, and sets first. It returns the time of the
// oldest one that is kept; 0: there is none, or there are more to take away.
func (e *engine) trimLog(s *state, settings session.Settings, now session.Time, left *int) (session.Time, error) {
	from := int64(0) // those before it are too many
	if settings.HistorySize > 0 {
		from = s.record.Head.Sequence - settings.HistorySize + 1
	}
	keep := func(sequence int64, t session.Time) bool {
		return sequence >= from && (settings.HistoryTTL == 0 || t.Add(settings.HistoryTTL) > now)
	}
	if s.first <= 1 {
		if keep(1, s.record.CreateTime) {
			return s.record.CreateTime, nil
		}
		s.first = 2
	}
	log := s.chain()
	found, err := e.oldestEvents(log, left, keep)
	if err != nil {
		return 0, err
	}
	if s.first = found.end; s.first > log.head {
		s.last = 0
	}
	return found.kept, e.deleteEvents(log.created(), found.positions, log.first/blockSize, s.first/blockSize)
}
