package postgres

import (
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/parleyhq/parley/internal/session"
)

// columns are those of a session and its head, in the order of readState, and sessions is where they come from.
const (
	columns = `s.uid, s.id, s.type, s.display_name, s.creator, s.updated, s.expires, s.secret_key, s.secret, s.doc,
		h.sequence, h.members, h.last_message, h.latest, h.first, h.trim_at`
	sessions = `sessions s JOIN heads h ON h.uid = s.uid`
)

// columnCount is how many columns are.
const columnCount = 16

// state is a session with what the store alone knows of its log.
type state struct {
	record *session.Record
	latest session.Time // of the last write
	first  int64        // the sequence of the oldest event that is kept
	trimAt session.Time // when the log is to be trimmed; 0: never
}

// readState makes a state of a row that begins with columns, and scans the others into more.
func readState(row pgx.Row, more ...any) (state, error) {
	r := &session.Record{}
	s := state{record: r}
	var secretKey int64
	err := row.Scan(append([]any{
		(*[16]byte)(&r.UID), &r.ID, (*int32)(&r.Type), &r.DisplayName, &r.Creator, (*int64)(&r.UpdateTime), (*int64)(&r.ExpireTime),
		&secretKey, &r.Secret.Hash, &r.Document, &r.Head.Sequence, &r.Head.Members, (*int64)(&r.Head.LastMessageTime),
		(*int64)(&s.latest), &s.first, (*int64)(&s.trimAt),
	}, more...)...)
	if err != nil {
		return state{}, fmt.Errorf("a session's row: %w", err)
	}
	r.CreateTime = r.UID.Time()
	r.Secret.KeyID = uint32(secretKey)
	return s, nil
}

// rest is a row less what it begins with, which is scanned into first.
type rest struct {
	row   pgx.Row
	first []any
}

// Scan scans the rest.
func (r rest) Scan(to ...any) error { return r.row.Scan(append(slices.Clip(r.first), to...)...) }

// eventColumns are those of an event, in the order of readEvent.
const eventColumns = `sequence, time, channel, kind, actor, message_id, doc`

// readEvent makes an event of the session of a row of eventColumns.
func readEvent(row pgx.Row, uid session.UID, id string) (*session.Event, error) {
	ev := &session.Event{UID: uid, ID: id}
	var kind int16
	err := row.Scan(&ev.Sequence, (*int64)(&ev.Time), &ev.Channel, &kind, &ev.Actor, &ev.MessageID, &ev.Document)
	if err != nil {
		return nil, fmt.Errorf("an event's row: %w", err)
	}
	ev.Kind = session.EventKind(kind)
	return ev, nil
}

// memberColumns are those of a member, in the order of readMember.
const memberColumns = `m.user_name, m.joined, m.channels`

// readMember makes a member of a row of memberColumns.
func readMember(row pgx.Row) (*session.Member, error) {
	m := &session.Member{}
	if err := row.Scan(&m.User, (*int64)(&m.JoinTime), &m.Channels); err != nil {
		return nil, fmt.Errorf("a member's row: %w", err)
	}
	return m, nil
}

// each gives every row to visit.
func each(rows pgx.Rows, visit func(row pgx.Row) error) error {
	for rows.Next() {
		if err := visit(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// keys are uids as parameters.
func keys(uids []session.UID) [][16]byte {
	list := make([][16]byte, len(uids))
	for i, uid := range uids {
		list[i] = uid
	}
	return list
}
