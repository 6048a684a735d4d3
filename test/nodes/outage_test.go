package nodes_test

import (
	"context"
	"net/http"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/parleyhq/parley/internal/followtest"
)

// TestWithoutNATSEverythingWorks stops NATS for good, under streams that are open.
func TestWithoutNATSEverythingWorks(t *testing.T) {
	t.Parallel() // it takes its time
	c := startCluster(t)
	for _, n := range c.nodes {
		n.log.expect("NATS")
	}
	c.nodes[0].post(t, "ada", "?sessionId=s", draft(private, document{"allowedUsers": []string{"bob"}}))
	c.nodes[0].post(t, "bob", "/s/join", document{})
	c.nodes[0].post(t, "ada", "/s/join", document{})
	var streams []*stream
	listen := func() {
		for _, n := range c.nodes {
			for _, over := range followtest.Transports {
				streams = append(streams, n.listen(t, over, followtest.Request{Session: "s", Header: as("bob")}))
			}
		}
	}
	listen()
	c.nats.Shutdown()
	c.nats.WaitForShutdown()
	listen()
	sequences := make([]int64, len(streams))
	for round := range 2 * size {
		text := strconv.Itoa(round)
		c.nodes[round%size].post(t, "ada", "/s/messages", document{"message": document{"text": text}})
		for i, s := range streams {
			e := s.says(t, text)
			if sequences[i] != 0 && e.Sequence != sequences[i]+1 {
				t.Errorf("stream %d: the event %d comes after %d", i, e.Sequence, sequences[i])
			}
			sequences[i] = e.Sequence
		}
	}
	c.nodes[1].post(t, "ada", "/s/leave", document{"name": "bob"})
	for _, s := range streams {
		s.revoked(t)
	}
}

// admit has the database take connections, or end all that there are and refuse others.
func (c *cluster) admit(t *testing.T, connections bool) {
	t.Helper()
	config, err := pgx.ParseConfig(c.database)
	if err != nil {
		t.Fatal(err)
	}
	name := config.Database
	config.Database = "postgres"
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), `ALTER DATABASE `+name+` ALLOW_CONNECTIONS `+strconv.FormatBool(connections)); err != nil {
		t.Fatal(err)
	}
	if connections {
		return
	}
	if _, err := conn.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1`, name); err != nil {
		t.Fatal(err)
	}
}

func TestANodeWithoutItsDatabaseIsNotReady(t *testing.T) {
	t.Parallel() // it takes its time
	c := startCluster(t)
	for _, n := range c.nodes {
		n.log.expect("the server's store failed", "tidying the store failed")
	}
	c.nodes[0].post(t, "ada", "?sessionId=s", draft(public))
	c.nodes[0].post(t, "ada", "/s/join", document{})
	s := c.nodes[1].listen(t, followtest.SSE, followtest.Request{Session: "s", Header: as("ada")})
	conn, err := grpc.NewClient(c.nodes[2].GRPCAddr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	health, err := healthv1.NewHealthClient(conn).Watch(ctx, &healthv1.HealthCheckRequest{})
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

	c.admit(t, false)
	wantHealth(healthv1.HealthCheckResponse_NOT_SERVING)
	for _, n := range c.nodes {
		eventually(t, "a node without its database is not ready", func() bool {
			return n.probe(t, "/readyz") == http.StatusServiceUnavailable
		})
		if got := n.probe(t, "/healthz"); got != http.StatusOK {
			t.Errorf("/healthz is %d, want 200", got)
		}
		if got := n.call(t, request{method: http.MethodGet, path: "/s", user: "ada"}); got.status != http.StatusServiceUnavailable {
			t.Errorf("get is answered %+v, want 503", got)
		}
	}

	c.admit(t, true)
	wantHealth(healthv1.HealthCheckResponse_SERVING)
	for i, n := range c.nodes {
		eventually(t, "a node with its database is ready again", func() bool { return n.probe(t, "/readyz") == http.StatusOK })
		text := strconv.Itoa(i)
		eventually(t, "a node with its database writes again", func() bool {
			return n.call(t, request{
				method: http.MethodPost, path: "/s/messages", body: document{"message": document{"text": text}, "requestId": text}, user: "ada",
			}).status == http.StatusOK
		})
		s.says(t, text)
	}
}
