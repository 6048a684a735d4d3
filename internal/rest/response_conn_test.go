package rest

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// newSecureEdge starts an edge with TLS, whose server is as it was made: HTTP/2 is what clients choose if they can.
func newSecureEdge(t *testing.T, timing timing, configure func(*http.Server)) *edge {
	t.Helper()
	e := newEdge(t, timing)
	e.server.Close()
	e.server = httptest.NewUnstartedServer(e.handler)
	e.server.EnableHTTP2 = true
	e.server.Config.HTTP2 = HTTP2()
	e.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // of clients that change their mind
	if configure != nil {
		configure(e.server.Config)
	}
	e.server.StartTLS()
	return e
}

// response is the answer to a client of HTTP/2, and its body.
type response struct {
	*http.Response
	*connection

	cancel context.CancelFunc
}

// get asks for a stream over HTTP/2.
func (e *edge) get(t *testing.T, path string, headers ...string) *response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.server.URL+sessionsPath+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	answer, err := e.server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	if answer.ProtoMajor != 2 {
		t.Fatalf("the answer is %s, want HTTP/2", answer.Proto)
	}
	return &response{Response: answer, connection: &connection{lines: bufio.NewReader(answer.Body)}, cancel: cancel}
}

// tlsConfig is that of a client which speaks one protocol.
func (e *edge) tlsConfig(protocol string) *tls.Config {
	pool := e.server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	return &tls.Config{RootCAs: pool, ServerName: "example.com", NextProtos: []string{protocol}}
}

