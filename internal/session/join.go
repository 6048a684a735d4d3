package session

import (
	"context"
	"slices"

	"github.com/parleyhq/parley/internal/fault"
)

// JoinRequest asks for a membership.
type JoinRequest struct {
	ID        string
	Name      string // who joins; empty: the caller
	SecretKey string
	Channels  []int32 // none: the session's defaultChannels, or those that the member has
	UID       string  // if not empty: only if the session has this uid
	RequestID string
}

// MemberState is a member as others see it.
type MemberState struct {
	*Member

	Role   string
	Online bool
}

// AppendJSON appends the member as the API answers it.
func (m MemberState) AppendJSON(b []byte) []byte { return m.Member.AppendJSON(b, m.Role, m.Online) }

// JoinResult is a membership, and where a stream begins that misses nothing after it.
type JoinResult struct {
	Record *Record
	Member MemberState
	Cursor Cursor
}

// Join makes a user a member, or changes the channels of one who is. Nobody joins twice: a join that changes nothing
// does nothing, and its cursor is the head's.
//
// A backend that names a user joins as that user.
//
// Faults: InvalidArgument with every violation; InvalidArgument REQUEST_ID_REUSED; NotFound; PermissionDenied
// ACTING_AS_ANOTHER, BLOCKED, SECRET_KEY_REQUIRED; Aborted UID_MISMATCH; FailedPrecondition SESSION_FULL;
// ResourceExhausted TOO_MANY_GUESSES; and those of Store.Write.
func (s *Service) Join(ctx context.Context, caller Caller, r JoinRequest) (JoinResult, error) {
	var violations fault.Violations
	caller.checkActor(r.Name, &violations)
	checkSomeChannels("channels", r.Channels, &violations)
	if len(r.SecretKey) > MaxSecretKeyBytes {
		report(&violations, "secretKey", "must be at most %d bytes", MaxSecretKeyBytes)
	}
	checkRequestID(r.RequestID, &violations)
	if err := violations.Err(); err != nil {
		return JoinResult{}, err
	}
	if err := checkSession(r.ID); err != nil {
		return JoinResult{}, err
	}
	caller = caller.actingAs(r.Name)
	join := join{service: s, caller: caller, user: actor(caller, r.Name), request: r}
	if r.SecretKey != "" {
		allowed, err := s.guesses.BeginGuess(ctx, caller.User, r.ID)
		if err != nil {
			return JoinResult{}, err
		}
		join.tooMany = !allowed
	}
	write := Write{ID: r.ID, Users: []string{caller.User, join.user}, Size: writeOverhead, Decide: join.decide}
	if r.RequestID != "" {
		write.Request = s.requests.key("join", caller, r.ID, r.RequestID)
		join.digest = s.requests.joinDigest(&r)
	}
	err := s.store.Write(ctx, &write)
	if r.SecretKey != "" && !join.tooMany && !join.wrong {
		s.guesses.TakeBackGuess(ctx, caller.User, r.ID)
	}
	if err != nil {
		return JoinResult{}, err
	}
	join.result.Member.Online = s.tail.Online(join.result.Record.UID, join.user)
	return join.result, nil
}

// join is one join while it waits for, and passes through, its transaction.
type join struct {
	service *Service
	caller  Caller
	user    string
	request JoinRequest
	digest  Digest
	tooMany bool // wrong secretKeys: this one is not compared

	wrong  bool     // a secretKey was compared, and is not the session's
	holder standing // isHolder if it was, and is; else 0
	result JoinResult
}

func (j *join) decide(v *View) (Change, error) {
	j.wrong, j.holder = j.request.SecretKey != "" && (v.Current == nil || !v.Current.Secret.Exists()), 0
	if v.Earlier != nil {
		return Change{}, j.repeat(v)
	}
	if err := j.admit(v); err != nil {
		return Change{}, err
	}
	current, rules, earlier := v.Current, v.Rules, v.Members[1]
	channels := j.request.Channels
	switch {
	case len(channels) > 0:
	case earlier != nil:
		channels = earlier.Channels
	default:
		channels = rules.Spec.DefaultChannels
	}
	if earlier != nil && slices.Equal(earlier.Channels, channels) {
		j.answer(v, current, earlier)
		return Change{Digest: j.digest}, nil
	}
	if most := rules.Settings.MaxMembers; earlier == nil && most != 0 && int64(current.Head.Members) >= most {
		return Change{}, fault.New(fault.FailedPrecondition, "SESSION_FULL", "the session has as many members as options.maxMembers allows")
	}

	member := &Member{User: j.user, Channels: channels, JoinTime: v.Now}
	record := *current
	record.Head.Sequence++
	change := Change{Kind: Append, Record: &record, Join: member, Digest: j.digest}
	if earlier != nil {
		member.JoinTime = earlier.JoinTime
	} else {
		record.Head.Members++
		record.ExpireTime = rules.Settings.deadlineSince(current.Type, current.CreateTime, 0)
		change.After = foundAsMember(rules.Spec, j.user)
	}
	change.Events = []*Event{memberEvent(&record, MemberJoined, j.caller.User, v.Now, member, rules.Spec.role(j.user))}
	j.answer(v, &record, member)
	return change, nil
}

