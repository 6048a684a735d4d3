package sqlite

import (
	"cmp"
	"database/sql/driver"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/session"
)

// How the lookups by user and by name are cut.
const (
	// epochSessions is how many sessions an epoch has. A lookup visits every epoch, so fewer are faster to read; the
	// pages of one epoch are written over and over while it fills, so smaller ones are faster to write.
	epochSessions = 1024

	// tailSessions is how many sessions may wait before they are put into the lookups, sorted and all at once: about
	// as many as share a page there. Readers look at each of the waiting ones.
	tailSessions = 512
)

// index keeps the lookups by user and by name. It belongs to the engine's goroutine; what it remembers is as the
// transaction sees it, and is read anew after a transaction was lost.
type index struct {
	loaded bool
	epoch  int64 // the newest epoch; 0: none
	size   int   // how many sessions it has
	last   int64 // the newest session in it
	tail   []entry
	args   []driver.Value // used again for every statement
}

// entry is what the lookups hold of one session.
type entry struct {
	created int64
	name    string
	users   []string
}

// forget makes the index read anew what it needs.
func (x *index) forget() { *x = index{} }

// add notes a new session. If the index is yet to be loaded, then it will find the session by itself.
func (x *index) add(r *session.Record, users []string) {
	if !x.loaded {
		return
	}
	x.tail = append(x.tail, entry{created: int64(r.CreateTime), name: r.DisplayName, users: users})
}

// change brings the lookups up to date with an update, whose memberships are in their table already.
func (x *index) change(c *conn, before *session.Record, change *session.Change) error {
	created := int64(before.CreateTime)
	if err := x.load(c); err != nil {
		return err
	}
	if i, waiting := x.find(created); waiting {
		x.tail[i] = entry{created: created, name: change.Record.DisplayName, users: change.After}
		return nil
	}
	epoch, err := c.integer(selectEpoch, created)
	if err != nil {
		return err
	}
	if err := changeUsers(c, epoch, created, change); err != nil {
		return err
	}
	if before.DisplayName == change.Record.DisplayName {
		return nil
	}
	if err := c.exec(deleteName, epoch, before.DisplayName, created); err != nil {
		return err
	}
	return c.exec(insertName, epoch, change.Record.DisplayName, created)
}

// changeUsers replaces the users that a session is found by, but for those who are its members.
func changeUsers(c *conn, epoch, created int64, change *session.Change) error {
	var gone []string
	for _, user := range slices.Concat(change.Before, change.Leave) {
		member, err := c.integer(`SELECT 1 FROM members WHERE session = ? AND user = ?`, created, user)
		if err != nil {
			return err
		}
		if member == 0 {
			gone = append(gone, user)
		}
	}
	after := change.After
	if change.Join != nil {
		after = append(slices.Clip(after), change.Join.User)
	}
	return replaceUsers(c, epoch, created, gone, after)
}

// replaceUsers has some users find a session no longer, and others from now on. What the tail holds needs no change:
// members of its sessions are looked up when they are put into the lookups.
func (x *index) replaceUsers(c *conn, created int64, before, after []string) error {
	if len(before)+len(after) == 0 {
		return nil
	}
	if err := x.load(c); err != nil {
		return err
	}
	if _, waiting := x.find(created); waiting {
		return nil
	}
	epoch, err := c.integer(selectEpoch, created)
	if err != nil {
		return err
	}
	return replaceUsers(c, epoch, created, before, after)
}

// drop takes an ended session out of the tail, and tells whether it was there: if not, then the lookups have it.
func (x *index) drop(c *conn, created int64) (waiting bool, err error) {
	if err := x.load(c); err != nil {
		return false, err
	}
	i, waiting := x.find(created)
	if waiting {
		x.tail = slices.Delete(x.tail, i, i+1)
	}
	return waiting, nil
}

func (x *index) find(created int64) (int, bool) {
	return slices.BinarySearchFunc(x.tail, created, func(e entry, t int64) int { return cmp.Compare(e.created, t) })
}

const (
	selectEpoch = `SELECT max(first) FROM epochs WHERE first <= ?`
	insertUser  = `INSERT OR IGNORE INTO session_users (epoch, user, created) VALUES (?, ?, ?)`
	deleteUser  = `DELETE FROM session_users WHERE epoch = ? AND user = ? AND created = ?`
	insertName  = `INSERT INTO session_names (epoch, display_name, created) VALUES (?, ?, ?)`
	deleteName  = `DELETE FROM session_names WHERE epoch = ? AND display_name = ? AND created = ?`
)

