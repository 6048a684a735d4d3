package sqlite

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"

	"github.com/parleyhq/parley/internal/session"
)

// memberColumns are those of a member, in the order of readMember.
const memberColumns = `user, joined, channels`

// readMember makes a member of a row of memberColumns.
func readMember(row []driver.Value) (*session.Member, error) {
	m := &session.Member{User: row[0].(string), JoinTime: session.Time(row[1].(int64))}
	if err := json.Unmarshal([]byte(row[2].(string)), &m.Channels); err != nil {
		return nil, fmt.Errorf("the channels of a member who joined at %v: %w", m.JoinTime, err)
	}
	return m, nil
}

// findMember returns the user's membership in the session of the createTime; nil if there is none.
func (c *conn) findMember(created int64, user string) (found *session.Member, err error) {
	err = c.query(`SELECT `+memberColumns+` FROM members WHERE session = ? AND user = ?`, []driver.Value{created, user},
		func(row []driver.Value) (err error) {
			found, err = readMember(row)
			return err
		})
	return found, err
}

// changeMembers ends memberships, and adds one.
func (c *conn) changeMembers(created int64, leave []string, join *session.Member) error {
	for _, user := range leave {
		if err := c.exec(`DELETE FROM members WHERE session = ? AND user = ?`, created, user); err != nil {
			return err
		}
	}
	if join == nil {
		return nil
	}
	channels := join.Channels
	if channels == nil {
		channels = []int32{}
	}
	encoded, err := json.Marshal(channels)
	if err != nil {
		return err
	}
	return c.exec(`INSERT OR REPLACE INTO members (session, user, joined, channels) VALUES (?, ?, ?, ?)`,
		created, join.User, int64(join.JoinTime), string(encoded))
}
