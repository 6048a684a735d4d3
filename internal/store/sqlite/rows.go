package sqlite

import (
	"database/sql/driver"
	"fmt"

	"github.com/parleyhq/parley/internal/session"
)

// columns are those of a session, in the order of readRecord.
const columns = `s.created, s.uid, s.id, s.type, s.display_name, s.creator, s.updated, s.expires, s.secret_key, s.secret, s.doc`

const (
	selectByID   = `SELECT ` + columns + ` FROM sessions s WHERE s.id = ? AND s.id <> ''`
	selectByTime = `SELECT ` + columns + ` FROM sessions s WHERE s.created = ?`
)

// readRecord makes a record of a row of columns.
func readRecord(row []driver.Value) (*session.Record, error) {
	created, uid := row[0].(int64), row[1].([]byte)
	if len(uid) != len(session.UID{}) {
		return nil, fmt.Errorf("session row %d: its uid has %d bytes", created, len(uid))
	}
	id := row[2].(string)
	if id == "" {
		id = session.UID(uid).String()
	}
	secret, _ := row[9].([]byte)
	return &session.Record{
		UID:         session.UID(uid),
		ID:          id,
		Type:        session.Type(row[3].(int64)),
		DisplayName: row[4].(string),
		Creator:     row[5].(string),
		CreateTime:  session.Time(created),
		UpdateTime:  session.Time(row[6].(int64)),
		ExpireTime:  session.Time(row[7].(int64)),
		Secret:      session.Secret{KeyID: uint32(row[8].(int64)), Hash: secret},
		Document:    []byte(row[10].(string)),
		Head:        session.Head{Sequence: 1}, // session.created; a session has no other events yet
	}, nil
}

// find returns the session that a statement of columns selects, expired or not; nil if there is none.
func (c *conn) find(text string, arg driver.Value) (record *session.Record, err error) {
	err = c.query(text, []driver.Value{arg}, func(row []driver.Value) error {
		var err error
		record, err = readRecord(row)
		return err
	})
	return record, err
}

// findByID returns the session that has the id now, expired or not; nil if there is none.
func (c *conn) findByID(id string) (*session.Record, error) {
	if uid, err := session.ParseUID(id); err == nil {
		record, err := c.find(selectByTime, int64(uid.Time()))
		if err != nil || record != nil && record.ID == id {
			return record, err
		}
	}
	return c.find(selectByID, id)
}

// insert stores a new session.
func (c *conn) insert(r *session.Record) error {
	id := r.ID
	if id == r.UID.String() {
		id = ""
	}
	err := c.exec(`INSERT INTO sessions (created, uid, id, type, display_name, creator, updated, expires, secret_key, secret, doc)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		int64(r.CreateTime), r.UID[:], id, int64(r.Type), r.DisplayName, r.Creator, int64(r.UpdateTime),
		int64(r.ExpireTime), int64(r.Secret.KeyID), r.Secret.Hash, string(r.Document))
	return err
}

// replace stores another version of a session.
func (c *conn) replace(r *session.Record) error {
	err := c.exec(`UPDATE sessions SET type = ?, display_name = ?, updated = ?, expires = ?, secret_key = ?, secret = ?, doc = ?
		WHERE created = ?`,
		int64(r.Type), r.DisplayName, int64(r.UpdateTime), int64(r.ExpireTime), int64(r.Secret.KeyID), r.Secret.Hash,
		string(r.Document), int64(r.CreateTime))
	return err
}
