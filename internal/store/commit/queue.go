package commit

import "sync"

// waiter is one write on its way, and the place where its writer waits.
type waiter[W any] struct {
	// Written by the writer before the waiter is queued.
	write W
	size  int
	key   string

	// Guarded by queue.mu.
	older, newer *waiter[W] // the neighbours in the queue
	queued       bool
	withdrawn    bool // the writer's context ended after the write had begun
	alone        bool // the write was in a group that failed, and is to be run by itself

	// err belongs to the Committer's goroutine while the write is not queued, then to who receives from done.
	err  error
	done chan struct{} // holds one: the write is answered
}

// answer wakes the writer. The waiter is the writer's again: nobody else may touch it afterwards.
func (w *waiter[W]) answer(err error) {
	w.err = err
	w.done <- struct{}{}
}

// queue holds the writes that wait, oldest first: a linked list, so that a writer who gives up frees its place at once.
type queue[W any] struct {
	maxWrites, maxBytes, maxPerKey int

	arrived *sync.Cond // by mu: for the Committer's goroutine, the only one to wait

	mu             sync.Mutex // guards the fields below, and the links and marks of all waiters
	oldest, newest *waiter[W]
	writes, bytes  int
	perKey         map[string]int // no zeros, no ""
	closed         bool           // nothing is accepted
	dropped        bool           // nothing is put back either
}

func newQueue[W any](maxWrites, maxBytes, maxPerKey int) *queue[W] {
	q := &queue[W]{
		maxWrites: maxWrites,
		maxBytes:  maxBytes,
		maxPerKey: maxPerKey,
		perKey:    make(map[string]int),
	}
	q.arrived = sync.NewCond(&q.mu)
	return q
}

// verdict is what the queue says to a write.
type verdict uint8

const (
	accepted verdict = iota
	stopping
	keyBusy
	full
)

// push queues the write as the newest, unless it is not accepted.
func (q *queue[W]) push(w *waiter[W]) verdict {
	q.mu.Lock()
	v := q.judge(w)
	if v == accepted {
		q.insert(w, q.newest, nil)
	}
	q.mu.Unlock()
	if v == accepted {
		q.arrived.Signal() // costs next to nothing unless the Committer sleeps
	}
	return v
}

// judge requires mu.
func (q *queue[W]) judge(w *waiter[W]) verdict {
	switch {
	case q.closed:
		return stopping
	case q.perKey[w.key] >= q.maxPerKey:
		return keyBusy
	case q.writes >= q.maxWrites, q.writes > 0 && q.bytes+w.size > q.maxBytes:
		return full
	default:
		return accepted
	}
}

// wait removes the oldest write, and waits for one if there is none. Nil: there will be none, the queue is closed.
func (q *queue[W]) wait() *waiter[W] {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.oldest == nil && !q.closed {
		q.arrived.Wait()
	}
	w := q.oldest
	if w != nil {
		q.remove(w)
	}
	return w
}

// take removes the oldest write if it has at most so many bytes; else it returns nil, and tells whether the queue is
// empty.
func (q *queue[W]) take(room int) (w *waiter[W], empty bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w = q.oldest
	if w == nil {
		return nil, true
	}
	if w.size > room {
		return nil, false
	}
	q.remove(w)
	return w, false
}

// withdraw removes the write if it is queued, and then it never runs. Otherwise it has begun, and false is returned:
// its writer is answered, if not sooner then when the write would be queued again.
func (q *queue[W]) withdraw(w *waiter[W]) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !w.queued {
		w.withdrawn = true
		return false
	}
	q.remove(w)
	return true
}

// putBack queues writes of a transaction that did not happen again, as the oldest and in their order, each to be run
// alone. They were accepted once, so the limits do not count. Those whose writers have given up are answered instead.
func (q *queue[W]) putBack(writes []*waiter[W]) {
	q.mu.Lock()
	defer q.mu.Unlock()
	next := q.oldest
	for _, w := range writes {
		switch {
		case q.dropped:
			w.answer(shuttingDown())
		case w.withdrawn:
			w.answer(errWithdrawn)
		default:
			w.err, w.alone = nil, true
			if next != nil {
				q.insert(w, next.older, next)
			} else {
				q.insert(w, q.newest, nil)
			}
		}
	}
}

// close accepts no more writes.
func (q *queue[W]) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.arrived.Signal()
}

// drop answers all that is queued, and from now on all that is put back, that nothing was done.
func (q *queue[W]) drop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped = true
	for q.oldest != nil {
		w := q.oldest
		q.remove(w)
		w.answer(shuttingDown())
	}
}

// insert requires mu. It puts the write between two neighbours; nil: there is none on that side.
func (q *queue[W]) insert(w, older, newer *waiter[W]) {
	w.older, w.newer, w.queued = older, newer, true
	if older != nil {
		older.newer = w
	} else {
		q.oldest = w
	}
	if newer != nil {
		newer.older = w
	} else {
		q.newest = w
	}
	q.count(w, 1)
}

// remove requires mu, and that the write is queued.
func (q *queue[W]) remove(w *waiter[W]) {
	if w.older != nil {
		w.older.newer = w.newer
	} else {
		q.oldest = w.newer
	}
	if w.newer != nil {
		w.newer.older = w.older
	} else {
		q.newest = w.older
	}
	w.older, w.newer, w.queued = nil, nil, false
	q.count(w, -1)
}

// count requires mu. It adds the write n times to the sums.
func (q *queue[W]) count(w *waiter[W], n int) {
	q.writes += n
	q.bytes += n * w.size
	if w.key == "" {
		return
	}
	if left := q.perKey[w.key] + n; left > 0 {
		q.perKey[w.key] = left
	} else {
		delete(q.perKey, w.key)
	}
}
