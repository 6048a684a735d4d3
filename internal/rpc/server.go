// Package rpc is the gRPC edge: protobuf to the domain and back, and the one table from faults to statuses.
package rpc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
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

	// Health is what the health service answers; nil: that all is well.
	Health *health.Server

	// Draining tells whether the server goes away; nil: never. Then streams whose clients do not take what is sent are not
	// waited for.
	Draining func() bool
}

// maxMessage is how large a request may be: as a body over HTTP.
const maxMessage = gate.MaxBody

// maxStreams is how many calls a connection may have open.
const maxStreams = 1000

// keepAlive is after how long without a sign of life a client is asked for one, so that half-open connections end.
const keepAlive = 30 * time.Second

// What a client may send before anyone reads it: so much of a call, and so much of all calls of a connection on the way.
// Without a word gRPC would let both grow with the speed of the client.
const (
	callWindow       = 64 << 10
	connectionWindow = 1 << 20
)

const (
	handshakeTimeout = 10 * time.Second // for a connection to begin
	idleTimeout      = 30 * time.Minute // for one without calls
)

// NewServer returns a gRPC server of the API, with health and reflection. The options are those of the listener.
func NewServer(config Config, options ...grpc.ServerOption) *grpc.Server {
	return newServer(config, defaultTiming, options...)
}

func newServer(config Config, timing timing, options ...grpc.ServerOption) *grpc.Server {
	edge := &edge{Config: config, timing: timing}
	server := grpc.NewServer(append(options,
		grpc.InTapHandle(tapped),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.StaticStreamWindowSize(callWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxHeaderListSize(64<<10),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepAlive, MaxConnectionIdle: idleTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{PermitWithoutStream: true}),
	)...)
	registrar := registrar{server, edge}
	conversationv1.RegisterSessionServiceServer(registrar, &sessions{service: config.Service})
	healthv1.RegisterHealthServer(registrar, cmp.Or(config.Health, health.NewServer()))
	reflection.Register(registrar)
	return server
}

// registrar registers methods so that each goes through the edge before its request is read. Of a method with one request
// gRPC would read the whole before it asks an interceptor: whoever asks, and however many requests never become whole.
type registrar struct {
	*grpc.Server

	edge *edge
}

// RegisterService implements grpc.ServiceRegistrar.
func (r registrar) RegisterService(service *grpc.ServiceDesc, server any) {
	through := *service
	through.Methods, through.Streams = nil, slices.Clone(service.Streams)
	for _, method := range service.Methods {
		through.Streams = append(through.Streams, grpc.StreamDesc{StreamName: method.MethodName, Handler: handlerOf(method)})
	}
	for i, method := range through.Streams {
		fullMethod := "/" + service.ServiceName + "/" + method.StreamName
		through.Streams[i].Handler = func(server any, stream grpc.ServerStream) error {
			return r.edge.serve(server, stream, fullMethod, method.Handler)
		}
	}
	r.Server.RegisterService(&through, server)
}

// handlerOf is a method with one request and one answer as one of a stream.
func handlerOf(method grpc.MethodDesc) grpc.StreamHandler {
	return func(server any, stream grpc.ServerStream) error {
		answer, err := method.Handler(server, stream.Context(), stream.RecvMsg, unary)
		if err != nil {
			return err
		}
		return stream.SendMsg(answer)
	}
}

// edge is what all methods have in common.
type edge struct {
	Config

	timing  timing
	unnamed unnamed
}

// draining tells whether the server goes away.
func (e *edge) draining() bool { return e.Draining != nil && e.Draining() }

type callKey struct{}

// streamOf is the stream of the call that a method answers.
func streamOf(ctx context.Context) *calledStream { return ctx.Value(callKey{}).(*calledStream) }

// callOf is the call that a method answers.
func callOf(ctx context.Context) *gate.Call { return streamOf(ctx).call }

// callerOf is who asks, as the edge found out.
func callerOf(ctx context.Context) session.Caller { return callOf(ctx).Caller }

// unary is where a method with one request goes on when that has been read.
func unary(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	stream := streamOf(ctx)
	stream.call.Session = sessionIn(request)
	if err := stream.takeBody(request); err != nil {
		return nil, err
	}
	answer, err := handler(ctx, request)
	if created, ok := answer.(*conversationv1.Session); ok && err == nil {
		stream.call.Session = created.GetSessionId() // which the server may have made
	}
	return answer, err
}

// serve is what every call goes through, before its request is read.
func (e *edge) serve(server any, stream grpc.ServerStream, method string, handler grpc.StreamHandler) (err error) {
	ctx := stream.Context()
	call, err := e.arrive(ctx, method)
	defer func() { err = e.settle(ctx, call, method, recover(), err) }()
	if err != nil {
		return err
	}
	called := &calledStream{ServerStream: stream, edge: e, call: call}
	called.ctx = context.WithValue(ctx, callKey{}, called)
	if call.Method != gate.SessionEvents || hasToken(ctx) { // else the request may say who is asking, and is yet to come
		if called.named, err = enter(ctx, call, method); err != nil {
			return err
		}
	}
	return cutBy(ctx, handler(server, called))
}

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
	return Status(gate.Shown(ctx, e.Log, call.ID, err, slog.String("method", method))).Err()
}
