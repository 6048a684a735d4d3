//go:build linux

package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/parleyhq/parley/internal/store/pgtest"
)

// builtDir is where the tests' server is built.
var builtDir string

func runTests(m *testing.M) int {
	var err error
	if builtDir, err = os.MkdirTemp("", "parley-bench-test-*"); err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(builtDir) }()
	return pgtest.Tests(m).Run()
}

// TestMain is also what the benchmark starts as its parts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "echo", "follow", "load", "nats":
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
			err := dispatch(ctx, os.Args[1:], os.Stdout, os.Stderr)
			stop()
			if err != nil {
				os.Exit(1)
			}
			return
		}
	}
	os.Exit(runTests(m))
}
