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

// purgeLogs takes away the events and the members of ended sessions, and takes those out of the lookups by user.
func (e *engine) purgeLogs(left *int) error {
	found, err := e.integers(`SELECT created FROM tombstones WHERE log > 0 ORDER BY created LIMIT ?`, int64(tidySessions))
	if err != nil {
		return err
	}
	for _, created := range found {
		if err := e.purgeMembers(created, left); err != nil {
			return err
		}
		if err := e.purgeEvents(created, left); err != nil {
			return err
		}
		if *left <= 0 {
			return nil
		}
		if err := e.exec(`UPDATE tombstones SET log = 0 WHERE created = ?`, created); err != nil {
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

func (e *engine) purgeEvents(created int64, left *int) error {
	if *left <= 0 {
		return nil
	}
	found, err := e.oldestEvents(created, left, func(int64, session.Time) bool { return false })
	if err != nil {
		return err
	}
	return e.exec(`DELETE FROM events WHERE session = ? AND sequence < ?`, created, found.end)
}

// oldest are the oldest events of a log, those that are to go.
type oldest struct {
	end  int64        // the sequence after theirs
	kept session.Time // of the event at end; 0: there is none, or it is to go too, later
}

// oldestEvents looks for the oldest events, up to the first that is to be kept, and no more than are left to do. If
// there may be more then nothing is left.
func (e *engine) oldestEvents(created int64, left *int, keep func(sequence int64, t session.Time) bool) (found oldest, err error) {
	bytes := 0
	err = e.query(`SELECT sequence, time, octet_length(doc) FROM events WHERE session = ? ORDER BY sequence LIMIT ?`,
		[]driver.Value{created, int64(max(*left, 0))}, func(row []driver.Value) error {
			sequence, t := row[0].(int64), session.Time(row[1].(int64))
			if keep(sequence, t) {
				found.end, found.kept = sequence, t
				return errStop
			}
			found.end = sequence + 1
			*left--
			size, _ := row[2].(int64)
			if bytes += int(size); bytes > tidyBytes {
				*left = 0
				return errStop
			}
			return nil
		})
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
	return e.putHead(s)
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
	created := int64(s.record.CreateTime)
	found, err := e.oldestEvents(created, left, keep)
	if err != nil {
		return 0, err
	}
	s.first = max(s.first, found.end)
	return found.kept, e.exec(`DELETE FROM events WHERE session = ? AND sequence < ?`, created, s.first)
}
