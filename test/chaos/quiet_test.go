//go:build linux

package chaos_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/pgtest"
	"github.com/parleyhq/parley/internal/store/postgres"
	"github.com/parleyhq/parley/internal/tail"
)

var operator = session.Caller{User: "operator", Admin: true}

// audience is a node, without its servers, and those who follow sessions on it.
type audience struct {
	t          *testing.T
	store      *postgres.Store
	service    *session.Service
	statements *atomic.Int64 // to the database
	streams    []*session.Stream
	woken      chan int // the number of the stream
}

// newAudience opens the node. No other tells it anything: it is on its own on a bus.
func newAudience(t *testing.T, database string, keys *session.KeyRing) *audience {
	t.Helper()
	a := &audience{t: t, statements: new(atomic.Int64), woken: make(chan int, 1)}
	p := newProxy(t, "unix", pgtest.Socket(database), a.statements)
	hub := tail.New(tail.Options{
		Log: logFunc(func(ctx context.Context, uid session.UID, after int64, limit, maxBytes int) (*session.Log, error) {
			return a.store.Log(ctx, uid, after, limit, maxBytes)
		}),
		Bus: deaf{}, Key: keys.Derive("announcements"), Spread: true,
	})
	var err error
	a.store, err = postgres.Open(t.Context(), postgres.Config{
		URL: pgtest.Through(database, p.address()), Keys: keys, Log: slog.New(slog.DiscardHandler), Committed: hub.Committed, Reached: hub.Head,
		FeedEvery: lookEvery, TidyEvery: lookEvery,
	})
	if err != nil {
		t.Fatal(err)
	}
	a.service = session.NewService(a.store, hub, keys)
	t.Cleanup(func() {
		for _, s := range a.streams {
			s.Close()
		}
		if err := a.store.Close(context.Background()); err != nil {
			t.Error(err)
		}
		hub.Close()
	})
	return a
}

// lookEvery is how often a node looks at the database here: what a quiet session cost would be paid so often.
const lookEvery = 100 * time.Millisecond

type logFunc func(ctx context.Context, uid session.UID, after int64, limit, maxBytes int) (*session.Log, error)

func (f logFunc) Log(ctx context.Context, uid session.UID, after int64, limit, maxBytes int) (*session.Log, error) {
	return f(ctx, uid, after, limit, maxBytes)
}

// deaf is a bus that loses everything.
type deaf struct{}

func (deaf) Announce(session.UID, []byte) {}
func (deaf) Alone() bool                  { return false }
func (deaf) Listen(session.UID, func([]byte)) (stop func(), err error) {
	return func() {}, nil
}

func quietID(i int) string { return fmt.Sprintf("quiet-%d", i) }

// each does something with each of the sessions, many at a time.
func (a *audience) each(sessions int, do func(ctx context.Context, i int, id string) error) {
	a.t.Helper()
	group, ctx := errgroup.WithContext(a.t.Context())
	group.SetLimit(64)
	for i := range sessions {
		group.Go(func() error { return do(ctx, i, quietID(i)) })
	}
	if err := group.Wait(); err != nil {
		a.t.Fatal(err)
	}
}

// create makes so many sessions.
func (a *audience) create(sessions int) {
	a.t.Helper()
	a.each(sessions, func(ctx context.Context, _ int, id string) error {
		_, err := a.service.Create(ctx, operator, session.CreateRequest{SessionID: id, Draft: &session.Draft{Spec: session.Spec{
			Profile: "p", DisplayName: "d", Type: session.Public, Owners: []string{"a"}, DefaultChannels: []int32{1},
		}}})
		return err
	})
}

// follow has so many of the sessions followed, each by one.
func (a *audience) follow(sessions int) {
	a.t.Helper()
	a.streams = make([]*session.Stream, sessions)
	a.each(sessions, func(ctx context.Context, i int, id string) (err error) {
		var following atomic.Bool
		a.streams[i], err = a.service.Subscribe(ctx, operator, session.SubscribeRequest{ID: id}, func() {
			if following.Load() {
				a.woken <- i
			}
		})
		if err != nil {
			return err
		}
		for state := session.StreamMore; state != session.StreamIdle; {
			if _, state = a.streams[i].Next(nil); state == session.StreamBlocked {
				err = a.streams[i].Advance(ctx)
			}
			if err != nil {
				return err
			}
		}
		following.Store(true)
		return nil
	})
}

// window is how long statements are counted.
const window = 10 * lookEvery

// cost is how many statements the node sends in a window while it is quiet: what came with the followers is over once that
// is about as many as in the windows before.
func (a *audience) cost() int64 {
	a.t.Helper()
	for alike, last := 0, int64(0); ; {
		before := a.statements.Load()
		a.wait(window)
		now := a.statements.Load() - before
		if now > 0 && about(now, last) && about(last, now) {
			alike++
		} else {
			alike = 0
		}
		if alike == 3 {
			return now
		}
		last = now
	}
}

// about tells whether a cost is no more than another, give or take a look at the database.
func about(cost, other int64) bool { return cost <= other+other/5+2 }

func (a *audience) wait(d time.Duration) {
	a.t.Helper()
	if err := wait(a.t.Context(), d); err != nil {
		a.t.Fatal(err)
	}
}

// What nobody writes to costs the database nothing, however many sessions are followed; and yet their followers are told
// when somebody writes of whom only the database tells.
func TestQuietSessionsCostTheDatabaseNothing(t *testing.T) {
	const few = 10
	database, keys := pgtest.Database(t), session.NewKeyRing()
	other := newAudience(t, database, keys)
	other.create(*quiet)

	small, large := newAudience(t, database, keys), newAudience(t, database, keys)
	small.follow(few)
	large.follow(*quiet)
	fewCost, manyCost := small.cost(), large.cost()
	// Those who have just come have the logs read again, which for so many is as steady a load for a while.
	for end := time.Now().Add(5 * time.Minute); !about(manyCost, fewCost) && time.Now().Before(end); {
		manyCost = large.cost()
	}
	t.Logf("in %s: %d statements with %d sessions, %d with %d", window, fewCost, few, manyCost, *quiet)
	if !about(manyCost, fewCost) {
		t.Errorf("%d quiet sessions cost %d statements, %d cost %d", *quiet, manyCost, few, fewCost)
	}

	last := *quiet - 1
	if _, err := other.service.Join(t.Context(), operator, session.JoinRequest{ID: quietID(last), Name: "a"}); err != nil {
		t.Fatal(err)
	}
	select {
	case i := <-large.woken:
		if i != last {
			t.Errorf("%s was woken, and the join was to %s", quietID(i), quietID(last))
		}
	case <-time.After(time.Minute):
		t.Error("nobody was told of a join")
	}
}
