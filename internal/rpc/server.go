// Package rpc is the gRPC edge: protobuf to the domain and back, and the one table from faults to statuses.
package rpc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
)

// Config says what the edge stands on.
type Config struct {
	Service *session.Service
	Auth    auth.Authenticator
	Log     *slog.Logger
}

// maxMessage is how large a request may be: as a body over HTTP.
const maxMessage = 1 << 20

// maxStreams is how many calls a connection may have open.
const maxStreams = 1000

// keepAlive is after how long without a sign of life a client is asked for one, so that half-open connections end.
const keepAlive = 30 * time.Second

// NewServer returns a gRPC server of the API, with health and reflection.
func NewServer(config Config) *grpc.Server {
	edge := &edge{Config: config}
	server := grpc.NewServer(
		grpc.UnaryInterceptor(edge.unary),
		grpc.StreamInterceptor(edge.stream),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxHeaderListSize(64<<10),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepAlive}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{PermitWithoutStream: true}),
	)
	conversationv1.RegisterSessionServiceServer(server, &sessions{service: config.Service})
	healthv1.RegisterHealthServer(server, health.NewServer())
	reflection.Register(server)
	return server
}

// edge is what all methods have in common.
type edge struct{ Config }

type callerKey struct{}

// callerOf is who asks, as the interceptor found out.
func callerOf(ctx context.Context) session.Caller {
	caller, _ := ctx.Value(callerKey{}).(session.Caller)
	return caller
}

func (e *edge) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (answer any, err error) {
	defer func() { err = e.settle(ctx, info.FullMethod, recover(), err) }()
	ctx, err = e.authenticate(ctx)
	if err != nil {
		return nil, err
	}
	return handler(ctx, request)
}

func (e *edge) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer func() { err = e.settle(stream.Context(), info.FullMethod, recover(), err) }()
	ctx, err := e.authenticate(stream.Context())
	if err != nil {
		return err
	}
	return handler(server, &authenticatedStream{ServerStream: stream, ctx: ctx})
}

type authenticatedStream struct {
	grpc.ServerStream

	ctx context.Context //nolint:containedctx // it is how gRPC passes a stream's context on
}

func (s *authenticatedStream) Context() context.Context { return s.ctx }

func (e *edge) authenticate(ctx context.Context) (context.Context, error) {
	var request auth.Request
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		request.Header = make(http.Header, len(md))
		for name, values := range md {
			request.Header[http.CanonicalHeaderKey(name)] = values
		}
		if authority := md.Get(":authority"); len(authority) > 0 {
			request.Host = authority[0]
		}
	}
	caller, err := e.Auth.Caller(ctx, request)
	if err != nil {
		return ctx, err
	}
	return context.WithValue(ctx, callerKey{}, caller), nil
}

// settle turns what a method ended with into the status that its client gets, and logs what is ours to know.
func (e *edge) settle(ctx context.Context, method string, panicked any, err error) error {
	if panicked != nil {
		err = fmt.Errorf("panic: %v\n%s", panicked, debug.Stack())
	}
	if err == nil {
		return nil
	}
	if status.Code(err) == codes.Unimplemented { // from the generated code, which knows no details
		err = fault.New(fault.Unimplemented, "UNIMPLEMENTED", "this method is not built yet")
	}
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
	id := rand.Text()
	e.Log.ErrorContext(ctx, "request failed", "requestId", id, "method", method, "error", f)
	if f.Kind == fault.Internal {
		shown := *f
		shown.Message = "internal error (request " + id + ")"
		f = &shown
	}
	return Status(f).Err()
}
