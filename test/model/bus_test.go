package model_test

import (
	"math/rand/v2"
	"sync"

	"github.com/parleyhq/parley/internal/session"
)

// bus is one that drops, delays, reorders and repeats what it is given.
type bus struct {
	mu        sync.Mutex // guards the fields below
	listeners map[session.UID]map[int]func([]byte)
	next      int
	held      []announcement
}

type announcement struct {
	uid  session.UID
	data []byte
}

func newBus() *bus { return &bus{listeners: make(map[session.UID]map[int]func([]byte))} }

// Announce implements tail.Bus.
func (b *bus) Announce(uid session.UID, data []byte) {
	a := announcement{uid, append([]byte(nil), data...)}
	switch rand.IntN(8) {
	case 0: // lost
	case 1, 2: // late
		b.mu.Lock()
		b.held = append(b.held, a)
		b.mu.Unlock()
	case 3: // twice
		b.pass(a)
		b.pass(a)
	default:
		b.pass(a)
	}
}

// pass has everyone who listens receive it.
func (b *bus) pass(a announcement) {
	b.mu.Lock()
	var receivers []func([]byte)
	for _, receive := range b.listeners[a.uid] {
		receivers = append(receivers, receive)
	}
	b.mu.Unlock()
	for _, receive := range receivers {
		receive(append([]byte(nil), a.data...))
	}
}

// deliver passes on what was late, in any order, all but so many.
func (b *bus) deliver(keep int) {
	b.mu.Lock()
	rand.Shuffle(len(b.held), func(i, j int) { b.held[i], b.held[j] = b.held[j], b.held[i] })
	keep = min(keep, len(b.held))
	late := append([]announcement(nil), b.held[keep:]...)
	b.held = b.held[:keep]
	b.mu.Unlock()
	for _, a := range late {
		b.pass(a)
	}
}

// Alone implements tail.Bus.
func (*bus) Alone() bool { return false }

// Listen implements tail.Bus.
func (b *bus) Listen(uid session.UID, receive func([]byte)) (stop func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	key := b.next
	if b.listeners[uid] == nil {
		b.listeners[uid] = make(map[int]func([]byte))
	}
	b.listeners[uid][key] = receive
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.listeners[uid], key)
	}, nil
}
