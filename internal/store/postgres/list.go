package postgres

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parleyhq/parley/internal/session"
)

// How much one call of List looks at: a filter that hardly anything matches gives short pages rather than slow ones.
const (
	listSessions = 10_000
	listBatch    = 256
	listTime     = 50 * time.Millisecond
	listBytes    = 16 << 20 // of documents: one may have some 300 KB
)

// List implements session.Store. Candidates are read in the order of the list, a piece at a time; those that the user may
// see come with all that is in them, and are matched here.
func (s *Store) List(ctx context.Context, q *session.Query) (*session.Page, error) {
	var l *lister
	err := s.snapshot(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		l = newLister(s, q)
		return readAll(func() (bool, error) {
			n, err := visitRows(ctx, conn, l.visit, l.text, l.parameters()...)
			return n == l.limit, err
		})
	})
	if err != nil {
		return nil, err
	}
	return &l.page, nil
}

// lister collects one page.
type lister struct {
	query    *session.Query
	clock    *clock
	text     string
	args     []any // of the statement, after the parameters that say where it goes on
	at       session.Position
	deadline time.Time
	looked   int
	bytes    int // of the documents in the page
	limit    int // of the candidates that are read at once
	page     session.Page
}

func newLister(s *Store, q *session.Query) *lister {
	l := &lister{query: q, clock: &s.clock, deadline: time.Now().Add(listTime)}
	switch {
	case q.After != nil:
		l.at = *q.After
		l.at.UID = whole(l.at.UID, q.Order.Descending)
	case q.Order.Descending:
		l.at = lastPosition
	default:
	}
	users := l.users()
	switch {
	case q.Order.By == session.ByCreateTime && users != nil:
		l.text, l.args = listByUsers(q.Order.Descending, len(users)), []any{users[0]}
		if len(users) > 1 {
			l.args = append(l.args, users[1])
		}
	default:
		l.text, l.args = listTexts[q.Order], []any{q.All, q.VisibleTo}
	}
	return l
}

// whole is where a list goes on after a session. A store that was copied here may have given out a page token that knows the
// session by its createTime alone, which no other session had: a uid without random bits.
func whole(uid session.UID, descending bool) session.UID {
	if descending || uid != session.NewUID(uid.Time(), 0) {
		return uid
	}
	return session.NewUID(uid.Time(), math.MaxUint64)
}

// users are the users, one or two, one of whom each match must be found by; nil: any session may match.
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

// lastPosition is later than every session's. No name is after every other, so a list of them from its end begins in
// another way.
var lastPosition = session.Position{UID: session.UID{
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
}, UpdateTime: math.MaxInt64}

// parameters are those of the statement: where it goes on, how many it may read, and whose sessions these are.
func (l *lister) parameters() []any {
	l.limit = l.batch()
	parameters := []any{[16]byte(l.at.UID), l.limit}
	switch l.query.Order.By {
	case session.ByUpdateTime:
		parameters = append(parameters, int64(l.at.UpdateTime))
	case session.ByDisplayName:
		begins := l.at == lastPosition || l.at == session.Position{}
		parameters = append(parameters, l.at.DisplayName, begins)
	case session.ByCreateTime:
	}
	return append(parameters, l.args...)
}

// batch is how many candidates are read: without a filter as many as the page needs, and the one that tells whether there
// are more.
func (l *lister) batch() int {
	if l.query.Filter == nil {
		return min(l.query.Size-len(l.page.Records)+1, listBatch)
	}
	return listBatch
}

// listRows are the columns of a statement: the position of a candidate, the time, and, if the candidate is there and to be
// seen, the session.
const listRows = `SELECT c.uid, c.updated, c.display_name, ` + clockSQL + `, s.uid IS NOT NULL, ` + columns + ` FROM (`

