package access_test

import (
	"slices"

	"google.golang.org/grpc/codes"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
)

// The rules of the contract, once more and on their own: nothing here is the server's.

// verdict is how a call must end: the reason of the refusal.
type verdict string

const (
	allowed        verdict = ""
	contradiction  verdict = "INVALID_FIELDS"
	hidden         verdict = "SESSION_NOT_FOUND"
	noMessage      verdict = "MESSAGE_NOT_FOUND"
	anotherUser    verdict = "ACTING_AS_ANOTHER"
	notAnOwner     verdict = "NOT_AN_OWNER"
	notAMember     verdict = "NOT_A_MEMBER"
	blocked        verdict = "BLOCKED"
	secretRequired verdict = "SECRET_KEY_REQUIRED"
	taken          verdict = "SESSION_EXISTS"
	ticketUsed     verdict = "TICKET_USED"
)

// code is the class of the verdict.
func (v verdict) code() codes.Code {
	switch v {
	case allowed:
		return codes.OK
	case contradiction:
		return codes.InvalidArgument
	case hidden, noMessage:
		return codes.NotFound
	case taken:
		return codes.AlreadyExists
	case ticketUsed:
		return codes.Unauthenticated
	default:
		return codes.PermissionDenied
	}
}

// room is a session as the rules see it; nil: there is none.
type room struct {
	kind     conversationv1.SessionType
	owners   []string
	allowed  []string
	blocked  []string
	secret   string
	members  []string // in the order in which they joined
	messages []string // ids
}

// actor is who acts, once it is clear for whom.
type actor struct {
	user  string
	admin bool
}

// acting says who acts in a request that names a user, or none, in its body; and as whom. Whoever names a user in
// Parley-User has that user's rights and no more.
func (w who) acting(inBody string) (a actor, user string, v verdict) {
	a = actor{user: w.user, admin: w.role == admin}
	if w.names != "" {
		if w.names != w.user && w.role == plain {
			return a, "", anotherUser
		}
		a = actor{user: w.names}
		if inBody != "" && inBody != w.names {
			return a, "", contradiction
		}
	}
	if inBody == "" {
		return a, a.user, allowed
	}
	if w.role == service && w.names == "" {
		a.user = inBody
	}
	return a, inBody, allowed
}

// leaving is the same for a request to leave, in which an owner may name another: that is a removal.
func (w who) leaving(inBody string) (a actor, user string, v verdict) {
	a, user, v = w.acting(inBody)
	if v == contradiction {
		return a, inBody, allowed
	}
	return a, user, v
}

// sees tells whether the session exists for the actor.
func (r *room) sees(a actor) verdict {
	if r == nil {
		return hidden
	}
	if a.admin || r.kind == public || r.isMember(a.user) || r.isOwner(a.user) || slices.Contains(r.allowed, a.user) {
		return allowed
	}
	return hidden
}

func (r *room) isOwner(user string) bool   { return slices.Contains(r.owners, user) }
func (r *room) isMember(user string) bool  { return slices.Contains(r.members, user) }
func (r *room) isBlocked(user string) bool { return slices.Contains(r.blocked, user) }

// reads tells whether the actor may read the log.
func (r *room) reads(a actor) verdict {
	if v := r.sees(a); v != allowed || a.admin {
		return v
	}
	switch {
	case r.isBlocked(a.user):
		return blocked
	case r.isOwner(a.user), r.isMember(a.user), r.kind == public && r.secret == "":
		return allowed
	default:
		return notAMember
	}
}

// changes tells whether the actor may update and delete the session.
func (r *room) changes(a actor) verdict {
	if v := r.sees(a); v != allowed || a.admin || r.isOwner(a.user) {
		return v
	}
	return notAnOwner
}

// admits tells whether the actor may make the user a member, with a secretKey or without.
func (r *room) admits(a actor, user, secret string) verdict {
	opens := r != nil && r.secret != "" && secret == r.secret
	if v := r.sees(a); v != allowed && !opens {
		return v
	}
	switch {
	case user != a.user && !a.admin:
		return anotherUser
	case r.isBlocked(user):
		return blocked
	case a.admin, r.isOwner(user), r.isMember(user), slices.Contains(r.allowed, user), opens, r.kind == public && r.secret == "":
		return allowed
	default:
		return secretRequired
	}
}

// releases tells whether the actor may end the user's membership.
func (r *room) releases(a actor, user string) verdict {
	if user == a.user {
		return r.sees(a)
	}
	return r.changes(a)
}

// hears tells whether the actor may publish as the user.
func (r *room) hears(a actor, user string) verdict {
	if v := r.sees(a); v != allowed {
		return v
	}
	switch {
	case user != a.user && !a.admin:
		return anotherUser
	case r.isBlocked(user):
		return blocked
	case !r.isMember(user):
		return notAMember
	default:
		return allowed
	}
}

// hasMessage tells whether the actor gets the message.
func (r *room) hasMessage(a actor, id string) verdict {
	if v := r.reads(a); v != allowed || slices.Contains(r.messages, id) {
		return v
	}
	return noMessage
}

// enter and leave keep the members.

func (r *room) enter(user string) {
	if !r.isMember(user) {
		r.members = append(r.members, user)
	}
}

func (r *room) leave(user string) {
	r.members = slices.DeleteFunc(r.members, func(member string) bool { return member == user })
}

// block puts users into blockedUsers, which ends their memberships.
func (r *room) block(users []string) {
	r.blocked = users
	for _, user := range users {
		r.leave(user)
	}
}
