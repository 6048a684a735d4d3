package tail

import (
	"context"
	"sort"
	"sync"

	"github.com/parleyhq/parley/internal/session"
)

const (
	blockEvents   = 256
	maxBlockBytes = 1 << 20
	maxReads      = 4 // of the log at a time, so that those who catch up leave room for requests
)

// blocks reads the log for watchers who are behind. Those who are close to one another share what is read: a read begins
// at a multiple of blockEvents, and goes on to the next one unless it becomes too large. What can not change any more is
// kept.
type blocks struct {
	hub   *Hub
	slots chan struct{} // one for each read that is under way

	mu      sync.Mutex // guards the fields below
	cached  map[blockKey]*block
	flights map[blockKey]*flight
	begun   uint64 // flights so far
}

// blockKey is the sequence before a block.
type blockKey struct {
	uid   session.UID
	after int64
}

// block is a part of the log that has all of its events.
type block struct {
	log    *session.Log
	holder holder
}

// flight is a read that several may wait for.
type flight struct {
	number uint64        // by blocks.begun
	done   chan struct{} // closed when the two below are set
	log    *session.Log
	err    error
}

func newBlocks(h *Hub) *blocks {
	return &blocks{
		hub:     h,
		slots:   make(chan struct{}, maxReads),
		cached:  make(map[blockKey]*block),
		flights: make(map[blockKey]*flight),
	}
}

// load returns what comes after a sequence; or nothing, and then it was read after the call.
func (b *blocks) load(ctx context.Context, t *topic, after int64) (*session.Log, error) {
	from, asked := b.start(t.uid, after)
	for {
		log, number, err := b.get(ctx, t, blockKey{uid: t.uid, after: from})
		if err != nil {
			return nil, err
		}
		part := logAfter(log, after)
		switch {
		case len(part.Events) > 0:
			return part, nil
		case from < after && endsEarly(log): // the block became too large before it came to our place
			from = after
		case number > asked:
			return part, nil
		}
		// The read had begun before the call, so it may lack what was committed just before.
	}
}

// start returns where to begin to read, and how many reads have begun before the call.
func (b *blocks) start(uid session.UID, after int64) (from int64, asked uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cached[blockKey{uid: uid, after: after}] != nil {
		return after, b.begun
	}
	return after - after%blockEvents, b.begun
}

// get returns the block that is kept, or reads it. Number is that of the read, 0 if there was none.
func (b *blocks) get(ctx context.Context, t *topic, key blockKey) (log *session.Log, number uint64, err error) {
	kept, f := b.find(t, key)
	if kept != nil {
		return kept, 0, nil
	}
	if f == nil {
		return nil, 0, shuttingDown()
	}
	select {
	case <-f.done:
		return f.log, f.number, f.err
	case <-ctx.Done():
		return nil, 0, context.Cause(ctx)
	}
}

// find returns the block, or the flight that reads it. Neither: the Hub is closed.
func (b *blocks) find(t *topic, key blockKey) (*session.Log, *flight) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if kept := b.cached[key]; kept != nil {
		b.hub.budget.touch(&kept.holder)
		return kept.log, nil
	}
	f := b.flights[key]
	if f == nil && b.hub.begin() {
		b.begun++
		f = &flight{number: b.begun, done: make(chan struct{})}
		b.flights[key] = f
		go b.fly(t, key, f)
	}
	return nil, f
}

// fly reads a block for all who wait for it. It goes on when they have left, for those who come.
func (b *blocks) fly(t *topic, key blockKey, f *flight) {
	defer b.hub.work.Done()
	floor := t.knownHead()
	f.log, f.err = b.read(key.uid, key.after, blockEvents-int(key.after%blockEvents))
	if f.err == nil {
		t.consider(f.log, floor)
	}
	b.land(key, f)
	close(f.done)
	b.hub.budget.shrink()
}

// read reads from the log when its turn has come.
func (b *blocks) read(uid session.UID, after int64, limit int) (*session.Log, error) {
	ctx := b.hub.background
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, shuttingDown()
	}
	defer func() { <-b.slots }()
	return b.hub.options.Log.Log(ctx, uid, after, limit, maxBlockBytes)
}

// land ends a flight, and keeps what it brought if that is final.
func (b *blocks) land(key blockKey, f *flight) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.flights, key)
	if f.err != nil || !final(f.log, key.after) {
		return
	}
	kept := &block{log: f.log}
	kept.holder.evict = func() { b.evict(key, kept) }
	b.cached[key] = kept
	bytes := 0
	if r := f.log.Record; r != nil {
		bytes = len(r.Document)
	}
	for _, e := range f.log.Events {
		bytes += e.Size()
	}
	b.hub.budget.set(&kept.holder, bytes)
}

func (b *blocks) evict(key blockKey, kept *block) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.remove(key, kept)
}

// forget drops the blocks of a session whose log has gone back.
func (b *blocks) forget(uid session.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, kept := range b.cached {
		if key.uid == uid {
			b.remove(key, kept)
		}
	}
}

// remove drops a block. b.mu is held.
func (b *blocks) remove(key blockKey, kept *block) {
	if b.cached[key] == kept {
		delete(b.cached, key)
	}
	b.hub.budget.set(&kept.holder, 0)
}

// final tells whether a block can not have more events: it is full, or the log goes on after it.
func final(log *session.Log, after int64) bool {
	if len(log.Events) == 0 || log.Events[0].Sequence != after+1 {
		return false
	}
	return lastOf(log)%blockEvents == 0 || endsEarly(log)
}

// endsEarly tells whether the log goes on after the part's last event.
func endsEarly(log *session.Log) bool {
	head, found := headOf(log)
	return found && len(log.Events) > 0 && lastOf(log) < head
}

func lastOf(log *session.Log) int64 { return log.Events[len(log.Events)-1].Sequence }

// logAfter is the part of the log that comes after a sequence.
func logAfter(log *session.Log, after int64) *session.Log {
	part := *log
	n := sort.Search(len(part.Events), func(i int) bool { return part.Events[i].Sequence > after })
	part.Events = part.Events[n:]
	return &part
}
