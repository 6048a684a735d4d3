//go:build linux

package main

import (
	"strings"
	"testing"
)

func TestResponsesEndWhereTheyEnd(t *testing.T) {
	tests := []struct {
		name, text string
		status     int
		body       string // kept of an unexpected status
	}{
		{"with a length", "HTTP/1.1 200 OK\r\ncontent-length:  4\r\n\r\nbody", 200, ""},
		{"empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, ""},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", 204, ""},
		{
			"in chunks",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
			200, "",
		},
		{
			"chunks with a trailer",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n.\r\n0\r\nX-Sum: 1\r\n\r\n",
			200, "",
		},
		{"an error", "HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nbusy\n", 503, "busy\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for step := 1; step <= len(tt.text); step++ {
				r := feedInSteps(t, tt.text, step)
				if r.status != tt.status || string(r.body) != tt.body {
					t.Fatalf("in steps of %d: status %d and body %q, want %d and %q",
						step, r.status, r.body, tt.status, tt.body)
				}
			}
		})
	}
}

func feedInSteps(t *testing.T, text string, step int) *response {
	t.Helper()
	var r response
	r.reset()
	for rest := text; rest != ""; {
		n := min(step, len(rest))
		piece := rest[:n]
		rest = rest[n:]
		done, err := r.feed([]byte(piece))
		if err != nil {
			t.Fatalf("in steps of %d: %v", step, err)
		}
		if done != (rest == "") {
			t.Fatalf("in steps of %d: done is %t with %q to come", step, done, rest)
		}
	}
	return &r
}

func TestBrokenResponsesAreErrors(t *testing.T) {
	for name, text := range map[string]string{
		"not HTTP":          "SSH-2.0-OpenSSH_9.6\r\n",
		"no length":         "HTTP/1.1 200 OK\r\n\r\n",
		"a bad length":      "HTTP/1.1 200 OK\r\nContent-Length: 4x\r\n\r\n",
		"a huge length":     "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"a bad chunk":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
		"more than one":     "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1",
		"an endless header": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxLine),
	} {
		t.Run(name, func(t *testing.T) {
			var r response
			r.reset()
			if done, err := r.feed([]byte(text)); err == nil {
				t.Errorf("taken without an error, done is %t", done)
			}
		})
	}
}
