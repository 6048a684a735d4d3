package session

import "slices"

// action is something that a user may want to do with a session; also a set of them.
type action uint16

// The actions.
const (
	toSee     action = 1 << iota // to know that it exists: GetSession
	toList                       // to find it: ListSessions
	toRead                       // its messages, its members, its stream
	toTicket                     // to make a ticket for its stream
	toJoin                       // to become a member, or to change the channels of one
	toPublish                    // a message
	toLeave                      // to end one's own membership; who has none may, and nothing is done
	toChange                     // to update and delete it
	toRemove                     // to end another's membership
)

// standing is what a user is to a session; also a set of that, since a user may be several things.
type standing uint8

// The standings. Everybody is anyone.
const (
	isAnyone  standing = 1 << iota
	isHolder           // has brought the secretKey
	isAllowed          // in allowedUsers
	isMember
	isOwner
	isBlocked // in blockedUsers
	isAdmin   // an administrator
)

// access says who may find a session, and who gets in.
type access uint8

// The kinds of access.
const (
	accessOpen   access = iota // PUBLIC
	accessLocked               // PUBLIC, with a secretKey
	accessHidden               // PRIVATE or TEMPORARY, with a secretKey or without
)

// access is the session's.
func (r *Record) access() access {
	switch {
	case r.Type != Public:
		return accessHidden
	case r.Secret.Exists():
		return accessLocked
	default:
		return accessOpen
	}
}

// grant is what one standing is worth.
type grant struct {
	to     standing
	may    action
	never  action // whatever else the user is
	always action // whatever else the user is, blocked too
}

// What several of the grants have in common.
const (
	toLook   = toSee | toList | toLeave
	toFollow = toRead | toTicket
	toManage = toChange | toRemove

	toTakePart = toFollow | toJoin | toPublish // what a block is about
)

// grants is the table of who may do what, once for every protocol; docs/access.md shows it to readers. Of all that a
// user is, the strongest word counts: always before never, never before may.
var grants = [...][]grant{
	accessOpen: {
		{to: isAnyone, may: toLook | toFollow | toJoin},
		{to: isHolder, may: toLook | toFollow | toJoin},
		{to: isAllowed, may: toLook | toFollow | toJoin},
		{to: isMember, may: toLook | toFollow | toJoin | toPublish},
		{to: isOwner, may: toLook | toFollow | toJoin | toManage},
		{to: isBlocked, may: toLook, never: toTakePart},
		{to: isAdmin, may: toJoin, always: toLook | toFollow | toManage},
	},
	accessLocked: {
		{to: isAnyone, may: toLook},
		{to: isHolder, may: toLook | toJoin},
		{to: isAllowed, may: toLook | toJoin},
		{to: isMember, may: toLook | toFollow | toJoin | toPublish},
		{to: isOwner, may: toLook | toFollow | toJoin | toManage},
		{to: isBlocked, may: toLook, never: toTakePart},
		{to: isAdmin, may: toJoin, always: toLook | toFollow | toManage},
	},
	accessHidden: {
		{to: isAnyone},
		{to: isHolder, may: toJoin},
		{to: isAllowed, may: toLook | toJoin},
		{to: isMember, may: toLook | toFollow | toJoin | toPublish},
		{to: isOwner, may: toLook | toFollow | toJoin | toManage},
		{to: isBlocked, never: toTakePart},
		{to: isAdmin, may: toJoin, always: toLook | toFollow | toManage},
	},
}

// verdict is what the table says.
type verdict uint8

// The verdicts.
const (
	denied    verdict = iota
	permitted         // may, or always may
	forbidden         // never may: the user is blocked
)

// judge looks up whether a user who is all of that may do it.
func (a access) judge(is standing, what action) verdict {
	says := grant{}
	for _, g := range grants[a] {
		if g.to&is != 0 {
			says.may |= g.may
			says.never |= g.never
			says.always |= g.always
		}
	}
	switch {
	case says.always&what != 0:
		return permitted
	case says.never&what != 0:
		return forbidden
	case says.may&what != 0:
		return permitted
	default:
		return denied
	}
}

// standing is what the caller is, less what the session's lists say. The membership is the caller's.
func (c Caller) standing(m *Member) standing {
	is := isAnyone
	if c.Admin {
		is |= isAdmin
	}
	if m != nil {
		is |= isMember
	}
	return is
}

// standingOf is what the session's lists say of a user, less blockedUsers.
func (s *Spec) standingOf(user string) (is standing) {
	if slices.Contains(s.Owners, user) {
		is |= isOwner
	}
	if slices.Contains(s.AllowedUsers, user) {
		is |= isAllowed
	}
	return is
}

// judgeUser tells whether the user, who is at least that, may do it. The lists are looked at only as far as they matter: a
// member who publishes need not be looked for among a thousand allowedUsers.
func (a access) judgeUser(spec *Spec, user string, is standing, what action) verdict {
	if slices.Contains(spec.BlockedUsers, user) {
		is |= isBlocked
	}
	if v := a.judge(is, what); v != denied {
		return v
	}
	return a.judge(is|spec.standingOf(user), what)
}

// may tells whether the caller may do something that has only one way to be refused.
func (c Caller) may(what action, r *Record, spec *Spec, m *Member) bool {
	return r.access().judgeUser(spec, c.User, c.standing(m), what) == permitted
}
