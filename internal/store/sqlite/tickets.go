package sqlite

import (
	"database/sql/driver"

	"github.com/parleyhq/parley/internal/session"
)

// findTicket returns the ticket of the hash; nil if there is none.
func (c *conn) findTicket(hash session.CredentialHash) (found *session.Ticket, err error) {
	err = c.query(`SELECT session, user, admin, until, key, expire, used FROM tickets WHERE hash = ?`, []driver.Value{hash[:]},
		func(row []driver.Value) error {
			found = &session.Ticket{
				Hash: hash,
				UID:  session.UID(row[0].([]byte)),
				Caller: session.Caller{
					User: row[1].(string), Admin: row[2].(int64) != 0, Until: session.Time(row[3].(int64)), Key: row[4].(string),
				},
				Expire: session.Time(row[5].(int64)),
				Used:   row[6].(int64) != 0,
			}
			return nil
		})
	return found, err
}

// keepTicket stores a ticket, or puts it in the place of its earlier state.
func (c *conn) keepTicket(t *session.Ticket) error {
	return c.exec(`INSERT INTO tickets (hash, session, user, admin, until, key, expire, used) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (hash) DO UPDATE SET session = excluded.session, user = excluded.user, admin = excluded.admin,
			until = excluded.until, key = excluded.key, expire = excluded.expire, used = excluded.used`,
		t.Hash[:], t.UID[:], t.Caller.User, t.Caller.Admin, int64(t.Caller.Until), t.Caller.Key, int64(t.Expire), t.Used)
}
