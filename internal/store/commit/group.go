package commit

import (
	"errors"
	"fmt"
	"time"
)

// group is the writes of the running transaction. Only the Committer's goroutine uses it.
type group[W any] struct {
	members  []*waiter[W] // in the order in which the engine gets them; none of them is queued
	bytes    int          // the sum of their sizes
	start    time.Time
	taken    bool // the engine has the first member; each later one is added as the engine takes it
	complete bool // no more join
	gathered bool // it has waited for more once

	committed []W // for Options.Committed; kept for its memory
}

// begin starts the group with its first write, which is there before the engine is asked to do anything: so each Try
// settles at least one write, even one that cannot begin a transaction.
func (g *group[W]) begin(first *waiter[W], now time.Time) {
	g.start = now
	g.complete = first.alone
	g.add(first)
}

func (g *group[W]) add(w *waiter[W]) {
	g.members = append(g.members, w)
	g.bytes += w.size
}

// Who was answered together comes back together. A group that begins with the first of them waits once, and very
// briefly, for the others: else it would flush for few, and the others wait for that flush and then for their own.
const (
	gatherTime = 50 * time.Microsecond
	gatherMany = 16 // so many writes in the group before tell that there are others
)

// gathers tells whether the group is to wait for more now: it has less than half of what the one before had, and has
// not waited yet.
func (g *group[W]) gathers(previous int) bool {
	if g.gathered || previous < gatherMany || 2*len(g.members) >= previous {
		return false
	}
	g.gathered = true
	return true
}

// reset forgets the members, who are answered or queued again by now, and keeps the memory.
func (g *group[W]) reset() {
	clear(g.members)
	*g = group[W]{members: g.members[:0], committed: g.committed}
}

// settle does with the members what the result of Try, err, asks for.
func (c *Committer[W]) settle(err error) {
	g := &c.group
	switch {
	case !g.taken:
		g.members[0].answer(failed(errors.Join(errNotTaken, err)))
	case err == nil:
		c.acknowledge()
	case !nothingDone(err):
		for _, w := range g.members {
			w.answer(outcomeUnknown(err))
		}
	case len(g.members) == 1:
		g.members[0].answer(failed(err))
	default:
		c.queue.putBack(g.members)
	}
}

// acknowledge gives each member of a committed group its answer.
func (c *Committer[W]) acknowledge() {
	g := &c.group
	if c.options.Committed != nil {
		g.announce(c.options.Committed)
	}
	for _, w := range g.members {
		w.answer(w.err)
	}
}

func (g *group[W]) announce(committed func([]W)) {
	for _, w := range g.members {
		if w.err == nil {
			g.committed = append(g.committed, w.write)
		}
	}
	if len(g.committed) > 0 {
		committed(g.committed)
	}
	clear(g.committed)
	g.committed = g.committed[:0]
}

// What an engine's error says about the whole transaction.
var (
	// ErrNothingDone is wrapped by an error of Engine.Try after which the transaction certainly has not happened and
	// never will.
	ErrNothingDone = errors.New("nothing was done")

	// ErrUnknown is wrapped by an error of Engine.Try after which the transaction may have happened. It says so for
	// the log; an error that wraps neither means the same, and one that wraps both does too.
	ErrUnknown = errors.New("the outcome is unknown")
)

var (
	errEngineGone = fmt.Errorf("%w: the engine did not return", ErrUnknown)
	errNotTaken   = fmt.Errorf("%w: the engine took no write", ErrNothingDone)
)

func nothingDone(err error) bool {
	return errors.Is(err, ErrNothingDone) && !errors.Is(err, ErrUnknown)
}
