package access_test

import (
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"pgregory.net/rapid"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
)

func TestWhatAnyoneMayDoFollowsTheRules(t *testing.T) {
	var runs atomic.Int64
	start := newID()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(fmt.Sprintf("%s-%d", start, runs.Add(1)))
		t.Repeat(map[string]func(*rapid.T){
			"create": w.create, "get": w.get, "list": w.list, "update": w.update, "delete": w.delete,
			"join": w.join, "join again": w.join, "leave": w.leave,
			"publish": w.publish, "messages": w.listMessages, "message": w.getMessage, "members": w.listMembers,
			"listen": w.listen, "create ticket": w.createTicket, "use ticket": w.useTicket,
		})
		w.finish(t)
	})
}

// world is what a run has: a few users, a few ids, and what should be true of them.
type world struct {
	mark      string // of this run alone
	users     []string
	ids       []string
	rooms     map[string]*room // by id; those that exist
	guesses   map[[2]string]int
	tickets   []*ticket
	listeners []*listener
	said      int
}

// ticket is one that was made.
type ticket struct {
	text string
	who  actor
	id   string
	room *room
	used bool
}

// listener has a stream open.
type listener struct {
	*stream

	format string
	who    actor
	id     string
	room   *room
}

func newWorld(mark string) *world {
	w := &world{mark: mark, rooms: map[string]*room{}, guesses: map[[2]string]int{}}
	for i := range 4 {
		w.users = append(w.users, fmt.Sprintf("u%d-%s", i, mark))
	}
	for i := range 3 {
		w.ids = append(w.ids, fmt.Sprintf("s%d-%s", i, mark))
	}
	return w
}

// root is an administrator.
func (w *world) root() who { return who{user: "root-" + w.mark, role: admin} }

func (w *world) drawUser(t *rapid.T) string { return rapid.SampledFrom(w.users).Draw(t, "user") }

// drawWho is anyone: most often a user, of whom some say who they are twice, and some that they are another.
func (w *world) drawWho(t *rapid.T) who {
	user := w.drawUser(t)
	switch rapid.IntRange(0, 12).Draw(t, "kind of caller") {
	case 0, 1:
		return w.root()
	case 12:
		return who{user: w.root().user, role: admin, names: user}
	case 2, 3:
		return who{user: "backend-" + w.mark, role: service, names: user}
	case 4:
		return who{user: "backend-" + w.mark, role: service}
	case 5:
		return who{user: user, names: user}
	case 6:
		return who{user: user, names: w.drawUser(t)}
	default:
		return who{user: user}
	}
}

// drawName is whom a body names: most often nobody.
func (w *world) drawName(t *rapid.T, of who) string {
	switch rapid.IntRange(0, 5).Draw(t, "name") {
	case 0:
		return w.drawUser(t)
	case 1:
		return of.user
	default:
		return ""
	}
}

// drawID is an id, and the room that has it.
func (w *world) drawID(t *rapid.T) (string, *room) {
	id := rapid.SampledFrom(w.ids).Draw(t, "id")
	return id, w.rooms[id]
}

// drawSome are some users, at least so many.
func (w *world) drawSome(t *rapid.T, what string, least int) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(w.users), least, 2, rapid.ID[string]).Draw(t, what)
}

var kinds = []conversationv1.SessionType{public, public, private, private, temporary}

const rightSecret, wrongSecret = "open-sesame", "wrong-sesame"

// check makes a call over one transport, and compares what comes of it with the verdict. What changes nothing is asked
// over the other transport too, and must be answered alike.
func (w *world) check(t *rapid.T, caller who, request proto.Message, v verdict) proto.Message {
	t.Helper()
	order := []transport{overREST, overGRPC}
	if rapid.Bool().Draw(t, "gRPC first") {
		slices.Reverse(order)
	}
	first := order[0].call(t, caller, request)
	compare(t, order[0].name, caller, request, first, v)
	switch request.(type) {
	case *conversationv1.CreateTicketRequest:
		if v == allowed {
			return first.answer
		}
	case *conversationv1.GetSessionRequest, *conversationv1.ListMessagesRequest, *conversationv1.GetMessageRequest,
		*conversationv1.ListMembersRequest:
	default:
		if v == allowed {
			return first.answer
		}
	}
	second := order[1].call(t, caller, request)
	compare(t, order[1].name, caller, request, second, v)
	online := protocmp.IgnoreFields(new(conversationv1.Member), "online") // a stream that was closed may not have ended yet
	if diff := cmp.Diff(first.answer, second.answer, protocmp.Transform(), online); diff != "" {
		t.Fatalf("%+v: %T %v (-%s +%s):\n%s", caller, request, request, order[0].name, order[1].name, diff)
	}
	return first.answer
}

