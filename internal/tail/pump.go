package tail

import (
	"math"
	"runtime"
	"sync"
)

// sweepChunk is how many watches a pump takes at a time while it holds a topic's lock.
const sweepChunk = 64

// pumps wake the watches of topics that have something new. They are few: were every watcher made ready at once, then
// requests would wait behind thousands of them.
type pumps struct {
	running sync.WaitGroup
	arrived *sync.Cond // by mu

	mu          sync.Mutex // guards the fields below, topic.queued and topic.next
	first, last *topic     // those that are to be swept, each once
	stopped     bool
}

func startPumps(n int) *pumps {
	p := &pumps{}
	p.arrived = sync.NewCond(&p.mu)
	for range n {
		p.running.Go(p.run)
	}
	return p
}

// stop ends the pumps when they have swept all that waits.
func (p *pumps) stop() {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	p.arrived.Broadcast()
	p.running.Wait()
}

// add has the topic swept, if it does not wait for that already. A topic that is being swept is swept once more.
func (p *pumps) add(t *topic) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.queued || p.stopped {
		return
	}
	t.queued = true
	if p.first == nil {
		p.first = t
	} else {
		p.last.next = t
	}
	p.last = t
	p.arrived.Signal()
}

// take waits for a topic to sweep; nil: there will be none.
func (p *pumps) take() *topic {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.first == nil && !p.stopped {
		p.arrived.Wait()
	}
	if p.first == nil {
		return nil
	}
	t := p.first
	p.first, t.next = t.next, nil
	t.queued = false
	return t
}

func (p *pumps) run() {
	var chunk [sweepChunk]*watch
	for t := p.take(); t != nil; t = p.take() {
		t.sweep(chunk[:])
	}
}

// sweep wakes the watches that wait. It goes from the newest to the oldest, because a watch that ends has the newest put
// in its place: that one was swept already, so none is left out.
func (t *topic) sweep(room []*watch) {
	for upTo := math.MaxInt; upTo > 0; {
		var chunk []*watch
		chunk, upTo = t.copyWatches(room, upTo)
		for _, w := range chunk {
			if w.ring() {
				runtime.Gosched() // who was woken writes now, and requests have their turn
			}
		}
		clear(chunk)
	}
}

// copyWatches copies the last watches before a place, and returns them and the place where they begin.
func (t *topic) copyWatches(room []*watch, upTo int) (chunk []*watch, from int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	end := min(upTo, len(t.watches))
	from = max(end-len(room), 0)
	return room[:copy(room, t.watches[from:end])], from
}
