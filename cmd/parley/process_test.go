package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/followtest"
	"github.com/parleyhq/parley/internal/store/pgtest"
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "parley-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	buildBinary = sync.OnceValues(func() (string, error) {
		path := filepath.Join(dir, "parley")
		output, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
		if err != nil {
			err = fmt.Errorf("go build: %w\n%s", err, output)
		}
		return path, err
	})
	return pgtest.Tests(m).Run()
}

// buildBinary builds the server, once.
var buildBinary func() (string, error)

// server is a server in a process of its own.
type server struct {
	t      *testing.T
	cmd    *exec.Cmd
	client *http.Client
	base   string        // of the sessions' paths
	grpc   string        // the address
	ended  chan struct{} // closed when the process has ended; then exit and stderr may be read
	exit   error
	stderr bytes.Buffer
}

// startServer starts a server, and returns when it is ready. The command may be wrapped in another.
func startServer(t *testing.T, dir string, wrap ...string) *server {
	t.Helper()
	return startServerAt(t, "127.0.0.1:0", dir, wrap...)
}

// startServerAt is startServer with an address of REST.
func startServerAt(t *testing.T, address, dir string, wrap ...string) *server {
	t.Helper()
	s := launch(t, address, dir, wrap...)
	if s.base == "" {
		t.Fatalf("the server ended before it was ready: %v\n%s", s.exit, &s.stderr)
	}
	return s
}

// launch starts a server, and returns when it is ready or has ended.
func launch(t *testing.T, address, dir string, wrap ...string) *server {
	t.Helper()
	binary, err := buildBinary()
	if err != nil {
		t.Fatal(err)
	}
	args := append(slices.Clone(wrap), binary, "serve",
		"--listen", address, "--grpc-listen", "127.0.0.1:0", "--data-dir", dir)
	s := &server{
		t:      t,
		cmd:    exec.Command(args[0], args[1:]...),
		client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		ended:  make(chan struct{}),
	}
	pipe, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	ready := make(chan string, 1)
	go s.watch(pipe, ready)
	select {
	case s.base = <-ready:
	case <-s.ended:
	case <-time.After(time.Minute):
		t.Fatal("the server was not ready within a minute")
	}
	return s
}

// watch keeps what the process says, tells when it is ready, and waits for its end.
func (s *server) watch(pipe io.Reader, ready chan<- string) {
	defer close(s.ended)
	lines, rest := bufio.NewScanner(pipe), ""
	for lines.Scan() {
		s.stderr.Write(append(lines.Bytes(), '\n'))
		for field := range strings.FieldsSeq(lines.Text()) {
			if url, ok := strings.CutPrefix(field, "rest="); ok {
				rest = url
			}
			if address, ok := strings.CutPrefix(field, "grpc="); ok {
				s.grpc = address
				ready <- rest + "/v1/conversation/sessions"
			}
		}
	}
	s.exit = s.cmd.Wait()
}

// followed is where a follower finds the server.
func (s *server) followed() followtest.Server { return followtest.Server{Base: s.base, GRPC: s.grpc} }

// signal sends a signal to the process.
func (s *server) signal(signal syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Error(err)
	}
}

// kill ends the process with SIGKILL, if it has not ended.
func (s *server) kill() {
	s.t.Helper()
	s.signal(syscall.SIGKILL)
	s.wait()
}

// wait waits for the end of the process.
func (s *server) wait() {
	s.t.Helper()
	s.client.CloseIdleConnections()
	select {
	case <-s.ended:
	case <-time.After(time.Minute):
		s.t.Fatal("the server has not ended within a minute")
	}
}

// document is a JSON object.
type document = map[string]any

// call sends a request; the error is the transport's.
func (s *server) call(method, path string, body any) (status int, answer document, err error) {
	var content io.Reader = http.NoBody
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(context.Background(), method, s.base+path, content)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	err = json.NewDecoder(response.Body).Decode(&answer)
	delete(answer, "secretKey") // only the answer that sets it has it
	return response.StatusCode, answer, err
}

// mustPost sends a request that has to succeed.
func (s *server) mustPost(path string, body document) document {
	s.t.Helper()
	status, answer, err := s.call(http.MethodPost, path, body)
	if err != nil || status != http.StatusOK {
		s.t.Fatalf("POST %s: %d %v %v", path, status, answer, err)
	}
	return answer
}

// list returns all sessions by their id, and fails if one is there twice.
func (s *server) list() map[string]document {
	s.t.Helper()
	found, uids, token := make(map[string]document), make(map[any]bool), ""
	for {
		status, page, err := s.call(http.MethodGet, "?pageSize=1000&orderBy=createTime&pageToken="+token, nil)
		if err != nil || status != http.StatusOK {
			s.t.Fatalf("list: %d %v %v", status, page, err)
		}
		sessions, _ := page["sessions"].([]any)
		for _, each := range sessions {
			session, _ := each.(document)
			id, _ := session["sessionId"].(string)
			if found[id] != nil || uids[session["uid"]] {
				s.t.Errorf("%s is there twice", id)
			}
			found[id], uids[session["uid"]] = session, true
		}
		if token, _ = page["nextPageToken"].(string); token == "" {
			return found
		}
	}
}

// draft is a session with something in every field.
func draft(id string) document {
	return document{
		"profile": "profiles/p", "displayName": "Réception " + id, "sessionType": 2.0, "owners": []any{"user-1", id},
		"defaultChannels": []any{1.0, 7.0}, "description": "of " + id, "allowedUsers": []any{"user-2"}, "blockedUsers": []any{"user-3"},
		"labels": document{"id": id}, "options": document{"id": id, "deep": []any{nil, 1.5}}, "secretKey": "secret of " + id,
	}
}