// admit checks, in the order that the API promises, what a join must pass.
func (j *join) admit(v *View) error {
	if err := j.visible(v); err != nil {
		return err
	}
	if err := mayActAs(j.caller, j.user); err != nil {
		return err
	}
	lets := j.judge(v)
	if lets == forbidden {
		return userBlocked()
	}
	if j.isOfAnother(v.Current) {
		return uidMismatch()
	}
	if lets == denied && j.request.SecretKey != "" {
		j.compare(v)
		lets = j.judge(v)
	}
	if lets == denied {
		return fault.New(fault.PermissionDenied, "SECRET_KEY_REQUIRED", "joining this session takes its secretKey")
	}
	return nil
}

// visible is NotFound unless the user may know of the session, or has brought its secretKey. A wrong secret answers as
// none would; too many of them are not even compared.
func (j *join) visible(v *View) error {
	if j.tooMany {
		return tooManyGuesses()
	}
	err := visible(j.caller, v.Current, v.Members[0])
	if err == nil || j.request.SecretKey == "" {
		return err
	}
	if j.compare(v); j.holder == 0 || v.Current.access().judge(isAnyone|j.holder, toJoin) != permitted {
		return err
	}
	return nil
}

// judge is what the table says of the user's joining: who may for another, may whatever the other lacks.
func (j *join) judge(v *View) verdict {
	user := Caller{User: j.user, Admin: j.caller.Admin}
	return v.Current.access().judgeUser(v.Rules.Spec, j.user, user.standing(v.Members[1])|j.holder, toJoin)
}

// isOfAnother tells whether the request is for a session of another uid.
func (j *join) isOfAnother(current *Record) bool {
	if j.request.UID == "" || current == nil {
		return false
	}
	return string(current.UID.Append(make([]byte, 0, uidTextBytes))) != j.request.UID
}

// compare notes whether the request's secretKey is the session's. It takes as long when there is no session, or no
// secret, or the request is for a session of another uid, whose secret is not read.
func (j *join) compare(v *View) {
	var sealed Secret
	var uid UID
	if current := v.Current; current != nil && !j.isOfAnother(current) {
		sealed, uid = current.Secret, current.UID
	}
	if j.service.keys.opens(sealed, uid, j.request.SecretKey) {
		j.holder, j.wrong = isHolder, false
	} else {
		j.holder, j.wrong = 0, true
	}
}

// answer notes the membership and where it leaves the log.
func (j *join) answer(v *View, record *Record, member *Member) {
	j.result = JoinResult{
		Record: record,
		Member: MemberState{Member: member, Role: v.Rules.Spec.role(j.user)},
		Cursor: Cursor{UID: record.UID, Sequence: record.Head.Sequence},
	}
}

// repeat answers a join that was already done, by the present rights: a user who has left since is no member any more.
func (j *join) repeat(v *View) error {
	if err := sameRequest(v.Earlier, j.digest); err != nil {
		return err
	}
	if err := visible(j.caller, v.Current, v.Members[0]); err != nil {
		return err
	}
	if v.Members[1] == nil {
		return notAMember("is no member any more")
	}
	j.answer(v, v.Current, v.Members[1])
	return nil
}

// LeaveRequest asks for the end of a membership.
type LeaveRequest struct {
	ID        string
	Name      string // whose; empty: the caller's
	RequestID string
}

