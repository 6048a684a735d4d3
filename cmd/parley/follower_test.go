package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/auth"
)

// The follower that the documentation shows, with tickets and tokens of two seconds, misses nothing and shows nothing
// twice: not when tokens expire, nor when the server is killed. It returns when the session ends.
func TestTheDocumentedFollowerOutlivesItsTokensAndTheServer(t *testing.T) {
	node := installEventSource(t)
	binary, err := buildBinary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	secret := filepath.Join(dir, "jwt.secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("open sesame ", 3)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PARLEY_AUTH", "jwt")
	t.Setenv("PARLEY_JWT_SECRET_FILE", secret)
	token, err := auth.Mint(secret, auth.TokenSpec{User: "u1", TTL: time.Hour, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	start := func(address string) *server {
		s := startServerAt(t, address, filepath.Join(dir, "data"))
		s.client.Transport = withToken(token)
		return s
	}
	s := start("127.0.0.1:0")
	spec := draft("talk")
	spec["owners"] = []string{"u1"}
	delete(spec, "secretKey")
	s.mustPost("?sessionId=talk", spec)
	s.mustPost("/talk/join", document{})
	server, _, _ := strings.Cut(s.base, "/v1/")
	lines := node.run(t, "follow.mjs", documentedFollower(t), server, binary, secret)

	lines.want(t, "ready ")
	s.mustPost("/talk/messages", document{"message": document{"text": "one"}})
	lines.want(t, "message one")
	lines.want(t, "access.revoked ")
	s.mustPost("/talk/messages", document{"message": document{"text": "two"}})
	lines.want(t, "ready ")
	lines.want(t, "message two")
	s.kill()
	s = start(strings.TrimPrefix(server, "http://"))
	s.mustPost("/talk/messages", document{"message": document{"text": "three"}})
	for line := lines.next(t); line != "message three"; line = lines.next(t) {
		if line != "ready " && line != "access.revoked " { // a token may have expired meanwhile
			t.Fatalf("the follower shows %q, want message three", line)
		}
	}
	if status, _, err := s.call(http.MethodDelete, "/talk", nil); err != nil || status != http.StatusOK {
		t.Fatalf("DELETE: %d %v", status, err)
	}
	for line := lines.next(t); line != "returned"; line = lines.next(t) {
		if strings.HasPrefix(line, "message") {
			t.Fatalf("the follower shows %q again", line)
		}
	}
}

// documentedFollower is the JavaScript in the documentation.
func documentedFollower(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "identity.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```js\n")
	code, _, ends := strings.Cut(rest, "```")
	if !found || !ends {
		t.Fatal("the documentation has no JavaScript")
	}
	return code
}

// run runs a program of the folder, with code put before it.
func (e eventSource) run(t *testing.T, program, code string, args ...string) heardLines {
	t.Helper()
	path := filepath.Join(e.dir, program)
	own, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append([]byte(code), own...), 0o600); err != nil {
		t.Fatal(err)
	}
	return e.start(t, exec.Command("node", append([]string{program}, args...)...))
}

// withToken sends requests with a bearer token.
type withToken string

// RoundTrip implements http.RoundTripper.
func (token withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Authorization", "Bearer "+string(token))
	return http.DefaultTransport.RoundTrip(r)
}
