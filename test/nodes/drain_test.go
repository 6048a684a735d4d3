package nodes_test

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/config"
)

// follower is a client that goes to the next node when its stream ends.
type follower struct {
	over   string
	events chan event // those of the log, and of the stream itself

	cursor string
}

// follow listens until ctx ends, first to one node and then to the others.
func (f *follower) follow(ctx context.Context, nodes []*node) {
	f.cursor = "beginning"
	for i := 0; ctx.Err() == nil; i++ {
		_ = formats[f.over](ctx, nodes[i%len(nodes)], from{session: "s", cursor: f.cursor, by: request{user: "ada"}}, func(e event) {
			if e.Cursor != "" {
				f.cursor = e.Cursor
			}
			f.events <- e
		})
	}
}

// TestWhoHeedsReadinessLosesNothingWhenANodeStops publishes to nodes that say that they are ready, and follows a stream from
// a node that stops to the next one. No request fails, and the stream has every event once.
func TestWhoHeedsReadinessLosesNothingWhenANodeStops(t *testing.T) {
	t.Parallel() // it takes its time
	c := startCluster(t, func(c *config.Config) { c.DrainDelay = 3 * time.Second })
	c.nodes[0].post(t, "ada", "?sessionId=s", draft(public))
	c.nodes[0].post(t, "ada", "/s/join", document{})
	ctx, cancel := context.WithCancel(t.Context())
	var followers []*follower
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	for over := range formats {
		f := &follower{over: over, events: make(chan event, 1<<20)}
		followers = append(followers, f)
		following.Go(func() { f.follow(ctx, c.nodes) })
	}

	var published atomic.Int64
	stopping := make(chan struct{})
	talked := make(chan struct{})
	go func() {
		defer close(talked)
		balanced := balancer{nodes: c.nodes}
		for after := 0; after < 30; {
			select {
			case <-stopping:
				select {
				case <-c.nodes[0].ended:
					after++
				default:
				}
			default:
			}
			balanced.pick(t).post(t, "ada", "/s/messages", document{"message": document{"text": "x"}})
			if published.Add(1) == 30 {
				close(stopping)
				c.nodes[0].stop()
			}
		}
	}()
	select {
	case <-talked:
	case <-time.After(2 * patience):
		t.Fatal("the talk does not end")
	}
	for _, f := range followers {
		f.check(t, published.Load()+2)
	}
}

// check reads the events up to the head: each once, and the node that stopped has said so.
func (f *follower) check(t *testing.T, head int64) {
	t.Helper()
	drained, last := 0, int64(0)
	for last < head {
		select {
		case e := <-f.events:
			switch {
			case e.Event == "server.draining":
				drained++
			case e.Event == "reset", e.Sequence > 0 && e.Sequence != last+1:
				t.Fatalf("over %s, after the event %d comes %+v", f.over, last, e)
			case e.Sequence > 0:
				last = e.Sequence
			}
		case <-time.After(patience):
			t.Fatalf("over %s, no event comes after %d of %d", f.over, last, head)
		}
	}
	if drained != 1 {
		t.Errorf("over %s, the stream was told to leave %d times, want 1", f.over, drained)
	}
}

// balancer passes requests to nodes that are ready, in turn.
type balancer struct {
	nodes []*node
	turn  int
	left  map[*node]bool // they were ready no more
}

func (b *balancer) pick(t *testing.T) *node {
	t.Helper()
	for range b.nodes {
		b.turn++
		n := b.nodes[b.turn%len(b.nodes)]
		if b.left[n] {
			continue
		}
		if n.probe(t, "/readyz") == http.StatusOK {
			return n
		}
		if b.left == nil {
			b.left = make(map[*node]bool)
		}
		b.left[n] = true
	}
	t.Fatal("no node is ready, of " + strconv.Itoa(len(b.nodes)))
	return nil
}
