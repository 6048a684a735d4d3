package main

import (
	"maps"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ledger is what a server has acknowledged, by session id. Each id belongs to one worker at a time.
type ledger struct {
	mu      sync.Mutex
	kept    map[string]document // as the last acknowledged write left it; nil: it was deleted
	pending map[string]document // what was sent and not answered: the fields that were to change; nil: a delete
}

// worker writes until the server is gone.
type worker struct {
	*server
	*ledger

	acknowledged func()
}

// run creates sessions, and changes and deletes some of them.
func (w *worker) run(prefix string) {
	for i := 0; ; i++ {
		id := prefix + "-" + strconv.Itoa(i)
		if !w.write(http.MethodPost, "?sessionId="+id, id, draft(id)) {
			return
		}
		if i%3 == 1 && !w.write(http.MethodPatch, "/"+id+"?updateMask=displayName,owners", id,
			document{"displayName": "new " + id, "owners": []any{"user-9"}}) {
			return
		}
		if i%4 == 1 && !w.write(http.MethodDelete, "/"+id, id, nil) {
			return
		}
	}
}

// write sends one write, and notes its answer; false: there was none.
func (w *worker) write(method, path, id string, fields document) bool {
	var body any
	if fields != nil {
		body = fields
	}
	status, answer, err := w.call(method, path, body)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err != nil:
		w.pending[id] = fields
		return false
	case status != http.StatusOK:
		w.t.Errorf("%s %s: %d %v", method, path, status, answer)
		return false
	case method == http.MethodDelete:
		w.kept[id] = nil
	default:
		w.kept[id] = answer
	}
	w.acknowledged()
	return true
}

// check compares what a server has with what was acknowledged. A write that was not answered may have happened or not,
// but whole; what became of it is then noted.
func (l *ledger) check(t *testing.T, found map[string]document) {
	t.Helper()
	for id, fields := range l.pending {
		l.settle(t, id, fields, found[id])
	}
	clear(l.pending)
	for id, want := range l.kept {
		if diff := cmp.Diff(want, found[id]); diff != "" {
			t.Errorf("session %s (-acknowledged +found):\n%s", id, diff)
		}
	}
	for id := range found {
		if _, known := l.kept[id]; !known {
			t.Errorf("session %s was never asked for", id)
		}
	}
}

func (l *ledger) settle(t *testing.T, id string, fields, found document) {
	t.Helper()
	before, existed := l.kept[id]
	switch {
	case found == nil && existed && fields != nil:
		t.Errorf("session %s is gone after an update that was not answered", id)
	case found == nil || cmp.Equal(before, found):
	case fields == nil:
		t.Errorf("session %s is another one after a delete that was not answered:\n%s", id, cmp.Diff(before, found))
	default:
		want := maps.Clone(found)
		for name, value := range before {
			if name != "etag" && name != "updateTime" && name != "headSequence" {
				want[name] = value
			}
		}
		for name, value := range fields {
			if name != "secretKey" {
				want[name] = value
			}
		}
		if diff := cmp.Diff(want, found); diff != "" {
			t.Errorf("session %s after a write that was not answered (-sent +found):\n%s", id, diff)
		}
	}
	if found != nil || existed {
		l.kept[id] = found
	}
}

// TestKilled kills the server in the middle of a load, again and again, and finds what it acknowledged.
func TestKilled(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	l := &ledger{kept: make(map[string]document), pending: make(map[string]document)}
	for round := range rounds {
		s := startServer(t, dir)
		l.check(t, s.list())
		if t.Failed() {
			t.Fatalf("after %d kills", round)
		}
		killAfter, enough := int64(20+rand.IntN(400)), make(chan struct{})
		var count atomic.Int64
		var workers sync.WaitGroup
		for i := range 16 {
			w := &worker{server: s, ledger: l, acknowledged: func() {
				if count.Add(1) == killAfter {
					close(enough)
				}
			}}
			workers.Go(func() { w.run("r" + strconv.Itoa(round) + "-" + strconv.Itoa(i)) })
		}
		select {
		case <-enough:
		case <-s.ended:
			t.Errorf("the server ended by itself: %v\n%s", s.exit, &s.stderr)
		}
		s.kill()
		workers.Wait()
		if len(l.pending) == 0 {
			t.Errorf("kill %d was not in the middle of the load", round)
		}
	}
	s := startServer(t, dir)
	l.check(t, s.list())
	for id, want := range l.kept {
		if status, _, err := s.call(http.MethodGet, "/"+id, nil); err != nil || (status == http.StatusOK) != (want != nil) {
			t.Errorf("get %s: %d %v, acknowledged is %v", id, status, err, want)
		}
	}
}

// TestTerminated ends the server in the middle of a load, in good order: what was done was answered, and what was not
// answered was not done.
func TestTerminated(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir)
	const workers, enoughAnswers = 32, 500
	answered, unanswered := make([]int, workers), make([]string, workers)
	enough := make(chan struct{})
	var count atomic.Int64
	var group sync.WaitGroup
	for i := range workers {
		group.Go(func() {
			for {
				id := "w" + strconv.Itoa(i) + "-" + strconv.Itoa(answered[i])
				status, answer, err := s.call(http.MethodPost, "?sessionId="+id, draft(id))
				if err != nil || status != http.StatusOK {
					unanswered[i] = id
					if err == nil && status != http.StatusServiceUnavailable {
						t.Errorf("create while the server stops: %d %v", status, answer)
					}
					return
				}
				answered[i]++
				if count.Add(1) == enoughAnswers {
					close(enough)
				}
			}
		})
	}
	<-enough
	s.signal(syscall.SIGTERM)
	s.wait()
	group.Wait()
	if s.exit != nil {
		t.Errorf("exit: %v\n%s", s.exit, &s.stderr)
	}

	found := startServer(t, dir).list()
	total := 0
	for i, n := range answered {
		total += n
		for k := range n {
			if id := "w" + strconv.Itoa(i) + "-" + strconv.Itoa(k); found[id] == nil {
				t.Errorf("session %s was acknowledged and is gone", id)
			}
		}
		if found[unanswered[i]] != nil {
			t.Errorf("session %s was made, and its client got no answer", unanswered[i])
		}
	}
	if len(found) < total {
		t.Errorf("%d sessions, %d were acknowledged", len(found), total)
	}
}
