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
	before, after := newFollower("before", overHTTP("text/event-stream")), newFollower("after", overGRPC)
	go before.follow(ctx, "talk", func() *server { return s })
	before.await(t, 2)

	s.signal(syscall.SIGTERM)
	wantHealth(healthv1.HealthCheckResponse_NOT_SERVING)
	if got := s.probe(t, "/readyz"); got != http.StatusServiceUnavailable {
		t.Errorf("/readyz is %d, want 503", got)
	}
	if got := s.probe(t, "/healthz"); got != http.StatusOK {
		t.Errorf("/healthz is %d, want 200", got)
	}
	s.client.CloseIdleConnections() // so the next call needs a new one
	go after.follow(ctx, "talk", func() *server { return s })
	s.mustPost("/talk/messages", document{"message": document{"text": "still here"}})
	before.await(t, 3)
	after.await(t, 3)
	if before.drains()+after.drains() > 0 {
		t.Error("a stream was told to leave before the delay was over")
	}

	s.signal(syscall.SIGTERM)
	s.wait()
}

// await waits until an event has come.
func (f *follower) await(t *testing.T, head int64) {
	t.Helper()
	for deadline := time.After(time.Minute); f.head() < head; {
		select {
		case <-f.more:
		case <-deadline:
			t.Fatalf("%s: hangs at %d of %d", f.name, f.head(), head)
		}
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
