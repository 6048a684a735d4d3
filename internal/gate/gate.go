// Package gate is what every transport does with a call before and after it: it finds out where the call comes from and
// who is asking, holds the limits, and records who did what.
package gate

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/limit"
	"github.com/parleyhq/parley/internal/session"
)

// Config says what a gate stands on. Only Auth is required.
type Config struct {
	Auth    auth.Authenticator
	Tickets Tickets        // nil: no ticket is good
	Limits  *limit.Limiter // nil: none
	Proxies []netip.Prefix // the networks of those whose X-Forwarded-For is believed
	Audit   *slog.Logger   // where changes and denials are recorded; nil: nowhere
	Log     *slog.Logger   // is told of a proxy that is not among Proxies; nil: nobody is

	// Veil is after how long, or a multiple of it, an answer says that there is no session. It should be several times what
	// looking for one takes. 0: 2 ms, which suits a store inside of the process.
	Veil time.Duration
}

// Tickets finds the caller that a ticket was made for. session.Service does.
type Tickets interface {
	// UseTicket uses a ticket up, for a stream of the session with the id. Its fault is Unauthenticated.
	UseTicket(ctx context.Context, id, ticket string) (session.Caller, error)
}

// Gate is where calls come in. It is safe for concurrent use.
type Gate struct {
	config  Config
	dev     bool // Auth is auth.Dev
	denials *denials
	alarms  *alarms
	proxied sync.Once // the log is told of a proxy that is not ours
}

// New returns a gate.
func New(config Config) *Gate {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	config.Veil = cmp.Or(config.Veil, defaultVeil)
	_, dev := config.Auth.(auth.Dev)
	return &Gate{config: config, dev: dev, denials: newDenials(), alarms: &alarms{sleep: sleep}}
}

// Arrival is what a transport knows of a call at once.
type Arrival struct {
	ID        string // see RequestID
	Transport string // such as "rest"
	Method    Method
	Session   string     // the id of the session that it is about, as the client has it; empty: none
	Address   netip.Addr // of the connection
	Forwarded []string   // the values of X-Forwarded-For
}

// Call is one call, from its arrival until it was answered. It is for one goroutine at a time.
//
// A transport calls Arrive, then Authenticate or UseTicket, and when everything is over, End: also when one of the
// others has failed.
type Call struct {
	ID        string
	Transport string
	Method    Method
	Session   string
	Remote    netip.Addr     // where it comes from; see Config.Proxies
	Caller    session.Caller // once it is known, and only then
	For       string         // the user that the content names, for the record; empty: none. Its transport sets it

	gate    *Gate
	arrived time.Time
	denied  session.Caller // who it would be that could not be authenticated, for the record alone
	bytes   int64          // of its body, which count as in flight
}

// Arrive begins a call. The limit of the address comes first, before any credential is looked at. There is a call also
// where there is a fault, which is that of limit.Limiter.TakeAddress: End records it.
func (g *Gate) Arrive(a Arrival) (*Call, error) {
	c := &Call{
		ID: a.ID, Transport: a.Transport, Method: a.Method, Session: a.Session,
		Remote: g.remote(a.Address, a.Forwarded), gate: g, arrived: time.Now(),
	}
	return c, g.config.Limits.TakeAddress(c.Remote)
}

// Authenticate finds the caller, and holds the caller's limits.
//
// Its faults are those of auth.Authenticator and of limit.Limiter.Take.
func (c *Call) Authenticate(ctx context.Context, r auth.Request) error {
	caller, err := c.gate.config.Auth.Caller(ctx, r)
	if err != nil {
		c.Caller, c.denied = session.Caller{}, caller
		return err
	}
	c.Caller = caller
	return c.take()
}

