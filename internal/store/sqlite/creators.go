package sqlite

import (
	"cmp"
	"database/sql/driver"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/session"
)

// How the users are cut into parts.
const (
	creatorParts = 64 // cannot be changed: partOf's results are on the disk

	// creatorStep is after how many creates the next part's turn is. So the table is behind by some 64 times as many
	// sessions: what has to be read after a start, and a bound of what has to be remembered. The larger it is, the more
	// of a part's users share a visit to their page.
	creatorStep = 1024

	// creatorLoad is how many sessions are counted before the counts are put into the table, while it catches up.
	creatorLoad = 256 << 10
)

// creators knows how many sessions exist that a user has created. It belongs to the engine's goroutine.
//
// A count that every create changed in its table would be a random page for each, as the lookups would be (see index).
// So the table follows late, a part of the users at a time, and the later sessions are counted here: a create notes its
// user, no more. The sessions themselves tell after a start what was not in the table yet, and the end of a session that
// is in the table takes it out at once. Nothing is noted before somebody has asked, and the table is then behind by all
// that was created since somebody asked last: so it costs nothing where there is no quota. The first question after that
// counts them, which takes one to three seconds for a million; a server with a quota has it done when the store is
// opened (Config.CountCreators).
//
// What a transaction does is counted apart, until it is committed.
type creators struct {
	known  bool // where the parts end is read from the table
	loaded bool // and what is later is counted
	fresh  bool // in the transaction that runs, which may have changed the table for it
	parts  [creatorParts]creatorPart
	newest int64 // the createTime of the newest session that is counted
	steps  int   // since the last part's turn
	turn   int   // the part whose turn is next
	read   int   // makes what was read from the table invalid

	running []creation // what the transaction has done
	merged  bool       // and it has put the part whose turn it is into the table
}

// creatorPart is what is remembered of some of the users.
type creatorPart struct {
	counted int64 // the table has the sessions up to this createTime
	tallies map[string]*tally
}

// tally is what is remembered of one user.
type tally struct {
	later   int // sessions that the table does not have
	running int // and those of the transaction
	stored  int // those that it has, if read is the present one
	read    int
}

// creation is a session that was created, or one that was not in the table and ended.
type creation struct {
	*tally

	created int64
	n       int // 1 or -1
}

// partOf is the part that a user is in, by FNV-1a.
func partOf(user string) int {
	hash := uint32(2166136261)
	for i := range len(user) {
		hash = (hash ^ uint32(user[i])) * 16777619
	}
	return int(hash % creatorParts)
}

// count returns how many sessions exist that the user has created.
func (x *creators) count(c *conn, user string) (int, error) {
	if err := x.load(c, creatorLoad); err != nil {
		return 0, err
	}
	part := partOf(user)
	t := x.parts[part].tally(user)
	if t.read != x.read {
		stored, err := c.integer(`SELECT sessions FROM creators WHERE part = ? AND user = ?`, int64(part), user)
		if err != nil {
			return 0, err
		}
		t.stored, t.read = int(stored), x.read
		x.steps++ // also those who only ask are not remembered for ever
	}
	return t.stored + t.later + t.running, nil
}

// tally is what is remembered of a user, from now on if nothing was.
func (p *creatorPart) tally(user string) *tally {
	if known := p.tallies[user]; known != nil {
		return known
	}
	if p.tallies == nil {
		p.tallies = make(map[string]*tally)
	}
	t := &tally{}
	p.tallies[strings.Clone(user)] = t // what it is cut from may be large
	return t
}

// add notes a session that was created.
func (x *creators) add(r *session.Record) {
	if x.loaded {
		x.run(partOf(r.Creator), r, 1)
	}
}

func (x *creators) run(part int, r *session.Record, n int) {
	t := x.parts[part].tally(r.Creator)
	t.running += n
	x.running = append(x.running, creation{t, int64(r.CreateTime), n})
}

// undo takes back what the transaction did, but for so many creations.
func (x *creators) undo(but int) {
	for _, each := range x.running[but:] {
		each.running -= each.n
	}
	clear(x.running[but:])
	x.running = x.running[:but]
}

// drop counts a session no longer, which has ended.
func (x *creators) drop(c *conn, r *session.Record) error {
	if err := x.know(c); err != nil {
		return err
	}
	part, user := partOf(r.Creator), r.Creator
	p := &x.parts[part]
	if int64(r.CreateTime) > p.counted {
		if x.loaded {
			x.run(part, r, -1)
		}
		return nil
	}
	if t := p.tallies[user]; t != nil {
		t.read = 0
	}
	if err := c.exec(`UPDATE creators SET sessions = sessions - 1 WHERE part = ? AND user = ?`, int64(part), user); err != nil {
		return err
	}
	return c.exec(`DELETE FROM creators WHERE part = ? AND user = ? AND sessions <= 0`, int64(part), user)
}

