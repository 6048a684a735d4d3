//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const (
	readyTimeout = 60 * time.Second
	readyPoll    = 2 * time.Millisecond
	idleFor      = 2 * time.Second // before the memory of the idle server is read
	quietStep    = 200 * time.Millisecond
	quietTimeout = 10 * time.Second
)

// workspace holds the temporary directories of one benchmark.
type workspace struct {
	programs string // built server, logs of the children
	data     string // databases, on the file system that is measured
}

func newWorkspace(dataDir string) (*workspace, error) {
	dataDir, err := filepath.Abs(dataDir)
	if err != nil {
		return nil, err
	}
	programs, err := os.MkdirTemp("", "parley-bench-*")
	if err != nil {
		return nil, err
	}
	data, err := os.MkdirTemp(dataDir, ".parley-bench-*")
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(programs))
	}
	return &workspace{programs, data}, nil
}

func (w *workspace) remove() {
	_ = os.RemoveAll(w.programs)
	_ = os.RemoveAll(w.data)
}

// build compiles the server as it is released: without cgo, one static file.
func (w *workspace) build(ctx context.Context, stderr io.Writer) (string, error) {
	path := filepath.Join(w.programs, "parley")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "github.com/parleyhq/parley/cmd/parley")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = stderr, stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build of the server: %w", err)
	}
	return path, nil
}

// server is a running server with what was measured at its start.
type server struct {
	*child

	addr     string
	grpcAddr string
	dir      string        // of its data
	ready    time.Duration // from its start to the first 200 of /readyz
	sessions int           // created before measuring
	users    int           // who ask, in turn by connection; 0: the operator
	key      string        // file with the key that their tokens are signed with, under --auth jwt
}

// startServer runs the server on free ports over an empty data directory.
func (w *workspace) startServer(ctx context.Context, path, name string, settings ...string) (*server, error) {
	listen, err := freeAddress()
	if err != nil {
		return nil, err
	}
	grpcListen, err := freeAddress()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(w.data, name)
	began := time.Now()
	args := append([]string{"serve", "--listen", listen, "--grpc-listen", grpcListen, "--data-dir", dir}, settings...)
	c, err := start(ctx, filepath.Join(w.programs, name+".log"), nil, path, args...)
	if err != nil {
		return nil, err
	}
	s := &server{child: c, addr: listen, grpcAddr: grpcListen, dir: dir}
	if err := s.awaitReady(ctx); err != nil {
		c.stop()
		return nil, fmt.Errorf("%w; %s", err, c.lastWords())
	}
	s.ready = time.Since(began)
	return s, nil
}

// freeAddress returns a loopback address that nobody listens on just now.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

func (s *server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for !isReady(ctx, s.addr) {
		select {
		case <-tick.C:
		case <-s.ended:
			return errors.New("the server ended before it was ready")
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w", ctx.Err())
		}
	}
	return nil
}

func isReady(ctx context.Context, addr string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// fill creates sessions through the API, half of them under ids that get and
// update can compute.
func (s *server) fill(ctx context.Context, sessions, loops int, progress io.Writer) error {
	if err := s.do(ctx, loadConfig{
		Action: preload, Conns: min(256, sessions), Loops: loops, IDs: namedSessions(sessions), Requests: int64(sessions),
	}, progress); err != nil {
		return err
	}
	s.sessions = sessions
	return nil
}

// openRooms creates the sessions that messages are published to, and joins them.
func (s *server) openRooms(ctx context.Context, n int, progress io.Writer) error {
	for _, action := range []action{open, enrol} {
		err := s.do(ctx, loadConfig{Action: action, Conns: min(64, n), Loops: 1, Requests: int64(n)}, progress)
		if err != nil {
			return err
		}
	}
	return nil
}

// do has a number of requests answered, all of them with success.
func (s *server) do(ctx context.Context, c loadConfig, progress io.Writer) error {
	c.Addr, c.PIDs, c.Users, c.Key = s.addr, []int{s.pid()}, s.users, s.key
	result, err := load(ctx, c, progress)
	if err != nil {
		return fmt.Errorf("%w; %s", err, s.lastWords())
	}
	if result.Errors > 0 {
		return fmt.Errorf("%s: %d errors in %d requests, the first: %s", c.Action, result.Errors, c.Requests, result.FirstError)
	}
	return nil
}

// namedSessions is how many of so many sessions have a computable id.
func namedSessions(sessions int) int { return (sessions + 1) / 2 }

// settle waits until the process has nothing more to do, such as a checkpoint
// of what was written last, which would otherwise be charged to the next row.
func settle(ctx context.Context, pid int) error {
	return settleBy(ctx, func() (time.Duration, error) { return processorTime(pid) })
}

// settleBy waits until the processor time that the clock tells stands still.
func settleBy(ctx context.Context, clock func() (time.Duration, error)) error {
	deadline := time.Now().Add(quietTimeout)
	for time.Now().Before(deadline) {
		before, err := clock()
		if err != nil {
			return err
		}
		if err := wait(ctx, quietStep); err != nil {
			return err
		}
		after, err := clock()
		if err != nil {
			return err
		}
		if after-before <= clockTick {
			return nil
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	return pause(ctx, d, nil)
}
