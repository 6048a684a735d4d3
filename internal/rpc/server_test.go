package rpc_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
)

func TestHealth(t *testing.T) {
	s := start(t)
	got, err := healthv1.NewHealthClient(s.connection).Check(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("status = %s, want SERVING", got.GetStatus())
	}
}

func TestHealthOfAnUnknownServiceIsNotFound(t *testing.T) {
	s := start(t)
	_, err := healthv1.NewHealthClient(s.connection).Check(t.Context(), &healthv1.HealthCheckRequest{Service: "x"})
	if got := status.Code(err); got != codes.NotFound {
		t.Errorf("code = %s, want NotFound, which gRPC's health protocol asks for", got)
	}
}

func TestReflectionListsTheServices(t *testing.T) {
	s := start(t)
	stream, err := reflectionv1.NewServerReflectionClient(s.connection).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	response, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, service := range response.GetListServicesResponse().GetService() {
		listed[service.GetName()] = true
	}
	for _, name := range []string{conversationv1.SessionService_ServiceDesc.ServiceName, "grpc.health.v1.Health"} {
		if !listed[name] {
			t.Errorf("%s is not listed", name)
		}
	}
}

func TestAMethodThatThereIsNotIsUnimplemented(t *testing.T) {
	s := start(t)
	err := s.connection.Invoke(t.Context(), "/"+conversationv1.SessionService_ServiceDesc.ServiceName+"/Fly",
		&conversationv1.GetSessionRequest{}, &conversationv1.Session{})
	if got := status.Code(err); got != codes.Unimplemented {
		t.Errorf("code = %s, want Unimplemented", got)
	}
}

func TestTheMetadataNamesTheUser(t *testing.T) {
	s := start(t)
	created, err := s.CreateSession(as(t.Context(), "user-1"), &conversationv1.CreateSessionRequest{Session: draft()})
	if err != nil {
		t.Fatal(err)
	}
	if got := created.GetCreator(); got != "user-1" {
		t.Errorf("creator = %q, want user-1", got)
	}
}

func TestTheMetadatasUserIsChecked(t *testing.T) {
	s := start(t)
	_, err := s.ListSessions(as(t.Context(), strings.Repeat("u", 129)), &conversationv1.ListSessionsRequest{})
	refused(t, err, codes.InvalidArgument, "INVALID_FIELDS", "Parley-User")
}

func TestTheAuthorityMustBeLoopback(t *testing.T) {
	for authority, reason := range map[string]string{
		"localhost": "", "127.0.0.1:9090": "", "[::1]:1": "",
		"evil.example.com": "HOST_NOT_LOOPBACK", "localhost.evil.com:9090": "HOST_NOT_LOOPBACK", "10.0.0.1": "HOST_NOT_LOOPBACK",
	} {
		t.Run(authority, func(t *testing.T) {
			s := start(t, grpc.WithAuthority(authority))
			_, err := s.ListSessions(t.Context(), &conversationv1.ListSessionsRequest{})
			if reason == "" && err == nil {
				return
			}
			refused(t, err, codes.PermissionDenied, reason)
		})
	}
}

func TestAProxiedCallIsRefused(t *testing.T) {
	s := start(t)
	for _, name := range []string{"x-forwarded-for", "via", "forwarded"} {
		t.Run(name, func(t *testing.T) {
			ctx := metadata.AppendToOutgoingContext(t.Context(), name, "1.2.3.4")
			_, err := s.ListSessions(ctx, &conversationv1.ListSessionsRequest{})
			refused(t, err, codes.PermissionDenied, "PROXIED")
		})
	}
}

func TestReflectionAsksWhoIsThere(t *testing.T) {
	s := start(t, grpc.WithAuthority("evil.example.com"))
	stream, err := reflectionv1.NewServerReflectionClient(s.connection).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	refused(t, err, codes.PermissionDenied, "HOST_NOT_LOOPBACK")
}

func TestARequestBeyondOneMebibyte(t *testing.T) {
	s := start(t)
	body := draft()
	body.Description = strings.Repeat("x", 1<<20)
	_, err := s.CreateSession(t.Context(), &conversationv1.CreateSessionRequest{Session: body})
	if got := status.Code(err); got != codes.ResourceExhausted { // gRPC's own limit
		t.Errorf("code = %s, want ResourceExhausted", got)
	}
}
