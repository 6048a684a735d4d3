//go:build linux

package chaos_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/followtest"
)

const (
	writersPerTalk   = 2
	followersPerTalk = 2
)

// talk is a session in which much is said, and those who listen.
type talk struct {
	id        string
	began     time.Time
	followers []*followtest.Follower

	mu           sync.Mutex // guards the fields below
	acknowledged map[string]int64
	said         []said
}

func (k *talk) now() int64 { return int64(time.Since(k.began)) }

func (k *talk) note(text string, s said) {
	s.returned = k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.said = append(k.said, s)
	if !s.looked {
		k.acknowledged[text] = s.sequence
	}
}

func writer(i int) string { return "writer-" + strconv.Itoa(i) }

// open makes the talks, and has them followed until ctx ends: by each transport, by some who leave for another node after
// a while and by some who stay until they are cut off.
func (l *load) open(ctx context.Context, following *sync.WaitGroup) error {
	for i := range talkCount {
		id, err := l.create(ctx, "talk", document{})
		if err != nil {
			return err
		}
		k := &talk{id: id, began: time.Now(), acknowledged: make(map[string]int64)}
		for w := range writersPerTalk {
			if _, err := newClient(l.cluster, writer(w)).insist(ctx, http.MethodPost, "/"+id+"/join", document{}); err != nil {
				return err
			}
		}
		for j := range followersPerTalk {
			over := followtest.Transports[(i+2*j)%len(followtest.Transports)]
			f := followtest.New(id+" over "+string(over), over)
			if (i/2+j)%2 == 0 {
				f.Name += ", moving"
				f.Stay = func() time.Duration { return 100*time.Millisecond + rand.N(3*time.Second) }
			}
			following.Go(func() { f.Follow(ctx, id, newClient(l.cluster, "").elsewhere) })
			k.followers = append(k.followers, f)
		}
		l.talks = append(l.talks, k)
	}
	return nil
}

// write says one thing after the other, each until it is acknowledged.
func (l *load) write(ctx, working context.Context, k *talk, i int) error {
	c := newClient(l.cluster, writer(i))
	for n := 0; working.Err() == nil; n++ {
		text, called := writer(i)+" says "+strconv.Itoa(n), k.now()
		b, err := c.insist(ctx, http.MethodPost, "/"+k.id+"/messages", document{
			"message": document{"text": text}, "requestId": strings.ReplaceAll(text, " ", "-"),
		})
		if err != nil {
			return err
		}
		_, number, _ := strings.Cut(b.Acknowledgment, ":")
		sequence, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return fmt.Errorf("acknowledgment %q: %w", b.Acknowledgment, err)
		}
		k.note(text, said{called: called, sequence: sequence})
		pause(working, 40*time.Millisecond)
	}
	return nil
}

// read looks at the head, and reads all messages page by page: each page from another node.
func (l *load) read(ctx, working context.Context, k *talk) error {
	c := newClient(l.cluster, "")
	for working.Err() == nil {
		called := k.now()
		b, err := c.insist(ctx, http.MethodGet, "/"+k.id, nil)
		if err != nil {
			return err
		}
		k.note("", said{called: called, sequence: b.HeadSequence, looked: true})
		if err := k.readAll(ctx, c); err != nil {
			return err
		}
		pause(working, 500*time.Millisecond)
	}
	return nil
}

// readAll fails unless the pages have, in order and without a hole, all that was acknowledged when it began.
func (k *talk) readAll(ctx context.Context, c *client) error {
	k.mu.Lock()
	before := maps.Clone(k.acknowledged)
	k.mu.Unlock()
	found, token, last := make(map[string]int64), "", int64(0)
	for {
		b, err := c.insist(ctx, http.MethodGet, "/"+k.id+"/messages?pageSize=500&pageToken="+token, nil)
		if err != nil {
			return err
		}
		for _, m := range b.Messages {
			if last != 0 && m.Sequence != last+1 {
				return fmt.Errorf("%s: in the pages, %d comes after %d", k.id, m.Sequence, last)
			}
			last, found[m.Text] = m.Sequence, m.Sequence
		}
		if token = b.NextPageToken; token == "" {
			break
		}
	}
	for text, sequence := range before {
		if found[text] != sequence {
			return fmt.Errorf("%s: %q was acknowledged at %d, and is in the pages at %d (0: not)", k.id, text, sequence, found[text])
		}
	}
	return nil
}

// arriveLimit is how long a follower may take to come to the head when all is well again.
const arriveLimit = 2 * time.Minute

// checkTalks compares what everybody was told of the talks.
func (l *load) checkTalks(ctx context.Context) {
	l.t.Helper()
	for _, k := range l.talks {
		head := int64(0)
		for _, sequence := range k.acknowledged {
			head = max(head, sequence)
		}
		if len(k.acknowledged) == 0 {
			l.t.Errorf("%s: nothing was acknowledged", k.id)
		}
		if pair := outOfOrder(k.said); pair != nil {
			l.t.Errorf("%s: the log has %+v after %+v", k.id, pair[0], pair[1])
		}
		reference, err := l.checkNodes(ctx, k, head)
		if err != nil {
			l.t.Error(err)
			continue
		}
		for _, f := range k.followers {
			if !f.Await(head, arriveLimit) {
				l.t.Errorf("%s: hangs at %d of %d", f.Name, f.Head(), head)
				continue
			}
			f.Check(l.t, k.acknowledged)
			if diff := cmp.Diff(reference, f.Events()); diff != "" {
				l.t.Errorf("%s (-log +heard):\n%s", f.Name, diff)
			}
		}
	}
}

// checkNodes compares what each node tells of the talk, and returns the log.
func (l *load) checkNodes(ctx context.Context, k *talk, head int64) ([]followtest.Event, error) {
	var reference []followtest.Event
	for _, n := range l.cluster.nodes {
		only := *newClient(l.cluster, "")
		only.nodes = []*node{n}
		b, err := only.insist(ctx, http.MethodGet, "/"+k.id, nil)
		if err != nil {
			return nil, err
		}
		if b.HeadSequence != head || b.MemberCount != writersPerTalk {
			return nil, fmt.Errorf("%s: %s has the head %d and %d members, want %d and %d",
				k.id, n.name, b.HeadSequence, b.MemberCount, head, writersPerTalk)
		}
		if err := k.readAll(ctx, &only); err != nil {
			return nil, fmt.Errorf("%s: %w", n.name, err)
		}
		events, err := readLog(ctx, k.id, head, n.server)
		if err != nil {
			return nil, err
		}
		if diff := cmp.Diff(events, reference); reference != nil && diff != "" {
			return nil, fmt.Errorf("%s: %s has another log than the node before:\n%s", k.id, n.name, diff)
		}
		reference = events
	}
	messages := 0
	for _, e := range reference {
		if e.Event == "message" {
			messages++
		}
	}
	if messages != len(k.acknowledged) {
		return nil, fmt.Errorf("%s: the log has %d messages, and %d were acknowledged", k.id, messages, len(k.acknowledged))
	}
	return reference, nil
}

// readLog reads a session's log up to a sequence.
func readLog(ctx context.Context, id string, head int64, present func() followtest.Server) ([]followtest.Event, error) {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	f := followtest.New(id, followtest.NDJSON)
	var following sync.WaitGroup
	following.Go(func() { f.Follow(reading, id, present) })
	arrived := f.Await(head, arriveLimit)
	cancel()
	following.Wait()
	if !arrived {
		return nil, fmt.Errorf("the log of %s: hangs at %d of %d", id, f.Head(), head)
	}
	return f.Events()[:head], nil
}
