package main

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/parleyhq/parley/internal/store/pgtest"
)

// TestNodesMakeAClusterOfTheirOwn tells the server of the cluster as users do. What is in no history comes from another
// node over NATS alone.
func TestNodesMakeAClusterOfTheirOwn(t *testing.T) {
	database, clusters := pgtest.Database(t), []string{freeAddress(t), freeAddress(t)}
	nodes := make([]*server, len(clusters))
	for i, at := range clusters {
		nodes[i] = startServer(t, t.TempDir(), "env", "PARLEY_DATABASE_URL="+database, "PARLEY_NATS_CLUSTER="+at,
			"PARLEY_NATS_ROUTES=nats://"+clusters[0]+",nats://"+clusters[1])
	}
	spec := draft("s")
	spec["options"] = document{"channels": document{"4": document{"history": false}}}
	delete(spec, "secretKey")
	nodes[0].mustPost("?sessionId=s", spec)
	nodes[0].mustPost("/s/join", document{})
	for i, from := range nodes {
		func() {
			ctx, stop := context.WithCancel(t.Context())
			var publishing sync.WaitGroup
			defer publishing.Wait()
			defer stop()
			publishing.Go(func() {
				for ctx.Err() == nil { // what nobody listens to yet is lost
					//nolint:contextcheck // each is seen through
					from.wantStatus(http.StatusOK, http.MethodPost, "/s/messages", document{"message": document{"text": "now", "channel": 4}})
				}
			})
			nodes[1-i].stream("s", "", func(e document) bool { return e["sequence"] == "0" })
		}()
	}
}

// freeAddress is one of this machine that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
