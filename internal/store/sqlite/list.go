package sqlite

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/parleyhq/parley/internal/session"
)

// How much one call of List looks at: a filter that hardly anything matches gives short pages rather than slow ones,
// and no read transaction holds the write-ahead log for long.
const (
	listSessions = 10_000
	listEpochs   = 4_096
	listTime     = 50 * time.Millisecond
	listBytes    = 16 << 20 // of documents: one may have some 300 KB
	listLook     = 64       // sessions at once, between looks at the bounds
)

// List implements session.Store.
func (s *Store) List(ctx context.Context, q *session.Query) (page *session.Page, err error) {
	err = s.snapshot(ctx, func(c *conn) (err error) {
		page, err = newLister(c, q, s.now()).page()
		return err
	})
	return page, err
}

// lister collects one page, within one read transaction. Candidates come from a source in the order of the list; each
// is looked up, and kept if the condition holds.
type lister struct {
	*conn

	query    *session.Query
	now      session.Time
	deadline time.Time
	source   source
	text     string // selects those of a list of candidates for which the condition holds
	args     []driver.Value
	result   session.Page
	looked   int
	bytes    int // of the documents in the result
}

// source gives the createTimes of candidates in the order of the list.
type source interface {
	// next returns the next candidates, none at the end. A source that stops early says where.
	next() (candidates []session.Position, err error)
}

func newLister(c *conn, q *session.Query, now session.Time) *lister {
	l := &lister{conn: c, query: q, now: now, deadline: time.Now().Add(listTime)}
	l.text = selectListed + `(s.expires = 0 OR s.expires > ?)`
	l.args = []driver.Value{"", int64(now)}
	if condition, args := filterSQL(q.Filter); condition != "" {
		l.text += ` AND (` + condition + `)`
		l.args = append(l.args, args...)
	}
	users := l.users()
	if q.Order.By != session.ByCreateTime {
		users = nil
	}
	if !q.All && users == nil {
		l.text += ` AND (s.type = 1 OR EXISTS (SELECT 1 FROM json_each(s.doc, '$.owners') WHERE value = ?)
			OR EXISTS (SELECT 1 FROM json_each(s.doc, '$.allowedUsers') WHERE value = ?)
			OR EXISTS (SELECT 1 FROM members WHERE session = s.created AND user = ?))`
		l.args = append(l.args, q.VisibleTo, q.VisibleTo, q.VisibleTo)
	}
	l.source = newSource(c, q, users)
	return l
}

// users are the users one of whom each match must be found by; nil: any session may match.
func (l *lister) users() []string {
	if l.query.Own {
		return []string{l.query.VisibleTo}
	}
	required, ok := l.query.Filter.RequiredUser()
	switch {
	case ok && (l.query.All || required == l.query.VisibleTo):
		return []string{required}
	case l.query.All:
		return nil
	default:
		return []string{session.EveryUser, l.query.VisibleTo}
	}
}

func (l *lister) page() (_ *session.Page, err error) {
	statement, release, err := l.statement()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	for {
		candidates, err := l.source.next()
		if err != nil {
			return nil, err
		}
		if len(candidates) == 0 {
			l.result.Next = nil
			return &l.result, nil
		}
		for len(candidates) > 0 {
			if l.full() {
				return &l.result, nil
			}
			n := min(len(candidates), l.room())
			if err := l.look(statement, candidates[:n]); err != nil {
				return nil, err
			}
			candidates = candidates[n:]
		}
	}
}

// statement prepares the list's statement. It is kept only if it is everybody's: each filter has its own.
func (l *lister) statement() (s *statement, release func() error, err error) {
	if l.query.Filter == nil {
		s, err = l.prepared(l.text)
		return s, func() error { return nil }, err
	}
	if s, err = l.prepare(l.text); err != nil {
		return nil, nil, err
	}
	return s, s.close, nil
}

