package rest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/sqlite"
	"github.com/parleyhq/parley/internal/tail"
)

// edge is an edge over a real store, and the parts that a test looks at.
type edge struct {
	handler *Handler
	server  *httptest.Server
	service *session.Service
	hub     *tail.Hub
}

// newEdge starts an edge whose streams have the timing. Every test with one is a test for leaks.
func newEdge(t *testing.T, timing timing) *edge {
	t.Helper()
	return newEdgeOf(t, timing, Config{Gate: devGate()})
}

// newEdgeOf starts an edge with a configuration of which the rest is filled in.
func newEdgeOf(t *testing.T, timing timing, config Config) *edge {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) })
	e := &edge{}
	keys := session.NewKeyRing()
	var store *sqlite.Store
	e.hub = tail.New(tail.Options{Log: lateLog{&store}})
	store, err := sqlite.Open(t.Context(), sqlite.Config{
		Dir: t.TempDir(), Keys: keys, Log: slog.New(slog.DiscardHandler), Committed: e.hub.Committed,
	})
	if err != nil {
		t.Fatal(err)
	}
	e.service = session.NewService(store, e.hub, keys)
	config.Service, config.Log, config.Ready = e.service, slog.New(slog.DiscardHandler), func() bool { return true }
	e.handler = NewHandler(config)
	e.handler.streams.timing = timing
	e.server = httptest.NewServer(e.handler)
	t.Cleanup(func() {
		e.hub.Drain()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := e.handler.Drain(ctx); err != nil {
			t.Error(err)
		}
		e.server.Close()
		if err := store.Close(ctx); err != nil {
			t.Error(err)
		}
		e.hub.Close()
	})
	operator := session.Caller{User: "operator", Admin: true}
	if _, err := e.service.Create(t.Context(), operator, session.CreateRequest{SessionID: "s", Draft: &session.Draft{Spec: session.Spec{
		Profile: "p", DisplayName: "d", Type: session.Public, Owners: []string{"ada"}, DefaultChannels: []int32{1},
	}}}); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"operator", "ada"} {
		if _, err := e.service.Join(t.Context(), operator, session.JoinRequest{ID: "s", Name: user}); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// lateLog is the log of a store that is opened later.
type lateLog struct{ store **sqlite.Store }

func (l lateLog) Log(ctx context.Context, uid session.UID, after int64, limit, maxBytes int) (*session.Log, error) {
	return (*l.store).Log(ctx, uid, after, limit, maxBytes)
}

func (e *edge) publish(t *testing.T, text string, channel int32) {
	t.Helper()
	_, err := e.service.Publish(t.Context(), session.Caller{User: "operator", Admin: true}, session.PublishRequest{
		ID: "s", Message: &session.Message{Channel: channel, Kind: session.ContentText, Text: text, Contents: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// connection is a client that asked for a stream, and reads it by hand.
type connection struct {
	net.Conn

	lines *bufio.Reader
}

// ask opens a stream, and reads the header of the answer.
func (e *edge) ask(t *testing.T, query string, headers ...string) *connection {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", e.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, err = fmt.Fprintf(conn, "GET %s/s/events%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", sessionsPath, query, strings.Join(append(headers, ""), "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	c := &connection{Conn: conn, lines: bufio.NewReader(conn)}
	for line := "the status"; line != ""; {
		line = c.line(t)
	}
	return c
}

func (c *connection) line(t *testing.T) string {
	t.Helper()
	line, err := c.lines.ReadString('\n')
	if err != nil {
		t.Fatalf("the stream ends with %q, %v", line, err)
	}
	return strings.TrimRight(line, "\r\n")
}

// until reads lines until one begins with the text.
func (c *connection) until(t *testing.T, begin string) string {
	t.Helper()
	for {
		if line := c.line(t); strings.HasPrefix(line, begin) {
			return line
		}
	}
}

func TestAnIdleStreamShowsThatItIsAlive(t *testing.T) {
	quick := defaultTiming
	quick.keepAlive, quick.sweep = 20*time.Millisecond, 5*time.Millisecond
	e := newEdge(t, quick)
	t.Run("SSE", func(t *testing.T) {
		c := e.ask(t, "")
		c.until(t, "data: ")
		c.until(t, ":")
		if line := c.line(t); line != "" {
			t.Errorf("after the comment comes %q, want an empty line", line)
		}
	})
	t.Run("SSE with a filter tells how far it has come", func(t *testing.T) {
		c := e.ask(t, "?channel=7")
		ready := c.until(t, "id: ")
		e.publish(t, "not for this stream", 1)
		for {
			c.until(t, ":")
			if id := c.line(t); id != ready {
				if id != strings.TrimSuffix(ready, "3")+"4" {
					t.Errorf("the sign of life has %q after %q", id, ready)
				}
				return
			}
		}
	})
	t.Run("NDJSON", func(t *testing.T) {
		c := e.ask(t, "", "Accept: application/x-ndjson")
		c.until(t, `{"event":"ready"`)
		if line := c.line(t); line != "" {
			t.Errorf("the sign of life is %q, want an empty line", line)
		}
	})
	t.Run("WebSocket", func(t *testing.T) {
		c := e.ask(t, "", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
		skipFrame(t, c.lines)
		var ping [2]byte
		if _, err := io.ReadFull(c.lines, ping[:]); err != nil || ping != [2]byte{framePing, 0} {
			t.Errorf("after ready comes %v, %v; want a ping", ping, err)
		}
	})
}

// skipFrame reads one frame of 126 to 65,535 bytes.
func skipFrame(t *testing.T, r *bufio.Reader) {
	t.Helper()
	var header [4]byte
	if _, err := io.ReadFull(r, header[:]); err != nil || header[0] != frameText || header[1] != 126 {
		t.Fatalf("the frame begins with %v, %v", header, err)
	}
	if _, err := r.Discard(int(header[2])<<8 | int(header[3])); err != nil {
		t.Fatal(err)
	}
}

func TestAClientThatHasGoneIsNoticed(t *testing.T) {
	quick := defaultTiming
	quick.sweep = 5 * time.Millisecond
	e := newEdge(t, quick)
	for _, accept := range []string{"Accept: text/event-stream", "Accept: application/x-ndjson"} {
		c := e.ask(t, "", accept, "Parley-User: ada")
		e.wantOpen(t, 1)
		if !e.online(t, "ada") {
			t.Error("a user with a stream is not online")
		}
		_ = c.Close()
		e.wantOpen(t, 0)
		if e.online(t, "ada") {
			t.Error("a user without a stream is online")
		}
	}
}

// wantOpen waits until so many streams are open.
func (e *edge) wantOpen(t *testing.T, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if !e.handler.streams.wait(ctx, want) {
		open, _ := e.handler.streams.snapshot()
		t.Fatalf("%d streams are open, want %d", len(open), want)
	}
}

// A socket may end before its stream is one of the edge's: that must not keep it there for ever.
func TestAStreamThatEndedBeforeItBegan(t *testing.T) {
	e := newEdge(t, defaultTiming)
	c := newStreamConn(e.handler.streams, formatWebSocket)
	stream, err := e.service.Subscribe(t.Context(), session.Caller{Admin: true}, session.SubscribeRequest{ID: "s"}, c.wake)
	if err != nil {
		t.Fatal(err)
	}
	c.stream = stream
	c.close()
	c.begin()
	e.wantOpen(t, 0)
}

// online tells whether the members' list says so.
func (e *edge) online(t *testing.T, user string) bool {
	t.Helper()
	list, err := e.service.ListMembers(t.Context(), session.Caller{Admin: true}, session.ListMembersRequest{ID: "s", Filter: "online = true"})
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(list.Members, func(m session.MemberState) bool { return m.User == user })
}

// An id in a sign of life is where a client comes back to, so nothing before it may be left to deliver.
func TestASignOfLifeIsNotAheadOfWhatIsDelivered(t *testing.T) {
	e := newEdge(t, defaultTiming)
	c := newStreamConn(e.handler.streams, formatSSE)
	stream, err := e.service.Subscribe(t.Context(), session.Caller{User: "reader"}, session.SubscribeRequest{ID: "s", Channels: []int32{7}}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	c.stream = stream
	for state := session.StreamMore; state != session.StreamIdle; { // ready
		state = c.fill(new(batch))
	}
	mask, err := session.ParseMask([]string{"description"})
	if err != nil {
		t.Fatal(err)
	}
	e.publish(t, "not for this stream", 1)
	if _, err := e.service.Update(t.Context(), session.Caller{Admin: true}, session.UpdateRequest{ID: "s", Mask: mask, Draft: new(session.Draft)}); err != nil {
		t.Fatal(err)
	}
	c.alive.Store(true)
	b := new(batch)
	if state := c.fill(b); state != session.StreamBlocked || len(b.bytes) > 0 {
		t.Errorf("state %d, %q; want nothing written while the update waits to be delivered", state, b.bytes)
	}
}

func TestAClientThatTakesNothingIsCut(t *testing.T) {
	quick := defaultTiming
	quick.stall = 100 * time.Millisecond
	e := newEdge(t, quick)
	e.ask(t, "")
	e.wantOpen(t, 1)
	for range 300 { // more than the sockets hold
		e.publish(t, strings.Repeat("x", 60_000), 1)
	}
	e.wantOpen(t, 0)
}

func TestASilentWebSocketIsCut(t *testing.T) {
	quick := defaultTiming
	quick.silence = 100 * time.Millisecond
	e := newEdge(t, quick)
	c := e.ask(t, "", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
	if _, err := io.Copy(io.Discard, c.lines); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the socket stays open: %v", err)
	}
	e.wantOpen(t, 0)
}

func TestDrainingTellsTheStreams(t *testing.T) {
	e := newEdge(t, defaultTiming)
	c := e.ask(t, "", "Accept: application/x-ndjson")
	c.until(t, `{"event":"ready"`)
	e.hub.Drain()
	c.until(t, `{"event":"server.draining"`)
	if rest, err := io.ReadAll(c.lines); err != nil || len(rest) > 0 {
		t.Errorf("after server.draining comes %q, %v", rest, err)
	}
	if err := e.handler.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	response, err := http.Get(e.server.URL + sessionsPath + "/s/events")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
		t.Errorf("a new stream: status %d, Retry-After %q", response.StatusCode, response.Header.Get("Retry-After"))
	}
}

func TestLeftoversAreClearedOnceManyStreamsHaveCome(t *testing.T) {
	var l leftovers
	for i, step := range []struct {
		begun int
		want  bool
	}{
		{999, false}, {999, false}, {1500, false}, {1500, true}, {1500, false}, {2000, false}, {2000, false}, {2600, false}, {2600, true},
	} {
		if got := l.due(step.begun); got != step.want {
			t.Errorf("step %d: due(%d) = %t, want %t", i, step.begun, got, step.want)
		}
	}
}

// Ten thousand streams that come and go leave nothing behind.
func TestStreamsLeaveNothingBehind(t *testing.T) {
	quick := defaultTiming
	quick.sweep = time.Millisecond
	e := newEdge(t, quick)
	total, at := 10_000, 250
	if testing.Short() {
		total = 1000
	}
	wave := func() {
		var group sync.WaitGroup
		for range at {
			group.Go(func() {
				conn, err := net.Dial("tcp", e.server.Listener.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				if _, err := fmt.Fprintf(conn, "GET %s/s/events HTTP/1.1\r\nHost: localhost\r\n\r\n", sessionsPath); err != nil {
					t.Error(err)
				}
				if _, err := bufio.NewReader(conn).Peek(1); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		e.wantOpen(t, 0)
	}
	wave()
	before, goroutines := heap(), runtime.NumGoroutine()
	for range total / at {
		wave()
	}
	if after := heap(); after > before+2<<20 {
		t.Errorf("the heap has grown from %d to %d bytes", before, after)
	}
	if now := runtime.NumGoroutine(); now > goroutines+10 {
		t.Errorf("there are %d goroutines, before %d", now, goroutines)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what the first one only moved out of pools
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