// know reads where the parts end, unless it is known. The part furthest behind has the first turn.
func (x *creators) know(c *conn) error {
	if x.known {
		return nil
	}
	read := creators{known: true, read: 1, fresh: x.fresh}
	err := c.query(`SELECT part, counted FROM creator_parts`, nil, func(row []driver.Value) error {
		read.parts[row[0].(int64)].counted = row[1].(int64)
		return nil
	})
	if err != nil {
		return err
	}
	for part := range read.parts {
		if read.parts[part].counted < read.parts[read.turn].counted {
			read.turn = part
		}
	}
	*x = read
	return nil
}

// load counts what the table does not have, unless it is known. Of what is more than some sessions, the table has most
// afterwards.
func (x *creators) load(c *conn, some int) error {
	for !x.loaded {
		if err := x.loadNext(c, some); err != nil {
			return &lostError{cause: err} // the table may have a part of it
		}
	}
	return nil
}

// loadNext counts what the table does not have, or puts some more sessions into the table if there are so many. After an
// error the transaction must not be committed: with it, all goes that is known.
func (x *creators) loadNext(c *conn, some int) error {
	if err := x.know(c); err != nil {
		return err
	}
	x.fresh = true
	x.newest = x.parts[x.turn].counted // no part is behind it
	n, err := x.loadSome(c, some)
	if err != nil {
		return err
	}
	if n == some {
		return x.mergeAll(c)
	}
	x.loaded = true
	return nil
}

// mergeAll puts all that is remembered into the table. A part of which it has later sessions already stays as it is.
func (x *creators) mergeAll(c *conn) error {
	for part := range x.parts {
		if x.parts[part].counted >= x.newest {
			continue
		}
		if err := x.merge(c, part, x.newest); err != nil {
			return err
		}
		x.parts[part] = creatorPart{counted: x.newest}
	}
	return nil
}

// loadSome counts the next sessions after the newest, and returns how many it looked at.
func (x *creators) loadSome(c *conn, limit int) (n int, err error) {
	err = c.query(`SELECT created, creator FROM sessions WHERE created > ? ORDER BY created LIMIT ?`,
		[]driver.Value{x.newest, int64(limit)}, func(row []driver.Value) error {
			n++
			x.newest = row[0].(int64)
			user := row[1].(string)
			if p := &x.parts[partOf(user)]; x.newest > p.counted {
				p.tally(user).later++
			}
			return nil
		})
	return n, err
}

// flush puts the next part into the table, if it is its turn.
func (x *creators) flush(c *conn) error {
	if !x.loaded || x.steps < creatorStep {
		return nil
	}
	x.merged = true
	return x.merge(c, x.turn, x.latest())
}

// latest is the createTime of the newest session that the transaction has, or those before it.
func (x *creators) latest() int64 {
	latest := x.newest
	for _, each := range x.running {
		latest = max(latest, each.created)
	}
	return latest
}

// creatorRow is a row of the table to be, less its part.
type creatorRow struct {
	user string
	n    int
}

// merge puts what is remembered of a part into the table, which then has it up to a createTime.
func (x *creators) merge(c *conn, part int, counted int64) error {
	tallies := x.parts[part].tallies
	rows := make([]creatorRow, 0, len(tallies))
	for user, t := range tallies {
		if n := t.later + t.running; n != 0 {
			rows = append(rows, creatorRow{user, n})
		}
	}
	slices.SortFunc(rows, func(a, b creatorRow) int { return cmp.Compare(a.user, b.user) })
	if err := c.addCreators(part, rows); err != nil {
		return err
	}
	return c.exec(`INSERT INTO creator_parts (part, counted) VALUES (?, ?)
		ON CONFLICT (part) DO UPDATE SET counted = excluded.counted`, int64(part), counted)
}

// creatorRows is how many rows one statement adds, if there are so many.
const creatorRows = 32

var addCreator, addManyCreators = creatorStatement(1), creatorStatement(creatorRows)

// creatorStatement adds so many rows to what their users have.
func creatorStatement(rows int) string {
	return `INSERT INTO creators (part, user, sessions) VALUES ` + strings.Repeat("(?, ?, ?), ", rows-1) + `(?, ?, ?)
		ON CONFLICT (part, user) DO UPDATE SET sessions = creators.sessions + excluded.sessions`
}

// addCreators adds to what users of a part have.
func (c *conn) addCreators(part int, rows []creatorRow) error {
	var args []driver.Value
	for len(rows) > 0 {
		text, n := addCreator, 1
		if len(rows) >= creatorRows {
			text, n = addManyCreators, creatorRows
		}
		args = args[:0]
		for _, r := range rows[:n] {
			args = append(args, int64(part), r.user, int64(r.n))
		}
		if err := c.exec(text, args...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// committed remembers what the transaction has done.
func (x *creators) committed() {
	latest := x.latest()
	for _, each := range x.running {
		each.later += each.n
	}
	x.steps += len(x.running)
	if x.merged {
		x.parts[x.turn] = creatorPart{counted: latest}
		x.turn, x.steps = (x.turn+1)%creatorParts, 0
	}
	x.undo(0) // from the sessions of the transaction: they are among the later ones now
	x.newest, x.merged, x.fresh = latest, false, false
}

// lost forgets what the transaction has done.
func (x *creators) lost() {
	if x.fresh {
		*x = creators{}
		return
	}
	x.undo(0)
	x.merged = false
	x.read++
}
