package app_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/parleyhq/parley/internal/app"
	"github.com/parleyhq/parley/internal/config"
)

// signer makes tokens of u with a key that is in a set as kid.
type signer struct {
	kid string
	key ed25519.PrivateKey
}

func newSigner(t *testing.T, kid string) signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{kid, key}
}

func (s signer) token(t *testing.T) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"sub": "u", "exp": time.Now().Add(time.Hour).Unix()})
	token.Header["kid"] = s.kid
	text, err := token.SignedString(s.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// set is a key set of this key alone.
func (s signer) set() *string {
	x := base64.RawURLEncoding.EncodeToString(s.key.Public().(ed25519.PublicKey))
	set := fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}]}`, s.kid, x)
	return &set
}

// open asks with a token; empty: without. What is wrong with a stream that is awaited ends the test after a while.
func open(t *testing.T, a *app.App, token, method, path, body string) (status int, content io.Reader) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, method, "http://"+a.Addr()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response.StatusCode, response.Body
}

// follow opens a stream, and returns what waits for an event of it.
func follow(t *testing.T, a *app.App, token string) (until func(event string)) {
	t.Helper()
	status, content := open(t, a, token, http.MethodGet, sessions+"/room/events", "")
	lines := bufio.NewScanner(content)
	until = func(event string) {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == "event: "+event {
				return
			}
		}
		t.Fatalf("the stream, %d, ends without %s: %v", status, event, lines.Err())
	}
	until("ready")
	return until
}

func TestAKeyThatLeavesItsSetTakesStreamsAndTicketsWithIt(t *testing.T) {
	old, next := newSigner(t, "k1"), newSigner(t, "k2")
	file := filepath.Join(t.TempDir(), "keys.json")
	var set atomic.Pointer[string]
	publish := func(s signer) {
		set.Store(s.set())
		if err := os.WriteFile(file+".new", []byte(*s.set()), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, *set.Load()) }))
	defer server.Close()
	for name, source := range map[string]config.JWT{"a URL": {JWKSURL: server.URL}, "a file": {JWKSFile: file}} {
		t.Run(name, func(t *testing.T) {
			publish(old)
			c := settings(t.TempDir())
			c.Auth, c.JWT = "jwt", source
			a, stop := start(t, c)
			defer stop()
			if status, _ := open(t, a, old.token(t), http.MethodPost, sessions+"?sessionId=room", draft); status != http.StatusOK {
				t.Fatalf("create = %d", status)
			}
			var made struct{ Ticket string }
			_, content := open(t, a, old.token(t), http.MethodPost, sessions+"/room/tickets", "")
			if err := json.NewDecoder(content).Decode(&made); err != nil {
				t.Fatal(err)
			}
			until := follow(t, a, old.token(t))

			publish(next)
			if status, _ := open(t, a, next.token(t), http.MethodGet, sessions+"/room", ""); status != http.StatusOK {
				t.Fatalf("with the new key = %d", status)
			}
			until("access.revoked")
			if status, _ := open(t, a, old.token(t), http.MethodGet, sessions+"/room", ""); status != http.StatusUnauthorized {
				t.Errorf("with the old key = %d", status)
			}
			status, content := open(t, a, "", http.MethodGet, sessions+"/room/events?ticket="+made.Ticket, "")
			if answer, err := io.ReadAll(content); status != http.StatusUnauthorized || !strings.Contains(string(answer), "KEY_REVOKED") {
				t.Errorf("with a ticket of the old key = %d %s, %v", status, answer, err)
			}
			if source.JWKSFile != "" { // a URL is not asked again so soon
				publish(old)
				follow(t, a, old.token(t))
			}
		})
	}
}