func compare(t *rapid.T, over string, caller who, request any, got outcome, want verdict) {
	t.Helper()
	if got.code != want.code() || got.reason != string(want) {
		t.Fatalf("%s: %+v: %T %v: %v, want %s %s; answer: %+v", over, caller, request, request, got, want.code(), want, got.said)
	}
}

func (w *world) create(t *rapid.T) {
	caller, id := w.drawWho(t), rapid.SampledFrom(w.ids).Draw(t, "id")
	r := &room{kind: rapid.SampledFrom(kinds).Draw(t, "kind"), owners: w.drawSome(t, "owners", 1)}
	r.allowed, r.blocked = w.drawSome(t, "allowed", 0), w.drawSome(t, "blocked", 0)
	if rapid.Bool().Draw(t, "has a secret") {
		r.secret = rightSecret
	}
	if rapid.Bool().Draw(t, "of the caller") {
		if a, _, _ := caller.acting(""); !r.isOwner(a.user) {
			r.owners = append(r.owners, a.user)
		}
	}
	session := draft(r.kind, "", func(s *conversationv1.Session) {
		s.Owners, s.AllowedUsers, s.BlockedUsers, s.SecretKey = r.owners, r.allowed, r.blocked, r.secret
		s.Labels = map[string]string{"mark": w.mark}
	})
	a, _, v := caller.acting("")
	switch {
	case v != allowed:
	case !a.admin && !r.isOwner(a.user):
		v = notAnOwner
	case w.rooms[id] != nil:
		v = taken
	}
	answer := w.check(t, caller, &conversationv1.CreateSessionRequest{SessionId: id, Session: session}, v)
	if v == allowed {
		w.rooms[id] = r
		if got := answer.(*conversationv1.Session); got.GetCreator() != a.user || got.GetSecretKey() != r.secret {
			t.Fatalf("created = %v, want the creator %s, and the secretKey", got, a.user)
		}
	}
	w.settle(t)
}

func (w *world) get(t *rapid.T) {
	caller := w.drawWho(t)
	id, r := w.drawID(t)
	a, _, v := caller.acting("")
	if v == allowed {
		v = r.sees(a)
	}
	answer := w.check(t, caller, &conversationv1.GetSessionRequest{Name: name(id)}, v)
	if v == allowed {
		w.compareSession(t, answer.(*conversationv1.Session), r)
	}
}

// compareSession fails unless the session is as the room is.
func (w *world) compareSession(t *rapid.T, got *conversationv1.Session, r *room) {
	t.Helper()
	want := &conversationv1.Session{
		SessionType: r.kind, Owners: r.owners, AllowedUsers: r.allowed, BlockedUsers: r.blocked, HasSecretKey: r.secret != "",
		MemberCount: int32(len(r.members)),
	}
	shown := &conversationv1.Session{
		SessionType: got.GetSessionType(), Owners: got.GetOwners(), AllowedUsers: got.GetAllowedUsers(), BlockedUsers: got.GetBlockedUsers(),
		HasSecretKey: got.GetHasSecretKey(), MemberCount: got.GetMemberCount(), SecretKey: got.GetSecretKey(),
	}
	if diff := cmp.Diff(want, shown, protocmp.Transform()); diff != "" {
		t.Fatalf("session (-want +got):\n%s", diff)
	}
}

func (w *world) list(t *rapid.T) {
	caller := w.drawWho(t)
	a, _, v := caller.acting("")
	if v != allowed {
		w.check(t, caller, new(conversationv1.ListSessionsRequest), v)
		return
	}
	w.compareList(t, caller, a)
}

