package sqlite

import (
	"database/sql/driver"
	"fmt"

	"github.com/parleyhq/parley/internal/session"
)

// columns are those of a session and its head, in the order of readState, and sessions is where they come from.
const (
	columns = `s.created, s.uid, s.id, s.type, s.display_name, s.creator, s.updated, s.expires, s.secret_key, s.secret, s.doc,
		h.sequence, h.members, h.last_message, h.first, h.trim_at, h.last`
	sessions = `sessions s LEFT JOIN heads h ON h.created = s.created`
)

const (
	selectByID   = `SELECT ` + columns + ` FROM ` + sessions + ` WHERE s.id = ? AND s.id <> ''`
	selectByTime = `SELECT ` + columns + ` FROM ` + sessions + ` WHERE s.created = ?`

	// selectListed begins a statement about the sessions of a JSON array of createTimes, in the array's order: a cross join
	// is done from left to right.
	selectListed = `SELECT ` + columns + ` FROM json_each(?) c CROSS JOIN sessions s ON s.created = c.value
		LEFT JOIN heads h ON h.created = s.created WHERE `
)

// state is a session with what the store alone knows of its log.
type state struct {
	record *session.Record
	first  int64        // the sequence of the oldest event that is kept
	last   int64        // the position of the newest event that is stored; 0: none is
	trimAt session.Time // when the log is to be trimmed; 0: never
}

// readState makes a state of a row of columns.
func readState(row []driver.Value) (state, error) {
	record, err := readRecord(row)
	if err != nil || row[11] == nil {
		return state{record: record, first: 1}, err
	}
	record.Head = session.Head{
		Sequence:        row[11].(int64),
		Members:         int32(row[12].(int64)),
		LastMessageTime: session.Time(row[13].(int64)),
	}
	return state{record: record, first: row[14].(int64), trimAt: session.Time(row[15].(int64)), last: row[16].(int64)}, nil
}

// readRecord makes a record of a row of columns, less its head: it has that of a session to which nothing has happened.
func readRecord(row []driver.Value) (*session.Record, error) {
	created, uid := row[0].(int64), row[1].([]byte)
	if len(uid) != len(session.UID{}) {
		return nil, fmt.Errorf("session row %d: its uid has %d bytes", created, len(uid))
	}
	secret, _ := row[9].([]byte)
	return &session.Record{
		UID:         session.UID(uid),
		ID:          idOf(session.UID(uid), row[2].(string)),
		Type:        session.Type(row[3].(int64)),
		DisplayName: row[4].(string),
		Creator:     row[5].(string),
		CreateTime:  session.Time(created),
		UpdateTime:  session.Time(row[6].(int64)),
		ExpireTime:  session.Time(row[7].(int64)),
		Secret:      session.Secret{KeyID: uint32(row[8].(int64)), Hash: secret},
		Document:    []byte(row[10].(string)),
		Head:        session.Head{Sequence: 1},
	}, nil
}

// idOf is a session's id, of the column of it.
func idOf(uid session.UID, column string) string {
	if column == "" {
		return uid.String()
	}
	return column
}

// idColumn is what the column has of a session's id.
func idColumn(uid session.UID, id string) string {
	if id == uid.String() {
		return ""
	}
	return id
}

// find returns the session that a statement of columns selects, expired or not; nil if there is none.
func (c *conn) find(text string, arg driver.Value) (found *state, err error) {
	err = c.query(text, []driver.Value{arg}, func(row []driver.Value) error {
		s, err := readState(row)
		found = &s
		return err
	})
	return found, err
}

// findByID returns the session that has the id now, expired or not; nil if there is none.
func (c *conn) findByID(id string) (*state, error) {
	if uid, err := session.ParseUID(id); err == nil {
		found, err := c.find(selectByTime, int64(uid.Time()))
		if err != nil || found != nil && found.record.ID == id {
			return found, err
		}
	}
	return c.find(selectByID, id)
}

// insert stores a new session.
func (c *conn) insert(r *session.Record) error {
	return c.exec(`INSERT INTO sessions (created, uid, id, type, display_name, creator, updated, expires, secret_key, secret, doc)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		int64(r.CreateTime), r.UID[:], idColumn(r.UID, r.ID), int64(r.Type), r.DisplayName, r.Creator, int64(r.UpdateTime),
		int64(r.ExpireTime), int64(r.Secret.KeyID), r.Secret.Hash, string(r.Document))
}

// replace stores another version of a session.
func (c *conn) replace(r *session.Record) error {
	return c.exec(`UPDATE sessions SET type = ?, display_name = ?, updated = ?, expires = ?, secret_key = ?, secret = ?, doc = ?
		WHERE created = ?`,
		int64(r.Type), r.DisplayName, int64(r.UpdateTime), int64(r.ExpireTime), int64(r.Secret.KeyID), r.Secret.Hash,
		string(r.Document), int64(r.CreateTime))
}
