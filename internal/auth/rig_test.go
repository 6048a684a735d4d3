package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is when tests take place, unless they say otherwise.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const secretText = "0123456789abcdef0123456789abcdef"

// The keys of tests. Making one of RSA takes long.
var (
	rsaKey       = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKey        = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	otherECKey   = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	p384Key      = must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	_, edKey, _  = ed25519.GenerateKey(rand.Reader)
	_, edKey2, _ = ed25519.GenerateKey(rand.Reader)
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// logBuffer is a log that a test reads while it is written.
type logBuffer struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logBuffer) count(text string) int { return strings.Count(l.String(), text) }

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// clock is one that tests set.
type clock struct{ at atomic.Pointer[time.Time] }

func newClock() *clock {
	c := &clock{}
	c.set(noon)
	return c
}

func (c *clock) set(at time.Time) { c.at.Store(&at) }
func (c *clock) now() time.Time   { return *c.at.Load() }

// write puts a file in place at once, as whoever replaces one does.
func write(t *testing.T, path string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

func temporary(t *testing.T, content string) string {
	t.Helper()
	return write(t, filepath.Join(t.TempDir(), "file"), []byte(content))
}

func pemOf(t *testing.T, public crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// open starts an authenticator at noon.
func open(t *testing.T, config JWTConfig) *JWT {
	t.Helper()
	if config.Now == nil {
		config.Now = newClock().now
	}
	j, err := NewJWT(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.Close)
	return j
}

// withSecret is the configuration that most tests use.
func withSecret(t *testing.T) JWTConfig {
	t.Helper()
	return JWTConfig{SecretFile: temporary(t, secretText+"\n")}
}

// good are the claims of u1, good from noon for an hour, changed as given; nil: the claim is left out.
func good(changes jwt.MapClaims) jwt.MapClaims {
	claims := jwt.MapClaims{"sub": "u1", "exp": noon.Add(time.Hour).Unix()}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	return claims
}

// sign makes a token. Header: pairs of names and values.
func sign(t *testing.T, method jwt.SigningMethod, key any, claims jwt.Claims, header ...any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	for i := 0; i < len(header); i += 2 {
		token.Header[header[i].(string)] = header[i+1]
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// hs256 signs with the secret of tests.
func hs256(t *testing.T, claims jwt.Claims, header ...any) string {
	t.Helper()
	return sign(t, jwt.SigningMethodHS256, []byte(secretText), claims, header...)
}

func bearerOf(token string) http.Header { return header("Authorization", "Bearer "+token) }

func callerOf(a Authenticator, header http.Header) (session.Caller, error) {
	return a.Caller(context.Background(), Request{Host: "parley.example.com", Header: header})
}

// accepted fails the test unless the token is taken for u1's.
func accepted(t *testing.T, a Authenticator, token string) {
	t.Helper()
	caller, err := callerOf(a, bearerOf(token))
	if err != nil {
		t.Fatal(err)
	}
	if caller.User != "u1" {
		t.Errorf("user = %q, want u1", caller.User)
	}
}

// rejected fails the test unless the header is refused as unauthenticated, for the reason and with a challenge that
// says so, and without a word of the header. Beside the fault there is u1 if only the time is wrong, and nobody else.
func rejected(t *testing.T, a Authenticator, header http.Header, reason string) *fault.Error {
	t.Helper()
	caller, err := callerOf(a, header)
	if err == nil {
		t.Fatalf("caller = %+v, want %s", caller, reason)
	}
	known := reason == "TOKEN_EXPIRED" || reason == "TOKEN_NOT_YET_VALID" // who it would be, for the record
	if known && caller.User != "u1" || !known && caller != (session.Caller{}) {
		t.Errorf("caller = %+v beside %s", caller, reason)
	}
	f := fault.From(err)
	if f.Kind != fault.Unauthenticated || f.Reason != reason {
		t.Errorf("fault = %d %s (%v), want %d %s", f.Kind, f.Reason, f, fault.Unauthenticated, reason)
	}
	checkChallenge(t, f)
	if f.Unwrap() != nil {
		t.Errorf("the fault has a cause: %v", f.Unwrap())
	}
	for _, value := range header["Authorization"] {
		for part := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == '.' || r == ' ' }) {
			if len(part) > 8 && strings.Contains(f.Error()+f.Challenge, part) {
				t.Errorf("the fault has a part of the credential: %v", f)
			}
		}
	}
	return f
}

// checkChallenge checks a challenge against RFC 6750 section 3.
func checkChallenge(t *testing.T, f *fault.Error) {
	t.Helper()
	if f.Reason == "CREDENTIALS_MISSING" {
		if f.Challenge != `Bearer realm="parley"` {
			t.Errorf("challenge = %s", f.Challenge)
		}
		return
	}
	rest, ok := strings.CutPrefix(f.Challenge, `Bearer realm="parley", error="invalid_token", error_description="`)
	if !ok {
		rest, ok = strings.CutPrefix(f.Challenge, `Bearer realm="parley", error="invalid_request", error_description="`)
	}
	if description, ended := strings.CutSuffix(rest, `"`); !ok || !ended || description != f.Message ||
		strings.ContainsFunc(description, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		t.Errorf("challenge = %s", f.Challenge)
	}
}
