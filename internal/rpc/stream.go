package rpc

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/gate"
)

// timing is how long clients may take.
type timing struct {
	slow       time.Duration // a request that takes longer to arrive counts as in flight as if it were the largest
	unfinished time.Duration // in which a request has to arrive
	stall      time.Duration // a client that does not take what is sent for so long is cut
	grace      time.Duration // likewise when its credential has ended, or the server goes away
	look       time.Duration // how often those who do not take what is sent are looked after
}

var defaultTiming = timing{
	slow: time.Second, unfinished: time.Minute, stall: 2 * time.Minute, grace: 5 * time.Second, look: time.Second,
}

// tooSlow is what a call ends with whose request does not arrive.
func tooSlow() error {
	return fault.New(fault.DeadlineExceeded, "BODY_TOO_SLOW", "the request took too long to arrive")
}

// stalled is what a call ends with whose client does not take what is sent.
func stalled() error {
	return fault.New(fault.DeadlineExceeded, "CLIENT_TOO_SLOW", "the client does not take what is sent")
}

// cutContext is the context of a call, which the server may end, too: nothing else ends a wait for the client.
type cutContext struct{ context.Context } //nolint:containedctx // it is a context

type cutKey struct{}

// tapped gives a call its context, as soon as it begins.
func tapped(ctx context.Context, _ *tap.Info) (context.Context, error) {
	ctx, cut := context.WithCancelCause(ctx)
	return cutContext{context.WithValue(ctx, cutKey{}, cut)}, nil // gRPC ends the context that this one is of
}

// Err implements context.Context. What gRPC tells the client is made of it.
func (c cutContext) Err() error {
	if f := (*fault.Error)(nil); errors.As(context.Cause(c.Context), &f) {
		return context.DeadlineExceeded
	}
	return c.Context.Err()
}

// cut ends a call with a fault.
func cut(ctx context.Context, f error) { ctx.Value(cutKey{}).(context.CancelCauseFunc)(f) }

// cutBy is what a call ended with: if it was cut, what it was cut by.
func cutBy(ctx context.Context, err error) error {
	if f := (*fault.Error)(nil); err != nil && errors.As(context.Cause(ctx), &f) {
		return f
	}
	return err
}

// calledStream is the stream of a call. It bounds how long its client may take.
type calledStream struct {
	grpc.ServerStream

	edge  *edge
	call  *gate.Call
	ctx   context.Context //nolint:containedctx // it is how gRPC passes a stream's context on
	named bool            // the caller is known
	taken bool            // the request counts as in flight
	ended func() bool     // tells whether the caller's credential has ended; nil: nobody looks

	sending sending
}

// Context implements grpc.ServerStream.
func (s *calledStream) Context() context.Context { return s.ctx }

// RecvMsg implements grpc.ServerStream.
func (s *calledStream) RecvMsg(m any) error {
	if !s.named {
		defer s.edge.unnamed.enter(s)()
	}
	r := &receiving{stream: s}
	r.begin()
	defer r.end()
	return s.ServerStream.RecvMsg(m)
}

// takeBody counts the request, which has been read, as in flight.
func (s *calledStream) takeBody(request any) error {
	message, ok := request.(proto.Message)
	if !ok || s.taken {
		return nil
	}
	return s.call.TakeBody(int64(proto.Size(message)))
}

// receiving is a wait for a message of the client.
type receiving struct {
	stream *calledStream

	mu    sync.Mutex // guards the fields below, and while it lasts, the stream's call
	timer *time.Timer
	over  bool
}

func (r *receiving) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer = time.AfterFunc(r.stream.edge.timing.slow, r.late)
}

func (r *receiving) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	r.timer.Stop()
}

// late is called when the message is late, and again when it is too late.
func (r *receiving) late() {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stream
	if r.over {
		return
	}
	if s.taken {
		cut(s.ctx, tooSlow())
		return
	}
	s.taken = true
	if err := s.call.TakeBody(maxMessage); err != nil {
		cut(s.ctx, err)
		return
	}
	r.timer.Reset(s.edge.timing.unfinished - s.edge.timing.slow)
}

// unnamed are the calls whose request is being read though nobody has said yet who is asking. There are at most so many:
// then the one that has waited for the longest gives way, because requests that will arrive do so at once.
type unnamed struct {
	mu      sync.Mutex // guards the field below
	waiting list.List  // of *calledStream
}

// maxUnnamed bounds the unnamed. Each may hold as much as the largest request.
const maxUnnamed = 64

// enter adds a call, until the returned function is called.
func (u *unnamed) enter(s *calledStream) (leave func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.waiting.Len() >= maxUnnamed {
		cut(u.waiting.Remove(u.waiting.Front()).(*calledStream).ctx, tooSlow())
	}
	entered := u.waiting.PushBack(s)
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.waiting.Remove(entered) // nothing if it has given way
	}
}

// sending is what is being sent on a stream, if anything is.
type sending struct {
	mu    sync.Mutex // guards the fields below
	timer *time.Timer
	since time.Time // zero: nothing is being sent
	over  time.Time // when it was noticed that the stream is to end; zero: it was not
}

// SendMsg implements grpc.ServerStream. If the client takes too long to make room for what is sent then the call is cut.
func (s *calledStream) SendMsg(m any) error {
	s.begin()
	defer s.end()
	return s.ServerStream.SendMsg(m)
}

func (s *calledStream) begin() {
	s.sending.mu.Lock()
	defer s.sending.mu.Unlock()
	s.sending.since, s.sending.over = time.Now(), time.Time{}
	if s.sending.timer == nil {
		s.sending.timer = time.AfterFunc(s.edge.timing.look, s.lookAfter)
	} else {
		s.sending.timer.Reset(s.edge.timing.look)
	}
}

func (s *calledStream) end() {
	s.sending.mu.Lock()
	defer s.sending.mu.Unlock()
	s.sending.since = time.Time{}
	s.sending.timer.Stop()
}

// lookAfter is called while something is being sent that takes long.
func (s *calledStream) lookAfter() {
	s.sending.mu.Lock()
	defer s.sending.mu.Unlock()
	if s.sending.since.IsZero() {
		return
	}
	now := time.Now()
	if s.sending.over.IsZero() && (s.edge.draining() || s.ended != nil && s.ended()) {
		s.sending.over = now
	}
	over := !s.sending.over.IsZero() && now.Sub(s.sending.over) >= s.edge.timing.grace
	if over || now.Sub(s.sending.since) >= s.edge.timing.stall {
		cut(s.ctx, stalled())
		return
	}
	s.sending.timer.Reset(s.edge.timing.look)
}