// compareList fails unless the caller finds what the actor sees.
func (w *world) compareList(t *rapid.T, caller who, a actor) {
	t.Helper()
	var want []string
	for id, r := range w.rooms {
		if r.sees(a) == allowed {
			want = append(want, id)
		}
	}
	slices.Sort(want)
	for _, over := range transports {
		if diff := cmp.Diff(want, w.listOver(t, over, caller)); diff != "" {
			t.Fatalf("list of %+v over %s (-want +got):\n%s", caller, over.name, diff)
		}
	}
}

// listOver is the ids that the caller finds, sorted. Where a page ends is the server's affair.
func (w *world) listOver(t *rapid.T, over transport, caller who) (ids []string) {
	t.Helper()
	request := &conversationv1.ListSessionsRequest{Filter: fmt.Sprintf(`labels.mark = %q`, w.mark)}
	for {
		page := over.call(t, caller, request).ok(t).(*conversationv1.ListSessionsResponse)
		for _, session := range page.GetSessions() {
			ids = append(ids, session.GetSessionId())
		}
		if request.PageToken = page.GetNextPageToken(); request.GetPageToken() == "" {
			slices.Sort(ids)
			return ids
		}
	}
}

func (w *world) update(t *rapid.T) {
	caller := w.drawWho(t)
	id, r := w.drawID(t)
	session := &conversationv1.Session{Name: name(id)}
	after := func(*room) {}
	path := rapid.SampledFrom([]string{"session_type", "owners", "allowed_users", "blocked_users", "secret_key"}).Draw(t, "field")
	switch path {
	case "session_type":
		session.SessionType = rapid.SampledFrom(kinds).Draw(t, "kind")
		after = func(r *room) { r.kind = session.GetSessionType() }
	case "owners":
		session.Owners = w.drawSome(t, "owners", 1)
		after = func(r *room) { r.owners = session.GetOwners() }
	case "allowed_users":
		session.AllowedUsers = w.drawSome(t, "allowed", 0)
		after = func(r *room) { r.allowed = session.GetAllowedUsers() }
	case "blocked_users":
		session.BlockedUsers = w.drawSome(t, "blocked", 0)
		after = func(r *room) { r.block(session.GetBlockedUsers()) }
	case "secret_key":
		session.SecretKey = rapid.SampledFrom([]string{"", rightSecret}).Draw(t, "secret")
		after = func(r *room) { r.secret = session.GetSecretKey() }
	}
	a, _, v := caller.acting("")
	if v == allowed {
		v = r.changes(a)
	}
	mask := &fieldmaskpb.FieldMask{Paths: []string{path}}
	answer := w.check(t, caller, &conversationv1.UpdateSessionRequest{Session: session, UpdateMask: mask}, v)
	if v == allowed {
		after(r)
		shown := answer.(*conversationv1.Session)
		if shown.GetSecretKey() != session.GetSecretKey() {
			t.Fatalf("the secretKey of the answer is %q, want the one that was set, %q", shown.GetSecretKey(), session.GetSecretKey())
		}
		shown.SecretKey = ""
		w.compareSession(t, shown, r)
	}
	w.settle(t)
}

func (w *world) delete(t *rapid.T) {
	caller := w.drawWho(t)
	id, r := w.drawID(t)
	a, _, v := caller.acting("")
	if v == allowed {
		v = r.changes(a)
	}
	if v == allowed && rapid.IntRange(0, 2).Draw(t, "seldom") > 0 {
		return
	}
	w.check(t, caller, &conversationv1.DeleteSessionRequest{Name: name(id)}, v)
	if v == allowed {
		delete(w.rooms, id)
	}
	w.settle(t)
}

func (w *world) join(t *rapid.T) {
	caller := w.drawWho(t)
	id, r := w.drawID(t)
	request := &conversationv1.JoinSessionRequest{Session: name(id), Name: w.drawName(t, caller)}
	a, user, v := caller.acting(request.GetName())
	request.SecretKey = w.drawSecret(t, a.user, id)
	if v == allowed {
		v = r.admits(a, user, request.GetSecretKey())
	}
	answer := w.check(t, caller, request, v)
	if v == allowed {
		r.enter(user)
		joined := answer.(*conversationv1.JoinSessionResponse)
		w.compareSession(t, joined.GetSession(), r)
		role := map[bool]string{true: "owner", false: "member"}[r.isOwner(user)]
		if got := joined.GetMember(); got.GetUser() != user || got.GetRole() != role {
			t.Fatalf("member = %v, want %s as %s", got, user, role)
		}
	}
}

