// Package commit shares transactions: it collects the writes of many goroutines into groups, has an Engine run each
// group in one transaction, and gives each writer its own answer once that transaction is durable. One disk flush then
// serves a whole group, which is what makes durable writes fast.
//
// The package knows nothing of the engine nor of what a write is. A store has one Committer for each connection that
// it writes on.
package commit

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// Engine runs groups of writes. Only the Committer's goroutine calls it, one Try at a time, so it needs no locks.
type Engine[W any] interface {
	// Try begins a transaction, runs in it the writes that next returns, in that order, and commits it. Next returns
	// false once the group is complete; an engine may stop asking earlier, what it did not take stays queued. Writes
	// that arrive meanwhile join the group, so an engine asks for a write when it is about to run it, or, if it runs
	// many in one statement, takes all first.
	//
	// A write that its own rule forbids is refused: the engine undoes what it did, calls refuse with its place in the
	// group (the first is 0) and a non-nil error for its writer, and goes on. A refusal depends on the group's
	// uncommitted state, so it counts only if the group commits.
	//
	// Try returns nil when the transaction is committed and durable: every write taken and not refused is then
	// acknowledged. It returns an error that wraps ErrNothingDone when the transaction certainly did not happen; the
	// same writes then come again, each alone, so running a write must change nothing outside the transaction. Any
	// other error means that the outcome is unknown. After an error the engine makes its connection fit for the next
	// Try, or fails that one.
	//
	// No context is passed: nothing a client does may interrupt the connection. An engine bounds its own statements.
	// It must not panic: whatever rules it calls, it turns their panics into refusals. A panic of Try ends the
	// process, since nobody knows what became of the transaction.
	//
	// Next and refuse belong to this call of Try, on its goroutine.
	Try(next func() (W, bool), refuse func(place int, err error)) error
}

// Options sets a Committer's limits. The zero value of each field is its default.
type Options[W any] struct {
	MaxQueued      int // writes that wait; 8,192
	MaxQueuedBytes int // the sum of their sizes; 64 MiB. An empty queue accepts a write of any size
	MaxPerKey      int // writes of one key that wait, so that none fills the queue; an eighth of MaxQueued

	MaxGroup      int           // writes in a transaction; 256
	MaxGroupBytes int           // the sum of their sizes; 1 MiB. A larger write goes alone
	MaxGroupTime  time.Duration // for how long a transaction takes in writes; 5 ms

	// Size is about how many bytes the write holds. Nil: 0. Both it and Key are called on the writer's goroutine.
	Size func(W) int

	// Key is what the write is fair by: its session. Empty, or a nil Key: only the whole queue limits it.
	Key func(W) string

	// Committed is given the writes of each transaction that were not refused, in commit order, after it is durable
	// and before any of its writers is answered. It runs on the Committer's goroutine, so it must be quick; the slice
	// is the Committer's again when it returns. It is not called when there are none. Nil: nothing is called.
	Committed func([]W)

	// Now is the clock of MaxGroupTime. Nil: time.Now.
	Now func() time.Time
}

// Committer runs writes in groups. It is used by any number of goroutines.
type Committer[W any] struct {
	options Options[W]
	engine  Engine[W]
	waiters sync.Pool // of *waiter[W]
	queue   *queue[W]
	stopped chan struct{} // closed when the goroutine of run has answered its last write

	// Only the goroutine of run uses these.
	group    group[W]
	previous int // how many writes the group before had
	next     func() (W, bool)
	refuse   func(int, error)
}

// New starts a Committer of the engine, which is the Committer's until Close returns nil.
func New[W any](engine Engine[W], options Options[W]) *Committer[W] {
	options.setDefaults()
	c := &Committer[W]{
		options: options,
		engine:  engine,
		queue:   newQueue[W](options.MaxQueued, options.MaxQueuedBytes, options.MaxPerKey),
		stopped: make(chan struct{}),
	}
	c.waiters.New = func() any { return &waiter[W]{done: make(chan struct{}, 1)} }
	c.next, c.refuse = c.nextWrite, c.refuseWrite
	go c.run()
	return c
}

