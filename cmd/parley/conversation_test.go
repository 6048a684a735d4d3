package main

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/followtest"
)

// conversation is one session on a server that is killed and started again.
type conversation struct {
	t       *testing.T
	session string
	server  atomic.Pointer[server] // the present one

	mu           sync.Mutex // guards the fields below
	acknowledged map[string]int64
	more         chan struct{} // holds one: something was acknowledged since it was last looked
}

// publish says something until it is acknowledged, with one requestId.
func (c *conversation) publish(ctx context.Context, text string) {
	for ctx.Err() == nil {
		status, answer, err := c.server.Load().call(http.MethodPost, "/"+c.session+"/messages", //nolint:contextcheck // it is seen through
			document{"message": document{"text": text}, "requestId": text})
		if err != nil || status == http.StatusServiceUnavailable {
			continue // nobody knows whether it was published
		}
		if status != http.StatusOK {
			c.t.Errorf("publish: %d %v", status, answer)
			return
		}
		acknowledgment, _ := answer["acknowledgment"].(string)
		_, number, _ := strings.Cut(acknowledgment, ":")
		sequence, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			c.t.Errorf("acknowledgment = %q: %v", acknowledgment, err)
		}
		c.mu.Lock()
		c.acknowledged[text] = sequence
		c.mu.Unlock()
		ring(c.more)
		return
	}
}

// ring notes in a channel that holds one that there is something new.
func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (c *conversation) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.acknowledged)
}

// TestAConversationSurvives kills the server in the middle of a conversation, again and again. No acknowledged message
// is missing from any stream, and no text comes twice, although unanswered publishes are repeated.
func TestAConversationSurvives(t *testing.T) {
	kills := 10
	if testing.Short() {
		kills = 2
	}
	dir := t.TempDir()
	c := &conversation{t: t, session: "talk", acknowledged: make(map[string]int64), more: make(chan struct{}, 1)}
	c.server.Store(startServer(t, dir))
	spec := draft("talk")
	delete(spec, "secretKey")
	c.server.Load().mustPost("?sessionId=talk", spec)
	c.server.Load().mustPost("/talk/join", document{})

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var followers []*followtest.Follower
	var following, talking sync.WaitGroup
	for _, over := range followtest.Transports {
		f := followtest.New(string(over), over)
		followers = append(followers, f)
		following.Go(func() { f.Follow(ctx, "talk", func() followtest.Server { return c.server.Load().followed() }) })
	}
	talk, stopTalking := context.WithCancel(ctx)
	for i := range 8 {
		talking.Go(func() {
			for n := 0; talk.Err() == nil; n++ {
				c.publish(ctx, "p"+strconv.Itoa(i)+"-"+strconv.Itoa(n)) // the last one is seen through
			}
		})
	}
	for range kills {
		c.waitForMore(200)
		c.server.Load().kill()
		c.server.Store(startServer(t, dir))
	}
	c.waitForMore(200)
	stopTalking()
	talking.Wait()

	head := int64(0)
	for _, sequence := range c.acknowledged {
		head = max(head, sequence)
	}
	for _, f := range followers {
		if !f.Await(head, time.Minute) {
			t.Fatalf("%s: hangs at %d of %d", f.Name, f.Head(), head)
		}
	}
	cancel()
	following.Wait()
	for _, f := range followers {
		f.Check(t, c.acknowledged)
	}
	t.Logf("%d messages, %d kills", len(c.acknowledged), kills)
}

// waitForMore waits until so many more messages were acknowledged.
func (c *conversation) waitForMore(n int) {
	for until, deadline := c.count()+n, time.After(time.Minute); c.count() < until; {
		select {
		case <-c.more:
		case <-deadline:
			c.t.Fatalf("only %d of %d messages were acknowledged in a minute", c.count(), until)
		}
	}
}