func replaceUsers(c *conn, epoch, created int64, before, after []string) error {
	for _, user := range before {
		if slices.Contains(after, user) {
			continue
		}
		if err := c.exec(deleteUser, epoch, user, created); err != nil {
			return err
		}
	}
	for _, user := range after {
		if err := c.exec(insertUser, epoch, user, created); err != nil {
			return err
		}
	}
	return nil
}

// load reads what the index remembers, unless it is known.
func (x *index) load(c *conn) error {
	if x.loaded {
		return nil
	}
	*x = index{loaded: true}
	err := c.query(`SELECT first, last, sessions FROM epochs ORDER BY first DESC LIMIT 1`, nil,
		func(row []driver.Value) error {
			x.epoch, x.last, x.size = row[0].(int64), row[1].(int64), int(row[2].(int64))
			return nil
		})
	if err != nil {
		return err
	}
	return c.query(`SELECT `+columns+` FROM `+sessions+` WHERE s.created > ? ORDER BY s.created`, []driver.Value{x.last},
		func(row []driver.Value) error {
			record, err := readRecord(row)
			if err != nil {
				return err
			}
			spec, err := record.Spec()
			if err != nil {
				return err
			}
			x.add(record, spec.Principals())
			return nil
		})
}

// flush puts the tail into the lookups when it has grown long. It is the last thing that a transaction does.
func (x *index) flush(c *conn) error {
	if err := x.load(c); err != nil {
		return err
	}
	if len(x.tail) < tailSessions {
		return nil
	}
	for len(x.tail) > 0 {
		if err := x.flushEpoch(c); err != nil {
			return err
		}
	}
	return nil
}

// flushEpoch puts as much of the tail into the newest epoch as it has room for, or begins one.
func (x *index) flushEpoch(c *conn) error {
	if x.epoch == 0 || x.size >= epochSessions {
		x.epoch, x.size = x.tail[0].created, 0
	}
	n := min(len(x.tail), epochSessions-x.size)
	entries := slices.Clone(x.tail[:n])
	if err := addMembers(c, entries); err != nil {
		return err
	}
	if err := x.insertSorted(c, entries); err != nil {
		return err
	}
	x.size += n
	x.last = entries[n-1].created
	x.tail = slices.Delete(x.tail, 0, n)
	err := c.exec(`INSERT INTO epochs (first, last, sessions) VALUES (?, ?, ?)
		ON CONFLICT (first) DO UPDATE SET last = excluded.last, sessions = excluded.sessions`, x.epoch, x.last, int64(x.size))
	return err
}

// addMembers adds to the users of consecutive entries the members of their sessions.
func addMembers(c *conn, entries []entry) error {
	first, last := entries[0].created, entries[len(entries)-1].created
	at := 0
	return c.query(`SELECT session, user FROM members WHERE session BETWEEN ? AND ? ORDER BY session`, []driver.Value{first, last},
		func(row []driver.Value) error {
			created, user := row[0].(int64), row[1].(string)
			for entries[at].created < created {
				at++
			}
			if entries[at].created == created { // else it has ended, and is yet to be purged
				entries[at].users = append(slices.Clip(entries[at].users), user)
			}
			return nil
		})
}

// insertSorted adds the entries in the order of the keys, so that neighbours share a visit to their page.
func (x *index) insertSorted(c *conn, entries []entry) error {
	users, names := make([]lookupKey, 0, 3*len(entries)), make([]lookupKey, 0, len(entries))
	for _, e := range entries {
		names = append(names, lookupKey{e.name, e.created})
		for _, user := range e.users {
			users = append(users, lookupKey{user, e.created})
		}
	}
	if err := x.insertKeys(c, insertUser, users); err != nil {
		return err
	}
	return x.insertKeys(c, insertName, names)
}

// lookupKey is a row of a lookup, less its epoch.
type lookupKey struct {
	text    string
	created int64
}

func compareKeys(a, b lookupKey) int {
	return cmp.Or(cmp.Compare(a.text, b.text), cmp.Compare(a.created, b.created))
}

// rowsAtOnce is how many rows one statement inserts: most of what a row costs is its statement.
const rowsAtOnce = 64

// moreRows makes a statement of one row one of rowsAtOnce.
var moreRows = strings.Repeat(", (?, ?, ?)", rowsAtOnce-1)

// insertKeys inserts the keys with the statement of one row.
func (x *index) insertKeys(c *conn, statement string, keys []lookupKey) error {
	slices.SortFunc(keys, compareKeys)
	keys = slices.Compact(keys)
	many := statement + moreRows
	for len(keys) > 0 {
		text, n := statement, 1
		if len(keys) >= rowsAtOnce {
			text, n = many, rowsAtOnce
		}
		x.args = x.args[:0]
		for _, k := range keys[:n] {
			x.args = append(x.args, x.epoch, k.text, k.created)
		}
		if err := c.exec(text, x.args...); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}
