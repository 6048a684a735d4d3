package storetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parleyhq/parley/internal/session"
)

// errNoMember and errMessageTaken are what the decisions here refuse with, too.
var (
	errNoMember     = errors.New("the user is no member")
	errMessageTaken = errors.New("the message's id is taken")
)

// Publication is a message to publish.
type Publication struct {
	User      string
	MessageID string // empty: made by the server
	Channel   int32
	Text      string
	Ephemeral bool
	Lifetime  time.Duration // not 0: the session now ends so long after it
	Request   session.RequestKey
	Digest    session.Digest
}

// Publish publishes the message in the session with the id, and returns its event. An earlier write with the same
// Request is no error: the event is then nil.
func (p *Publication) Publish(ctx context.Context, store session.Store, id string) (*session.Event, error) {
	var event *session.Event
	write := &session.Write{ID: id, Request: p.Request, Users: []string{p.User}, Size: 512}
	if p.MessageID != "" {
		write.Messages = []string{p.MessageID}
	}
	document := (&session.Message{Kind: session.ContentText, Text: p.Text}).AppendJSON(nil)
	write.Decide = func(v *session.View) (session.Change, error) {
		switch {
		case v.Earlier != nil:
			event = nil
			return session.Change{}, nil
		case v.Current == nil:
			return session.Change{}, errMissing
		case p.MessageID != "" && v.Messages[0]:
			return session.Change{}, errMessageTaken
		}
		after := *v.Current
		event = &session.Event{
			UID: after.UID, ID: after.ID, Kind: session.MessagePublished, Time: v.Now, Actor: p.User, Channel: p.Channel,
			MessageID: p.MessageID, Document: document,
		}
		if !p.Ephemeral {
			after.Head.Sequence++
			after.Head.LastMessageTime = v.Now
			event.Sequence = after.Head.Sequence
		}
		if p.Lifetime != 0 {
			after.ExpireTime = v.Now.Add(p.Lifetime)
		}
		return session.Change{Kind: session.Append, Record: &after, Events: []*session.Event{event}, Digest: p.Digest}, nil
	}
	if err := store.Write(ctx, write); err != nil {
		return nil, err
	}
	return event, nil
}

// say publishes texts by a user, and returns their events.
func say(t *testing.T, store session.Store, id, user string, texts ...string) []*session.Event {
	t.Helper()
	var events []*session.Event
	for _, text := range texts {
		event, err := (&Publication{User: user, Channel: 1, Text: text}).Publish(t.Context(), store, id)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, event)
	}
	return events
}

// Join makes the user a member of the session with the id. A member joins anew.
func Join(ctx context.Context, store session.Store, id, user string, channels ...int32) (*session.Member, error) {
	var member *session.Member
	err := store.Write(ctx, &session.Write{ID: id, Users: []string{user}, Decide: func(v *session.View) (session.Change, error) {
		if v.Current == nil {
			return session.Change{}, errMissing
		}
		member = &session.Member{User: user, Channels: channels, JoinTime: v.Now}
		after := *v.Current
		if v.Members[0] == nil {
			after.Head.Members++
		}
		change := session.Change{Kind: session.Append, Record: &after, Join: member, After: []string{user}}
		addEvent(v, &change, session.MemberJoined, user, member)
		return change, nil
	}})
	if err != nil {
		return nil, err
	}
	return member, nil
}

// addEvent adds to a change an event about a member.
func addEvent(v *session.View, change *session.Change, kind session.EventKind, actor string, m *session.Member) {
	change.Record.Head.Sequence++
	change.Events = append(change.Events, &session.Event{
		UID: v.Current.UID, ID: v.Current.ID, Kind: kind, Sequence: change.Record.Head.Sequence, Time: v.Now, Actor: actor,
		Document: m.AppendJSON(nil, session.RoleMember, false),
	})
}

// Leave ends the user's membership.
func Leave(ctx context.Context, store session.Store, id, user string) error {
	return store.Write(ctx, &session.Write{ID: id, Users: []string{user}, Decide: func(v *session.View) (session.Change, error) {
		switch {
		case v.Current == nil:
			return session.Change{}, errMissing
		case v.Members[0] == nil:
			return session.Change{}, errNoMember
		}
		after := *v.Current
		after.Head.Members--
		change := session.Change{Kind: session.Append, Record: &after, Leave: []string{user}}
		addEvent(v, &change, session.MemberLeft, user, v.Members[0])
		if !slices.Contains(v.Rules.Spec.Principals(), user) {
			change.Before = []string{user}
		}
		return change, nil
	}})
}

// remove ends the membership of a user in an update, as it does when it blocks the user.
func remove(ctx context.Context, store session.Store, id, user string, change func(*session.Spec)) (*session.Record, error) {
	var after session.Record
	err := store.Write(ctx, &session.Write{ID: id, Users: []string{user}, Decide: func(v *session.View) (session.Change, error) {
		if v.Current == nil || v.Members[0] == nil {
			return session.Change{}, errNoMember
		}
		result, err := updateOf(v, change)
		if err != nil {
			return session.Change{}, err
		}
		result.Record.Head.Members--
		result.Leave = []string{user}
		addEvent(v, &result, session.MemberRemoved, "user-1", v.Members[0])
		after = *result.Record
		return result, nil
	}})
	if err != nil {
		return nil, err
	}
	return &after, nil
}

// wantHead checks a session's head, wherever it can be read.
func wantHead(t *testing.T, store session.Store, r *session.Record, want session.Head) {
	t.Helper()
	got, _, err := store.Get(t.Context(), r.ID, "")
	if err != nil || got == nil || got.Head != want {
		t.Errorf("Get = %+v, %v, want the head %+v", got, err, want)
	}
	if seen := look(t, store, r.ID, session.RequestKey{}); seen.Current == nil || seen.Current.Head != want {
		t.Errorf("Current = %+v, want the head %+v", seen.Current, want)
	}
	log := readLog(t, store, r.UID, 0)
	if log.Record == nil || log.Record.Head != want {
		t.Errorf("Log.Record = %+v, want the head %+v", log.Record, want)
	}
	for _, listed := range listAll(t, store, &session.Query{All: true, Size: 1000}) {
		if listed.UID == r.UID && listed.Head != want {
			t.Errorf("a list has the head %+v, want %+v", listed.Head, want)
		}
	}
}

// readLog reads the log after a sequence, all of it.
func readLog(t *testing.T, store session.Store, uid session.UID, after int64) *session.Log {
	t.Helper()
	log, err := store.Log(t.Context(), uid, after, 5000, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// sameEvents compares events but for their encodings.
var sameEvents = cmpopts.IgnoreUnexported(session.Event{})

func wantEvents(t *testing.T, want, got []*session.Event) {
	t.Helper()
	if diff := cmp.Diff(want, got, sameEvents, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// recorder is an Options.Committed that keeps what it is given.
type recorder struct {
	mu     sync.Mutex // guards events
	events []*session.Event
}

func (r *recorder) committed(events []*session.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, events...)
}

func (r *recorder) all() []*session.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// ofKind are the recorded events of a kind.
func (r *recorder) ofKind(kind session.EventKind) []*session.Event {
	return slices.DeleteFunc(r.all(), func(ev *session.Event) bool { return ev.Kind != kind })
}

// eventually waits until what a store does by itself is done.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	for !done() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("after a minute not yet: %s", what)
		}
	}
}

// mustPublish ends the test unless the message was published.
func mustPublish(t *testing.T) func(*session.Event, error) *session.Event {
	return func(event *session.Event, err error) *session.Event {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return event
	}
}