// full tells whether the page is to end here, with more to come.
func (l *lister) full() bool {
	if len(l.result.Records) >= l.query.Size || l.looked >= listSessions {
		return true
	}
	return l.bytes > listBytes || l.looked > 0 && time.Now().After(l.deadline)
}

// room is how many candidates may be looked up next: the page has room for them, if all of them are kept.
func (l *lister) room() int {
	return min(l.query.Size-len(l.result.Records), listSessions-l.looked, listLook)
}

// look looks candidates up, all with one statement: most of what a candidate costs is its statement.
func (l *lister) look(statement *statement, candidates []session.Position) error {
	list := append(make([]byte, 0, 20*len(candidates)), '[')
	for i := range candidates {
		if i > 0 {
			list = append(list, ',')
		}
		list = strconv.AppendInt(list, int64(candidates[i].UID.Time()), 10)
	}
	l.args[0] = string(append(list, ']'))
	l.looked += len(candidates)
	l.result.Next = &candidates[len(candidates)-1]
	return statement.query(l.args, func(row []driver.Value) error {
		found, err := readState(row)
		if err != nil {
			return err
		}
		l.result.Records = append(l.result.Records, found.record)
		l.bytes += len(found.record.Document)
		return nil
	})
}

// newSource chooses where a list's candidates come from.
func newSource(c *conn, q *session.Query, users []string) source {
	switch {
	case q.Order.By == session.ByUpdateTime:
		return &rowSource{conn: c, after: q.After, descending: q.Order.Descending, batch: batchFor(q), byUpdate: true}
	case q.Order.By == session.ByDisplayName:
		return &nameSource{conn: c, after: q.After, descending: q.Order.Descending}
	case users != nil:
		return &userSource{conn: c, after: q.After, descending: q.Order.Descending, users: users}
	default:
		return &rowSource{conn: c, after: q.After, descending: q.Order.Descending, batch: batchFor(q)}
	}
}

// batch is how many candidates a source reads at once.
const batch = 256

// batchFor is how many candidates a page needs: without a filter about as many as it has sessions, and the one that
// tells whether there are more.
func batchFor(q *session.Query) int64 {
	if q.Filter == nil && q.All {
		return int64(min(q.Size+1, batch))
	}
	return batch
}

// rowSource goes through the sessions themselves, by createTime or by updateTime.
type rowSource struct {
	*conn

	after      *session.Position
	descending bool
	batch      int64
	byUpdate   bool
}

func (s *rowSource) next() (found []session.Position, err error) {
	edge := session.Position{}
	if s.descending {
		edge = lastPosition
	}
	if s.after != nil {
		edge = *s.after
	}
	text, args := s.statement(edge)
	err = s.query(text, args, func(row []driver.Value) error {
		at := positionOf(row[0].(int64))
		at.UpdateTime = session.Time(row[1].(int64))
		found = append(found, at)
		return nil
	})
	if len(found) > 0 {
		s.after = &found[len(found)-1]
	}
	return found, err
}

func (s *rowSource) statement(edge session.Position) (string, []driver.Value) {
	created, updated := int64(edge.UID.Time()), int64(edge.UpdateTime)
	switch {
	case s.byUpdate && s.descending:
		return `SELECT created, updated FROM sessions WHERE (updated, created) < (?, ?)
			ORDER BY updated DESC, created DESC LIMIT ?`, []driver.Value{updated, created, s.batch}
	case s.byUpdate:
		return `SELECT created, updated FROM sessions WHERE (updated, created) > (?, ?)
			ORDER BY updated, created LIMIT ?`, []driver.Value{updated, created, s.batch}
	case s.descending:
		return `SELECT created, updated FROM sessions WHERE created < ? ORDER BY created DESC LIMIT ?`,
			[]driver.Value{created, s.batch}
	default:
		return `SELECT created, updated FROM sessions WHERE created > ? ORDER BY created LIMIT ?`,
			[]driver.Value{created, s.batch}
	}
}

// maxTime is the last instant that a UID can hold.
const maxTime session.Time = 1<<48*1000 - 1

