// Package storetest is what every engine of session.Store must pass.
package storetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parleyhq/parley/internal/session"
)

// Options says which store to open.
type Options struct {
	Dir string        // names the store: opening it again, after it was closed, finds everything
	Now session.Clock // the store's time

	// Committed is given what happened, in commit order: after it is durable, and before its writers are answered. Nil:
	// nothing is called.
	Committed func([]*session.Event)
}

// Opener opens a store that a cleanup of t closes.
type Opener func(t *testing.T, o Options) session.Store

// Run holds an engine to the contract of session.Store.
func Run(t *testing.T, open Opener) {
	for _, suite := range []struct {
		name string
		run  func(t *testing.T, open Opener)
	}{
		{"Write", testWrite},
		{"Expiry", testExpiry},
		{"Requests", testRequests},
		{"Log", testLog},
		{"Trim", testTrim},
		{"Messages", testMessages},
		{"Members", testMembers},
		{"Committed", testCommitted},
		{"Tickets", testTickets},
		{"Creators", testCreators},
		{"Concurrency", testConcurrency},
		{"List", testList},
		{"ListWhileWriting", testListWhileWriting},
		{"Reopen", testReopen},
	} {
		t.Run(suite.name, func(t *testing.T) {
			t.Parallel()
			suite.run(t, open)
		})
	}
}

// Clock is a clock that tests move.
type Clock struct{ at atomic.Int64 }

// NewClock returns a clock that stands at the beginning of 2026.
func NewClock() *Clock {
	c := &Clock{}
	c.at.Store(int64(session.TimeOf(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))))
	return c
}

// Now is a session.Clock.
func (c *Clock) Now() session.Time { return session.Time(c.at.Load()) }

// Advance moves the clock; a negative d moves it back.
func (c *Clock) Advance(d time.Duration) { c.at.Add(d.Microseconds()) }

// openFresh opens an empty store.
func openFresh(t *testing.T, open Opener) (session.Store, *Clock) {
	t.Helper()
	clock := NewClock()
	return open(t, Options{Dir: t.TempDir(), Now: clock.Now}), clock
}

// errTaken, errMissing and errQuota are what the decisions here refuse with.
var (
	errTaken   = errors.New("the id is taken")
	errMissing = errors.New("there is no such session")
	errQuota   = errors.New("the creator has enough sessions")
)

// Creation is a session to create.
type Creation struct {
	ID       string
	Spec     session.Spec
	Creator  string
	Quota    int           // how many sessions of its creator's making may exist; 0: any number
	Lifetime time.Duration // 0: for ever
	Secret   session.Secret
	Request  session.RequestKey
	Digest   session.Digest
}

// Create creates the session, and returns it as it was stored. An earlier write with the same Request is no error: the
// present session is then returned.
func (c *Creation) Create(ctx context.Context, store session.Store) (*session.Record, error) {
	var record *session.Record
	write := &session.Write{ID: c.ID, Request: c.Request, Size: 512, Decide: func(v *session.View) (session.Change, error) {
		if v.Earlier != nil {
			record = v.Current
			return session.Change{}, nil
		}
		if v.Current != nil {
			return session.Change{}, errTaken
		}
		if c.Quota != 0 && v.Created >= c.Quota {
			return session.Change{}, errQuota
		}
		record = c.record(v.Now)
		return session.Change{Kind: session.Create, Record: record, After: c.Spec.Principals(), Digest: c.Digest}, nil
	}}
	if c.Quota != 0 {
		write.Creator = c.Creator
	}
	if err := store.Write(ctx, write); err != nil {
		return nil, err
	}
	return record, nil
}

func (c *Creation) record(now session.Time) *session.Record {
	r := &session.Record{
		UID:         session.NewUID(now, rand.Uint64()),
		ID:          c.ID,
		Type:        c.Spec.Type,
		DisplayName: c.Spec.DisplayName,
		Creator:     c.Creator,
		CreateTime:  now,
		UpdateTime:  now,
		Secret:      c.Secret,
		Document:    c.Spec.AppendJSON(nil),
		Head:        session.Head{Sequence: 1},
	}
	if r.ID == "" {
		r.ID = r.UID.String()
	}
	if c.Lifetime != 0 {
		r.ExpireTime = now.Add(c.Lifetime)
	}
	return r
}

