//go:build unix

// Package pgtest gives tests a real PostgreSQL: a server of the installed binaries, in a temporary directory, that ends
// with the tests.
package pgtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// RequireVariable names an environment variable. If it is "require" then a test that needs PostgreSQL fails where it is
// not installed; otherwise it is skipped.
const RequireVariable = "TEST_PARLEY_POSTGRES"

// Server is a running PostgreSQL.
type Server struct {
	settings  []string
	port      string // of the socket, and on 127.0.0.1
	password  string // on 127.0.0.1
	binaries  string // the directory of initdb and postgres
	dir       string // has the data, the socket and the log
	owner     *syscall.Credential
	databases atomic.Int64

	admin sync.Mutex // is held while a database is made or dropped

	mu      sync.Mutex // guards process and exited
	process *os.Process
	exited  chan struct{} // closed once the process has ended
}

// shared is the server of all tests of the process that do not need one of their own.
var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Tests wraps what TestMain runs: the server of the tests is stopped after the last.
func Tests(m interface{ Run() int }) interface{ Run() int } { return tests{m} }

type tests struct{ tests interface{ Run() int } }

// Run runs the tests, and stops the server.
func (t tests) Run() int {
	defer func() {
		if shared.server != nil {
			_ = shared.server.stop()
		}
	}()
	return t.tests.Run()
}

// Database makes an empty database, which the test's end drops, and returns its URL.
func Database(tb testing.TB) string {
	tb.Helper()
	shared.once.Do(func() { shared.server, shared.err = start() })
	return check(tb, shared.server, shared.err).Database(tb)
}

// Start starts a server for one test, which may do with it what it likes, with settings such as "fsync=on" in the place of
// those that are quick.
func Start(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	server, err := start(settings...)
	check(tb, server, err)
	tb.Cleanup(func() {
		if err := server.stop(); err != nil {
			tb.Errorf("stopping PostgreSQL: %v", err)
		}
	})
	return server
}

var errMissing = errors.New("PostgreSQL is not installed: its programs initdb and postgres are neither in PATH nor in " +
	"/usr/lib/postgresql. Install the server, on Debian and Ubuntu with \"apt-get install postgresql\", on Fedora with " +
	"\"dnf install postgresql-server\", on macOS with \"brew install postgresql\"")

// check ends the test without a server.
func check(tb testing.TB, server *Server, err error) *Server {
	tb.Helper()
	if errors.Is(err, errMissing) && os.Getenv(RequireVariable) != "require" {
		tb.Skip(err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return server
}

func start(settings ...string) (_ *Server, err error) {
	s := &Server{settings: append(slices.Clip(quick), settings...)}
	if s.binaries, err = binaries(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("/tmp", "pgtest"); err != nil { // a socket's path must be short
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	if err := s.giveAway(); err != nil {
		return nil, err
	}
	if err := s.initialize(); err != nil {
		return nil, err
	}
	for range portTries {
		if s.port, err = freePort(); err != nil {
			return nil, err
		}
		if err = s.Start(); err == nil {
			return s, nil
		}
	}
	return nil, err
}

// portTries is how many ports are tried: what was free may be another's the moment after.
const portTries = 3

// freePort is a port that nobody listens on.
func freePort() (string, error) {
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, errors.Join(err, listener.Close())
}

// binaries is the directory of PostgreSQL's programs.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	slices.Reverse(found) // the newest first
	if path, err := exec.LookPath("postgres"); err == nil {
		found = append([]string{path}, found...)
	}
	for _, path := range found {
		resolved, err := filepath.EvalSymlinks(path)
		if err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(resolved), "initdb")); err == nil {
			return filepath.Dir(resolved), nil
		}
	}
	return "", errMissing
}

// giveAway gives the directory to a user who is not root: PostgreSQL refuses to run as root.
func (s *Server) giveAway() error {
	if os.Geteuid() != 0 {
		return nil
	}
	owner, err := user.Lookup("postgres")
	if err != nil {
		owner, err = user.Lookup("nobody")
	}
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(owner.Gid)
	if err != nil {
		return err
	}
	s.owner = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(s.dir, uid, gid)
}

// command is a program of PostgreSQL's. It ends when this process does, however that ends.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	command := exec.CommandContext(context.Background(), filepath.Join(s.binaries, name), args...) //nolint:gosec // a program of PostgreSQL's
	command.Dir = s.dir
	command.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner, Setpgid: true}
	dieWithParent(command.SysProcAttr)
	return command
}

// initialize makes the server's files. Who may look into the directory of the socket needs no password; others do.
func (s *Server) initialize() error {
	s.password = rand.Text()
	secret := filepath.Join(s.dir, "password")
	if err := os.WriteFile(secret, []byte(s.password), 0o600); err != nil {
		return err
	}
	if s.owner != nil {
		if err := os.Chown(secret, int(s.owner.Uid), int(s.owner.Gid)); err != nil {
			return err
		}
	}
	command := s.command("initdb", "--pgdata", s.data(), "--username", userName, "--auth-local", "trust", "--auth-host", "password",
		"--pwfile", secret, "--encoding", "UTF8", "--locale", "C", "--no-sync")
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, output)
	}
	return nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

