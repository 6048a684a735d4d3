// Package rpc is the gRPC edge: protobuf to the domain and back, and the one table from faults to statuses.
package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/session"
)

// Config says what the edge stands on.
type Config struct {
	Service *session.Service
	Gate    *gate.Gate
	Log     *slog.Logger
}

// maxMessage is how large a request may be: as a body over HTTP.
const maxMessage = 1 << 20

// maxStreams is how many calls a connection may have open.
const maxStreams = 1000

// keepAlive is after how long without a sign of life a client is asked for one, so that half-open connections end.
const keepAlive = 30 * time.Second

// NewServer returns a gRPC server of the API, with health and reflection. The options are those of the listener.
func NewServer(config Config, options ...grpc.ServerOption) *grpc.Server {
	edge := &edge{Config: config}
	server := grpc.NewServer(append(options,
		grpc.UnaryInterceptor(edge.unary),
		grpc.StreamInterceptor(edge.stream),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxHeaderListSize(64<<10),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepAlive}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{PermitWithoutStream: true}),
	)...)
	conversationv1.RegisterSessionServiceServer(server, &sessions{service: config.Service})
	healthv1.RegisterHealthServer(server, health.NewServer())
	reflection.Register(server)
	return server
}

// edge is what all methods have in common.
type edge struct{ Config }

type callKey struct{}

// callOf is the call that a method answers.
func callOf(ctx context.Context) *gate.Call { return ctx.Value(callKey{}).(*gate.Call) }

// callerOf is who asks, as the interceptor found out.
func callerOf(ctx context.Context) session.Caller { return callOf(ctx).Caller }

func (e *edge) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (answer any, err error) {
	call, err := e.arrive(ctx, info.FullMethod)
	defer func() { err = e.settle(ctx, call, info.FullMethod, recover(), err) }()
	call.Session = sessionIn(request)
	if err == nil {
		err = enter(ctx, call, info.FullMethod)
	}
	if err == nil {
		err = takeBody(call, request)
	}
	if err != nil {
		return nil, err
	}
	answer, err = handler(context.WithValue(ctx, callKey{}, call), request)
	if created, ok := answer.(*conversationv1.Session); ok && err == nil {
		call.Session = created.GetSessionId() // which the server may have made
	}
	return answer, err
}

func (e *edge) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	ctx := stream.Context()
	call, err := e.arrive(ctx, info.FullMethod)
	defer func() { err = e.settle(ctx, call, info.FullMethod, recover(), err) }()
	if err == nil && call.Method != gate.SessionEvents { // of which the request may say who is asking, and is yet to come
		err = enter(ctx, call, info.FullMethod)
	}
	if err != nil {
		return err
	}
	return handler(server, &calledStream{ServerStream: stream, ctx: context.WithValue(ctx, callKey{}, call)})
}

type calledStream struct {
	grpc.ServerStream

	ctx context.Context //nolint:containedctx // it is how gRPC passes a stream's context on
}

func (s *calledStream) Context() context.Context { return s.ctx }

// settle ends a call: it turns what the method ended with into the status that its client gets, and logs what is ours to
// know.
func (e *edge) settle(ctx context.Context, call *gate.Call, method string, panicked any, err error) error {
	if panicked != nil {
		err = fmt.Errorf("panic: %v\n%s", panicked, debug.Stack())
	}
	if err != nil && status.Code(err) == codes.Unimplemented { // from the generated code, which knows no details
		err = fault.New(fault.Unimplemented, "UNIMPLEMENTED", "this method is not built yet")
	}
	call.End(ctx, err)
	if err == nil {
		return nil
	}
	call.Veil(ctx, err)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) { // the client has gone, or does not wait any longer
		return status.FromContextError(ctx.Err()).Err()
	}
	if _, ok := status.FromError(err); ok { // gRPC's own services know their own statuses
		return err
	}
	f := fault.From(err)
	if f.Kind != fault.Internal && f.Kind != fault.Unavailable {
		return Status(f).Err()
	}
	e.Log.ErrorContext(ctx, "request failed", "requestId", call.ID, "method", method, "error", f)
	if f.Kind == fault.Internal {
		shown := *f
		shown.Message = "internal error (request " + call.ID + ")"
		f = &shown
	}
	return Status(f).Err()
}
