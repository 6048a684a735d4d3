package tail

import (
	"container/list"
	"sync"
)

// budget bounds what all holders together have in memory, and takes it from those that were used longest ago.
type budget struct {
	limit int

	mu      sync.Mutex // guards the fields below and holder's; taken last, after a holder's own lock
	used    int
	holders *list.List // of *holder; the one that was used last is first
}

// holder is something that can be dropped.
type holder struct {
	evict func() // drops it, and calls budget.set to say so

	// Guarded by budget.mu.
	bytes int
	place *list.Element // nil: it holds nothing
}

func newBudget(limit int) *budget { return &budget{limit: limit, holders: list.New()} }

// set says how many bytes a holder has now, and that it was used. The caller holds the lock that guards what the holder
// has, so that two calls come in the order of the changes.
func (b *budget) set(h *holder, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used += bytes - h.bytes
	h.bytes = bytes
	switch {
	case bytes > 0 && h.place == nil:
		h.place = b.holders.PushFront(h)
	case bytes > 0:
		b.holders.MoveToFront(h.place)
	case h.place != nil:
		b.holders.Remove(h.place)
		h.place = nil
	}
}

// touch says that the holder was used.
func (b *budget) touch(h *holder) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if h.place != nil {
		b.holders.MoveToFront(h.place)
	}
}

// shrink drops holders until the rest is within the limit. The caller holds no lock.
func (b *budget) shrink() {
	for h := b.victim(); h != nil; h = b.victim() {
		h.evict()
	}
}

// victim is the holder to drop next; nil: none needs to be.
func (b *budget) victim() *holder {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used <= b.limit {
		return nil
	}
	return b.holders.Back().Value.(*holder)
}
