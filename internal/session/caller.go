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

	// Key is the id of the key behind the credential: of the API key that it is, or "jwk:…" of the key of a key set that has
	// signed it; empty: neither. When it is revoked, or leaves its set, the streams that it opened end.
	Key string
}

// asMember is the user whose membership matters for what the caller may see and read; empty: none does.
func (c Caller) asMember() string {
	if c.Admin {
		return ""
	}
	return c.User
}

// maySee tells whether the caller may know that the session exists. It looks no further into the document than it must:
// the time that it takes is what tells a hidden session from none.
func (c Caller) maySee(r *Record, m *Member) bool {
	access, is := r.access(), c.standing(m)
	return access.judge(is, toSee) == permitted || access.judge(is|listedIn(r.Document, c.User), toSee) == permitted
}

// listedIn is the first standing that the session's document gives the user; 0: none.
func listedIn(document []byte, user string) standing {
	quoted := appendString(make([]byte, 0, MaxUserBytes), user)
	for field := membersOf(document); field.next(); {
		switch string(field.quoted) {
		case `"owners"`:
			if listHas(field.value, quoted) {
				return isOwner
			}
		case `"allowedUsers"`:
			if listHas(field.value, quoted) {
				return isAllowed
			}
			return 0
		}
	}
	return 0
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

// mayRead is a PermissionDenied fault unless the caller, who may see the session, may read its log: now, or, what being
// toTicket, by a ticket.
func (c Caller) mayRead(what action, r *Record, spec *Spec, m *Member) error {
	switch r.access().judgeUser(spec, c.User, c.standing(m), what) {
	case permitted:
		return nil
	case forbidden:
		return userBlocked()
	default:
		return fault.New(fault.PermissionDenied, "NOT_A_MEMBER", "the session's log is for its owners and members: join it first")
	}
}

// Limited tells whether the limits of users hold for the caller. They do not for administrators, nor for a backend that
// acts as itself; the caller that a backend's Parley-User makes is the user, and limited as such.
func (c Caller) Limited() bool { return !c.Admin && !c.Service }

// actingAs is the caller in whose name a request is done that names a user. That of a backend is done with the user's
// rights and no more, but lives and dies with the backend's credential. Everyone else stays who they are.
func (c Caller) actingAs(name string) Caller {
	if name == "" || !c.Service || c.Admin {
		return c
	}
	return Caller{User: name, Until: c.Until, Key: c.Key}
}

// checkActor checks the user whom a request names, and that the request does not say of two users that it is theirs.
func (c Caller) checkActor(name string, v *fault.Violations) {
	checkName(name, v)
	if c.Named && name != "" && name != c.User {
		report(v, "name", "contradicts Parley-User: must be the same user, or be left out")
	}
}

func checkName(name string, v *fault.Violations) {
	if name == "" {
		return
	}
	if len(name) > MaxUserBytes {
		report(v, "name", "must be 1 to %d bytes", MaxUserBytes)
	}
	checkFlaw(v, "name", lineFlaw(name))
}

// actor is the user who acts: the one that the request names, or the caller.
func actor(caller Caller, name string) string {
	if name == "" {
		return caller.User
	}
	return name
}

// mayActAs is a PermissionDenied fault if the caller may not act as the user.
func mayActAs(caller Caller, user string) error {
	if user == caller.User || caller.Admin {
		return nil
	}
	return fault.New(fault.PermissionDenied, "ACTING_AS_ANOTHER", "name: must be the caller, or be left out")
}

func userBlocked() error {
	return fault.New(fault.PermissionDenied, "BLOCKED", "the user is blocked from the session")
}
