//go:build linux

// Package chaos_test lets faults loose on three nodes, PostgreSQL and a cluster of NATS, under load, and then compares
// what everybody was told: no acknowledged write is lost and none is there twice, every follower has the whole log in
// order, and what was answered is what one server, doing one thing at a time, might have answered.
//
// The faults come from a seed, so that a run can be repeated. What comes between them does not: the load takes the
// machine's time as it comes.
package chaos_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/store/pgtest"
)

var (
	runFor = flag.Duration("chaos.for", 0, "run rounds for that long, instead of the fixed seeds")
	seeded = flag.Uint64("chaos.seed", 0, "the seed of the rounds; 0: any")
	quiet  = flag.Int("chaos.quiet", 2_000, "how many quiet sessions are to cost no more than ten")
	clocks = flag.Bool("chaos.clock", true, "shift the clock of a node, too: all of its server is compiled anew for that, the first time")
)

func TestMain(m *testing.M) {
	if config := os.Getenv(natsVariable); config != "" {
		if err := serveNATS(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(runTests(pgtest.Tests(m)))
}

func runTests(m interface{ Run() int }) int {
	dir, err := os.MkdirTemp("", "parley-chaos-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	buildServer = sync.OnceValues(func() (string, error) { return build(filepath.Join(dir, "parley")) })
	buildShifted = sync.OnceValues(func() (string, error) { return buildWithShiftedClock(dir) })
	return m.Run()
}

// buildServer builds the server, and buildShifted the one whose clock can be shifted; each once.
var buildServer, buildShifted func() (string, error)

func build(path string, flags ...string) (string, error) {
	args := append([]string{"build", "-o", path}, flags...)
	began := time.Now()
	p, err := start(exec.Command("go", append(args, "github.com/parleyhq/parley/cmd/parley")...), nil)
	if err != nil {
		return "", err
	}
	if <-p.ended; p.exit != nil {
		return "", fmt.Errorf("go build: %w\n%s", p.exit, &p.output)
	}
	fmt.Fprintf(os.Stderr, "%s is built in %s\n", filepath.Base(path), time.Since(began).Round(time.Second))
	return path, nil
}
