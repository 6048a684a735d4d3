//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// startStreams answers every request for events with a stream that says the text
// and then stays open.
func startStreams(t *testing.T, text func(path string) string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, sseHead+text(r.URL.Path))
		_, _ = io.Copy(io.Discard, conn) // until the follower leaves
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// runFollower runs it as its parent would, and returns its reports.
func runFollower(t *testing.T, c followConfig, stdin io.Reader) ([]followReport, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out strings.Builder
	err := followMain(ctx, c.arguments()[1:], stdin, &out, io.Discard)
	var reports []followReport
	for decoder := json.NewDecoder(strings.NewReader(out.String())); ; {
		var r followReport
		if decoder.Decode(&r) != nil {
			return reports, err
		}
		reports = append(reports, r)
	}
}

func TestFollowersReportWhatCame(t *testing.T) {
	addr := startStreams(t, func(path string) string {
		if !strings.Contains(path, "/r-0000000") {
			t.Errorf("asked for %s", path)
		}
		return sse("ready", wholeUID, 2) + sse("message", wholeUID, 3) + sse("message", wholeUID, 4)
	})
	reports, err := runFollower(t, followConfig{Addr: addr, Streams: 30, Rooms: 10, Backlog: 1, AtOnce: 7}, strings.NewReader("60\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(reports) != 3 || reports[0].Stage != stageOpen || reports[1].Stage != stageCaughtUp || reports[2].Stage != stageEnd {
		t.Fatalf("the reports are %+v", reports)
	}
	last := reports[2]
	if last.Messages != 60 || last.Least != 2 || last.Most != 2 || last.Streams != 30 {
		t.Errorf("%d messages on %d streams, %d to %d on each, want 60 on 30, 2 on each",
			last.Messages, last.Streams, last.Least, last.Most)
	}
	if flaw := last.flaw(60); flaw != "" {
		t.Errorf("the flaw is %q, want none", flaw)
	}
	if flaw := last.flaw(61); flaw == "" {
		t.Error("a missing message is no flaw")
	}
}

func TestFollowersReportWhatIsWrong(t *testing.T) {
	addr := startStreams(t, func(string) string {
		return sse("ready", wholeUID, 2) + sse("message", wholeUID, 4) + sse("message", wholeUID, 4) + sse("reset", wholeUID, 9)
	})
	reports, err := runFollower(t, followConfig{Addr: addr, Streams: 2, Rooms: 1}, strings.NewReader("4\n"))
	if err != nil || len(reports) != 2 {
		t.Fatalf("%d reports, %v", len(reports), err)
	}
	want := `2 events were skipped and 2 came twice or late; 2 streams were lost, the first: the stream said "reset"`
	if flaw := reports[1].flaw(4); flaw != want {
		t.Errorf("the flaw is %q, want %q", flaw, want)
	}
}

func TestFollowersEndWithTheirParent(t *testing.T) {
	addr := startStreams(t, func(string) string { return sse("ready", wholeUID, 2) })
	reports, err := runFollower(t, followConfig{Addr: addr, Streams: 1, Rooms: 1}, strings.NewReader(""))
	if err == nil || len(reports) != 1 {
		t.Errorf("%d reports, %v, want one and an error", len(reports), err)
	}
}

func TestAStreamThatDoesNotOpenFailsTheRun(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	_, err := runFollower(t, followConfig{Addr: server.Listener.Addr().String(), Streams: 1, Rooms: 1}, strings.NewReader("0\n"))
	if err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("the error is %v, want one with the status", err)
	}
}

func TestThePacerKeepsItsRate(t *testing.T) {
	addr, served := startCounting(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request echoRequest
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil || len(request.Message.Text) != 300 {
			http.Error(w, "not a message", http.StatusBadRequest)
		}
	}))
	const rate, lasts = 200, 500 * time.Millisecond
	got := pacer{addr: addr, rate: rate}.runFor(t.Context(), lasts)
	if got.errors > 0 || got.answers != served.Load() || got.answers < 50 || got.answers > 102 {
		t.Errorf("%d answers and %d errors (%s) of %d requests, want about 100", got.answers, got.errors, got.firstError, served.Load())
	}
	var broken published
	broken.record(0, errors.New("the disk is full"))
	if flaw := broken.flaw(); flaw != "1 messages failed, the first: the disk is full" {
		t.Errorf("the flaw is %q", flaw)
	}
}
