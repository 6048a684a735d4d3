// Package natsapi is the API over NATS: requests to subjects, a mirror of what happens in sessions, and what whoever
// connects may publish and subscribe to.
package natsapi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/rpc"
	"github.com/parleyhq/parley/internal/session"
)

// Config says what the edge stands on.
type Config struct {
	// Conn is a connection to where the clients are, which may do everything there. It remains the caller's, who closes it
	// after Close.
	Conn *nats.Conn

	Service *session.Service
	Gate    *gate.Gate
	Log     *slog.Logger

	// Mirror has the events of sessions published.
	Mirror bool

	// Dev says that whoever connects is the operator of a development server; see auth.Dev.
	Dev bool

	// Disconnect ends a client's connection, which will come back and be asked again who it is; nil: nobody's can be ended,
	// because the server is elsewhere.
	Disconnect func(id uint64)

	// MaxInFlight is how many requests are answered at once; 0: 256.
	MaxInFlight int
}

const (
	defaultInFlight = 256
	requestTime     = 30 * time.Second // for a request to be answered
	flushTime       = 5 * time.Second  // for the server to take what is sent to it
	refusedTime     = time.Second      // after which one that found no room may be sent again

	// What may wait to be received of one subject's requests; what comes beyond it is lost.
	maxPending      = 4096
	maxPendingBytes = 16 << 20
)

// API is the edge. It is safe for concurrent use.
type API struct {
	Config

	methods *rpc.Methods
	ctx     context.Context //nolint:containedctx // what requests and looks at rights end by, when the edge closes
	end     context.CancelFunc

	slots   chan struct{} // one for each request that is being answered
	pending sync.WaitGroup
	stats   map[string]*stats // by the names of endpoints

	identity micro.ServiceIdentity
	started  time.Time

	mirror *mirror // nil: there is none
	rights *rights

	mu       sync.Mutex // guards the fields below
	requests []*nats.Subscription
	changes  *nats.Subscription // of what other nodes tell of sessions; nil: not started, or there is no mirror
}

// New returns an edge that nobody reaches before Start. What Start began, Close ends.
func New(config Config) (*API, error) {
	if config.Conn == nil || config.Service == nil || config.Gate == nil {
		return nil, errors.New("natsapi: a connection, a service and a gate are needed")
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.MaxInFlight == 0 {
		config.MaxInFlight = defaultInFlight
	}
	a := &API{
		Config:  config,
		methods: rpc.NewMethods(config.Service),
		slots:   make(chan struct{}, config.MaxInFlight),
		stats:   make(map[string]*stats),
		identity: micro.ServiceIdentity{
			Name: serviceName, ID: rand.Text(), Version: serviceVersion,
			Metadata: map[string]string{"contract": "parley.conversation.v1"},
		},
		started: time.Now().UTC(),
	}
	for i := range endpoints {
		a.stats[endpoints[i].name] = new(stats)
	}
	a.ctx, a.end = context.WithCancel(context.Background())
	a.rights = newRights(a)
	if config.Mirror {
		a.mirror = startMirror(config.Conn, config.Log)
	}
	return a, nil
}

// Start answers requests from now on. When it has returned, the server knows of all subjects, if it is there: else it
// learns of them when it comes.
func (a *API) Start(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.discoverable(); err != nil {
		return err
	}
	for i := range endpoints {
		e := &endpoints[i]
		//nolint:contextcheck // requests come after Start has returned
		if err := a.subscribe(e.subject, serviceName, func(m *nats.Msg) { a.receive(e, m) }); err != nil {
			return err
		}
	}
	if a.mirror != nil && a.Disconnect != nil {
		changes, err := a.Conn.Subscribe(mirrorSubject("*", "0"), a.rights.hear)
		if err != nil {
			return fmt.Errorf("natsapi: %w", err)
		}
		a.changes = changes
	}
	if !a.Conn.IsConnected() {
		return nil
	}
	if err := a.flush(ctx); err != nil {
		return fmt.Errorf("natsapi: the subjects are not confirmed: %w", err)
	}
	return nil
}

// subscribe takes requests, one node of a group each. a.mu is held.
func (a *API) subscribe(subject, group string, take nats.MsgHandler) error {
	s, err := a.Conn.QueueSubscribe(subject, group, take)
	if err == nil {
		err = s.SetPendingLimits(maxPending, maxPendingBytes)
		a.requests = append(a.requests, s)
	}
	if err != nil {
		return fmt.Errorf("natsapi: %s: %w", subject, err)
	}
	return nil
}

// Drain takes no more requests, and returns when those that were taken are answered. Other nodes get those that come
// later. It returns an error if ctx ends before that.
func (a *API) Drain(ctx context.Context) error {
	a.mu.Lock()
	requests, changes := a.requests, a.changes
	a.requests, a.changes = nil, nil
	a.mu.Unlock()
	var errs []error
	if changes != nil {
		errs = append(errs, changes.Unsubscribe())
	}
	for _, s := range requests {
		errs = append(errs, s.Drain())
	}
	if len(requests) > 0 {
		errs = append(errs, a.settle(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("natsapi: draining: %w", err)
	}
	return nil
}

// settle waits until what the server had sent before it knew that nothing more is wanted is answered, and sent.
func (a *API) settle(ctx context.Context) error {
	if err := a.flush(ctx); err != nil {
		return err
	}
	settled := make(chan struct{})
	err := a.Conn.Barrier(func() { // every subscription has handed on what came before
		go func() {
			a.pending.Wait()
			close(settled)
		}()
	})
	if err != nil {
		return err
	}
	select {
	case <-settled:
		return a.flush(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// flush returns when the server has what was sent to it.
func (a *API) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	return a.Conn.FlushWithContext(ctx)
}

// Close ends everything: what is still being answered is given up. The mirror sends what it has. After Close nothing may
// be committed.
func (a *API) Close(ctx context.Context) error {
	a.end()
	err := a.Drain(ctx)
	a.rights.close()
	if a.mirror != nil {
		a.mirror.stop()
	}
	return err
}

// Committed takes events that have just become durable, in commit order, for the mirror. It does not wait: a store calls
// it before it answers the writers. The slice remains the caller's.
func (a *API) Committed(events []*session.Event) {
	if a.mirror == nil {
		return
	}
	a.mirror.add(events)
	for _, e := range events {
		if endsRights(e.Kind) {
			a.rights.look(e.UID)
		}
	}
}

// Reached says that a session's log has reached a sequence, however that became known: somebody's rights may have ended
// there.
func (a *API) Reached(uid session.UID, _ int64) { a.rights.look(uid) }

// RevokeKey ends the connections that were made with a key; see session.Caller.Key.
func (a *API) RevokeKey(id string) { a.rights.revokeKey(id) }

// Gone says that a client's connection has ended.
func (a *API) Gone(id uint64) { a.rights.forget(id) }
