package auth

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// maxWait is for how long, at most, one who asks waits for a reading to begin.
const maxWait = time.Second

// poller reads something over and over: every so often, and soon when it is asked to. Its goroutine is the only one that
// reads, so that any number who ask at the same time share one reading.
type poller struct {
	every time.Duration // between readings that nobody asked for
	gap   time.Duration // at least, between readings that were asked for
	limit time.Duration // of one reading
	read  func(ctx context.Context)

	asked chan struct{} // holds one: someone waits for the next reading
	ended chan struct{} // closed when the goroutine has ended
	stop  context.CancelFunc

	mu   sync.Mutex    // guards the fields below
	next chan struct{} // closed when the reading that begins next is done
	last time.Time     // when the last reading that was asked for began
}

// start begins to read. Close ends it.
func (p *poller) start(ctx context.Context) {
	p.asked = make(chan struct{}, 1)
	p.ended = make(chan struct{})
	p.next = make(chan struct{})
	ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	go p.run(ctx)
}

// close ends the reading, and returns when nothing is read any more.
func (p *poller) close() {
	p.stop()
	<-p.ended
}

func (p *poller) run(ctx context.Context) {
	defer close(p.ended)
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.readOnce(ctx, false)
		case <-p.asked:
			if !sleep(ctx, p.wait()) {
				return
			}
			p.readOnce(ctx, true)
		}
	}
}

func (p *poller) readOnce(ctx context.Context, asked bool) {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	defer close(p.begin(asked))
	p.read(ctx)
}

// begin returns the channel that is to be closed when the reading that begins now is done. It is for all who have asked.
func (p *poller) begin(asked bool) (done chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.asked:
		asked = true
	default:
	}
	if asked {
		p.last = time.Now()
	}
	done, p.next = p.next, make(chan struct{})
	return done
}

// wait is how long it is until a reading that was asked for may begin.
func (p *poller) wait() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gap - time.Since(p.last)
}

// ask returns when a reading is done that began after the call; at once, if none may begin soon.
func (p *poller) ask(ctx context.Context) {
	next := p.request()
	if next == nil {
		return
	}
	select {
	case <-next:
	case <-p.ended:
	case <-ctx.Done():
	}
}

// request asks for a reading. It returns the channel that is closed when it is done; nil: none may begin soon.
func (p *poller) request() (next <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gap-time.Since(p.last) > maxWait {
		return nil
	}
	select {
	case p.asked <- struct{}{}:
	default:
	}
	return p.next
}

// sleep waits, and tells whether the context is still good after it.
func sleep(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// outage tells a log that something cannot be read: once, and when it can be again.
type outage struct {
	log     *slog.Logger
	subject string // what cannot be read
	lasts   bool
}

func (o *outage) note(err error) {
	if errors.Is(err, context.Canceled) { // whoever reads is closed
		return
	}
	switch {
	case err != nil && !o.lasts:
		o.log.Error("what callers are known by cannot be read; what was read before holds", "subject", o.subject, "error", err)
	case err == nil && o.lasts:
		o.log.Info("what callers are known by can be read again", "subject", o.subject)
	}
	o.lasts = err != nil
}
