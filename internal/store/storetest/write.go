package storetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
)

func testWrite(t *testing.T, open Opener) {
	t.Run("keeps every field", func(t *testing.T) {
		store, _ := openFresh(t, open)
		full := Creation{
			ID: "full", Spec: fullSpec(), Creator: "user-1", Lifetime: time.Hour,
			Secret: session.Secret{KeyID: 1<<32 - 1, Hash: []byte{0, 1, 0xff}},
		}
		wantSession(t, store, "full", must(t)(full.Create(t.Context(), store)))
		bare := Creation{Spec: publicSpec("user-1")}
		record := must(t)(bare.Create(t.Context(), store))
		wantSession(t, store, record.UID.String(), record)
	})
	t.Run("updates and ends", func(t *testing.T) {
		store, _ := openFresh(t, open)
		created := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		updated := must(t)(Update(t.Context(), store, "s", func(s *session.Spec) { *s = fullSpec() }))
		wantSession(t, store, "s", updated)
		if updated.UpdateTime <= created.UpdateTime || updated.UID != created.UID {
			t.Errorf("update: time %v after %v, uid %v after %v", updated.UpdateTime, created.UpdateTime, updated.UID, created.UID)
		}
		if err := End(t.Context(), store, "s"); err != nil {
			t.Fatal(err)
		}
		wantSession(t, store, "s", nil)
		if seen := look(t, store, "s", session.RequestKey{}); seen.Current != nil {
			t.Errorf("Current = %v after the end", seen.Current)
		}
		again := must(t)((&Creation{ID: "s", Spec: publicSpec("user-2")}).Create(t.Context(), store))
		wantSession(t, store, "s", again)
		if again.UID == created.UID {
			t.Error("the ended session's uid came back")
		}
	})
	t.Run("tells ids that clients chose from those that it made", func(t *testing.T) {
		store, _ := openFresh(t, open)
		made := must(t)((&Creation{Spec: publicSpec("user-1")}).Create(t.Context(), store))
		alike := session.NewUID(made.CreateTime, 1).String() // the same time in it
		wantSession(t, store, alike, nil)
		chosen := must(t)((&Creation{ID: alike, Spec: publicSpec("user-2")}).Create(t.Context(), store))
		wantSession(t, store, alike, chosen)
		wantSession(t, store, made.ID, made)
		wantSession(t, store, strings.ToUpper(made.ID), nil)
		if _, err := (&Creation{ID: made.ID, Spec: publicSpec("user-2")}).Create(t.Context(), store); !errors.Is(err, errTaken) {
			t.Errorf("creating under an id that was made: %v, want %v", err, errTaken)
		}
		if err := End(t.Context(), store, made.ID); err != nil {
			t.Fatal(err)
		}
		again := must(t)((&Creation{ID: made.ID, Spec: publicSpec("user-2")}).Create(t.Context(), store))
		wantSession(t, store, made.ID, again)
		wantSession(t, store, alike, chosen)
	})
	t.Run("finds nothing under a free id", func(t *testing.T) {
		store, _ := openFresh(t, open)
		wantSession(t, store, "s", nil)
		if seen := look(t, store, "s", session.RequestKey{}); seen.Current != nil || seen.Earlier != nil {
			t.Errorf("view = %+v, want it empty", seen)
		}
	})
	t.Run("a refusal is the writer's, and changes nothing", func(t *testing.T) {
		store, _ := openFresh(t, open)
		created := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		refusal := fault.New(fault.PermissionDenied, "NO", "no")
		err := store.Write(t.Context(), &session.Write{ID: "s", Decide: func(*session.View) (session.Change, error) {
			return session.Change{Kind: session.End}, refusal
		}})
		if !errors.Is(err, refusal) {
			t.Errorf("Write = %v, want the refusal", err)
		}
		wantSession(t, store, "s", created)
	})
	t.Run("a context that ended before", func(t *testing.T) {
		store, _ := openFresh(t, open)
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		late, cancelLate := context.WithDeadline(t.Context(), time.Unix(0, 0))
		defer cancelLate()
		for _, c := range []struct {
			ctx  context.Context //nolint:containedctx // it is the case
			kind fault.Kind
		}{{canceled, fault.Canceled}, {late, fault.DeadlineExceeded}} {
			if _, err := (&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(c.ctx, store); !fault.Is(err, c.kind) {
				t.Errorf("Write = %v, want a fault of kind %d", err, c.kind)
			}
		}
		wantSession(t, store, "s", nil)
	})
	t.Run("times ascend", func(t *testing.T) {
		store, clock := openFresh(t, open)
		last := session.Time(0)
		for i := range 20 {
			if i == 10 {
				clock.Advance(-time.Hour)
			}
			now := look(t, store, "", session.RequestKey{}).Now
			if now <= last {
				t.Fatalf("write %d has the time %v, after %v", i, now, last)
			}
			last = now
		}
	})
}

func testExpiry(t *testing.T, open Opener) {
	store, clock := openFresh(t, open)
	short := Creation{ID: "s", Spec: publicSpec("user-1"), Lifetime: time.Minute}
	first := must(t)(short.Create(t.Context(), store))
	clock.Advance(time.Minute - time.Second)
	wantSession(t, store, "s", first)
	wantIDs(t, store, &session.Query{All: true}, "s")

	clock.Advance(2 * time.Second)
	wantSession(t, store, "s", nil)
	wantIDs(t, store, &session.Query{All: true})
	if seen := look(t, store, "s", session.RequestKey{}); seen.Current != nil {
		t.Errorf("Current = %v after the deadline", seen.Current)
	}
	if err := End(t.Context(), store, "s"); !errors.Is(err, errMissing) {
		t.Errorf("End = %v, want %v", err, errMissing)
	}

	next := Creation{ID: "s", Spec: publicSpec("user-2"), Request: session.RequestKey{1}}
	second := must(t)(next.Create(t.Context(), store))
	wantSession(t, store, "s", second)
	if second.UID == first.UID {
		t.Error("the expired session's uid came back")
	}
	wantIDs(t, store, &session.Query{All: true}, "s")
}

func testRequests(t *testing.T, open Opener) {
	key, digest := session.RequestKey{1}, session.Digest{2}
	create := Creation{ID: "s", Spec: publicSpec("user-1"), Request: key, Digest: digest}

	t.Run("only success is kept", func(t *testing.T) {
		store, _ := openFresh(t, open)
		refuse := func(*session.View) (session.Change, error) { return session.Change{}, errMissing }
		if err := store.Write(t.Context(), &session.Write{ID: "s", Request: key, Decide: refuse}); !errors.Is(err, errMissing) {
			t.Fatal(err)
		}
		if seen := look(t, store, "s", key); seen.Earlier != nil {
			t.Errorf("a refused write left %v", seen.Earlier)
		}
		if seen := look(t, store, "s", key); seen.Earlier != nil {
			t.Errorf("a write that did nothing left %v", seen.Earlier)
		}
	})
	t.Run("also that there was nothing to do, if it says so", func(t *testing.T) {
		store, _ := openFresh(t, open)
		record := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		decide := func(*session.View) (session.Change, error) { return session.Change{Digest: digest}, nil }
		for _, id := range []string{"s", "none"} {
			if err := store.Write(t.Context(), &session.Write{ID: id, Request: key, Decide: decide}); err != nil {
				t.Fatal(err)
			}
		}
		if seen := look(t, store, "s", key); seen.Earlier == nil || seen.Earlier.UID != record.UID || seen.Earlier.Digest != digest {
			t.Errorf("Earlier = %+v, want the session and the digest", seen.Earlier)
		}
	})
	t.Run("names what was made", func(t *testing.T) {
		store, clock := openFresh(t, open)
		record := must(t)(create.Create(t.Context(), store))
		want := session.Earlier{UID: record.UID, Digest: digest, Time: record.CreateTime, Sequence: 1}
		for _, id := range []string{"s", "", "another"} {
			seen := look(t, store, id, key)
			if seen.Earlier == nil || *seen.Earlier != want {
				t.Errorf("Earlier of id %q = %v, want %v", id, seen.Earlier, want)
			}
			if seen.Current == nil || seen.Current.UID != record.UID {
				t.Errorf("Current of id %q = %v, want what the earlier write made", id, seen.Current)
			}
		}
		if seen := look(t, store, "s", session.RequestKey{9}); seen.Earlier != nil {
			t.Errorf("another request has Earlier = %v", seen.Earlier)
		}
		clock.Advance(24*time.Hour - time.Minute)
		if seen := look(t, store, "s", key); seen.Earlier == nil {
			t.Error("Earlier is gone within 24 hours")
		}
		clock.Advance(2 * time.Minute)
		if seen := look(t, store, "s", key); seen.Earlier != nil {
			t.Error("Earlier is there after 24 hours")
		}
	})
	t.Run("of a publish", func(t *testing.T) {
		store, _ := openFresh(t, open)
		record := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		publication := Publication{User: "user-1", Text: "a", Request: key, Digest: digest}
		event := mustPublish(t)(publication.Publish(t.Context(), store, "s"))
		say(t, store, "s", "user-1", "b")
		want := session.Earlier{UID: record.UID, Digest: digest, Time: event.Time, Sequence: 2}
		if seen := look(t, store, "s", key); seen.Earlier == nil || *seen.Earlier != want {
			t.Errorf("Earlier = %+v, want %+v", seen.Earlier, want)
		}
		if again := mustPublish(t)(publication.Publish(t.Context(), store, "s")); again != nil {
			t.Errorf("the same request again published %+v", again)
		}
		wantHead(t, store, record, session.Head{Sequence: 3, LastMessageTime: readLog(t, store, record.UID, 2).Events[0].Time})
	})
	t.Run("outlives the session and the id's next one", func(t *testing.T) {
		store, _ := openFresh(t, open)
		record := must(t)(create.Create(t.Context(), store))
		end := session.RequestKey{3}
		decide := func(v *session.View) (session.Change, error) { return ending(v, session.Digest{4}), nil }
		if err := store.Write(t.Context(), &session.Write{ID: "s", Request: end, Decide: decide}); err != nil {
			t.Fatal(err)
		}
		must(t)((&Creation{ID: "s", Spec: publicSpec("user-2")}).Create(t.Context(), store))
		for request, digest := range map[session.RequestKey]session.Digest{key: digest, end: {4}} {
			seen := look(t, store, "s", request)
			if seen.Earlier == nil || seen.Earlier.UID != record.UID || seen.Earlier.Digest != digest || seen.Current != nil {
				t.Errorf("view = %+v, want the ended session's uid, digest %v, and no Current", seen, digest)
			}
		}
	})
}
