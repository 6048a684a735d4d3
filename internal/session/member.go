package session

import (
	"slices"
	"strconv"
)

// Member is a user who has joined a session.
type Member struct {
	User     string
	Channels []int32
	JoinTime Time
}

// The roles of members.
const (
	RoleOwner  = "owner"
	RoleMember = "member"
)

// role is what the user is in a session of this Spec.
func (s *Spec) role(user string) string {
	if slices.Contains(s.Owners, user) {
		return RoleOwner
	}
	return RoleMember
}

// AppendJSON appends the member as the API answers it.
func (m *Member) AppendJSON(b []byte, role string, online bool) []byte {
	b = append(b, `{"user":`...)
	b = appendString(b, m.User)
	b = append(b, `,"role":"`...)
	b = append(b, role...)
	b = append(b, `","channels":`...)
	b = appendChannels(b, m.Channels)
	b = appendTime(b, "joinTime", m.JoinTime)
	b = append(b, `,"online":`...)
	b = strconv.AppendBool(b, online)
	return append(b, '}')
}

func appendChannels(b []byte, channels []int32) []byte {
	b = append(b, '[')
	for i, channel := range channels {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(channel), 10)
	}
	return append(b, ']')
}
