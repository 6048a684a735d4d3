//go:build linux

package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAFloodComesFromAnAddressForEachUser(t *testing.T) {
	var r recorder
	addr := r.serve(t, nil)
	const users = 10
	got, err := generate(t.Context(), loadConfig{
		Addr: addr, Action: flood, Conns: users * floodConns, Loops: 2, Users: users, Requests: 800,
	}, io.Discard)
	if err != nil || got.Errors > 0 {
		t.Fatalf("%d errors, the first %q, %v", got.Errors, got.FirstError, err)
	}
	from, kinds := map[string]string{}, map[string][]string{}
	for _, c := range r.take() {
		from[c.user] = c.from
		if !slices.Contains(kinds[c.user], c.path) {
			kinds[c.user] = append(kinds[c.user], c.path)
		}
	}
	wantFrom, wantKinds := map[string]string{}, map[string][]string{}
	for number := range users {
		user, room := userName(number), sessionsPath+"/"+roomName(number)
		wantFrom[user] = fmt.Sprintf("127.0.1.%d", 1+number)
		wantKinds[user] = []string{sessionsPath, room, room + "/messages"}
		slices.Sort(kinds[user])
	}
	if diff := cmp.Diff(wantFrom, from); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantKinds, kinds); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
}

func TestRefusalsOfAFloodAreNoErrors(t *testing.T) {
	for _, tt := range []struct {
		action          action
		status          int
		closes          bool
		refused, errors int64
	}{
		{flood, http.StatusTooManyRequests, false, 150, 0},
		{flood, http.StatusTooManyRequests, true, 150, 0},
		{flood, http.StatusUnauthorized, false, 0, 150},
		{create, http.StatusTooManyRequests, false, 0, 150},
	} {
		t.Run(fmt.Sprint(tt.action, tt.status, tt.closes), func(t *testing.T) {
			var count atomic.Int64
			addr, served := startCounting(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if count.Add(1)%2 == 0 {
					return
				}
				if tt.closes {
					w.Header().Set("Connection", "close")
				}
				http.Error(w, "too much", tt.status)
			}))
			got, err := generate(t.Context(), loadConfig{
				Addr: addr, Action: tt.action, Conns: 6, Loops: 1, Users: 3, Requests: 300,
			}, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if got.Answers != 150 || got.Refused != tt.refused || got.Errors != tt.errors || served.Load() != 300 {
				t.Errorf("%d answers, %d refusals and %d errors (%s) of %d, want 150, %d and %d of 300",
					got.Answers, got.Refused, got.Errors, got.FirstError, served.Load(), tt.refused, tt.errors)
			}
		})
	}
}

func TestTheQuietUserTakesTurns(t *testing.T) {
	var r recorder
	s := &server{addr: r.serve(t, nil)}
	quiet, err := s.visit(quietNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer quiet.client.CloseIdleConnections()
	got := quiet.runFor(t.Context(), 500*time.Millisecond)
	if flaw := got.flaw(); flaw != "" || got.answers < 3 || got.answers > quietRate/2+1 {
		t.Errorf("%d answers in half a second (%s), want about %d", got.answers, flaw, quietRate/2)
	}
	room := sessionsPath + "/r-00000010"
	for _, c := range r.take() {
		if c.user != "user-0010" || c.from != "127.0.1.11" {
			t.Errorf("%s by %s from %s", c.path, c.user, c.from)
		}
		switch c.path {
		case sessionsPath:
			if !slices.Equal(c.owners, []string{"user-0010"}) {
				t.Errorf("a session of %q", c.owners)
			}
		case room, room + "/messages":
		default:
			t.Errorf("asked for %s", c.path)
		}
	}
}

func TestARefusalOfTheQuietUserFailsTheRun(t *testing.T) {
	var once sync.Once
	addr, _ := startCounting(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() { http.Error(w, "too much", http.StatusTooManyRequests) })
	}))
	quiet, err := (&server{addr: addr}).visit(quietNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer quiet.client.CloseIdleConnections()
	meanwhile := quiet.runFor(t.Context(), 200*time.Millisecond)
	s := &stage{bench: &bench{}, label: "default limits, round 1"}
	s.compareQuiet(&published{}, meanwhile, loadResult{Answers: 7, Refused: 9})
	if len(s.failed) != 1 || !strings.Contains(s.failed[0], "1 requests of the quiet user failed") ||
		!strings.Contains(s.failed[0], "status 429: too much") {
		t.Errorf("what failed is %q", s.failed)
	}
	figures := map[string]float64{}
	for _, f := range s.figures {
		figures[f.name] = f.value
	}
	if figures["of the others answered with 200"] != 7 || figures["of the others refused with 429"] != 9 {
		t.Errorf("the figures are %v", s.figures)
	}
}
