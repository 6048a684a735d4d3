//go:build linux

package main

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

func newTestWorkspace(t *testing.T) *workspace {
	t.Helper()
	return &workspace{programs: t.TempDir(), data: t.TempDir()}
}

// bearer verifies a token as the server does, and returns its claims.
func bearer(header, method string, key any) (claims, error) {
	token, found := strings.CutPrefix(header, "Bearer ")
	if !found {
		return claims{}, fmt.Errorf("%q is no bearer token", header)
	}
	var c claims
	_, err := jwt.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return key, nil },
		jwt.WithValidMethods([]string{method}), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	return c, err
}

func TestTokensAreVerifiedWithTheServersKey(t *testing.T) {
	space := newTestWorkspace(t)
	secret, err := space.makeSecret()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := space.makeKeyPair()
	if err != nil {
		t.Fatal(err)
	}
	for method, files := range map[string]keyFiles{"HS256": secret, "ES256": pair} {
		t.Run(method, func(t *testing.T) {
			key := publicKey(t, files.public)
			s, err := readSigner(files.private)
			if err != nil {
				t.Fatal(err)
			}
			for user, roles := range map[string][]string{"user-0007": nil, operator: {"admin"}} {
				headers, err := s.headers(user)
				if err != nil || len(headers) != 1 {
					t.Fatalf("%s has the headers %q, %v", user, headers, err)
				}
				got, err := bearer(strings.TrimPrefix(headers[0], "Authorization: "), method, key)
				if err != nil {
					t.Fatal(err)
				}
				if got.Subject != user || !slices.Equal(got.Roles, roles) {
					t.Errorf("the token is of %q with the roles %q, want %q with %q", got.Subject, got.Roles, user, roles)
				}
				if left := time.Until(got.ExpiresAt.Time); left < tokenLife-time.Minute || left > tokenLife {
					t.Errorf("it is good for %s, want %s", left, tokenLife)
				}
			}
		})
	}
}

// publicKey is what the server makes of the file: a public key, or the secret of at
// least 32 bytes.
func publicKey(t *testing.T, file string) any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		if len(text) < 32 || strings.HasSuffix(string(text), "\n") {
			t.Fatalf("a secret of %d bytes", len(text))
		}
		return text
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*ecdsa.PublicKey)
}

func TestWithoutAKeyTheHeaderNamesTheUser(t *testing.T) {
	for user, want := range map[string][]string{operator: nil, "writer": {"Parley-User: writer"}} {
		if got, err := (signer{}).headers(user); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s has the headers %q, %v, want %q", user, got, err, want)
		}
	}
	if _, err := readSigner(t.TempDir() + "/missing"); err == nil {
		t.Error("a key that does not exist is read without an error")
	}
}

// recorder keeps who asked for what.
type recorder struct {
	mu    sync.Mutex // guards calls
	calls []recorded
}

type recorded struct {
	user, path, from string
	owners           []string
}

// serve answers everything with success and records it. Users are those of the
// tokens; without a key, of Parley-User.
func (r *recorder) serve(t *testing.T, key any) string {
	t.Helper()
	addr, _ := startCounting(t, http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		call := recorded{user: request.Header.Get("Parley-User"), path: request.URL.Path}
		call.from, _, _ = strings.Cut(request.RemoteAddr, ":")
		if key != nil {
			got, err := bearer(request.Header.Get("Authorization"), "HS256", key)
			if err != nil || call.user != "" {
				t.Errorf("%s as %q with %v", call.path, call.user, err)
			}
			call.user = got.Subject
		}
		var body struct{ Owners []string }
		if request.ContentLength > 0 {
			if err := json.NewDecoder(request.Body).Decode(&body); err != nil {
				t.Error(err)
			}
		}
		call.owners = body.Owners
		r.mu.Lock()
		defer r.mu.Unlock()
		r.calls = append(r.calls, call)
		_, _ = io.WriteString(w, "{}")
	}))
	return addr
}

// take returns what was recorded since.
func (r *recorder) take() []recorded {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.calls = nil
	return calls
}