// lastPosition is later than every session's.
var lastPosition = session.Position{UID: session.NewUID(maxTime, 0), UpdateTime: math.MaxInt64}

func positionOf(created int64) session.Position {
	return session.Position{UID: session.NewUID(session.Time(created), 0)}
}

// userSource finds sessions by their users, epoch by epoch, in the order of createTime.
type userSource struct {
	*conn

	after      *session.Position
	descending bool
	users      []string

	epochs []int64 // yet to be visited, in order
	begun  bool
}

func (s *userSource) next() ([]session.Position, error) {
	if !s.begun {
		if err := s.begin(); err != nil {
			return nil, err
		}
	}
	for len(s.epochs) > 0 {
		epoch := s.epochs[0]
		s.epochs = s.epochs[1:]
		found, err := s.visit(epoch)
		if err != nil || len(found) > 0 {
			return found, err
		}
	}
	return nil, nil
}

// begin lists the epochs to visit. The sessions that are in no epoch yet are one more.
func (s *userSource) begin() error {
	s.begun = true
	err := s.query(`SELECT first FROM epochs ORDER BY first`, nil, func(row []driver.Value) error {
		s.epochs = append(s.epochs, row[0].(int64))
		return nil
	})
	s.epochs = append(s.epochs, tailEpoch)
	if s.descending {
		slices.Reverse(s.epochs)
	}
	if s.after != nil {
		s.skipEpochs(int64(s.after.UID.Time()))
	}
	return err
}

// tailEpoch stands for the sessions that are in no epoch yet.
const tailEpoch = math.MaxInt64

// skipEpochs drops those which lie wholly before the place where the page begins.
func (s *userSource) skipEpochs(edge int64) {
	for len(s.epochs) > 1 {
		before := s.epochs[0] >= edge
		if !s.descending {
			before = s.epochs[1] != tailEpoch && s.epochs[1] <= edge
		}
		if !before || s.epochs[0] == tailEpoch {
			break
		}
		s.epochs = s.epochs[1:]
	}
}

