package session

import (
	"bytes"
	"slices"

	"github.com/parleyhq/parley/internal/fault"
)

// Caller is who asks. It is what the edge's authentication found, and what every right is measured by.
type Caller struct {
	// User is the user who acts, or for whom a backend acts.
	User string

	// Admin may do everything.
	Admin bool

	// Service may act as any user that it names, with that user's rights and no more.
	Service bool

	// Named tells that the request says for whom it acts, besides its credential: nothing in it may say otherwise.
	Named bool

	// Until is when the credential ends, and with it the streams that it opened; 0: never.
	Until Time

	// Key is the id of the API key that the credential is; empty: it is none. Revoking it ends the streams that it opened.
	Key string
}

// asMember is the user whose membership matters for what the caller may see and read; empty: none does.
func (c Caller) asMember() string {
	if c.Admin {
		return ""
	}
	return c.User
}

// relation is what a user is to a session, by the session's own lists.
type relation struct {
	owner, allowed bool
}

func (s *Spec) relationOf(user string) relation {
	return relation{owner: slices.Contains(s.Owners, user), allowed: slices.Contains(s.AllowedUsers, user)}
}

// maySee tells whether the caller may know that the session exists. It looks no further into the document than it must:
// the time that it takes is what tells a hidden session from none.
func (c Caller) maySee(r *Record, m *Member) bool {
	if c.Admin || r.Type == Public || m != nil {
		return true
	}
	quoted := appendString(make([]byte, 0, MaxUserBytes), c.User)
	for field := membersOf(r.Document); field.next(); {
		switch string(field.quoted) {
		case `"owners"`:
			if listHas(field.value, quoted) {
				return true
			}
		case `"allowedUsers"`:
			return listHas(field.value, quoted)
		}
	}
	return false
}

// listHas tells whether a list of strings in compact JSON has the quoted one. Both are quoted the same way.
func listHas(list, quoted []byte) bool {
	for rest := bytes.TrimPrefix(list, []byte("[")); len(rest) > 0 && rest[0] == '"'; {
		n := stringLength(rest)
		if bytes.Equal(rest[:n], quoted) {
			return true
		}
		rest = bytes.TrimPrefix(rest[n:], []byte(","))
	}
	return false
}

// mayChange tells whether the caller may update and delete a session of this Spec.
func (c Caller) mayChange(s *Spec) bool { return c.Admin || s.relationOf(c.User).owner }

// mayCreate tells whether the caller may create a session of this Spec.
func (c Caller) mayCreate(s *Spec) bool { return c.Admin || slices.Contains(s.Owners, c.User) }

// Principals lists, each once, the users that the session is found by: its owners and allowedUsers, and EveryUser if
// it is PUBLIC.
func (s *Spec) Principals() []string {
	users := make([]string, 0, len(s.Owners)+len(s.AllowedUsers)+1)
	if s.Type == Public {
		users = append(users, EveryUser)
	}
	users = append(users, s.Owners...)
	users = append(users, s.AllowedUsers...)
	if len(s.AllowedUsers) == 0 {
		return users // owners have no duplicates
	}
	slices.Sort(users)
	return slices.Compact(users)
}

// mayRead is a PermissionDenied fault unless the caller, who may see the session, may read its log.
func (c Caller) mayRead(r *Record, rules *Rules, m *Member) error {
	is := rules.Spec.relationOf(c.User)
	switch {
	case c.Admin:
		return nil
	case slices.Contains(rules.Spec.BlockedUsers, c.User):
		return fault.New(fault.PermissionDenied, "BLOCKED", "the user is blocked from the session")
	case is.owner, m != nil, r.Type == Public && !r.Secret.Exists():
		return nil
	default:
		return fault.New(fault.PermissionDenied, "NOT_A_MEMBER", "the session's log is for its owners and members: join it first")
	}
}
