package auth

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
)

func TestIsLoopbackHost(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost":                true,
		"localhost:8080":           true,
		"LocalHost:8080":           true,
		"127.0.0.1":                true,
		"127.0.0.2:80":             true,
		"127.255.255.255":          true,
		"::1":                      true,
		"[::1]":                    true,
		"[::1]:1":                  true,
		"[0:0:0:0:0:0:0:1]:1":      true,
		"":                         false,
		":8080":                    false,
		"::ffff:127.0.0.1":         false,
		"[::ffff:127.0.0.1]:80":    false,
		"[::1%lo]:80":              false,
		"::":                       false,
		"0.0.0.0":                  false,
		"128.0.0.1":                false,
		"192.168.1.1:80":           false,
		"localhost.":               false,
		"localhost.evil.com":       false,
		"localhost.evil.com:80":    false,
		"evil.com:localhost":       false,
		"127.0.0.1.evil.com":       false,
		"127.0.0.1@evil.com":       false,
		"127.1":                    false,
		"0x7f.0.0.1":               false,
		"2130706433":               false,
		"localhost:80:80":          false,
		"user@localhost":           false,
		"localhost,evil.com":       false,
		"foo.localhost":            false,
		"\tlocalhost":              false,
		"xn--lcalhost-01a.example": false,
	} {
		t.Run(host, func(t *testing.T) {
			if got := IsLoopbackHost(host); got != want {
				t.Errorf("IsLoopbackHost(%q) = %t, want %t", host, got, want)
			}
		})
	}
}

func TestIsLoopbackListen(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:8080": true, "localhost:0": true, "[::1]:8080": true, "127.0.0.2:1": true,
		":8080": false, "0.0.0.0:8080": false, "[::]:8080": false, "8080": false, "localhost": false, "": false,
		"10.0.0.1:8080": false, "example.com:80": false, "[::ffff:127.0.0.1]:80": false,
	} {
		t.Run(address, func(t *testing.T) {
			if got := IsLoopbackListen(address); got != want {
				t.Errorf("IsLoopbackListen(%q) = %t, want %t", address, got, want)
			}
		})
	}
}

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func TestDevTakesTheCallerFromTheHeader(t *testing.T) {
	for name, test := range map[string]struct {
		header http.Header
		want   session.Caller
	}{
		"none":             {nil, session.Caller{User: Operator, Admin: true}},
		"a user":           {header("Parley-User", "u1"), session.Caller{User: "u1"}},
		"a user of 128":    {header("Parley-User", strings.Repeat("u", 128)), session.Caller{User: strings.Repeat("u", 128)}},
		"called operator":  {header("Parley-User", Operator), session.Caller{User: Operator}},
		"not ASCII":        {header("Parley-User", "jürgen"), session.Caller{User: "jürgen"}},
		"an unrelated one": {header("X-Forward", "x", "X-Real-Ip", "1.2.3.4"), session.Caller{User: Operator, Admin: true}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Dev{}.Caller(t.Context(), Request{Host: "localhost", Header: test.header})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("caller (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDevRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		host   string
		header http.Header
		kind   fault.Kind
		reason string
	}{
		"another host":         {"evil.example.com", nil, fault.PermissionDenied, "HOST_NOT_LOOPBACK"},
		"no host":              {"", nil, fault.PermissionDenied, "HOST_NOT_LOOPBACK"},
		"X-Forwarded-For":      {"localhost", header("X-Forwarded-For", "1.2.3.4"), fault.PermissionDenied, "PROXIED"},
		"X-Forwarded-Anything": {"localhost", header("x-forwarded-anything", ""), fault.PermissionDenied, "PROXIED"},
		"Via":                  {"localhost", header("via", "1.1 proxy"), fault.PermissionDenied, "PROXIED"},
		"Forwarded":            {"localhost", header("Forwarded", "for=1.2.3.4"), fault.PermissionDenied, "PROXIED"},
		"a user of 129 bytes":  {"localhost", header("Parley-User", strings.Repeat("u", 129)), fault.InvalidArgument, "INVALID_FIELDS"},
		"an empty user":        {"localhost", header("Parley-User", ""), fault.InvalidArgument, "INVALID_FIELDS"},
		"two users":            {"localhost", http.Header{"Parley-User": {"u1", "u2"}}, fault.InvalidArgument, "INVALID_FIELDS"},
		"a control character":  {"localhost", header("Parley-User", "a\tb"), fault.InvalidArgument, "INVALID_FIELDS"},
		"invalid UTF-8":        {"localhost", header("Parley-User", "a\xff"), fault.InvalidArgument, "INVALID_FIELDS"},
	} {
		t.Run(name, func(t *testing.T) {
			caller, err := Dev{}.Caller(t.Context(), Request{Host: test.host, Header: test.header})
			if err == nil {
				t.Fatalf("caller = %+v, want a fault", caller)
			}
			if f := fault.From(err); f.Kind != test.kind || f.Reason != test.reason {
				t.Errorf("fault = %d %s, want %d %s", f.Kind, f.Reason, test.kind, test.reason)
			}
			if caller.Admin || caller.User != "" {
				t.Errorf("caller = %+v beside a fault", caller)
			}
		})
	}
}