const userName = "parley"

// quick are the settings for tests: what is lost when the machine crashes may be lost. Nothing is when the server does.
var quick = []string{
	"listen_addresses=127.0.0.1", "max_connections=500", "shared_buffers=64MB", "fsync=off", "full_page_writes=off", "wal_level=minimal",
	"max_wal_senders=0",
}

// Start starts the server after Stop or Kill, on what is on the disk, and returns once it answers.
func (s *Server) Start() error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	args := []string{"-D", s.data(), "-k", s.dir, "-p", s.port}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	command := s.command("postgres", args...)
	command.Stdout, command.Stderr = log, log
	exited := make(chan struct{})
	started := make(chan error)
	go func() {
		// The kernel counts the death of the thread that started the server as that of its parent.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait() // it is killed: that is no error
		}
		close(exited)
	}()
	if err := <-started; err != nil {
		return err
	}
	s.mu.Lock()
	s.process, s.exited = command.Process, exited
	s.mu.Unlock()
	return s.await(exited, log)
}

// await waits until the server answers.
func (s *Server) await(exited <-chan struct{}, log io.ReadSeeker) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.url("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-tick.C:
		case <-exited:
			return fmt.Errorf("PostgreSQL ended: %s", tail(log))
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not answer: %w: %s", err, tail(log))
		}
	}
}

// tail is the end of a log.
func tail(log io.ReadSeeker) []byte {
	const most = 4096
	if _, err := log.Seek(0, io.SeekStart); err != nil {
		return nil
	}
	all, err := io.ReadAll(log)
	if err != nil {
		return nil
	}
	return bytes.TrimSpace(all[max(0, len(all)-most):])
}

// Restart kills the server, as a crash would, and starts it again.
func (s *Server) Restart() error {
	s.Kill()
	return s.Start()
}

// Kill ends the server as a crash would.
func (s *Server) Kill() { s.end(syscall.SIGQUIT) }

// Stop ends the server in order: it tells who is connected, and rolls back what is not committed.
func (s *Server) Stop() { s.end(syscall.SIGINT) }

// Standby ends the server in order and starts it again as the standby of a server that never comes: it can be read, not
// written, until pg_promote() makes another history of it. It must have been started with "wal_level=replica".
func (s *Server) Standby() error {
	s.Stop()
	if err := os.WriteFile(filepath.Join(s.data(), "standby.signal"), nil, 0o600); err != nil {
		return err
	}
	if s.owner != nil {
		if err := os.Chown(filepath.Join(s.data(), "standby.signal"), int(s.owner.Uid), int(s.owner.Gid)); err != nil {
			return err
		}
	}
	return s.Start()
}

func (s *Server) end(signal os.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	_ = s.process.Signal(signal) // fails if it has ended
	<-s.exited
	s.process = nil
}

func (s *Server) stop() error {
	s.Kill()
	return os.RemoveAll(s.dir)
}

func (s *Server) url(database string) string {
	query, who := url.Values{"host": {s.dir}, "port": {s.port}}, url.UserPassword(userName, s.password)
	return (&url.URL{Scheme: "postgres", User: who, Path: "/" + database, RawQuery: query.Encode()}).String()
}

// Socket is the path of the socket that the database of a URL is reached by.
func Socket(database string) string {
	query := parse(database).Query()
	return filepath.Join(query.Get("host"), ".s.PGSQL."+query.Get("port"))
}

// TCP is the URL of the same database at a port of 127.0.0.1: for what cannot use the socket. The port stays the same when
// the server is started again.
func TCP(database string) string {
	parsed := parse(database)
	return Through(database, net.JoinHostPort("127.0.0.1", parsed.Query().Get("port")))
}

// Through is the URL of the same database at another address, of something that forwards to it.
func Through(database, address string) string {
	parsed := parse(database)
	parsed.Host, parsed.RawQuery = address, "sslmode=disable"
	return parsed.String()
}

// parse panics unless it is given a URL that Database has returned.
func parse(database string) *url.URL {
	parsed, err := url.Parse(database)
	if err != nil {
		panic(err)
	}
	return parsed
}

// Database makes an empty database, which the test's end drops, and returns its URL.
func (s *Server) Database(tb testing.TB) string {
	tb.Helper()
	name := "test_" + strconv.FormatInt(s.databases.Add(1), 10)
	if err := s.exec("CREATE DATABASE " + name); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			tb.Errorf("dropping a test's database: %v", err)
		}
	})
	return s.url(name)
}

// exec runs a statement that is about databases: one at a time, since they get into each other's way.
func (s *Server) exec(statement string) (err error) {
	s.admin.Lock()
	defer s.admin.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	_, err = conn.Exec(ctx, statement)
	return err
}