// drawSecret is what a join brings. Of a caller and an id, the fifth wrong one would be the last that is compared, and
// each may be asked over two transports.
func (w *world) drawSecret(t *rapid.T, user, id string) string {
	switch rapid.IntRange(0, 5).Draw(t, "secret") {
	case 0, 1:
		if r := w.rooms[id]; r != nil && r.secret != "" {
			return r.secret
		}
	case 2:
		if w.guesses[[2]string{user, id}] < 2 {
			w.guesses[[2]string{user, id}]++
			return wrongSecret
		}
	}
	return ""
}

func (w *world) leave(t *rapid.T) {
	caller := w.drawWho(t)
	id, r := w.drawID(t)
	request := &conversationv1.LeaveSessionRequest{Session: name(id), Name: w.drawName(t, caller)}
	a, user, v := caller.leaving(request.GetName())
	if v == allowed {
		v = r.releases(a, user)
	}
	answer := w.check(t, caller, request, v)
	if v == allowed {
		r.leave(user)
		w.compareSession(t, answer.(*conversationv1.LeaveSessionResponse).GetSession(), r)
	}
	w.settle(t)
}

// publish publishes over any of the three transports.
func (w *world) publish(t *rapid.T) {
	caller := w.drawWho(t)
	id, r := w.drawID(t)
	w.said++
	message := text("hello")
	message.MessageId = fmt.Sprintf("m%d", w.said)
	request := &conversationv1.PublishMessageRequest{Name: w.drawName(t, caller), Message: message}
	a, user, v := caller.acting(request.GetName())
	if v == allowed {
		v = r.hears(a, user)
	}
	if rapid.IntRange(0, 2).Draw(t, "over a WebSocket") == 0 {
		if reader, _, asReader := caller.acting(""); asReader != allowed {
			v = asReader
		} else if asReader = r.reads(reader); asReader != allowed {
			v = asReader
		}
		compare(t, socket, caller, request, publishThrough(t, caller, id, request), v)
	} else {
		request.Session = name(id)
		answer := w.check(t, caller, request, v)
		if sent, ok := answer.(*conversationv1.PublishMessageResponse); ok && sent.GetMessage().GetSender() != user {
			t.Fatalf("sender = %q, want %q", sent.GetMessage().GetSender(), user)
		}
	}
	if v == allowed {
		r.messages = append(r.messages, message.GetMessageId())
	}
}

func (w *world) listMessages(t *rapid.T) {
	caller := w.drawWho(t)
	id, r := w.drawID(t)
	a, _, v := caller.acting("")
	if v == allowed {
		v = r.reads(a)
	}
	w.compareMessages(t, caller, id, r, v)
}

func (w *world) compareMessages(t *rapid.T, caller who, id string, r *room, v verdict) {
	t.Helper()
	answer := w.check(t, caller, &conversationv1.ListMessagesRequest{Session: name(id)}, v)
	if v != allowed {
		return
	}
	var got []string
	for _, message := range answer.(*conversationv1.ListMessagesResponse).GetMessages() {
		got = append(got, message.GetMessageId())
	}
	if diff := cmp.Diff(r.messages, got); diff != "" {
		t.Fatalf("messages (-want +got):\n%s", diff)
	}
}

func (w *world) getMessage(t *rapid.T) {
	caller := w.drawWho(t)
	id, r := w.drawID(t)
	message := fmt.Sprintf("m%d", rapid.IntRange(1, w.said+1).Draw(t, "message"))
	a, _, v := caller.acting("")
	if v == allowed {
		v = r.hasMessage(a, message)
	}
	w.check(t, caller, &conversationv1.GetMessageRequest{Name: name(id) + "/messages/" + message}, v)
}

func (w *world) listMembers(t *rapid.T) {
	caller := w.drawWho(t)
	id, r := w.drawID(t)
	a, _, v := caller.acting("")
	if v == allowed {
		v = r.reads(a)
	}
	w.compareMembers(t, caller, id, r, v)
}

