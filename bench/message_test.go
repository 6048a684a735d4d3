//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestAMessageSaysWhenItWasSent(t *testing.T) {
	s, err := newScript(loadConfig{Action: publish, Addr: "127.0.0.1:8080", IDs: 1})
	if err != nil {
		t.Fatal(err)
	}
	w, err := newWriter(s)
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now().UnixNano()
	_, body, _ := strings.Cut(string(w.next(rand.NewPCG(1, 2), 0)), "\r\n\r\n")
	sent, ok := sentTime([]byte(strings.ReplaceAll(body, `{"text"`, `{"id":0,"text"`)))
	if !ok || sent < before || sent > time.Now().UnixNano() {
		t.Errorf("%s was sent at %d (%t), want about %d", body, sent, ok, before)
	}
	var request echoRequest
	if err := json.Unmarshal([]byte(body), &request); err != nil || len(request.Message.Text) != 300 {
		t.Errorf("the body is %s (%v), want a text of 300 bytes", body, err)
	}
	if got := stamped(sent); got != request.Message.Text {
		t.Errorf("the other publishers send %q, want %q", got, request.Message.Text)
	}
}

func TestRoomsAreOpenedAndJoinedOnce(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	addr, _ := startCounting(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen[r.RequestURI]++
		_, _ = io.WriteString(w, "{}")
	}))
	const n = 20
	for _, action := range []action{open, enrol} {
		got, err := generate(t.Context(), loadConfig{Addr: addr, Action: action, Conns: 3, Loops: 1, Requests: n}, io.Discard)
		if err != nil || got.Answers != n {
			t.Fatalf("%s: %d answers, %v", action, got.Answers, err)
		}
	}
	for number := range n {
		create := sessionsPath + "?sessionId=" + roomName(number)
		join := sessionsPath + "/" + roomName(number) + "/join"
		if seen[create] != 1 || seen[join] != 1 {
			t.Errorf("%s was opened %d times and joined %d times", roomName(number), seen[create], seen[join])
		}
	}
}

func TestEachUserLeavesTheRoomThatTheyJoined(t *testing.T) {
	var mu sync.Mutex
	moves := map[string][]string{}
	addr, _ := startCounting(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		user := r.Header.Get("Parley-User")
		moves[user] = append(moves[user], strings.TrimPrefix(r.URL.Path, sessionsPath))
		_, _ = io.WriteString(w, "{}")
	}))
	_, err := generate(t.Context(), loadConfig{
		Addr: addr, Action: joinLeave, Conns: 4, Loops: 2, IDs: 50, Requests: 200,
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if len(moves) != 4 {
		t.Errorf("%d users move, want one for each of 4 connections", len(moves))
	}
	for user, of := range moves {
		for pair := range slices.Chunk(of, 2) {
			room, joins := strings.CutSuffix(pair[0], "/join")
			if !joins || len(pair) == 2 && pair[1] != room+"/leave" {
				t.Errorf("%s: %v, want a join and the leave of its room", user, pair)
			}
		}
	}
}

func TestOptionsOfStreams(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"-streams", "echopublish64 publishws publishgrpc fanout1000 steady1000 fanout5000 steady5000 " +
			"idle-sse idle-ws catchup1000 catchup1000b"},
		{"-streams -rows idle-ws,fanout1000", "fanout1000 idle-ws"},
		{"-streams -rows create64", "error"},
		{"-streams -scale 1,2", "error"},
		{"-streams -server none", "error"},
		{"-streams -burst 0", "error"},
		{"-streams -auth", "error"},
		{"-rows create1", ""},
	} {
		o, err := parseOptions(strings.Fields(tt.args), io.Discard)
		var names []string
		for _, m := range o.measurements {
			names = append(names, m.name)
		}
		got := strings.Join(names, " ")
		if err != nil {
			got = "error"
		}
		if got != tt.want {
			t.Errorf("%s selects %q (%v), want %q", tt.args, got, err, tt.want)
		}
	}
}

func TestFiguresArePrintedWithTheirSpread(t *testing.T) {
	rounds := [][]figure{{{"deliveries", 300, "/s"}}, {{"deliveries", 1200, "/s"}}, {{"deliveries", 1.5, "/s"}}}
	middle, lowest, highest := spread(rounds, 0)
	if got := fmt.Sprint(middle, lowest, highest); got != "300/s 1.50/s 1,200/s" {
		t.Errorf("median, lowest and highest are %s", got)
	}
	if got := (figure{"p99", 12.345, "ms"}).String(); got != "12.35 ms" && got != "12.34 ms" {
		t.Errorf("12.345 ms is printed as %s", got)
	}
}