// Leave ends a membership: the caller's own, or as an owner another's, which is a removal. To leave without being a
// member does nothing.
//
// A backend that names a user leaves as that user. To remove another as an owner, it has to say beforehand that it acts
// for the owner: Caller.Named.
//
// Faults: InvalidArgument with every violation; InvalidArgument REQUEST_ID_REUSED; NotFound; PermissionDenied
// NOT_AN_OWNER; and those of Store.Write.
func (s *Service) Leave(ctx context.Context, caller Caller, r LeaveRequest) (*Record, error) {
	var violations fault.Violations
	checkName(r.Name, &violations)
	checkRequestID(r.RequestID, &violations)
	if err := violations.Err(); err != nil {
		return nil, err
	}
	if err := checkSession(r.ID); err != nil {
		return nil, err
	}
	caller = caller.actingAs(r.Name)
	leave := leave{caller: caller, user: actor(caller, r.Name)}
	write := Write{ID: r.ID, Users: []string{caller.User, leave.user}, Size: writeOverhead, Decide: leave.decide}
	if r.RequestID != "" {
		write.Request = s.requests.key("leave", caller, r.ID, r.RequestID)
		leave.digest = s.requests.digest(nil, nil, r.Name)
	}
	if err := s.store.Write(ctx, &write); err != nil {
		return nil, err
	}
	return leave.record, nil
}

// leave is the end of a membership while it waits for, and passes through, its transaction.
type leave struct {
	caller Caller
	user   string
	digest Digest

	record *Record
}

func (l *leave) decide(v *View) (Change, error) {
	if v.Earlier != nil {
		if err := sameRequest(v.Earlier, l.digest); err != nil {
			return Change{}, err
		}
		l.record = v.Current
		if err := visible(l.caller, v.Current, v.Members[0]); err != nil {
			return Change{}, err
		}
		return Change{}, l.mayRemove(v)
	}
	if err := visible(l.caller, v.Current, v.Members[0]); err != nil {
		return Change{}, err
	}
	if err := l.mayRemove(v); err != nil {
		return Change{}, err
	}
	l.record = v.Current
	if v.Members[1] == nil {
		return Change{Digest: l.digest}, nil
	}
	kind := MemberLeft
	if l.user != l.caller.User {
		kind = MemberRemoved
	}
	departure := departure{record: *v.Current, rules: v.Rules, now: v.Now, actor: l.caller.User}
	departure.add(kind, v.Members[1])
	l.record = &departure.record
	return Change{
		Kind: Append, Record: &departure.record, Leave: departure.users, Before: foundAsMember(v.Rules.Spec, l.user),
		Events: departure.events, Digest: l.digest,
	}, nil
}

// mayRemove is a PermissionDenied fault if the caller may not end the user's membership.
func (l *leave) mayRemove(v *View) error {
	what := toLeave
	if l.user != l.caller.User {
		what = toRemove
	}
	if !l.caller.may(what, v.Current, v.Rules.Spec, v.Members[0]) {
		return notAnOwner("remove a member: only the session's owners may")
	}
	return nil
}

// departure is the end of memberships in one change.
type departure struct {
	record Record // as it is after them
	rules  *Rules
	now    Time
	actor  string

	users  []string
	events []*Event
}

func (d *departure) add(kind EventKind, member *Member) {
	d.record.Head.Sequence++
	d.record.Head.Members--
	if d.record.Head.Members == 0 {
		d.record.ExpireTime = d.rules.Settings.deadlineSince(d.record.Type, d.record.CreateTime, d.now)
	}
	d.users = append(d.users, member.User)
	d.events = append(d.events, memberEvent(&d.record, kind, d.actor, d.now, member, d.rules.Spec.role(member.User)))
}

// memberEvent is what happens to a member, at the record's head. It is kept, so it does not say who is online.
func memberEvent(r *Record, kind EventKind, actor string, now Time, m *Member, role string) *Event {
	return &Event{
		UID: r.UID, ID: r.ID, Kind: kind, Sequence: r.Head.Sequence, Time: now, Actor: actor,
		Document: m.AppendJSON(make([]byte, 0, 192), role, false),
	}
}

// foundAsMember is the user if nothing but a membership has a session of the Spec found by the user; else nobody.
func foundAsMember(s *Spec, user string) []string {
	if s.standingOf(user) != 0 {
		return nil
	}
	return []string{user}
}

func uidMismatch() error {
	return fault.New(fault.Aborted, "UID_MISMATCH", "uid: the session of this id has another uid: it was made anew")
}

func notAMember(what string) error {
	return fault.New(fault.PermissionDenied, "NOT_A_MEMBER", "the user %s: join the session first", what)
}
