package sqlite

import (
	"cmp"
	"database/sql/driver"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/session"
)

// Bounds of the cache.
const (
	cacheSessions = 4096
	cacheBytes    = 32 << 20
)

// cache remembers the sessions that writes were about, so that a publish reads nothing that the one before it read. It
// belongs to the engine's goroutine. What it remembers is as the transaction sees it, and all of it is forgotten after
// a transaction was lost. A write changes it only once its own statements are done, so a write that is undone has
// changed nothing here.
//
// Heads are in it before they are in their table: they are written once for each transaction, by flush.
type cache struct {
	byTime map[session.Time]*cached // by createTime
	byID   map[string]*cached       // the same ones
	dirty  []*cached                // those whose head is newer than its row, and some that are forgotten
	heads  []*state                 // of flush: used again
	bytes  int

	position int64 // the newest that was given to an event; 0: it is not known
}

// cached is what is remembered of one session.
type cached struct {
	state

	rules   *session.Rules
	members map[string]*session.Member // some of them: who is not among them may be one all the same
	size    int
	dirty   bool
}

// forget forgets everything.
func (c *cache) forget() { *c = cache{} }

// add remembers a session that is not remembered yet.
func (c *cache) add(s state) (*cached, error) {
	rules, err := s.record.Rules()
	if err != nil {
		return nil, err
	}
	if len(c.byTime) >= cacheSessions || c.bytes > cacheBytes {
		c.shed()
	}
	if c.byTime == nil {
		c.byTime, c.byID = make(map[session.Time]*cached), make(map[string]*cached)
	}
	added := &cached{state: s, rules: rules}
	c.byTime[s.record.CreateTime], c.byID[s.record.ID] = added, added
	c.weigh(added, recordSize(s.record))
	return added, nil
}

// recordSize is about how many bytes a record holds, with its rules.
func recordSize(r *session.Record) int {
	const fixed, decoded = 1024, 2
	return fixed + len(r.Document)*(1+decoded)
}

// weigh adds to the size of what is remembered of a session.
func (c *cache) weigh(s *cached, bytes int) {
	s.size += bytes
	c.bytes += bytes
}

// drop forgets a session, if it is remembered.
func (c *cache) drop(created session.Time) {
	s := c.byTime[created]
	if s == nil {
		return
	}
	delete(c.byTime, created)
	delete(c.byID, s.record.ID)
	c.bytes -= s.size
	s.dirty = false
}

// shed forgets all sessions but those whose head is yet to be written.
func (c *cache) shed() {
	for created, s := range c.byTime {
		if !s.dirty {
			c.drop(created)
		}
	}
}

// join remembers a membership.
func (c *cache) join(s *cached, m *session.Member) {
	const fixed = 256
	if s.members == nil {
		s.members = make(map[string]*session.Member)
	}
	if s.members[m.User] == nil {
		c.weigh(s, fixed+len(m.User))
	}
	s.members[m.User] = m
}

// advance remembers what an Append or an Update did.
func (c *cache) advance(t *turn) {
	s, change, rules, now := t.session, &t.change, t.rules, t.view.Now
	before := s.record
	c.weigh(s, recordSize(change.Record)-recordSize(before))
	s.record, s.last = change.Record, t.last
	for _, user := range change.Leave {
		delete(s.members, user)
	}
	if change.Join != nil {
		c.join(s, change.Join)
	}
	old := s.rules.Settings
	s.rules = rules
	settings := &rules.Settings
	otherTrim := old.HistorySize != settings.HistorySize || old.HistoryTTL != settings.HistoryTTL
	if otherTrim {
		s.trimAt = now
	}
	if otherTrim || before.Head != s.record.Head {
		s.trimAt = s.nextTrim(settings, now)
		c.touch(s)
	}
}

// touch notes that the session's head is newer than its row.
func (c *cache) touch(s *cached) {
	if !s.dirty {
		s.dirty = true
		c.dirty = append(c.dirty, s)
	}
}

// nextTrim is when the log is to be trimmed, now that something was added to it. Trimming itself looks closer. A log that
// is due stays so until it is trimmed: a busy one is then done with once in a while, rather than again and again.
func (s *state) nextTrim(settings *session.Settings, now session.Time) session.Time {
	kept := s.record.Head.Sequence - s.first + 1
	switch {
	case settings.HistorySize > 0 && kept > settings.HistorySize && (s.trimAt == 0 || s.trimAt > now):
		return now
	case settings.HistorySize > 0 && kept > settings.HistorySize:
		return s.trimAt
	case settings.HistoryTTL == 0:
		return 0
	case s.trimAt != 0:
		return s.trimAt
	case s.first <= 1: // session.created is the oldest
		return s.record.CreateTime.Add(settings.HistoryTTL)
	default: // nothing was kept before
		return now.Add(settings.HistoryTTL)
	}
}

// flush writes the heads that are newer than their rows.
func (c *cache) flush(conn *conn) error {
	c.heads = c.heads[:0]
	for _, s := range c.dirty {
		if s.dirty {
			c.heads = append(c.heads, &s.state)
			s.dirty = false
		}
	}
	clear(c.dirty)
	c.dirty = c.dirty[:0]
	slices.SortFunc(c.heads, func(a, b *state) int { return cmp.Compare(a.record.CreateTime, b.record.CreateTime) })
	err := conn.putHeads(c.heads)
	clear(c.heads)
	if c.bytes > cacheBytes {
		c.shed()
	}
	return err
}

// headRows is how many heads one statement writes, if there are so many.
const headRows = 32

var putHead, putManyHeads = headStatement(1), headStatement(headRows)

// headStatement writes so many heads.
func headStatement(rows int) string {
	return `INSERT INTO heads (created, sequence, members, last_message, first, trim_at, last)
		VALUES ` + strings.Repeat("(?, ?, ?, ?, ?, ?, ?), ", rows-1) + `(?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (created) DO UPDATE SET sequence = excluded.sequence, members = excluded.members,
			last_message = excluded.last_message, first = excluded.first, trim_at = excluded.trim_at, last = excluded.last`
}

// putHeads writes the heads of sessions.
func (c *conn) putHeads(heads []*state) error {
	var args []driver.Value
	for len(heads) > 0 {
		text, n := putHead, 1
		if len(heads) >= headRows {
			text, n = putManyHeads, headRows
		}
		args = args[:0]
		for _, s := range heads[:n] {
			head := &s.record.Head
			args = append(args, int64(s.record.CreateTime), head.Sequence, int64(head.Members), int64(head.LastMessageTime),
				s.first, int64(s.trimAt), s.last)
		}
		if err := c.exec(text, args...); err != nil {
			return err
		}
		heads = heads[n:]
	}
	return nil
}
