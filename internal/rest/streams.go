package rest

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// timing is what keeps streams alive, and what ends them.
type timing struct {
	keepAlive time.Duration // a sign of life is sent if nothing else was for so long
	stall     time.Duration // a client that takes no byte for so long is cut
	silence   time.Duration // likewise a WebSocket whose client answers no ping; more than stall, because pings queue too
	message   time.Duration // likewise a WebSocket whose client does not finish a message that it has begun
	sweep     time.Duration // how often the streams are looked after
}

var defaultTiming = timing{
	keepAlive: 15 * time.Second, stall: 2 * time.Minute, silence: 3 * time.Minute, message: requestTime, sweep: time.Second,
}

// streamRetry is for how long clients are told to wait before they come back.
const streamRetry = time.Second

// streams are the open streams of an edge.
type streams struct {
	timing

	log *slog.Logger
	ctx context.Context //nolint:containedctx // it is what reads of the log end by, when the edge closes
	end context.CancelFunc

	pace pace // of those that catch up; see streamConn.begun

	mu      sync.Mutex // guards the fields below
	open    map[*streamConn]struct{}
	begun   int        // how many streams there have been
	sweeper bool       // the goroutine of sweep runs
	over    bool       // no stream begins any more
	changed *sync.Cond // by mu: a stream has begun or ended
}

func newStreams(log *slog.Logger) *streams {
	s := &streams{timing: defaultTiming, log: log, open: make(map[*streamConn]struct{})}
	s.changed = sync.NewCond(&s.mu)
	s.ctx, s.end = context.WithCancel(context.Background())
	return s
}

// add keeps a stream; false: it is too late for it, because the edge drains or the client has gone already.
func (s *streams) add(c *streamConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || c.closed.Load() {
		return false
	}
	s.open[c] = struct{}{}
	s.begun++
	s.changed.Broadcast()
	if !s.sweeper {
		s.sweeper = true
		go s.sweep()
	}
	return true
}

// remove lets go of a stream that has ended, which may never have been added.
func (s *streams) remove(c *streamConn) {
	if c.leave != nil {
		c.leave()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	s.changed.Broadcast()
}

// wait waits until so many streams are open, and tells whether they are: else ctx has ended.
func (s *streams) wait(ctx context.Context, open int) bool {
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.open) != open && ctx.Err() == nil {
		s.changed.Wait()
	}
	return len(s.open) == open
}

func (s *streams) closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// sweep looks after the open streams, once a second, for as long as there are any.
func (s *streams) sweep() {
	tick := time.NewTicker(s.timing.sweep)
	defer tick.Stop()
	var leftovers leftovers
	for {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
		all, begun := s.snapshot()
		if all == nil {
			return
		}
		now := time.Now()
		for _, c := range all {
			c.lookAfter(now)
		}
		if leftovers.due(begun) {
			debug.FreeOSMemory()
		}
	}
}

// snapshot lists the open streams, and how many there have been; nil: there are none, and the goroutine that asks is to
// end.
func (s *streams) snapshot() (all []*streamConn, begun int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) == 0 {
		s.sweeper = false
		return nil, s.begun
	}
	all = make([]*streamConn, 0, len(s.open))
	for c := range s.open {
		all = append(all, c)
	}
	return all, s.begun
}

// leftovers are what net/http leaves of connections that were taken over: several times what an idle stream holds. The
// collector would let them lie until the heap has grown by as much again, which idle streams never make it do.
type leftovers struct {
	seen, cleared int // how many streams had begun, at the last look and the last time that leftovers were cleared away
}

// manyStreams is how many streams are worth a collection.
const manyStreams = 1000

// due tells, of how many streams have begun, whether many did and now none does any more.
func (l *leftovers) due(begun int) bool {
	quiet := begun == l.seen
	l.seen = begun
	if !quiet || begun-l.cleared < manyStreams {
		return false
	}
	l.cleared = begun
	return true
}

// drain waits until every stream has told its client that the server goes away, and has ended. Those that have not when
// ctx ends are cut.
func (s *streams) drain(ctx context.Context) error {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	defer s.end()
	if s.wait(ctx, 0) {
		return nil
	}
	all, _ := s.snapshot()
	for _, c := range all {
		c.close()
	}
	return errors.New("streams were cut")
}
