//go:build linux

package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/followtest"
	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/pgtest"
)

const (
	nodeCount = 3
	natsCount = 3

	// shifted is the node whose clock can be shifted.
	shifted = nodeCount - 1

	startLimit = time.Minute // for something to come up again
)

// cluster is nodes, with what they depend on.
type cluster struct {
	t        *testing.T
	postgres *pgtest.Server
	nats     []*natsServer
	nodes    []*node

	postgresLock sync.Mutex // is held while PostgreSQL is away
}

// newCluster starts everything. Without shiftable, no node's clock can be shifted.
func newCluster(t *testing.T, nodes int, shiftable bool) *cluster {
	t.Helper()
	c := &cluster{t: t, postgres: pgtest.Start(t, "fsync=on", "full_page_writes=on", "synchronous_commit=on")}
	database := c.postgres.Database(t)
	keys := filepath.Join(t.TempDir(), "server.key")
	if err := os.WriteFile(keys, session.NewKeyRing().Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	c.nats = startNATS(t, natsCount)
	for i := range nodes {
		c.nodes = append(c.nodes, newNode(c, i, shiftable && i == shifted, database, keys))
	}
	for _, n := range c.nodes {
		n.mustStart()
	}
	return c
}

// node is a server, and what stands between it and the others.
type node struct {
	t        *testing.T
	name     string
	binary   string
	args     []string
	clock    *clock // nil: it cannot be shifted
	postgres *proxy
	nats     []*proxy

	at atomic.Pointer[followtest.Server] // where it is, or was when it was last there

	lock    sync.Mutex // is held while it is away or stopped
	process *process
	starts  int // that failed
}

func newNode(c *cluster, i int, shiftable bool, database, keys string) *node {
	c.t.Helper()
	builds, environment := buildServer, (*clock)(nil)
	if shiftable {
		builds, environment = buildShifted, newClock(c.t)
	}
	binary, err := builds()
	if err != nil {
		c.t.Fatal(err)
	}
	n := &node{t: c.t, name: fmt.Sprintf("node-%d", i), binary: binary, clock: environment}
	n.postgres = newProxy(c.t, "unix", pgtest.Socket(database), nil)
	urls := make([]string, 0, len(c.nats))
	for _, s := range c.nats {
		p := newProxy(c.t, "tcp", s.address(), nil)
		n.nats = append(n.nats, p)
		urls = append(urls, "nats://"+p.address())
	}
	n.args = []string{
		"serve", "--auth", "dev", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0",
		"--server-key-file", keys, "--database-url", pgtest.Through(database, n.postgres.address()), "--nats-url", strings.Join(urls, ","),
	}
	c.t.Cleanup(func() {
		if n.process != nil {
			n.process.signal(syscall.SIGCONT)
			n.process.kill()
		}
	})
	return n
}

// server is where the node is.
func (n *node) server() followtest.Server { return *n.at.Load() }

func (n *node) mustStart() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), startLimit)
	defer cancel()
	if err := n.start(ctx); err != nil {
		n.t.Fatal(err)
	}
}

// start starts the node, as often as it takes: what it depends on may be away.
func (n *node) start(ctx context.Context) error {
	for earlier := error(nil); ; n.starts++ {
		err := n.startOnce(ctx)
		if err == nil {
			return nil
		}
		if wait(ctx, 200*time.Millisecond) != nil {
			return errors.Join(earlier, err)
		}
		earlier = err
	}
}

// startOnce returns when the node is ready.
func (n *node) startOnce(ctx context.Context) (err error) {
	command := exec.Command(n.binary, n.args...)
	command.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "PARLEY_") })
	if n.clock != nil {
		command.Env = append(command.Env, clockVariable+"="+n.clock.path)
	}
	ready := make(chan followtest.Server, 1)
	n.process, err = start(command, func(line string) {
		if !strings.Contains(line, "msg=ready ") {
			return
		}
		var at followtest.Server
		for field := range strings.FieldsSeq(line) {
			if value, ok := strings.CutPrefix(field, "rest="); ok {
				at.Base = value + "/v1/conversation/sessions"
			}
			if value, ok := strings.CutPrefix(field, "grpc="); ok {
				at.GRPC = value
			}
		}
		ready <- at
	})
	if err != nil {
		return err
	}
	select {
	case at := <-ready:
		n.at.Store(&at)
		return nil
	case <-n.process.ended:
		return fmt.Errorf("%s ended before it was ready: %w\n%s", n.name, n.process.exit, &n.process.output)
	case <-ctx.Done():
		n.process.dump()
		return fmt.Errorf("%s was not ready in time: %w\n%s", n.name, ctx.Err(), &n.process.output)
	}
}

// drain ends the node in good order.
func (n *node) drain() error {
	n.process.signal(syscall.SIGTERM)
	select {
	case <-n.process.ended:
		if n.process.exit != nil {
			return fmt.Errorf("%s drained: %w\n%s", n.name, n.process.exit, &n.process.output)
		}
		return nil
	case <-time.After(startLimit):
		n.process.dump()
		return fmt.Errorf("%s does not drain\n%s", n.name, &n.process.output)
	}
}