func TestUsersAskForWhatIsTheirs(t *testing.T) {
	secret, err := newTestWorkspace(t).makeSecret()
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{"named": "", "with tokens": secret.private} {
		t.Run(name, func(t *testing.T) {
			var key any
			admin := ""
			if file != "" {
				key, admin = publicKey(t, secret.public), operator
			}
			var r recorder
			addr := r.serve(t, key)
			run := func(a action, requests int64) []recorded {
				got, err := generate(t.Context(), loadConfig{
					Addr: addr, Action: a, Conns: 8, Loops: 2, IDs: 30, Users: 4, Key: file, Requests: requests,
				}, io.Discard)
				if err != nil || got.Errors > 0 {
					t.Fatalf("%s: %d errors, the first %q, %v", a, got.Errors, got.FirstError, err)
				}
				return r.take()
			}
			for _, c := range run(preload, 60) {
				if c.user != admin {
					t.Fatalf("%s was created by %q, want %q", c.path, c.user, admin)
				}
			}
			users := map[string]bool{}
			for _, c := range run(create, 200) {
				users[c.user] = true
				if len(c.owners) != 2 || c.owners[0] != c.user || c.owners[1] == c.user {
					t.Fatalf("%q creates a session of %q", c.user, c.owners)
				}
			}
			if len(users) != 4 {
				t.Errorf("%d users created, want 4", len(users))
			}
			for _, c := range run(get, 200) {
				number, err := strconv.Atoi(strings.TrimPrefix(c.path, sessionsPath+"/b-"))
				if err != nil || number >= 30 || c.user != userName(number%4) {
					t.Fatalf("%q gets %s, %v", c.user, c.path, err)
				}
			}
			for _, c := range run(publish, 50) {
				if c.user != writerUser {
					t.Fatalf("%q publishes, want %q", c.user, writerUser)
				}
			}
		})
	}
}

func TestAPreloadedSessionIsOfTheUserWhoGetsIt(t *testing.T) {
	owners := map[string]string{}
	var mu sync.Mutex
	addr, _ := startCounting(t, http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		var body struct{ Owners []string }
		if err := json.NewDecoder(request.Body).Decode(&body); err != nil || len(body.Owners) != 2 || body.Owners[0] == body.Owners[1] {
			t.Errorf("the owners are %q, %v", body.Owners, err)
		}
		mu.Lock()
		defer mu.Unlock()
		if id := request.URL.Query().Get("sessionId"); id != "" {
			owners[id] = body.Owners[0]
		}
		_, _ = io.WriteString(w, "{}")
	}))
	if _, err := generate(t.Context(), loadConfig{
		Addr: addr, Action: preload, Conns: 5, Loops: 2, IDs: 30, Users: 4, Requests: 60,
	}, io.Discard); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for number := range 30 {
		want[fmt.Sprintf("b-%08d", number)] = userName(number % 4)
	}
	if diff := cmp.Diff(want, owners); diff != "" {
		t.Errorf("owners (-want +got):\n%s", diff)
	}
}

func TestOptionsOfComparedServers(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"-auth", "create64, publish64x1, get64"},
		{"-auth -rows get64,joinleave64", "get64, joinleave64"},
		{"-auth -rows echo64", "error"},
		{"-auth -scale 1,2", "error"},
		{"-auth -noisy", "error"},
		{"-auth -server none", "error"},
		{"-noisy", ""},
		{"-noisy -rows get64", "error"},
		{"-noisy -server none", "error"},
	} {
		o, err := parseOptions(strings.Fields(tt.args), io.Discard)
		got := rowNames(o.rows)
		if err != nil {
			got = "error"
		}
		if got != tt.want {
			t.Errorf("%s selects %q (%v), want %q", tt.args, got, err, tt.want)
		}
	}
}

func TestTheTableOfIdentities(t *testing.T) {
	of := func(rates ...int64) []loadResult {
		var out []loadResult
		for _, rate := range rates {
			out = append(out, loadResult{Requests: rate, Seconds: 1, ServerCPU: float64(rate) * 50e-6})
		}
		return out
	}
	var out strings.Builder
	printAuthHead(&out, []identity{{name: "dev"}, {name: "HS256"}, {name: "ES256"}})
	printAuthRow(&out, row{name: "get64"}, [][]loadResult{of(1000, 3000, 2000), of(900, 1500, 2000), of(0, 3000, 1000)})
	want := `
row                   dev  server CPU       HS256  server CPU  of dev      ES256  server CPU  of dev
get64                2000     50.0 us        1500     50.0 us    0.90       1000     50.0 us    0.50
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}
