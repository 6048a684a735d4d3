//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"time"

	nats "github.com/nats-io/nats-server/v2/server"
)

const natsReady = 10 * time.Second

// natsMain is a NATS server that nodes share, until the context ends. Its first line
// on standard output has the addresses for clients and for monitoring.
func natsMain(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("bench nats", flag.ContinueOnError)
	flags.SetOutput(stderr)
	if err := flags.Parse(args); err != nil {
		return err
	}
	s, err := nats.NewServer(&nats.Options{
		Host: "127.0.0.1", Port: nats.RANDOM_PORT, HTTPHost: "127.0.0.1", HTTPPort: nats.RANDOM_PORT, NoSigs: true, NoLog: true,
	})
	if err != nil {
		return err
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(natsReady) {
		return errors.New("NATS did not start")
	}
	fmt.Fprintln(stdout, s.Addr(), s.MonitorAddr())
	<-ctx.Done()
	return nil
}

// natsServer is a NATS server in a process of its own.
type natsServer struct {
	*child

	url     string
	monitor string // address
}

func startNATS(ctx context.Context, log string) (*natsServer, error) {
	n := &natsServer{}
	var addr string
	var err error
	if n.child, err = startSelf(ctx, log, []any{&addr, &n.monitor}, "nats"); err != nil {
		return nil, err
	}
	n.url = "nats://" + addr
	return n, nil
}

// subscriptions is how many there are, of all clients.
func (n *natsServer) subscriptions(ctx context.Context) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.monitor+"/subsz", http.NoBody)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	var told struct {
		Subscriptions int `json:"num_subscriptions"`
	}
	if err := json.NewDecoder(response.Body).Decode(&told); err != nil {
		return 0, fmt.Errorf("NATS's monitoring: %w", err)
	}
	return told.Subscriptions, nil
}
