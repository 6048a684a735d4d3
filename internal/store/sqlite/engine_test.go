package sqlite

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/storetest"
)

// inGroup runs the writes in one transaction, in their order, and returns the answers: their first waits in its
// decision until all others are queued.
func inGroup(t *testing.T, store *Store, writes []*session.Write) []error {
	t.Helper()
	begun, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	errs := make([]error, len(writes)+1)
	var group sync.WaitGroup
	group.Go(func() {
		errs[len(writes)] = store.Write(t.Context(), &session.Write{Decide: func(*session.View) (session.Change, error) {
			once.Do(func() {
				close(begun)
				<-release
			})
			return session.Change{}, nil
		}})
	})
	<-begun
	for i, w := range writes {
		group.Go(func() { errs[i] = store.Write(t.Context(), w) })
	}
	close(release)
	group.Wait()
	if err := errs[len(writes)]; err != nil {
		t.Errorf("the write that began the group: %v", err)
	}
	return errs[:len(writes)]
}

// create is a write that creates a session without looking whether its id is free.
func create(id string, spec session.Spec) *session.Write {
	return &session.Write{ID: id, Decide: func(v *session.View) (session.Change, error) {
		r := &session.Record{
			UID: session.NewUID(v.Now, 1), ID: id, Type: spec.Type, DisplayName: spec.DisplayName,
			CreateTime: v.Now, UpdateTime: v.Now, Document: spec.AppendJSON(nil), Head: session.Head{Sequence: 1},
		}
		return session.Change{Kind: session.Create, Record: r, After: spec.Principals()}, nil
	}}
}

var smallSpec = session.Spec{Profile: "p", DisplayName: "Desk", Type: session.Public, Owners: []string{"user-1"}}

// TestOneFailsAlone has a write fail in the middle of a group, in each way that a write can by itself.
func TestOneFailsAlone(t *testing.T) {
	defect := func(*session.View) (session.Change, error) { panic("a defect") }
	withRequest := create("taken", smallSpec)
	withRequest.Request = session.RequestKey{1}
	for _, c := range []struct {
		name string
		bad  *session.Write
		want string
	}{
		{"a decision that panics", &session.Write{ID: "bad", Decide: defect}, "panic in a write's decision: a defect"},
		{"a statement that breaks a constraint", create("taken", smallSpec), "UNIQUE"},
		{"a statement of several", withRequest, "UNIQUE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := openStore(t, Config{Dir: t.TempDir()})
			if err := store.Write(t.Context(), create("taken", smallSpec)); err != nil {
				t.Fatal(err)
			}
			writes := make([]*session.Write, 100)
			for i := range writes {
				writes[i] = create("s-"+strconv.Itoa(i), smallSpec)
			}
			writes[50] = c.bad
			for i, err := range inGroup(t, store, writes) {
				if i != 50 && err != nil {
					t.Errorf("write %d beside the bad one: %v", i, err)
				}
				if i == 50 && (err == nil || !strings.Contains(err.Error(), c.want) || !fault.Is(err, fault.Internal)) {
					t.Errorf("the bad write = %v, want an internal fault that says %q", err, c.want)
				}
			}
			wantSessions(t, store, 100)
			wantIndexed(t, store)
		})
	}
}

