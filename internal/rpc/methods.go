package rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/session"
)

// Methods are the API's methods with one request and one answer, for another transport that carries protobuf. They are
// safe for concurrent use.
type Methods struct {
	sessions *sessions
	byName   map[string]grpc.MethodDesc
}

// NewMethods returns the methods of a service.
func NewMethods(service *session.Service) *Methods {
	m := &Methods{sessions: &sessions{service: service}, byName: map[string]grpc.MethodDesc{}}
	for _, method := range conversationv1.SessionService_ServiceDesc.Methods {
		m.byName[method.MethodName] = method
	}
	return m
}

// Call answers a call that is authenticated. Read reads the request into the message that it is given.
//
// Its faults are those of read and of the method.
func (m *Methods) Call(ctx context.Context, call *gate.Call, read func(request proto.Message) error) (proto.Message, error) {
	method, known := m.byName[call.Method.String()]
	if !known {
		return nil, fault.New(fault.Unimplemented, "UNIMPLEMENTED", "there is no such method here")
	}
	ctx = context.WithValue(ctx, callKey{}, &calledStream{call: call})
	answer, err := method.Handler(m.sessions, ctx, func(request any) error { return read(request.(proto.Message)) }, nil)
	if err != nil {
		return nil, err
	}
	return answer.(proto.Message), nil
}
