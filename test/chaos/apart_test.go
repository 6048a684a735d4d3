//go:build linux

package chaos_test

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/followtest"
)

// Two nodes that cannot reach NATS tell their followers what the other one commits: from the database. One who was there
// before they were cut off hears it, and so does one who comes afterwards.
func TestNodesDeliverToEachOtherWithoutNATS(t *testing.T) {
	const messages = 10
	ctx, cancel := context.WithTimeout(t.Context(), roundLimit)
	defer cancel()
	c := newCluster(t, 2, false)
	here, there := newClient(c, "writer"), c.nodes[1]
	here.nodes = c.nodes[:1]
	maker := newClient(c, "")
	maker.nodes = here.nodes
	if _, err := maker.insist(ctx, http.MethodPost, "?sessionId=talk", draft("talk", document{})); err != nil {
		t.Fatal(err)
	}
	if _, err := here.insist(ctx, http.MethodPost, "/talk/join", document{}); err != nil {
		t.Fatal(err)
	}
	var following sync.WaitGroup
	followed, stopFollowing := context.WithCancel(ctx)
	defer func() {
		stopFollowing()
		following.Wait()
	}()
	follow := func(name string, transport followtest.Transport) *followtest.Follower {
		f := followtest.New(name, transport)
		following.Go(func() { f.Follow(followed, "talk", there.server) })
		if !f.Await(2, arriveLimit) {
			t.Fatalf("%s: hangs at %d", name, f.Head())
		}
		return f
	}
	followers := []*followtest.Follower{follow("from before", followtest.SSE)}
	for _, n := range c.nodes {
		for _, p := range n.nats {
			p.sever()
		}
	}
	for _, s := range c.nats {
		s.kill() // there is no other way to it either
	}
	followers = append(followers, follow("from after", followtest.GRPC))

	acknowledged, delays := make(map[string]int64), make([]time.Duration, 0, messages*len(followers))
	for i := range messages {
		text := "message " + strconv.Itoa(i)
		if _, err := here.insist(ctx, http.MethodPost, "/talk/messages", document{"message": document{"text": text}}); err != nil {
			t.Fatal(err)
		}
		committed, sequence := time.Now(), int64(3+i)
		acknowledged[text] = sequence
		for _, f := range followers {
			if !f.Await(sequence, arriveLimit) {
				t.Fatalf("%s: hangs at %d of %d", f.Name, f.Head(), sequence)
			}
			delays = append(delays, time.Since(committed))
		}
		pause(ctx, 500*time.Millisecond) // not always just after a look at the database
	}
	for _, f := range followers {
		f.Check(t, acknowledged)
		if f.Opened() > 1 {
			t.Errorf("%s: came back %d times", f.Name, f.Opened()-1)
		}
	}
	slices.Sort(delays)
	t.Logf("from acknowledged to heard on the other node: p50 %s, at most %s", delays[len(delays)/2], delays[len(delays)-1])
}
