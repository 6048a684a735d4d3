package rpc

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/session"
)

// metadataRequestID is the metadata by which a client gives its request an id, and by which it learns of ours.
const metadataRequestID = "x-request-id"

var (
	methodPrefix = "/" + conversationv1.SessionService_ServiceDesc.ServiceName + "/"
	healthPrefix = "/" + healthv1.Health_ServiceDesc.ServiceName + "/"
)

// arrive begins a call, and tells its client the request's id.
func (e *edge) arrive(ctx context.Context, fullMethod string) (*gate.Call, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	id := gate.RequestID(md[metadataRequestID])
	name, _ := strings.CutPrefix(fullMethod, methodPrefix)
	call, err := e.Gate.Arrive(gate.Arrival{
		ID:        id,
		Transport: "grpc",
		Method:    gate.MethodNamed(name),
		Address:   addressOf(ctx),
		Forwarded: md["x-forwarded-for"],
	})
	if told := grpc.SetHeader(ctx, metadata.MD{metadataRequestID: {id}}); err == nil {
		err = told
	}
	return call, err
}

// addressOf is the address of the connection; the zero value if it has none.
func addressOf(ctx context.Context) netip.Addr {
	if p, ok := peer.FromContext(ctx); ok {
		if tcp, ok := p.Addr.(*net.TCPAddr); ok {
			return tcp.AddrPort().Addr()
		}
	}
	return netip.Addr{}
}

// enter finds the caller, and tells whether it has one: whoever may reach the server may ask for its health, as over HTTP.
func enter(ctx context.Context, call *gate.Call, fullMethod string) (named bool, err error) {
	if strings.HasPrefix(fullMethod, healthPrefix) {
		return false, call.Admit(ctx, authRequest(ctx))
	}
	return true, call.Authenticate(ctx, authRequest(ctx))
}

// hasToken tells whether the metadata says who is asking.
func hasToken(ctx context.Context) bool {
	md, _ := metadata.FromIncomingContext(ctx)
	return len(md["authorization"]) > 0
}

// authRequest is the request as far as it says who is asking.
func authRequest(ctx context.Context) auth.Request {
	md, _ := metadata.FromIncomingContext(ctx)
	request := auth.Request{Header: make(http.Header, len(md))}
	for name, values := range md {
		request.Header[http.CanonicalHeaderKey(name)] = values
	}
	if authority := md[":authority"]; len(authority) > 0 {
		request.Host = authority[0]
	}
	return request
}

// sessionIn is the id of the session that a request is about, as the client has it; empty: none.
func sessionIn(request any) string {
	switch r := request.(type) {
	case *conversationv1.CreateSessionRequest:
		return r.GetSessionId()
	case *conversationv1.UpdateSessionRequest:
		return idIn(r.GetSession().GetName())
	case interface{ GetSession() string }:
		return idIn(r.GetSession())
	case interface{ GetName() string }:
		return idIn(r.GetName())
	default:
		return ""
	}
}

// idIn is the session's id in a resource name, which need not be right.
func idIn(name string) string {
	id, _, _ := strings.Cut(strings.TrimPrefix(name, session.NamePrefix), "/")
	return id
}