// Submit runs the write in a transaction that it may share, and waits for the answer. Writes run in the order in which
// they were submitted; all that a caller did before Submit happens before the engine sees its write.
//
// Nil: the write is durable. The error that the engine refused it with, as it is: the rules forbid the write, decided
// on state that is durable. Otherwise nothing was done, except by a fault with the reason OUTCOME_UNKNOWN:
//
//   - Unavailable OUTCOME_UNKNOWN: the transaction failed in a way that leaves open whether it happened.
//   - Unavailable STORE_FAILED: the transaction failed. If the engine's error holds a fault, it is that error instead.
//   - Unavailable QUEUE_FULL, ResourceExhausted SESSION_BUSY: too many writes wait, in all or of this key.
//   - Unavailable SHUTTING_DOWN: after Close.
//   - Canceled, DeadlineExceeded: the context ended before the write began.
//
// The context counts only until the write has begun. From then on Submit waits for the answer, and the engine never
// sees the context.
func (c *Committer[W]) Submit(ctx context.Context, write W) error {
	if ctx.Err() != nil {
		return canceled(ctx)
	}
	w := c.newWaiter(write)
	defer c.free(w)
	if v := c.queue.push(w); v != accepted {
		return v.fault()
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		if c.queue.withdraw(w) {
			return canceled(ctx)
		}
		<-w.done
	}
	if errors.Is(w.err, errWithdrawn) {
		return canceled(ctx)
	}
	return w.err
}

// Close accepts no more writes, waits until each accepted one is answered and the Committer's goroutine has ended, and
// returns nil. If ctx ends first, then the writes that have not begun are answered that nothing was done, and Close
// returns an error: the engine may still be in use, until another Close returns nil. Close may be called repeatedly and
// by several goroutines.
func (c *Committer[W]) Close(ctx context.Context) error {
	c.queue.close()
	select {
	case <-c.stopped:
		return nil
	case <-ctx.Done():
	}
	c.queue.drop()
	select {
	case <-c.stopped:
		return nil
	default:
		return fmt.Errorf("commit: writes were still running or waiting: %w", context.Cause(ctx))
	}
}

// run commits group after group, until the queue is closed and empty.
func (c *Committer[W]) run() {
	defer c.stop()
	for {
		first := c.queue.wait()
		if first == nil {
			return
		}
		c.group.begin(first, c.options.Now())
		err := c.engine.Try(c.next, c.refuse)
		c.settle(err)
		c.previous = len(c.group.members)
		c.group.reset()
		runtime.Gosched() // who was just answered may submit again, and then there is no need to sleep
	}
}

// stop leaves nobody waiting, whatever ended run. After an orderly end there is nobody. If the engine or a hook
// panicked, then the group's outcome is unknown; the panic is not recovered, it goes on with its own stack and ends the
// process. (A goroutine can also end by runtime.Goexit, as tests do.)
func (c *Committer[W]) stop() {
	for _, w := range c.group.members {
		w.answer(outcomeUnknown(errEngineGone))
	}
	c.queue.close()
	c.queue.drop()
	close(c.stopped)
}

// nextWrite is the next of Engine.Try.
func (c *Committer[W]) nextWrite() (write W, ok bool) {
	g := &c.group
	if !g.taken {
		g.taken = true
		return g.members[0].write, true
	}
	w := c.join()
	if w == nil {
		g.complete = true
		return write, false
	}
	g.add(w)
	return w.write, true
}

// join takes the oldest write from the queue if the group has room for it.
func (c *Committer[W]) join() *waiter[W] {
	g := &c.group
	if g.complete || len(g.members) >= c.options.MaxGroup || c.options.Now().Sub(g.start) >= c.options.MaxGroupTime {
		return nil
	}
	room := c.options.MaxGroupBytes - g.bytes
	w, empty := c.queue.take(room)
	if empty {
		// Goroutines that are ready to run may be about to submit. One flush for them too beats a flush sooner.
		runtime.Gosched()
		w, _ = c.queue.take(room)
	}
	if w == nil && empty && g.gathers(c.previous) {
		time.Sleep(gatherTime) //nolint:forbidigo // it waits for nothing: it makes room for those who are on their way
		w, _ = c.queue.take(room)
	}
	return w
}

// refuseWrite is the refuse of Engine.Try.
func (c *Committer[W]) refuseWrite(place int, err error) { c.group.members[place].err = err }

func (c *Committer[W]) newWaiter(write W) *waiter[W] {
	w := c.waiters.Get().(*waiter[W])
	w.write = write
	w.size = c.options.Size(write)
	w.key = c.options.Key(write)
	return w
}

// free takes back a waiter that neither the queue nor a group holds.
func (c *Committer[W]) free(w *waiter[W]) {
	*w = waiter[W]{done: w.done}
	c.waiters.Put(w)
}

func (o *Options[W]) setDefaults() {
	setDefault(&o.MaxQueued, 8192)
	setDefault(&o.MaxQueuedBytes, 64<<20)
	setDefault(&o.MaxPerKey, max(o.MaxQueued/8, 1))
	setDefault(&o.MaxGroup, 256)
	setDefault(&o.MaxGroupBytes, 1<<20)
	setDefault(&o.MaxGroupTime, 5*time.Millisecond)
	if o.Size == nil {
		o.Size = func(W) int { return 0 }
	}
	if o.Key == nil {
		o.Key = func(W) string { return "" }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
