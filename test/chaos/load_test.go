//go:build linux

package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	talkCount = 4 // sessions in which much is said
	roomCount = 2 // sessions with maxMembers, at a time
	deskCount = 2 // ids that everybody wants, at a time
)

// load is what clients do in one round, and what they were told.
type load struct {
	t       *testing.T
	cluster *cluster
	prefix  string // of all ids
	talks   []*talk

	ids, rooms, desks, operations, unknowns atomic.Int64 // how many there were
}

// newID is an id that nobody has used.
func (l *load) newID(what string) string {
	return fmt.Sprintf("%s-%s-%d", l.prefix, what, l.ids.Add(1))
}

// create makes a session, whatever it takes, and returns its id.
func (l *load) create(ctx context.Context, what string, options document) (string, error) {
	id := l.newID(what)
	_, err := newClient(l.cluster, "").insist(ctx, http.MethodPost, "?sessionId="+id+"&requestId="+id, draft(id, options))
	return id, err
}

// run has all clients at work until working ends, and returns when the last of them has finished what it was at. What they
// were at is cut short by ctx alone.
func (l *load) run(ctx, working context.Context) {
	var clients sync.WaitGroup
	client := func(work func() error) {
		clients.Go(func() {
			if err := work(); err != nil && ctx.Err() == nil {
				l.t.Error(err)
			}
		})
	}
	for _, talk := range l.talks {
		for i := range writersPerTalk {
			client(func() error { return l.write(ctx, working, talk, i) })
		}
		client(func() error { return l.read(ctx, working, talk) })
	}
	for range roomCount {
		client(func() error { return l.useRooms(ctx, working) })
	}
	for range deskCount {
		client(func() error { return l.useDesks(ctx, working) })
	}
	clients.Wait()
}

// pause waits for some time, unless ctx ends.
func pause(ctx context.Context, most time.Duration) { _ = wait(ctx, rand.N(most)) }

// many runs the same for so many clients, and returns the first error.
func many(n int, work func(i int) error) error {
	errs := make([]error, n)
	var working sync.WaitGroup
	for i := range n {
		working.Go(func() { errs[i] = work(i) })
	}
	working.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
