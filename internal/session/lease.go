package session

import (
	"context"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// credentials knows which credentials have ended, and the open streams whose credentials may.
type credentials struct {
	mu      sync.RWMutex // guards the fields below
	leases  map[string]map[*lease]struct{}
	revoked map[string]bool // keys, until they are restored: there are few, and a request may be on its way since before
}

func newCredentials() *credentials {
	return &credentials{leases: make(map[string]map[*lease]struct{}), revoked: make(map[string]bool)}
}

// check is an Unauthenticated fault if the caller's credential has ended since it was looked at.
func (c *credentials) check(caller Caller, now Clock) error {
	if caller.Until != 0 && caller.Until <= now() {
		return tokenExpired()
	}
	return c.checkKey(caller.Key)
}

func (c *credentials) checkKey(key string) error {
	if key == "" {
		return nil
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.revoked[key] {
		return keyRevoked()
	}
	return nil
}

// lease is a stream's hold on the credential that opened it. Nil is that of a credential without an end.
type lease struct {
	key   string
	until Time // 0: the credential has no end of its own
	wake  func()
	timer *time.Timer // nil: likewise

	mu    sync.Mutex // guards the fields below
	state leaseState
	stop  context.CancelFunc // of what Advance waits for; nil: it has not been called
}

type leaseState uint8

const (
	leaseHeld leaseState = iota
	leaseCut             // the credential has ended
	leaseOver            // the stream has
)

// begin holds the credential of a stream that wake wakes. What is revoked before is refused, what is revoked after it is
// cut: nothing falls in between. An idle lease costs a timer at most, and no goroutine.
func (c *credentials) begin(caller Caller, wake func()) (*lease, error) {
	if caller.Until == 0 && caller.Key == "" {
		return nil, nil //nolint:nilnil // such a credential has no end to wait for
	}
	l := &lease{key: caller.Key, until: caller.Until, wake: wake}
	if err := c.hold(l); err != nil {
		return nil, err
	}
	if caller.Until != 0 {
		l.timer = time.AfterFunc(time.Until(caller.Until.Std()), l.cut)
	}
	return l, nil
}

// hold has the lease cut when its key is revoked.
func (c *credentials) hold(l *lease) error {
	if l.key == "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.revoked[l.key] {
		return keyRevoked()
	}
	if c.leases[l.key] == nil {
		c.leases[l.key] = make(map[*lease]struct{})
	}
	c.leases[l.key][l] = struct{}{}
	return nil
}

// end lets go of the credential. It may be called repeatedly.
func (c *credentials) end(l *lease) {
	if l == nil {
		return
	}
	if l.timer != nil {
		l.timer.Stop()
	}
	l.mu.Lock()
	l.state = leaseOver
	l.mu.Unlock()
	if l.key == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.leases[l.key], l)
	if len(c.leases[l.key]) == 0 {
		delete(c.leases, l.key)
	}
}

// revoke cuts the leases of a key, and refuses it from now on. They are cut one after the other: a wake may write, and
// thousands that do so at once would have requests wait.
func (c *credentials) revoke(key string) {
	for _, l := range c.leasesOf(key) {
		l.cut()
	}
}

// restore takes a key again that was revoked. What was cut stays so.
func (c *credentials) restore(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.revoked, key)
}

// leasesOf marks the key as revoked, and returns the leases that it had until then.
func (c *credentials) leasesOf(key string) []*lease {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revoked[key] = true
	held := make([]*lease, 0, len(c.leases[key]))
	for l := range c.leases[key] {
		held = append(held, l)
	}
	return held
}

// cut ends the stream: Next says so, whatever it was about to say, and whoever waits is woken. No lock is held for the
// wake, which may call Next and Close.
func (l *lease) cut() {
	l.mu.Lock()
	held, stop := l.state == leaseHeld, l.stop
	if held {
		l.state = leaseCut
	}
	l.mu.Unlock()
	if !held {
		return
	}
	if stop != nil {
		stop()
	}
	l.wake()
}

// isCut tells whether the credential has ended: also by the clock, which may have been set, or gone on while the machine
// slept, as the timer has not.
func (l *lease) isCut(now Clock) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state == leaseCut || l.state == leaseHeld && l.until != 0 && l.until <= now()
}

// within is a context that ends when the lease is cut, too.
func (l *lease) within(ctx context.Context) (context.Context, context.CancelFunc) {
	within, stop := context.WithCancel(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stop = stop
	if l.state == leaseCut {
		stop()
	}
	return within, stop
}

// unauthenticated is the fault of a credential that is good no more (RFC 6750 section 3.1).
func unauthenticated(reason, what string) error {
	f := fault.New(fault.Unauthenticated, reason, "%s", what)
	f.Challenge = `Bearer realm="parley", error="invalid_token", error_description="` + what + `"`
	return f
}

func tokenExpired() error { return unauthenticated("TOKEN_EXPIRED", "the token has expired") }

func keyRevoked() error {
	return unauthenticated("KEY_REVOKED", "the API key, or the key that signed the token, was revoked")
}