// askSecurely opens a stream over HTTP/1.1 and TLS, and reads the header of the answer.
func (e *edge) askSecurely(t *testing.T, headers ...string) *connection {
	t.Helper()
	dialer := tls.Dialer{Config: e.tlsConfig("http/1.1")}
	conn, err := dialer.DialContext(t.Context(), "tcp", e.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, err = fmt.Fprintf(conn, "GET %s/s/events HTTP/1.1\r\nHost: localhost\r\n%s\r\n", sessionsPath, strings.Join(append(headers, ""), "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	c := &connection{Conn: conn, lines: bufio.NewReader(conn)}
	for line := "the status"; line != ""; {
		line = c.line(t)
	}
	return c
}

func TestStreamsOverHTTP2(t *testing.T) {
	e := newSecureEdge(t, defaultTiming, nil)
	large := strings.Repeat("x", 60_000) // several pieces
	for _, test := range []struct{ accept, first, ready, event string }{
		{contentSSE, "retry: 1000", `data: {"event":"ready"`, `data: {"event":"message"`},
		{contentNDJSON, "", `{"event":"ready"`, `{"event":"message"`},
	} {
		t.Run(test.accept, func(t *testing.T) {
			c := e.get(t, "/s/events", "Accept: "+test.accept)
			got := make(map[string]string)
			for _, name := range []string{"Content-Type", "Cache-Control", "X-Accel-Buffering", "X-Content-Type-Options", "Connection"} {
				got[name] = strings.Join(c.Header[name], ", ")
			}
			want := map[string]string{
				"Content-Type": test.accept, "Cache-Control": "no-store, no-transform",
				"X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff", "Connection": "",
			}
			if diff := cmp.Diff(want, got); diff != "" || c.StatusCode != http.StatusOK {
				t.Errorf("the status is %d, the header (-want +got):\n%s", c.StatusCode, diff)
			}
			if test.first != "" {
				if line := c.line(t); line != test.first {
					t.Errorf("the first line is %q, want %q", line, test.first)
				}
			}
			c.until(t, test.ready)
			for _, text := range []string{"hello", large, "bye"} {
				e.publish(t, text, 1)
				if line := c.until(t, test.event); !strings.Contains(line, `"text":"`+text+`"`) {
					t.Errorf("the event of %d bytes does not have the text of %d", len(line), len(text))
				}
			}
		})
	}
}

func TestAnIdleStreamOverHTTP2ShowsThatItIsAlive(t *testing.T) {
	quick := defaultTiming
	quick.keepAlive, quick.sweep = 20*time.Millisecond, 5*time.Millisecond
	e := newSecureEdge(t, quick, nil)
	sse := e.get(t, "/s/events")
	sse.until(t, "data: ")
	sse.until(t, ":")
	sse.until(t, ":")
	ndjson := e.get(t, "/s/events", "Accept: application/x-ndjson")
	ndjson.until(t, `{"event":"ready"`)
	if line := ndjson.line(t); line != "" {
		t.Errorf("the sign of life is %q, want an empty line", line)
	}
}

// The deadlines of a request are not those of its stream.
func TestTheServersTimeoutsDoNotCutStreams(t *testing.T) {
	const timeout = 500 * time.Millisecond
	quick := defaultTiming
	quick.keepAlive, quick.sweep = 20*time.Millisecond, 5*time.Millisecond
	e := newSecureEdge(t, quick, func(s *http.Server) { s.ReadTimeout, s.WriteTimeout, s.IdleTimeout = timeout, timeout, timeout })
	modern, older := e.get(t, "/s/events"), e.askSecurely(t)
	for begun := time.Now(); time.Since(begun) < 2*timeout; {
		modern.until(t, ":")
		older.until(t, ":")
	}
}

func TestOneConnectionCarriesManyStreams(t *testing.T) {
	var connections atomic.Int64
	e := newSecureEdge(t, defaultTiming, func(s *http.Server) {
		s.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				connections.Add(1)
			}
		}
	})
	streams := make([]*response, 200)
	for i := range streams {
		streams[i] = e.get(t, "/s/events", "Accept: application/x-ndjson")
		streams[i].until(t, `{"event":"ready"`)
	}
	const events = 20
	for range events {
		e.publish(t, "to all", 1)
	}
	for i, c := range streams {
		for sequence := 4; sequence < 4+events; sequence++ {
			if line := c.line(t); !strings.Contains(line, fmt.Sprintf(`"sequence":"%d"`, sequence)) {
				t.Fatalf("stream %d has %s, want sequence %d", i, line, sequence)
			}
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("there were %d connections, want 1", n)
	}
}

func TestAClientOfHTTP2ThatHasGoneIsNoticed(t *testing.T) {
	e := newSecureEdge(t, defaultTiming, nil)
	other := e.get(t, "/s/events", "Accept: application/x-ndjson")
	for _, accept := range []string{contentSSE, contentNDJSON} {
		c := e.get(t, "/s/events", "Accept: "+accept, "Parley-User: ada")
		e.wantOpen(t, 2)
		if !e.online(t, "ada") || !e.online(t, "operator") {
			t.Error("a user with a stream is not online")
		}
		c.cancel()
		e.wantOpen(t, 1)
		if e.online(t, "ada") {
			t.Error("a user without a stream is online")
		}
	}
	e.publish(t, "still here", 7)
	other.until(t, `{"event":"message"`)
}

// Ten at a time come and go while there are events, so streams end in the middle of everything.
func TestStreamsOverHTTP2LeaveNothingBehind(t *testing.T) {
	e := newSecureEdge(t, defaultTiming, nil)
	stop := make(chan struct{})
	var publisher, readers sync.WaitGroup
	publisher.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				e.publish(t, strings.Repeat("x", 10_000), 1)
			}
		}
	})
	for range 10 {
		readers.Go(func() {
			for range 30 {
				ctx, cancel := context.WithCancel(t.Context())
				request, _ := http.NewRequestWithContext(ctx, http.MethodGet, e.server.URL+sessionsPath+"/s/events", http.NoBody)
				answer, err := e.server.Client().Do(request)
				if err != nil {
					t.Error(err)
					cancel()
					continue
				}
				if _, err := io.CopyN(io.Discard, answer.Body, 20_000); err != nil {
					t.Error(err)
				}
				cancel()
				answer.Body.Close()
			}
		})
	}
	readers.Wait()
	close(stop)
	publisher.Wait()
	e.wantOpen(t, 0)
}