// TestDiskFull fills the file in the middle of a group.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	large := smallSpec
	large.Options = []byte(`{"x":"` + strings.Repeat("x", 60<<10) + `"}`)
	t.Run("full", func(t *testing.T) {
		store := openStore(t, Config{Dir: dir, MaxPages: 150})
		writes := make([]*session.Write, 60)
		for i := range writes {
			spec := smallSpec
			if i%2 == 1 {
				spec = large
			}
			writes[i] = create("s-"+strconv.Itoa(i), spec)
		}
		full := 0
		for i, err := range inGroup(t, store, writes) {
			record, _, readErr := store.Get(t.Context(), "s-"+strconv.Itoa(i), "")
			if readErr != nil {
				t.Fatalf("a read while the disk is full: %v", readErr)
			}
			if (record != nil) != (err == nil) {
				t.Errorf("write %d was answered %v, and is there: %v", i, err, record != nil)
			}
			if err == nil {
				continue
			}
			full++
			if f := fault.From(err); f.Kind != fault.Unavailable || f.Reason != "DISK_FULL" || f.RetryAfter == 0 {
				t.Errorf("write %d = %v (%s), want an Unavailable DISK_FULL", i, err, f.Reason)
			}
			if i%2 == 0 {
				t.Errorf("write %d is small, it would have fit: %v", i, err)
			}
		}
		if full == 0 || full == 30 {
			t.Errorf("%d of the 30 large writes found the disk full, want some", full)
		}
		wantSessions(t, store, 60-full)
		wantIndexed(t, store)
	})
	t.Run("room again", func(t *testing.T) {
		store := openStore(t, Config{Dir: dir})
		if err := store.Write(t.Context(), create("large", large)); err != nil {
			t.Error(err)
		}
		wantIndexed(t, store)
	})
}

func TestTimesAscendAcrossReopening(t *testing.T) {
	dir, clock := t.TempDir(), storetest.NewClock()
	last := session.Time(0)
	for _, how := range []string{"created", "updated", "ended"} {
		t.Run(how, func(t *testing.T) {
			store := openStore(t, Config{Dir: dir, Now: clock.Now})
			for range 3 {
				clock.Advance(-time.Hour)
				last = wantLater(t, store, how, last)
			}
		})
	}
}

// wantLater creates, updates or ends a session, and checks that this is later than what was before.
func wantLater(t *testing.T, store *Store, how string, last session.Time) (now session.Time) {
	t.Helper()
	record, err := (&storetest.Creation{Spec: smallSpec}).Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	if record.CreateTime <= last {
		t.Errorf("created at %v, not after %v", record.CreateTime, last)
	}
	err = store.Write(t.Context(), &session.Write{ID: record.ID, Decide: func(v *session.View) (session.Change, error) {
		now = v.Now
		if how == "ended" {
			return session.Change{Kind: session.End, Events: []*session.Event{v.Current.Ended(session.SessionDeleted, "", now)}}, nil
		}
		after := *v.Current
		if how == "created" {
			return session.Change{}, nil
		}
		after.UpdateTime = v.Now
		return session.Change{Kind: session.Update, Record: &after, Before: smallSpec.Principals(), After: smallSpec.Principals()}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if how == "created" {
		return record.CreateTime
	}
	return now
}

// TestCloseUnderLoad: each write is answered, and what was acknowledged is there.
func TestCloseUnderLoad(t *testing.T) {
	dir := t.TempDir()
	store, err := tryOpen(t, Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	const writers = 64
	acknowledged := make([]int, writers)
	running := make(chan struct{}, writers)
	var group sync.WaitGroup
	for writer := range writers {
		group.Go(func() {
			for {
				err := store.Write(context.Background(), create(strconv.Itoa(writer)+"-"+strconv.Itoa(acknowledged[writer]), smallSpec))
				if err != nil {
					if f := fault.From(err); f.Reason != "SHUTTING_DOWN" {
						t.Errorf("a write while the store closes: %v", err)
					}
					return
				}
				if acknowledged[writer]++; acknowledged[writer] == 5 {
					running <- struct{}{}
				}
			}
		})
	}
	for range writers {
		<-running
	}
	closeStore(t, store)
	group.Wait()

	store = openStore(t, Config{Dir: dir})
	total := 0
	for _, n := range acknowledged {
		total += n
	}
	wantSessions(t, store, total)
	wantIndexed(t, store)
}

func TestCanceledRead(t *testing.T) {
	store := openStore(t, Config{Dir: t.TempDir()})
	var held []*conn
	for range readerCount {
		held = append(held, <-store.readers)
	}
	defer func() {
		for _, c := range held {
			store.readers <- c
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := store.Get(ctx, "s", ""); !fault.Is(err, fault.Canceled) || !errors.Is(err, context.Canceled) {
		t.Errorf("Get = %v, want a fault of kind Canceled", err)
	}
}
