package commit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// ledger is an engine that fails at random, and keeps what really happened.
type ledger struct {
	done map[string]int // how often each write was committed
	all  []string       // in commit order
}

var errForbidden = errors.New("forbidden")

func (l *ledger) Try(next func() (string, bool), refuse func(int, error)) error {
	var group []string
	for i := 0; ; i++ {
		w, ok := next()
		if !ok {
			break
		}
		if rand.IntN(20) == 0 {
			refuse(i, errForbidden)
			continue
		}
		group = append(group, w)
	}
	switch rand.IntN(12) {
	case 0:
		return ErrNothingDone
	case 1:
		return ErrUnknown
	case 2:
		l.commit(group)
		return ErrUnknown
	default:
		l.commit(group)
		return nil
	}
}

func (l *ledger) commit(group []string) {
	for _, w := range group {
		l.done[w]++
	}
	l.all = append(l.all, group...)
}

// Whatever happens, each answer tells what happened to the write.
func TestAnswersAreTrue(t *testing.T) {
	const writers, each = 48, 300
	l := &ledger{done: make(map[string]int)}
	var told []string
	c := New(l, Options[string]{
		MaxQueued: writers * 3 / 4,
		MaxGroup:  16,
		Committed: func(writes []string) { told = append(told, writes...) },
	})
	var mu sync.Mutex // guards answers
	answers := make(map[string]error)
	var group sync.WaitGroup
	for writer := range writers {
		group.Go(func() {
			for i := range each {
				name := fmt.Sprintf("%d/%d", writer, i)
				err := submitAtRandom(c, name)
				mu.Lock()
				answers[name] = err
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	kinds := make(map[string]int)
	for name, err := range answers {
		kinds[checkAnswer(t, name, err, l.done[name])]++
	}
	if kinds["done"] == 0 {
		t.Errorf("no write was done, but %v", kinds)
	}
	if len(answers) != writers*each || len(told) > len(l.all) {
		t.Errorf("%d answers, %d writes told, %d committed", len(answers), len(told), len(l.all))
	}
	for _, name := range told {
		if answers[name] != nil {
			t.Errorf("%s was told to Committed, and answered %v", name, answers[name])
		}
	}
}

func submitAtRandom(c *Committer[string], name string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	switch rand.IntN(6) {
	case 0:
		go cancel()
	case 1:
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, rand.N(200*time.Microsecond))
		defer stop()
	}
	return c.Submit(ctx, name)
}

// checkAnswer compares the answer with how often the write was committed, and returns a name for it.
func checkAnswer(t *testing.T, name string, err error, commits int) string {
	t.Helper()
	want, kind := 0, "refused"
	switch {
	case err == nil:
		want, kind = 1, "done"
	case !errors.Is(err, errForbidden):
		kind = fault.From(err).Reason
	}
	if kind == "OUTCOME_UNKNOWN" {
		want = min(commits, 1)
	}
	if commits != want {
		t.Errorf("%s was answered %q (%v), and committed %d times", name, kind, err, commits)
	}
	return kind
}

func TestCloseUnderLoad(t *testing.T) {
	const writers = 64
	l := &countingEngine{ran: make(map[int64]bool)}
	c := New(l, Options[int64]{})
	var ids atomic.Int64
	started := make(chan struct{}, writers)
	acknowledged := make([]map[int64]bool, writers)
	var group sync.WaitGroup
	for i := range writers {
		acknowledged[i] = make(map[int64]bool)
		group.Go(func() {
			for {
				id := ids.Add(1)
				err := c.Submit(context.Background(), id)
				if err != nil {
					if reason := fault.From(err).Reason; reason != "SHUTTING_DOWN" {
						t.Errorf("Submit = %v, reason %s, want SHUTTING_DOWN", err, reason)
					}
					return
				}
				if acknowledged[i][id] = true; len(acknowledged[i]) == 100 {
					started <- struct{}{}
				}
			}
		})
	}
	for range writers {
		<-started
	}

	if err := c.Close(t.Context()); err != nil {
		t.Errorf("Close = %v, want nil", err)
	}
	group.Wait()

	all := make(map[int64]bool)
	for _, some := range acknowledged {
		maps.Copy(all, some)
	}
	if !maps.Equal(all, l.ran) {
		t.Errorf("%d writes acknowledged, %d run", len(all), len(l.ran))
	}
}

type countingEngine struct{ ran map[int64]bool }

func (e *countingEngine) Try(next func() (int64, bool), _ func(int, error)) error {
	for id, ok := next(); ok; id, ok = next() {
		e.ran[id] = true
	}
	return nil
}