func TestDrainingTellsTheStreamsOfHTTP2(t *testing.T) {
	e := newSecureEdge(t, defaultTiming, nil)
	c := e.get(t, "/s/events", "Accept: application/x-ndjson")
	c.until(t, `{"event":"ready"`)
	e.hub.Drain()
	c.until(t, `{"event":"server.draining"`)
	if rest, err := io.ReadAll(c.lines); err != nil || len(rest) > 0 {
		t.Errorf("after server.draining comes %q, %v", rest, err)
	}
	if err := e.handler.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if late := e.get(t, "/s/events"); late.StatusCode != http.StatusServiceUnavailable || late.Header.Get("Retry-After") == "" {
		t.Errorf("a new stream: status %d, Retry-After %q", late.StatusCode, late.Header.Get("Retry-After"))
	}
}

func TestWhatIsNoStreamOverHTTP2(t *testing.T) {
	e := newSecureEdge(t, defaultTiming, nil)
	unknown := e.get(t, "/unknown/events")
	if unknown.StatusCode != http.StatusNotFound || unknown.Header.Get("Content-Type") != contentJSON {
		t.Errorf("a session that does not exist: status %d, %s", unknown.StatusCode, unknown.Header.Get("Content-Type"))
	}
	head, err := e.server.Client().Head(e.server.URL + sessionsPath + "/s/events")
	if err != nil {
		t.Fatal(err)
	}
	defer head.Body.Close()
	if head.StatusCode != http.StatusOK || head.Header.Get("Content-Type") != contentSSE {
		t.Errorf("HEAD: status %d, %s", head.StatusCode, head.Header.Get("Content-Type"))
	}
	e.wantOpen(t, 0)
}

// takesLittle makes the edge's client one that takes little of a stream which is not read.
func (e *edge) takesLittle() {
	e.server.Client().Transport.(*http.Transport).HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10}
}

func TestAStreamOverHTTP2ThatTakesNothingIsCut(t *testing.T) {
	quick := defaultTiming
	quick.stall = time.Second
	e := newSecureEdge(t, quick, nil)
	e.takesLittle()
	const events = 30
	reads := e.get(t, "/s/events", "Accept: application/x-ndjson")
	stalls := e.get(t, "/s/events", "Accept: application/x-ndjson")
	e.wantOpen(t, 2)
	for range events {
		e.publish(t, strings.Repeat("x", 60_000), 1)
		reads.until(t, `{"event":"message"`)
	}
	e.wantOpen(t, 1)
	e.publish(t, "still here", 1)
	reads.until(t, `{"event":"message"`)
	if _, err := io.Copy(io.Discard, stalls.lines); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the stream that was cut ends with %v, want an error: it is not whole", err)
	}
}

func TestDrainingCutsAStreamOverHTTP2ThatTakesNothing(t *testing.T) {
	e := newSecureEdge(t, defaultTiming, nil)
	e.takesLittle()
	e.get(t, "/s/events")
	for range 10 {
		e.publish(t, strings.Repeat("x", 60_000), 1)
	}
	e.hub.Drain()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := e.handler.Drain(ctx); err == nil {
		t.Error("a stream that takes nothing was drained")
	}
	e.wantOpen(t, 0)
	e.server.Close() // which waits for the handler
}

// stoppable is a client's connection that can stop taking bytes.
type stoppable struct {
	net.Conn

	stopped *atomic.Bool
	resumed chan struct{}
}

func (s stoppable) Read(b []byte) (int, error) {
	if s.stopped.Load() {
		<-s.resumed
	}
	return s.Conn.Read(b)
}

func TestAConnectionOfHTTP2ThatTakesNothingIsCut(t *testing.T) {
	e := newSecureEdge(t, defaultTiming, func(s *http.Server) { s.HTTP2.WriteByteTimeout = 200 * time.Millisecond })
	stopped, resumed := new(atomic.Bool), make(chan struct{})
	defer close(resumed)
	transport := e.server.Client().Transport.(*http.Transport)
	transport.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return tls.Client(stoppable{conn, stopped, resumed}, e.tlsConfig("h2")), nil
	}
	for range 10 {
		e.get(t, "/s/events").until(t, "data: ")
	}
	e.wantOpen(t, 10)
	stopped.Store(true)
	for range 100 { // more than the sockets hold, and less than the client allows each stream
		e.publish(t, strings.Repeat("x", 40_000), 1)
	}
	e.wantOpen(t, 0)
}