// listTexts select by the orders, from the candidates beyond the uid $1 and, if there is one, the other field $3.
var listTexts = map[session.Order]string{
	{By: session.ByCreateTime}: listText(`uid > $1`, `uid`, 3),

	{By: session.ByCreateTime, Descending: true}: listText(`uid < $1`, `uid DESC`, 3),

	{By: session.ByUpdateTime}: listText(`(updated, uid) > ($3, $1)`, `updated, uid`, 4),

	{By: session.ByUpdateTime, Descending: true}: listText(`(updated, uid) < ($3, $1)`, `updated DESC, uid DESC`, 4),

	{By: session.ByDisplayName}: listText(`($4 OR (display_name, uid) > ($3, $1))`, `display_name, uid`, 5),

	{By: session.ByDisplayName, Descending: true}: listText(`($4 OR (display_name, uid) < ($3, $1))`, `display_name DESC, uid DESC`, 5),
}

// listText is the statement of an order. Its parameters from a number on are whether all are to be seen, and else whose.
func listText(beyond, order string, from int) string {
	all, user := "$"+strconv.Itoa(from), "$"+strconv.Itoa(from+1)
	return listRows + `SELECT uid, updated, display_name FROM sessions WHERE ` + beyond + ` ORDER BY ` + order + ` LIMIT $2) c
		LEFT JOIN sessions s ON s.uid = c.uid AND (` + all + `::boolean
			OR EXISTS (SELECT FROM session_users u WHERE u.uid = c.uid AND u.user_name IN ('', ` + user + `::text)))
		LEFT JOIN heads h ON h.uid = s.uid ORDER BY ` + qualified(order)
}

// qualified has an order be about the candidates.
func qualified(order string) string { return "c." + strings.ReplaceAll(order, ", ", ", c.") }

// listByUsers is the statement of the order of creation for the sessions that one or two users find: $3, $4.
func listByUsers(descending bool, users int) string {
	beyond, order := `uid > $1`, `uid`
	if descending {
		beyond, order = `uid < $1`, `uid DESC`
	}
	found := make([]string, users)
	for i := range found {
		found[i] = `(SELECT uid FROM session_users WHERE user_name = $` + strconv.Itoa(i+3) + `::text AND ` + beyond +
			` ORDER BY ` + order + ` LIMIT $2)`
	}
	return listRows + `SELECT uid, 0::bigint AS updated, '' AS display_name FROM (` + strings.Join(found, ` UNION `) + `) found
			ORDER BY ` + order + ` LIMIT $2) c
		LEFT JOIN sessions s ON s.uid = c.uid LEFT JOIN heads h ON h.uid = s.uid ORDER BY ` + qualified(order)
}

// visit looks at a candidate.
func (l *lister) visit(row pgx.Row) error {
	if l.full() {
		next := l.at
		l.page.Next = &next
		return errStop
	}
	var now session.Time
	var visible bool
	at := session.Position{}
	position := []any{(*[16]byte)(&at.UID), (*int64)(&at.UpdateTime), &at.DisplayName, (*int64)(&now), &visible}
	if err := row.Scan(append(slices.Clip(position), make([]any, columnCount)...)...); err != nil { // the others are passed over
		return err
	}
	l.at = at
	l.looked++
	if !visible {
		return nil
	}
	found, err := readState(rest{row, position})
	if err != nil {
		return err
	}
	return l.match(found.record, l.clock.present(now))
}

// match keeps the session if it is wanted.
func (l *lister) match(record *session.Record, now session.Time) error {
	if record.Expired(now) {
		return nil
	}
	if l.query.Filter != nil {
		spec, err := record.Spec()
		if err != nil || !l.query.Filter.Match(record, spec) {
			return err
		}
	}
	l.page.Records = append(l.page.Records, record)
	l.bytes += len(record.Document)
	return nil
}

// full tells whether the page is to end here, if there is more to come.
func (l *lister) full() bool {
	if len(l.page.Records) >= l.query.Size || l.looked >= listSessions || l.bytes > listBytes {
		return true
	}
	return l.looked > 0 && l.looked%64 == 0 && time.Now().After(l.deadline)
}