// Update changes a session's Spec, and returns it as it was stored.
func Update(ctx context.Context, store session.Store, id string, change func(*session.Spec)) (*session.Record, error) {
	var after *session.Record
	err := store.Write(ctx, &session.Write{ID: id, Decide: func(v *session.View) (session.Change, error) {
		if v.Current == nil {
			return session.Change{}, errMissing
		}
		result, err := updateOf(v, change)
		after = result.Record
		return result, err
	}})
	if err != nil {
		return nil, err
	}
	return after, nil
}

// updateOf is the change that changes the session's Spec.
func updateOf(v *session.View, change func(*session.Spec)) (session.Change, error) {
	before, err := v.Current.Spec()
	if err != nil {
		return session.Change{}, err
	}
	spec := *before
	spec.Owners, spec.AllowedUsers = slices.Clone(spec.Owners), slices.Clone(spec.AllowedUsers)
	change(&spec)
	after := *v.Current
	after.Type, after.DisplayName, after.UpdateTime = spec.Type, spec.DisplayName, v.Now
	after.Document = spec.AppendJSON(nil)
	return session.Change{Kind: session.Update, Record: &after, Before: before.Principals(), After: spec.Principals()}, nil
}

// End ends a session.
func End(ctx context.Context, store session.Store, id string) error {
	return store.Write(ctx, &session.Write{ID: id, Decide: func(v *session.View) (session.Change, error) {
		if v.Current == nil {
			return session.Change{}, errMissing
		}
		return ending(v, session.Digest{}), nil
	}})
}

// ending is the change that ends the session.
func ending(v *session.View, digest session.Digest) session.Change {
	return session.Change{
		Kind: session.End, Digest: digest,
		Events: []*session.Event{v.Current.Ended(session.SessionDeleted, "user-1", v.Now)},
	}
}

// must ends the test unless the write succeeded.
func must(t *testing.T) func(*session.Record, error) *session.Record {
	return func(r *session.Record, err error) *session.Record {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
}

// publicSpec is a small sound session.
func publicSpec(owners ...string) session.Spec {
	return session.Spec{Profile: "profiles/p", DisplayName: "Desk", Type: session.Public, Owners: owners, DefaultChannels: []int32{1}}
}

// fullSpec has something in every field.
func fullSpec() session.Spec {
	return session.Spec{
		Profile:         "profiles/concierge",
		DisplayName:     `Fröhliche "Réception" 🤖`,
		Type:            session.Private,
		Owners:          []string{"user-1", "üser \"2\""},
		DefaultChannels: []int32{1, 2, 7},
		Description:     "who helps\nwhom",
		AllowedUsers:    []string{"user-3"},
		BlockedUsers:    []string{"user-4"},
		Labels:          map[string]string{"tenant": "acme", "floor": ""},
		Options:         []byte(`{"theme":{"dark":true,"accents":["#fff",null,1.5]}}`),
	}
}

// wantSession checks what the store has under an id; a nil want: nothing.
func wantSession(t *testing.T, store session.Store, id string, want *session.Record) {
	t.Helper()
	got, _, err := store.Get(t.Context(), id, "")
	if err != nil {
		t.Fatalf("Get(%s): %v", id, err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("session %s (-want +got):\n%s", id, diff)
	}
}

// look runs a write that changes nothing, and returns what its decision saw.
func look(t *testing.T, store session.Store, id string, request session.RequestKey) session.View {
	t.Helper()
	var seen session.View
	err := store.Write(t.Context(), &session.Write{ID: id, Request: request, Decide: func(v *session.View) (session.Change, error) {
		seen = *v
		return session.Change{}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}