func TestAStreamOverHTTP1AndTLS(t *testing.T) {
	quick := defaultTiming
	quick.sweep = 5 * time.Millisecond
	e := newSecureEdge(t, quick, nil)
	c := e.askSecurely(t)
	if line := c.line(t); line != "retry: 1000" {
		t.Errorf("the first line is %q", line)
	}
	c.until(t, `data: {"event":"ready"`)
	large := strings.Repeat("x", 60_000)
	e.publish(t, large, 1)
	if line := c.until(t, `data: {"event":"message"`); !strings.Contains(line, large) {
		t.Errorf("the event of %d bytes does not have its text", len(line))
	}
	e.wantOpen(t, 1)
	_ = c.Close()
	e.wantOpen(t, 0)
}

func TestAClientOfHTTP1AndTLSThatTakesNothingIsCut(t *testing.T) {
	quick := defaultTiming
	quick.stall = 100 * time.Millisecond
	e := newSecureEdge(t, quick, nil)
	e.askSecurely(t)
	e.wantOpen(t, 1)
	for range 300 { // more than the sockets hold
		e.publish(t, strings.Repeat("x", 60_000), 1)
	}
	e.wantOpen(t, 0)
}

func TestAWebSocketOverTLSPublishesAndReceives(t *testing.T) {
	e := newSecureEdge(t, defaultTiming, nil)
	c := e.askSecurely(t, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
	skipFrame(t, c.lines) // ready
	payload := `{"publish":{"message":{"channel":1,"text":"hello"},"requestId":"r"}}`
	const mask = "\x00\x00\x00\x00"
	if _, err := io.WriteString(c, string([]byte{frameText, 0x80 | byte(len(payload))})+mask+payload); err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 2 {
		frame := readFrame(t, c.lines)
		kind, _, _ := strings.Cut(frame, ",")
		got = append(got, kind)
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{`{"ack":{"requestId":"r"`, `{"event":"message"`}, got); diff != "" {
		t.Errorf("frames after ready (-want +got):\n%s", diff)
	}
	_ = c.Close()
	e.wantOpen(t, 0)
}

// readFrame reads one text frame of 126 to 65,535 bytes.
func readFrame(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	var header [4]byte
	if _, err := io.ReadFull(r, header[:]); err != nil || header[0] != frameText || header[1] != 126 {
		t.Fatalf("the frame begins with %v, %v", header, err)
	}
	payload := make([]byte, int(header[2])<<8|int(header[3]))
	if _, err := io.ReadFull(r, payload); err != nil {
		t.Fatal(err)
	}
	return string(payload)
}

// slowOutlet is an outlet that takes each write just before its deadline, as a clock of its own says.
type slowOutlet struct {
	outlet

	deadlines int
	pieces    []int
}

func (s *slowOutlet) SetWriteDeadline(at time.Time) error {
	if !at.IsZero() {
		s.deadlines++
	}
	return nil
}

func (s *slowOutlet) Write(b []byte) (int, error) {
	s.pieces = append(s.pieces, len(b))
	return len(b), nil
}

func TestASlowClientHasAsLongForEachPiece(t *testing.T) {
	slow := &slowOutlet{}
	c := &streamConn{owner: newStreams(nil), conn: slow}
	if err := c.writeAll(make([]byte, 2*writePiece+1)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{writePiece, writePiece, 1}, slow.pieces); diff != "" || slow.deadlines != 3 {
		t.Errorf("%d deadlines, want 3; pieces (-want +got):\n%s", slow.deadlines, diff)
	}
}

func TestAResponseIsNotUsedAfterItsHandler(t *testing.T) {
	w := httptest.NewRecorder()
	c := &responseConn{writer: w, control: http.NewResponseController(w), closed: make(chan struct{})}
	if _, err := c.Write([]byte("before")); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c.stay(nil)
	if _, err := c.Write([]byte("after")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write: %v, want %v", err, net.ErrClosed)
	}
	for _, err := range []error{c.SetDeadline(time.Time{}), c.SetWriteDeadline(time.Time{})} {
		if !errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a deadline: %v, want %v", err, net.ErrClosed)
		}
	}
	if got := w.Body.String(); got != "before" || !w.Flushed {
		t.Errorf("the response is %q, flushed: %t", got, w.Flushed)
	}
}