func (w *world) compareMembers(t *rapid.T, caller who, id string, r *room, v verdict) {
	t.Helper()
	answer := w.check(t, caller, &conversationv1.ListMembersRequest{Session: name(id)}, v)
	if v != allowed {
		return
	}
	var got []string
	for _, member := range answer.(*conversationv1.ListMembersResponse).GetMembers() {
		got = append(got, member.GetUser())
	}
	if diff := cmp.Diff(r.members, got, cmp.Transformer("none", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
		t.Fatalf("members (-want +got):\n%s", diff)
	}
}

// mostListeners bounds what a run has open.
const mostListeners = 6

func (w *world) listen(t *rapid.T) {
	caller, format := w.drawWho(t), rapid.SampledFrom(formats).Draw(t, "format")
	id, r := w.drawID(t)
	a, _, v := caller.acting("")
	if v == allowed {
		v = r.reads(a)
	}
	w.open(t, format, caller, a, id, "", v)
}

// open opens a stream, which must end as the verdict says, and keeps it open if there is room.
func (w *world) open(t *rapid.T, format string, caller who, a actor, id, ticket string, v verdict) {
	t.Helper()
	s, refusal := open(t, format, caller, id, "", ticket)
	compare(t, format, caller, "stream of "+id, refusal, v)
	switch {
	case v != allowed:
	case len(w.listeners) >= mostListeners:
		s.close()
	default:
		w.listeners = append(w.listeners, &listener{stream: s, format: format, who: a, id: id, room: w.rooms[id]})
	}
}

func (w *world) createTicket(t *rapid.T) {
	caller := w.drawWho(t)
	id, r := w.drawID(t)
	a, _, v := caller.acting("")
	if v == allowed {
		v = r.reads(a)
	}
	answer := w.check(t, caller, &conversationv1.CreateTicketRequest{Session: name(id)}, v)
	if v == allowed {
		w.tickets = append(w.tickets, &ticket{text: answer.(*conversationv1.CreateTicketResponse).GetTicket(), who: a, id: id, room: r})
	}
}

func (w *world) useTicket(t *rapid.T) {
	w.tickets = slices.DeleteFunc(w.tickets, func(k *ticket) bool { return w.rooms[k.id] != k.room })
	if len(w.tickets) == 0 {
		return
	}
	k, format := rapid.SampledFrom(w.tickets).Draw(t, "ticket"), rapid.SampledFrom(formats).Draw(t, "format")
	v := ticketUsed
	if !k.used {
		v = k.room.reads(k.who)
	}
	w.open(t, format, who{nobody: true}, k.who, k.id, k.text, v)
	k.used = true
}

// settle waits for the end of the streams that may not go on, after a change.
func (w *world) settle(t *rapid.T) {
	t.Helper()
	w.listeners = slices.DeleteFunc(w.listeners, func(l *listener) bool {
		want := "access.revoked"
		switch {
		case w.rooms[l.id] != l.room:
			want = "session.deleted"
		case l.room.reads(l.who) == allowed:
			return false
		}
		if last := l.last(t); last != want {
			t.Fatalf("the last event of %+v over %s is %q, want %s", l.who, l.format, last, want)
		}
		l.close()
		return true
	})
}

// finish compares what is left with the rules, as every user, and has those who still listen hear of a last change. It
// leaves nothing for the lists of other runs to go through.
func (w *world) finish(t *rapid.T) {
	for _, user := range w.users {
		w.compareList(t, as(user), actor{user: user})
	}
	for _, id := range slices.Sorted(maps.Keys(w.rooms)) {
		r := w.rooms[id]
		w.compareMembers(t, w.root(), id, r, allowed)
		w.compareMessages(t, w.root(), id, r, allowed)
		w.check(t, w.root(), &conversationv1.UpdateSessionRequest{
			Session:    &conversationv1.Session{Name: name(id), Description: "the last change"},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"description"}},
		}, allowed)
	}
	for _, l := range w.listeners {
		l.until(t, func(e *conversationv1.Event) bool { return e.GetSnapshot().GetDescription() == "the last change" })
	}
	for _, id := range slices.Sorted(maps.Keys(w.rooms)) {
		w.check(t, w.root(), &conversationv1.DeleteSessionRequest{Name: name(id)}, allowed)
		delete(w.rooms, id)
	}
	w.settle(t)
}
