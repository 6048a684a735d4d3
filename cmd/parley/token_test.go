package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

const tokenSecret = "0123456789abcdef0123456789abcdef"

// runToken runs "parley token" with the arguments.
func runToken(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	err = run(t.Context(), append([]string{"token"}, args...), &out, &errs)
	if errs.Len() > 0 {
		t.Errorf("stderr = %s", errs.String())
	}
	return out.String(), err
}

func secretFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// claimsOf reads what a token says, if the secret has signed it, less its times, and how long it is good.
func claimsOf(t *testing.T, stdout string) (claims jwt.MapClaims, ttl time.Duration) {
	t.Helper()
	text, ended := strings.CutSuffix(stdout, "\n")
	if !ended || strings.ContainsAny(text, " \n") {
		t.Fatalf("stdout = %q, want a token and a newline", stdout)
	}
	claims = jwt.MapClaims{}
	key := func(*jwt.Token) (any, error) { return []byte(tokenSecret), nil }
	if _, err := jwt.ParseWithClaims(text, claims, key, jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuedAt()); err != nil {
		t.Fatal(err)
	}
	issued, expires := claims["iat"].(float64), claims["exp"].(float64)
	if age := time.Since(time.Unix(int64(issued), 0)); age < 0 || age > time.Minute {
		t.Errorf("iat is %v ago", age)
	}
	delete(claims, "iat")
	delete(claims, "exp")
	return claims, time.Duration(expires-issued) * time.Second
}

func TestTokenIsMadeOfFlagsVariablesAndFile(t *testing.T) {
	secret := secretFile(t, "secret", tokenSecret+"\n")
	file := secretFile(t, "parley.yaml", "jwt-secret-file: "+secret+"\njwt-issuer: of-the-file\n")
	for name, test := range map[string]struct {
		args      []string
		variables map[string]string
		want      jwt.MapClaims
		ttl       time.Duration
	}{
		"flags": {
			[]string{"--jwt-secret-file", secret, "--user", "u1", "--ttl", "90m"},
			nil,
			jwt.MapClaims{"sub": "u1"},
			90 * time.Minute,
		},
		"an hour by default": {
			[]string{"--jwt-secret-file", secret, "--user", "u1"},
			nil,
			jwt.MapClaims{"sub": "u1"},
			time.Hour,
		},
		"roles": {
			[]string{"--jwt-secret-file", secret, "--user", "u1", "--role", "admin", "--role", "service"},
			nil,
			jwt.MapClaims{"sub": "u1", "roles": []any{"admin", "service"}},
			time.Hour,
		},
		"variables": {
			[]string{"--user", "u1"},
			map[string]string{"PARLEY_JWT_SECRET_FILE": secret, "PARLEY_JWT_AUDIENCE": "parley"},
			jwt.MapClaims{"sub": "u1", "aud": "parley"},
			time.Hour,
		},
		"the file": {
			[]string{"--config", file, "--user", "u1", "--jwt-audience", "parley"},
			nil,
			jwt.MapClaims{"sub": "u1", "iss": "of-the-file", "aud": "parley"},
			time.Hour,
		},
		"a flag over the file": {
			[]string{"--config", file, "--user", "u1", "--jwt-issuer", "of-the-flag"},
			nil,
			jwt.MapClaims{"sub": "u1", "iss": "of-the-flag"},
			time.Hour,
		},
	} {
		t.Run(name, func(t *testing.T) {
			for name, value := range test.variables {
				t.Setenv(name, value)
			}
			stdout, err := runToken(t, test.args...)
			if err != nil {
				t.Fatal(err)
			}
			claims, ttl := claimsOf(t, stdout)
			if diff := cmp.Diff(test.want, claims); diff != "" {
				t.Errorf("claims (-want +got):\n%s", diff)
			}
			if ttl != test.ttl {
				t.Errorf("ttl = %v, want %v", ttl, test.ttl)
			}
		})
	}
}

func TestATokenThatCannotBePrintedIsAnError(t *testing.T) {
	args := []string{"token", "--user", "u1", "--jwt-secret-file", secretFile(t, "secret", tokenSecret)}
	if err := run(t.Context(), args, fullWriter, io.Discard); !errors.Is(err, errFull) {
		t.Errorf("error = %v, want %v", err, errFull)
	}
}

func TestTokenRefuses(t *testing.T) {
	secret := secretFile(t, "secret", tokenSecret)
	short := secretFile(t, "short", "short and secret")
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no secret":         {[]string{"--user", "u1"}, "--jwt-secret-file"},
		"no such file":      {[]string{"--user", "u1", "--jwt-secret-file", secret + "x"}, secret + "x"},
		"a short secret":    {[]string{"--user", "u1", "--jwt-secret-file", short}, "32 bytes"},
		"no user":           {[]string{"--jwt-secret-file", secret}, "user"},
		"a user too long":   {[]string{"--jwt-secret-file", secret, "--user", strings.Repeat("u", 129)}, "user"},
		"ttl 0":             {[]string{"--jwt-secret-file", secret, "--user", "u1", "--ttl", "0"}, "ttl"},
		"ttl below 0":       {[]string{"--jwt-secret-file", secret, "--user", "u1", "--ttl", "-1h"}, "ttl"},
		"ttl over 10 years": {[]string{"--jwt-secret-file", secret, "--user", "u1", "--ttl", "90000h"}, "ttl"},
		"ttl no duration":   {[]string{"--jwt-secret-file", secret, "--user", "u1", "--ttl", "soon"}, "ttl"},
		"an unknown role":   {[]string{"--jwt-secret-file", secret, "--user", "u1", "--role", "root"}, "role"},
		"an argument":       {[]string{"--jwt-secret-file", secret, "--user", "u1", "u2"}, "u2"},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, err := runToken(t, test.args...)
			if err == nil || stdout != "" || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("stdout = %q, error = %v, want one of %s", stdout, err, test.want)
			}
			if strings.Contains(err.Error(), "and secret") {
				t.Errorf("error = %v, has the secret", err)
			}
		})
	}
}