func (s *userSource) visit(epoch int64) (found []session.Position, err error) {
	text := `SELECT created FROM session_users WHERE epoch = ? AND user = ?`
	if epoch == tailEpoch {
		text = selectTail + `(s.type = 1 AND ?2 = '' OR EXISTS (SELECT 1 FROM json_each(s.doc, '$.owners') WHERE value = ?2)
			OR EXISTS (SELECT 1 FROM json_each(s.doc, '$.allowedUsers') WHERE value = ?2)
			OR EXISTS (SELECT 1 FROM members WHERE session = s.created AND user = ?2))`
	}
	var created []int64
	for _, user := range s.users {
		err := s.query(text, []driver.Value{epoch, user}, func(row []driver.Value) error {
			if t := row[0].(int64); s.beyond(t) {
				created = append(created, t)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(created)
	created = slices.Compact(created)
	if s.descending {
		slices.Reverse(created)
	}
	for _, t := range created {
		found = append(found, positionOf(t))
	}
	return found, nil
}

// selectTail begins a statement about the sessions that are in no epoch yet. Its first parameter is not used.
const selectTail = `SELECT s.created, s.display_name FROM sessions s WHERE ?1 IS NOT NULL
	AND s.created > coalesce((SELECT last FROM epochs ORDER BY first DESC LIMIT 1), 0) AND `

// beyond tells whether a session comes after the place where the page begins.
func (s *userSource) beyond(created int64) bool {
	if s.after == nil {
		return true
	}
	edge := int64(s.after.UID.Time())
	return s.descending && created < edge || !s.descending && created > edge
}

// nameSource merges the epochs' lookups by name.
type nameSource struct {
	*conn

	after      *session.Position
	descending bool
	streams    []*nameStream
	begun      bool
}

// nameStream is what one epoch has to give: a few names ahead, and where to go on.
type nameStream struct {
	epoch int64
	ahead []session.Position
	after *session.Position
	done  bool
}

// namesAhead is how many names are read of an epoch at once: there are many epochs, and a page takes few of each.
const namesAhead = 8

func (s *nameSource) next() ([]session.Position, error) {
	if !s.begun {
		if err := s.begin(); err != nil {
			return nil, err
		}
	}
	found := make([]session.Position, 0, batch)
	for len(found) < batch && len(s.streams) > 0 {
		first := s.streams[0]
		found = append(found, first.ahead[0])
		first.ahead = first.ahead[1:]
		if err := s.fill(first); err != nil {
			return nil, err
		}
		s.settle()
	}
	return found, nil
}

func (s *nameSource) begin() error {
	s.begun = true
	epochs := []int64{tailEpoch}
	err := s.query(`SELECT first FROM epochs`, nil, func(row []driver.Value) error {
		epochs = append(epochs, row[0].(int64))
		return nil
	})
	if err != nil {
		return err
	}
	for _, epoch := range epochs {
		stream := &nameStream{epoch: epoch, after: s.after}
		if err := s.fill(stream); err != nil {
			return err
		}
		if len(stream.ahead) > 0 {
			s.streams = append(s.streams, stream)
		}
	}
	slices.SortFunc(s.streams, s.compare)
	return nil
}

func (s *nameSource) compare(a, b *nameStream) int { return s.comparePositions(a.ahead[0], b.ahead[0]) }

func (s *nameSource) comparePositions(a, b session.Position) int {
	order := cmp.Or(cmp.Compare(a.DisplayName, b.DisplayName), cmp.Compare(a.UID.Time(), b.UID.Time()))
	if s.descending {
		return -order
	}
	return order
}

// settle moves the first stream to where it now belongs, or drops it at its end.
func (s *nameSource) settle() {
	first, rest := s.streams[0], s.streams[1:]
	if len(first.ahead) == 0 {
		s.streams = rest
		return
	}
	at, _ := slices.BinarySearchFunc(rest, first, s.compare)
	copy(s.streams, rest[:at])
	s.streams[at] = first
}

func (s *nameSource) fill(stream *nameStream) error {
	if len(stream.ahead) > 0 || stream.done {
		return nil
	}
	if stream.epoch == tailEpoch {
		return s.fillTail(stream)
	}
	text, args := s.statement(stream)
	err := s.query(text, args, func(row []driver.Value) error {
		at := positionOf(row[0].(int64))
		at.DisplayName = row[1].(string)
		stream.ahead = append(stream.ahead, at)
		return nil
	})
	stream.done = len(stream.ahead) < namesAhead
	if n := len(stream.ahead); n > 0 {
		stream.after = &stream.ahead[n-1]
	}
	return err
}

func (s *nameSource) statement(stream *nameStream) (string, []driver.Value) {
	const head = `SELECT created, display_name FROM session_names WHERE epoch = ?`
	args := []driver.Value{stream.epoch}
	condition, order := ` AND (display_name, created) > (?, ?)`, ` ORDER BY display_name, created LIMIT ?`
	if s.descending {
		condition, order = ` AND (display_name, created) < (?, ?)`, ` ORDER BY display_name DESC, created DESC LIMIT ?`
	}
	if stream.after == nil {
		return head + order, append(args, int64(namesAhead))
	}
	return head + condition + order,
		append(args, stream.after.DisplayName, int64(stream.after.UID.Time()), int64(namesAhead))
}

// fillTail reads the sessions that are in no epoch yet: all at once, they are few.
func (s *nameSource) fillTail(stream *nameStream) error {
	stream.done = true
	err := s.query(selectTail+`1`, []driver.Value{int64(0)}, func(row []driver.Value) error {
		at := positionOf(row[0].(int64))
		at.DisplayName = row[1].(string)
		if s.after == nil || s.comparePositions(*s.after, at) < 0 {
			stream.ahead = append(stream.ahead, at)
		}
		return nil
	})
	slices.SortFunc(stream.ahead, s.comparePositions)
	return err
}
