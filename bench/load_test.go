//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// startCounting serves the handler and counts what it answers.
func startCounting(t *testing.T, handler http.Handler) (addr string, served *atomic.Int64) {
	t.Helper()
	served = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), served
}

func TestLoadCountsWhatTheEchoServed(t *testing.T) {
	addr, served := startCounting(t, newEcho())
	for _, action := range []action{echoCreate, echoGet, echoPublish} {
		t.Run(string(action), func(t *testing.T) {
			served.Store(0)
			const conns = 8
			got, err := generate(t.Context(), loadConfig{
				Addr: addr, Action: action, Conns: conns, Loops: 2, IDs: 10, Duration: 200 * time.Millisecond,
			}, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if got.Errors != 0 {
				t.Errorf("%d errors, the first: %s", got.Errors, got.FirstError)
			}
			// What is answered before the window opens or after it closes is
			// served and not counted.
			if n := served.Load(); got.Requests == 0 || got.Requests > n {
				t.Errorf("reports %d requests, the server answered %d", got.Requests, n)
			}
			if got.P50 <= 0 || got.P50 > got.P90 || got.P90 > got.P99 || got.P99 > got.Max {
				t.Errorf("quantiles out of order: p50 %s, p90 %s, p99 %s, max %s", got.P50, got.P90, got.P99, got.Max)
			}
		})
	}
}

func TestLoadOfAFixedNumber(t *testing.T) {
	addr, served := startCounting(t, newEcho())
	const requests = 501
	got, err := generate(t.Context(), loadConfig{
		Addr: addr, Action: echoCreate, Conns: 7, Loops: 2, Requests: requests,
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if n := served.Load(); n != requests {
		t.Errorf("the server answered %d requests, want %d", n, requests)
	}
	if got.Errors != 0 || got.Requests != requests {
		t.Errorf("reports %d requests and %d errors (%s), want %d and 0",
			got.Requests, got.Errors, got.FirstError, requests)
	}
}

func TestLoadCountsErrors(t *testing.T) {
	const every = 5
	echo := newEcho()
	var count atomic.Int64
	addr, served := startCounting(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if count.Add(1)%every == 0 {
			http.Error(w, "the disk is full", http.StatusInternalServerError)
			return
		}
		echo.ServeHTTP(w, r)
	}))
	const requests = 500
	got, err := generate(t.Context(), loadConfig{
		Addr: addr, Action: echoCreate, Conns: 4, Loops: 1, Requests: requests,
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if n := served.Load(); n != requests {
		t.Errorf("the server answered %d requests, want %d", n, requests)
	}
	if want := int64(requests / every); got.Errors != want || got.Requests != requests-want {
		t.Errorf("reports %d requests and %d errors, want %d and %d", got.Requests, got.Errors, requests-want, want)
	}
	if want := "status 500: the disk is full"; !strings.HasPrefix(got.FirstError, want) {
		t.Errorf("shows %q as the first error, want %q", got.FirstError, want)
	}
}

func TestLoadReplacesLostConnections(t *testing.T) {
	echo := newEcho()
	var count atomic.Int64
	addr, served := startCounting(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if count.Add(1)%100 == 0 {
			panic(http.ErrAbortHandler)
		}
		echo.ServeHTTP(w, r)
	}))
	const requests = 300
	got, err := generate(t.Context(), loadConfig{
		Addr: addr, Action: echoCreate, Conns: 3, Loops: 1, Requests: requests,
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if n := served.Load(); n != requests || got.Errors != requests/100 {
		t.Errorf("%d requests with %d errors (%s), want %d with %d",
			n, got.Errors, got.FirstError, requests, requests/100)
	}
}

func TestPreloadCreatesEachIDOnce(t *testing.T) {
	var mu sync.Mutex
	var serverMade int
	seen := map[string]int{}
	addr, _ := startCounting(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if id := r.URL.Query().Get("sessionId"); id != "" {
			seen[id]++
		} else {
			serverMade++
		}
		_, _ = io.WriteString(w, "{}")
	}))
	const sessions = 101
	_, err := generate(t.Context(), loadConfig{
		Addr: addr, Action: preload, Conns: 5, Loops: 2, IDs: namedSessions(sessions), Requests: sessions,
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if serverMade != sessions/2 || len(seen) != namedSessions(sessions) {
		t.Errorf("%d ids made by the server and %d named, want %d and %d",
			serverMade, len(seen), sessions/2, namedSessions(sessions))
	}
	for number := range namedSessions(sessions) {
		if id := fmt.Sprintf("b-%08d", number); seen[id] != 1 {
			t.Errorf("%s was created %d times", id, seen[id])
		}
	}
}

func TestRequestsAreWhatTheAPITakes(t *testing.T) {
	type call struct {
		method, uri, user string
		body              map[string]any
	}
	calls := make(chan call, 1000)
	addr, _ := startCounting(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		c := call{method: r.Method, uri: r.RequestURI, user: r.Header.Get("Parley-User")}
		if r.ContentLength > 0 {
			if err := json.NewDecoder(r.Body).Decode(&c.body); err != nil {
				t.Errorf("%s %s: %v", r.Method, r.RequestURI, err)
			}
		}
		calls <- c
	}))
	for _, tt := range []struct {
		action            action
		method, uri, user string
	}{
		{create, "POST", "/v1/conversation/sessions", ""},
		{get, "GET", "/v1/conversation/sessions/b-00000000", ""},
		{list, "GET", "/v1/conversation/sessions?pageSize=50", ""},
		{update, "PATCH", "/v1/conversation/sessions/b-00000000?updateMask=displayName", ""},
		{publish, "POST", "/v1/conversation/sessions/r-00000000/messages", "writer"},
		{getMessage, "GET", "/v1/conversation/sessions/r-00001000/messages/m-00000000", "writer"},
		{listMessages, "GET", "/v1/conversation/sessions/r-00001000/messages?pageSize=50", "writer"},
		{seed, "POST", "/v1/conversation/sessions/r-00001000/messages", "writer"},
	} {
		const requests = 200
		_, err := generate(t.Context(), loadConfig{
			Addr: addr, Action: tt.action, Conns: 1, Loops: 1, IDs: 1, Requests: requests,
		}, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		for range requests {
			c := <-calls
			if c.method != tt.method || c.uri != tt.uri || c.user != tt.user {
				t.Fatalf("%s requests %s %s as %q, want %s %s as %q",
					tt.action, c.method, c.uri, c.user, tt.method, tt.uri, tt.user)
			}
			if owners, ok := c.body["owners"].([]any); ok && (len(owners) != 2 || owners[0] == owners[1]) {
				t.Fatalf("%s names the owners %v, want two different ones", tt.action, owners)
			}
		}
	}
}

func TestRenderingAndParsingDoNotAllocate(t *testing.T) {
	s, err := newScript(loadConfig{Action: create, Addr: "127.0.0.1:8080"})
	if err != nil {
		t.Fatal(err)
	}
	l := &loop{draw: rand.NewPCG(1, 0)}
	w, err := newWriter(s)
	if err != nil {
		t.Fatal(err)
	}
	var r response
	r.reset()
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	var ticket int64
	allocs := testing.AllocsPerRun(1000, func() {
		w.next(l.draw, ticket)
		ticket++
		if done, err := r.feed(answer); !done || err != nil {
			t.Fatalf("done %t, error %v", done, err)
		}
		r.reset()
	})
	if allocs != 0 {
		t.Errorf("%v allocations a request", allocs)
	}
}
