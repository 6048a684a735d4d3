package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lxzan/gws"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
)

// told is what a stream tells of one event.
type told struct {
	Event, Cursor string
	Sequence      int64 `json:",string"`
	Message       struct{ Text string }
}

// transport opens a stream of a session from a cursor, and reads it until it breaks or ctx ends.
type transport func(ctx context.Context, s *server, session, cursor string, heard func(told)) error

// follower is a client that comes back with its last cursor, however often it is cut off.
type follower struct {
	name      string
	transport transport

	mu      sync.Mutex // guards the fields below
	cursor  string
	events  []told        // those of the log
	more    chan struct{} // holds one: an event has come since it was last looked
	resets  int
	drained int // how often it was told to leave
}

func newFollower(name string, transport transport) *follower {
	return &follower{name: name, transport: transport, more: make(chan struct{}, 1)}
}

// follow listens until ctx ends. The present server is asked for anew each time.
func (f *follower) follow(ctx context.Context, session string, present func() *server) {
	for ctx.Err() == nil {
		f.mu.Lock()
		cursor := f.cursor
		f.mu.Unlock()
		_ = f.transport(ctx, present(), session, cursor, f.heard) // it breaks again and again: that is the test
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (f *follower) heard(e told) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.Cursor != "" {
		f.cursor = e.Cursor
	}
	if e.Event == "reset" {
		f.resets++
	}
	if e.Event == "server.draining" {
		f.drained++
	}
	if e.Sequence > 0 {
		f.events = append(f.events, e)
		ring(f.more)
	}
}

// head is the sequence of the last event that came.
func (f *follower) head() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.events) == 0 {
		return 0
	}
	return f.events[len(f.events)-1].Sequence
}

// drains is how often the follower was told to leave.
func (f *follower) drains() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.drained
}

// check compares what came with what was acknowledged, a sequence by text.
func (f *follower) check(t *testing.T, acknowledged map[string]int64) {
	t.Helper()
	seen := make(map[string]int64)
	for i, e := range f.events {
		if e.Sequence != int64(i+1) {
			t.Fatalf("%s: event %d has the sequence %d", f.name, i+1, e.Sequence)
		}
		if e.Event != "message" {
			continue
		}
		if at, again := seen[e.Message.Text]; again {
			t.Errorf("%s: %q came twice, at %d and %d", f.name, e.Message.Text, at, e.Sequence)
		}
		seen[e.Message.Text] = e.Sequence
	}
	for text, sequence := range acknowledged {
		if seen[text] != sequence {
			t.Errorf("%s: %q was acknowledged at %d, and came at %d (0: never)", f.name, text, sequence, seen[text])
		}
	}
	if f.resets > 0 {
		t.Errorf("%s: %d resets", f.name, f.resets)
	}
}

// overHTTP is SSE or NDJSON: what comes before the JSON of a line is for browsers.
func overHTTP(accept string) transport {
	return func(ctx context.Context, s *server, session, cursor string, heard func(told)) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/"+session+"/events?cursor=beginning", http.NoBody)
		if err != nil {
			return err
		}
		request.Header.Set("Accept", accept)
		if cursor != "" {
			request.Header.Set("Last-Event-ID", cursor)
		}
		response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		lines := bufio.NewReader(response.Body)
		for {
			line, err := lines.ReadString('\n') // half a line is no event
			if err != nil {
				return err
			}
			var e told
			if json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), &e) == nil {
				heard(e)
			}
		}
	}
}

// listener hands a socket's frames on.
type listener struct {
	gws.BuiltinEventHandler

	heard func(told)
}

// OnMessage implements gws.Event.
func (l *listener) OnMessage(_ *gws.Conn, message *gws.Message) {
	defer func() { _ = message.Close() }()
	var e told
	if json.Unmarshal(message.Bytes(), &e) == nil {
		l.heard(e)
	}
}

func overWebSocket(ctx context.Context, s *server, session, cursor string, heard func(told)) error {
	if cursor == "" {
		cursor = "beginning"
	}
	socket, response, err := gws.NewClient(&listener{heard: heard}, &gws.ClientOption{
		Addr: "ws" + strings.TrimPrefix(s.base, "http") + "/" + session + "/events?cursor=" + cursor,
	})
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	stop := context.AfterFunc(ctx, func() { _ = socket.NetConn().Close() })
	defer stop()
	socket.ReadLoop()
	return nil
}

func overGRPC(ctx context.Context, s *server, session, cursor string, heard func(told)) error {
	if cursor == "" {
		cursor = "beginning"
	}
	conn, err := grpc.NewClient(s.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stream, err := conversationv1.NewSessionServiceClient(conn).SessionEvents(ctx,
		&conversationv1.SessionEventsRequest{Session: "sessions/" + session, Cursor: cursor})
	if err != nil {
		return err
	}
	for {
		event, err := stream.Recv()
		if err != nil {
			return err
		}
		e := told{Event: event.GetEvent(), Cursor: event.GetCursor(), Sequence: event.GetSequence()}
		e.Message.Text = event.GetMessage().GetText()
		heard(e)
	}
}
