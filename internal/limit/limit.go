// Package limit bounds what one user, and one address, may ask of the server: how often, and how much at a time.
package limit

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// Config says what the limits are; 0: none. Rates are a second; twice as much may come at once.
type Config struct {
	Requests  int // of a user, all together
	Creates   int // of a user
	Publishes int // of a user
	Streams   int // that a user opens
	Address   int // requests of an address, whoever asks

	OpenStreams   int // of a user, at a time
	BytesInFlight int // of a user's request bodies, at a time
}

// Class is what a request counts as, besides a request.
type Class uint8

// The classes.
const (
	Request Class = iota // nothing else
	Create
	Publish
	Stream // opens a stream

	classes
)

// Limiter holds the limits. A nil Limiter has none. It is safe for concurrent use.
type Limiter struct {
	start     time.Time
	users     *table[string]
	addresses *table[addressKey]
	uses      *uses
}

// New returns a Limiter.
func New(c Config) *Limiter {
	return &Limiter{
		start: time.Now(),
		users: newTable[string](rates{
			Request: newRate(c.Requests, "requests of a user are limited to %d a second"),
			Create:  newRate(c.Creates, "sessions that a user creates are limited to %d a second"),
			Publish: newRate(c.Publishes, "messages that a user publishes are limited to %d a second"),
			Stream:  newRate(c.Streams, "streams that a user opens are limited to %d a second"),
		}),
		addresses: newTable[addressKey](rates{Request: newRate(c.Address, "requests of an address are limited to %d a second")}),
		uses:      newUses(c.OpenStreams, int64(c.BytesInFlight)),
	}
}

// now is the time since the Limiter was made, by a clock that nobody sets.
func (l *Limiter) now() int64 { return int64(time.Since(l.start)) }

// Take counts a request of a user: as one, and as one of its class. What is refused counts as neither, so that a client
// which keeps trying gets no less than the limit.
//
// Its fault is ResourceExhausted RATE_LIMITED, which says which limit it is and when to ask again.
func (l *Limiter) Take(user string, class Class) error {
	if l == nil {
		return nil
	}
	return l.users.take(user, class, l.now())
}

// TakeAddress counts a request of an address. Of IPv6 a network of 64 bits is one address: that is what one customer
// gets. An address that is not known is not limited.
//
// Its fault is that of Take.
func (l *Limiter) TakeAddress(address netip.Addr) error {
	if l == nil || !address.IsValid() {
		return nil
	}
	return l.addresses.take(keyOf(address), Request, l.now())
}

// addressKey is an address as its limit has it.
type addressKey [16]byte

func keyOf(address netip.Addr) addressKey { return NetworkOf(address).As16() }

// NetworkOf is the address that stands for all those which TakeAddress has for one.
func NetworkOf(address netip.Addr) netip.Addr {
	address = address.Unmap()
	if !address.Is6() {
		return address
	}
	network := address.As16()
	clear(network[8:])
	return netip.AddrFrom16(network)
}

// OpenStream counts a stream of a user that is about to be opened; CloseStream ends it.
//
// Its fault is ResourceExhausted QUOTA_STREAMS.
func (l *Limiter) OpenStream(user string) error {
	if l == nil {
		return nil
	}
	return l.uses.openStream(user)
}

// CloseStream ends a stream that OpenStream has let in.
func (l *Limiter) CloseStream(user string) {
	if l != nil {
		l.uses.closeStream(user)
	}
}

// TakeBytes counts bytes of a user's request body; ReleaseBytes lets go of them. One body by itself is always taken: it
// has a limit of its own.
//
// Its fault is ResourceExhausted QUOTA_BYTES.
func (l *Limiter) TakeBytes(user string, count int64) error {
	if l == nil {
		return nil
	}
	return l.uses.takeBytes(user, count)
}

// ReleaseBytes lets go of bytes that TakeBytes has let in.
func (l *Limiter) ReleaseBytes(user string, count int64) {
	if l != nil {
		l.uses.releaseBytes(user, count)
	}
}

// rate is that of a bucket of tokens. A bucket is kept as the time at which it is full again: each token that is taken
// makes that later by the interval, and it may not be later than burst from now.
type rate struct {
	interval int64 // in nanoseconds; 0: no limit
	burst    int64 // likewise
	message  string
}

// rates are those of the buckets of one key.
type rates [classes]rate

func newRate(perSecond int, message string) rate {
	if perSecond <= 0 {
		return rate{}
	}
	interval := max(int64(time.Second)/int64(perSecond), 1)
	return rate{interval: interval, burst: 2 * int64(perSecond) * interval, message: fmt.Sprintf(message, perSecond)}
}

// after is a bucket after a token was taken, and how long it is until there is one: 0 if there is.
func (r *rate) after(full, now int64) (taken, wait int64) {
	taken = max(full, now) + r.interval
	return taken, max(taken-now-r.burst, 0)
}

func (r *rate) refusal(wait int64) error {
	return &fault.Error{
		Kind: fault.ResourceExhausted, Reason: "RATE_LIMITED", Message: r.message, RetryAfter: time.Duration(wait),
	}
}
