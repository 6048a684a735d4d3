package tail

import (
	"crypto/cipher"
	"sync"

	"github.com/parleyhq/parley/internal/session"
)

// maxOutboxBytes is how much may wait to be announced. Beyond it announcements are lost, as on a bus that fails.
const maxOutboxBytes = 16 << 20

// outbox announces on a goroutine of its own, in the order in which it was given things: encoding and a slow bus shall
// not hold up commits.
type outbox struct {
	node    nodeID
	sealer  cipher.AEAD
	bus     Bus
	number  uint64 // of the announcement before; the goroutine's
	arrived *sync.Cond
	ended   chan struct{} // closed when the goroutine is

	mu      sync.Mutex // guards the fields below
	waiting []parcel
	bytes   int
	stopped bool
}

// parcel is an event, or else the body of an announcement of presence.
type parcel struct {
	event    *session.Event
	presence []byte
}

func startOutbox(node nodeID, key []byte, bus Bus) *outbox {
	o := &outbox{node: node, sealer: cipherOf(key, node), bus: bus, ended: make(chan struct{})}
	o.arrived = sync.NewCond(&o.mu)
	go o.run()
	return o
}

// add announces events.
func (o *outbox) add(events []*session.Event) {
	if o.bus.Alone() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range events {
		o.put(parcel{event: e}, e.Size())
	}
}

// addPresence announces who watches.
func (o *outbox) addPresence(body []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.put(parcel{presence: body}, len(body))
}

// put queues one parcel. o.mu is held.
func (o *outbox) put(p parcel, bytes int) {
	if o.stopped || o.bytes > maxOutboxBytes {
		return
	}
	o.bytes += bytes
	o.waiting = append(o.waiting, p)
	o.arrived.Signal()
}

// stop returns when what waits has been announced.
func (o *outbox) stop() {
	o.mu.Lock()
	o.stopped = true
	o.mu.Unlock()
	o.arrived.Signal()
	<-o.ended
}

func (o *outbox) run() {
	defer close(o.ended)
	var parcels []parcel
	for {
		parcels = o.take(parcels)
		if len(parcels) == 0 {
			return
		}
		for _, p := range parcels {
			o.send(p)
		}
	}
}

// take waits for parcels and returns them all, in exchange for a slice that is done with. None: it was stopped.
func (o *outbox) take(done []parcel) []parcel {
	clear(done)
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.waiting) == 0 && !o.stopped {
		o.arrived.Wait()
	}
	taken := o.waiting
	o.waiting, o.bytes = done[:0], 0
	return taken
}

func (o *outbox) send(p parcel) {
	o.number++
	a := announcement{what: aPresence, node: o.node, number: o.number, body: p.presence}
	if p.event != nil {
		a.what, a.uid, a.event, a.sequence = announcedAs(p.event), p.event.UID, p.event, p.event.Sequence
	}
	o.bus.Announce(a.uid, a.encode(o.sealer))
}
