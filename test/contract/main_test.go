// Package contract_test holds the public contract of the REST API as black-box tests. They run against servers of their
// own, one on each engine, or against the one that TEST_PARLEY_URL names.
package contract_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley/internal/app"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/store/pgtest"
)

// baseURL is where the server under test is, without a slash at the end.
var baseURL string

// client never follows redirects: a test sees what the server says.
var client = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 32},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func TestMain(m *testing.M) {
	if given := os.Getenv("TEST_PARLEY_URL"); given != "" {
		baseURL = strings.TrimSuffix(given, "/")
		os.Exit(m.Run())
	}
	code := pgtest.OnBothEngines(func(databaseURL string) int {
		code, err := run(m, databaseURL)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	})
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// run runs the tests against a server of their own; without a URL it is on SQLite.
func run(m *testing.M, databaseURL string) (code int, err error) {
	dir, err := os.MkdirTemp("", "parley-contract-")
	if err != nil {
		return 1, err
	}
	defer func() {
		if removed := os.RemoveAll(dir); err == nil {
			err = removed
		}
	}()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	server, err := app.New(ctx, config.Config{
		Listen: "127.0.0.1:0", GRPCListen: "127.0.0.1:0", DataDir: dir, DatabaseURL: databaseURL, Auth: "dev",
		CORSOrigins: []string{trustedOrigin},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		return 1, err
	}
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	baseURL = "http://" + server.Addr()

	code = m.Run()

	client.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		return 1, fmt.Errorf("the server did not end in order: %w", err)
	}
	return code, nil
}

// trustedOrigin is a web origin that the server is told to trust.
const trustedOrigin = "https://trusted.example.com"
