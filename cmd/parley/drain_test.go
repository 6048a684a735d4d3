package main

import (
	"context"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/parleyhq/parley/internal/followtest"
)

// TestUntilTheDelayIsOverAServerThatIsToStopOnlySaysSo has a delay that does not end by itself.
func TestUntilTheDelayIsOverAServerThatIsToStopOnlySaysSo(t *testing.T) {
	t.Setenv("PARLEY_DRAIN_DELAY", "1h")
	s := startServer(t, t.TempDir())
	conn, err := grpc.NewClient(s.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	watching, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	health, err := healthv1.NewHealthClient(conn).Watch(watching, &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	wantHealth := func(want healthv1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		if answer, err := health.Recv(); err != nil || answer.GetStatus() != want {
			t.Fatalf("gRPC's health is %v, %v, want %v", answer, err, want)
		}
	}
	wantHealth(healthv1.HealthCheckResponse_SERVING)
	spec := draft("talk")
	delete(spec, "secretKey")
	s.mustPost("?sessionId=talk", spec)
	s.mustPost("/talk/join", document{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	before, after := followtest.New("before", followtest.SSE), followtest.New("after", followtest.GRPC)
	go before.Follow(ctx, "talk", s.followed)
	awaitHead(t, before, 2)

	s.signal(syscall.SIGTERM)
	wantHealth(healthv1.HealthCheckResponse_NOT_SERVING)
	if got := s.probe(t, "/readyz"); got != http.StatusServiceUnavailable {
		t.Errorf("/readyz is %d, want 503", got)
	}
	if got := s.probe(t, "/healthz"); got != http.StatusOK {
		t.Errorf("/healthz is %d, want 200", got)
	}
	s.client.CloseIdleConnections() // so the next call needs a new one
	go after.Follow(ctx, "talk", s.followed)
	s.mustPost("/talk/messages", document{"message": document{"text": "still here"}})
	awaitHead(t, before, 3)
	awaitHead(t, after, 3)
	if before.Drains()+after.Drains() > 0 {
		t.Error("a stream was told to leave before the delay was over")
	}

	s.signal(syscall.SIGTERM)
	s.wait()
}

// awaitHead waits until an event has come.
func awaitHead(t *testing.T, f *followtest.Follower, head int64) {
	t.Helper()
	if !f.Await(head, time.Minute) {
		t.Fatalf("%s: hangs at %d of %d", f.Name, f.Head(), head)
	}
}

// probe is the status of a path that balancers ask for.
func (s *server) probe(t *testing.T, path string) int {
	t.Helper()
	root, _, _ := strings.Cut(s.base, "/v1/")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, root+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}