// UseTicket finds the caller by a ticket for a stream of the call's session, which is used up, also if the caller's
// limits then refuse the call.
//
// Its faults are InvalidArgument at ticket, if there is another credential, and those of Admit, Tickets.UseTicket and
// limit.Limiter.Take.
func (c *Call) UseTicket(ctx context.Context, r auth.Request, ticket string) (err error) {
	if len(r.Header[auth.HeaderAuthorization]) > 0 || len(r.Header[auth.HeaderUser]) > 0 {
		return fault.Invalid("ticket", "says who is asking: %s and %s must be left out", auth.HeaderAuthorization, auth.HeaderUser)
	}
	if err := c.Admit(ctx, r); err != nil {
		return err
	}
	if c.gate.config.Tickets == nil {
		return fault.New(fault.Unauthenticated, "TICKETS_OFF", "this server takes no tickets")
	}
	if c.Caller, err = c.gate.config.Tickets.UseTicket(ctx, c.Session, ticket); err != nil {
		return err
	}
	return c.take()
}

// Next is another call on the connection of one that is authenticated, and by the same caller: both limits hold for it
// too. There is a call also where there is a fault.
func (c *Call) Next(id, transport string, method Method) (*Call, error) {
	next := &Call{
		ID: id, Transport: transport, Method: method, Session: c.Session, Remote: c.Remote, Caller: c.Caller, gate: c.gate,
	}
	if err := c.gate.config.Limits.TakeAddress(c.Remote); err != nil {
		return next, err
	}
	return next, next.take()
}

// TakeAddress counts something on the connection of a call as another request of its address.
//
// Its fault is that of limit.Limiter.TakeAddress.
func (c *Call) TakeAddress() error { return c.gate.config.Limits.TakeAddress(c.Remote) }

// Admit is for calls in which nobody has to say who is asking: it holds what is asked of everyone, which is something under
// auth.Dev alone: there whoever says nothing is the operator, if the request comes from this machine.
//
// Its faults are those of auth.Dev.
func (c *Call) Admit(ctx context.Context, r auth.Request) error {
	if !c.gate.dev {
		return nil
	}
	_, err := c.gate.config.Auth.Caller(ctx, r)
	return err
}

// CheckQuery refuses a request whose query has a credential: URLs end up in logs. (Under auth.Dev there are none.)
//
// Its fault is Unauthenticated TOKEN_IN_URL.
func (c *Call) CheckQuery(raw string) error {
	if raw == "" || c.gate.dev || !auth.TokenInQuery(raw) {
		return nil
	}
	return auth.TokenInURL()
}

// limited is the user whose limits hold for the call; empty: nobody's do; see session.Caller.Limited. A backend that says
// only in the content for whom it acts, as by the name of a join, acts as itself here: nobody has read that yet.
func (c *Call) limited() string {
	if !c.Caller.Limited() {
		return ""
	}
	return c.Caller.User
}

// take holds the rates of the caller.
func (c *Call) take() error {
	user := c.limited()
	if user == "" {
		return nil
	}
	return c.gate.config.Limits.Take(user, methods[c.Method].class)
}

// TakeBody counts bytes of the call's body as in flight, until End. It is for authenticated calls.
//
// Its fault is that of limit.Limiter.TakeBytes.
func (c *Call) TakeBody(count int64) error {
	user := c.limited()
	if user == "" || c.gate.config.Limits == nil {
		return nil
	}
	if err := c.gate.config.Limits.TakeBytes(user, count); err != nil {
		return err
	}
	c.bytes += count
	return nil
}

// OpenStream counts a stream of the caller, until the returned function is called, once. It is for authenticated calls.
//
// Its fault is that of limit.Limiter.OpenStream.
func (c *Call) OpenStream() (closed func(), err error) {
	limits, user := c.gate.config.Limits, c.limited()
	if user == "" || limits == nil {
		return func() {}, nil
	}
	if err := limits.OpenStream(user); err != nil {
		return nil, err
	}
	return func() { limits.CloseStream(user) }, nil
}

// End ends a call that was answered: with err, or if that is nil, as it should be.
func (c *Call) End(ctx context.Context, err error) {
	if c.bytes > 0 {
		c.gate.config.Limits.ReleaseBytes(c.limited(), c.bytes)
		c.bytes = 0
	}
	c.gate.audit(ctx, c, err)
}
