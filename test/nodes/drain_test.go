package nodes_test

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/followtest"
)

// TestWhoHeedsReadinessLosesNothingWhenANodeStops publishes to nodes that say that they are ready, and follows a stream from
// a node that stops to the next one. No request fails, and the stream has every event once.
func TestWhoHeedsReadinessLosesNothingWhenANodeStops(t *testing.T) {
	t.Parallel() // it takes its time
	c := startCluster(t, func(c *config.Config) { c.DrainDelay = 3 * time.Second })
	c.nodes[0].post(t, "ada", "?sessionId=s", draft(public))
	c.nodes[0].post(t, "ada", "/s/join", document{})
	ctx, cancel := context.WithCancel(t.Context())
	var followers []*followtest.Follower
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	for _, over := range followtest.Transports {
		f, turn := followtest.New("over "+string(over), over), -1
		f.Header = as("ada")
		followers = append(followers, f)
		following.Go(func() {
			f.Follow(ctx, "s", func() followtest.Server { // first a node that stops, and then the others
				turn++
				return c.nodes[turn%size].server()
			})
		})
	}

	const before = 2 // events: the session was created, and ada joined
	acknowledged := make(map[string]int64)
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
			text := strconv.Itoa(len(acknowledged))
			balanced.pick(t).post(t, "ada", "/s/messages", document{"message": document{"text": text}})
			acknowledged[text] = int64(len(acknowledged)) + before + 1
			if len(acknowledged) == 30 {
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
		if head := int64(len(acknowledged) + before); !f.Await(head, patience) {
			t.Fatalf("%s: hangs at %d of %d", f.Name, f.Head(), head)
		}
		f.Check(t, acknowledged)
		if got := f.Drains(); got != 1 {
			t.Errorf("%s: the stream was told to leave %d times, want 1", f.Name, got)
		}
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
