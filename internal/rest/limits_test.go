package rest

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/limit"
	"github.com/parleyhq/parley/internal/session"
)

// deadlines is a response that notes by when it is to be written.
type deadlines struct {
	*httptest.ResponseRecorder

	mu    sync.Mutex // guards the field below
	write time.Time
}

func (d *deadlines) SetReadDeadline(time.Time) error { return nil }

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.write = at
	return nil
}

// within fails unless the answer is to be written in so long, and not much less.
func (d *deadlines) within(t *testing.T, what string, most time.Duration) {
	t.Helper()
	if left := time.Until(d.write); left > most || left < most-time.Minute/2 {
		t.Errorf("%s must be taken in %v, want %v", what, left, most)
	}
}

func TestAnAnswerMustBeTakenInTime(t *testing.T) {
	handler := handlerOf(errFromTheStore, Config{})
	for _, path := range []string{"/healthz", "/readyz", "/", sessionsPath, sessionsPath + "/s/events"} {
		d := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		handler.ServeHTTP(d, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
		d.within(t, path, requestTime+answerTime)
	}
	d := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	answer(d, make([]byte, largeAnswer+1))
	d.within(t, "a large answer", answerTime)
}

func TestAStreamHasNoDeadlineOfAnAnswer(t *testing.T) {
	e := newEdge(t, defaultTiming)
	ctx, cancel := context.WithCancel(t.Context())
	request := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+sessionsPath+"/s/events", http.NoBody)
	request.ProtoMajor = 2
	d := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.handler.ServeHTTP(d, request)
	}()
	e.wantOpen(t, 1)
	e.publish(t, "hello", 1)
	cancel()
	<-done
	if !d.write.IsZero() {
		t.Errorf("the stream is to end at %v", d.write)
	}
}

// panics is a store that does.
type panics struct{ brokenStore }

func (panics) List(context.Context, *session.Query) (*session.Page, error) {
	panic("the store has a bug")
}

func (panics) Write(context.Context, *session.Write) error { panic("the store has a bug") }

func (panics) Get(context.Context, string, string) (*session.Record, *session.Member, error) {
	panic("the store has a bug")
}

func TestAPanicIsAnInternalErrorWithItsStackInTheLog(t *testing.T) {
	var log, record bytes.Buffer
	limits := limit.New(limit.Config{OpenStreams: 1})
	handler := NewHandler(Config{
		Service: session.NewService(panics{}, noTail{}, session.NewKeyRing()), Log: slog.New(slog.NewTextHandler(&log, nil)),
		Gate: gate.New(gate.Config{Auth: bearers{}, Limits: limits, Audit: slog.New(slog.NewTextHandler(&record, nil))}),
	})
	for _, path := range []string{"", "/s", "/s/events", "/s/events"} { // the stream counts no more when it has panicked
		log.Reset()
		answer := ask(handler, http.MethodGet, sessionsPath+path, "", asAda, "X-Request-Id: mine")
		wantRefused(t, answer, http.StatusInternalServerError, "INTERNAL")
		if !strings.Contains(answer.Body.String(), "mine") || strings.Contains(answer.Body.String(), "bug") {
			t.Errorf("GET %s: answer = %s, want the request's id and nothing of the panic", path, answer.Body)
		}
		text := log.String()
		if !strings.Contains(text, "level=ERROR") || !strings.Contains(text, "requestId=mine") ||
			!strings.Contains(text, "the store has a bug") || !strings.Contains(text, "limits_test.go") {
			t.Errorf("GET %s: log = %s, want the panic, its stack and the request's id", path, text)
		}
	}
	if answer := ask(handler, http.MethodDelete, sessionsPath+"/s", "", asAda); answer.Code != http.StatusInternalServerError {
		t.Errorf("DELETE = %d, want 500", answer.Code)
	}
	if got := strings.Count(record.String(), "msg=audit"); got != 1 {
		t.Errorf("%d records of one change: %s", got, &record)
	}
}

// handshake is the header of a client that wants a WebSocket.
var handshake = []string{
	"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
}

func TestAMessageOfAWebSocketThatIsNotFinishedEndsItWhateverComesInBetween(t *testing.T) {
	pong := []byte{0x8a, 0x80, 0, 0, 0, 0}
	for name, begun := range map[string][]byte{
		"the first of several frames": {0x01, 0x81, 0, 0, 0, 0, 'x'},
		"half a frame":                {0x81, 0x8a, 0, 0, 0, 0, 'x'},
		"half a header":               {0x81},
	} {
		t.Run(name, func(t *testing.T) {
			quick := defaultTiming
			quick.message = 100 * time.Millisecond
			e := newEdge(t, quick)
			c := e.ask(t, "", handshake...)
			e.wantOpen(t, 1)
			_, err := c.Write(begun)
			for sent := 0; err == nil; sent++ {
				if sent > 0 && name != "the first of several frames" {
					break // nothing can come in between
				}
				_, err = c.Write(pong)
				tick := time.NewTimer(5 * time.Millisecond)
				<-tick.C
				if sent > 4000 {
					t.Fatal("the socket stays open")
				}
			}
			e.wantOpen(t, 0)
		})
	}
}

func TestAWebSocketStaysOpenWhenMessagesAreWhole(t *testing.T) {
	quick := defaultTiming
	quick.message = 50 * time.Millisecond
	e := newEdge(t, quick)
	c := e.ask(t, "", handshake...)
	c.frame(t) // ready
	for range 3 {
		_, err := c.Write([]byte{0x01, 0x81, 0, 0, 0, 0, '{', 0x89, 0x80, 0, 0, 0, 0, 0x80, 0x81, 0, 0, 0, 0, 'x'}) // with a ping
		if err != nil {
			t.Fatal(err)
		}
		var pong [2]byte
		if _, err := io.ReadFull(c.lines, pong[:]); err != nil || pong[0] != 0x8a {
			t.Fatalf("pong = %v, %v", pong, err)
		}
		if text := c.frame(t); !strings.Contains(text, `"error"`) {
			t.Errorf("answer = %s, want an error", text)
		}
		tick := time.NewTimer(100 * time.Millisecond) // more than a message may take
		<-tick.C
	}
}

func TestThePingsOfAWebSocketCountAsRequestsOfItsAddress(t *testing.T) {
	e := newEdgeOf(t, defaultTiming, Config{Gate: gate.New(gate.Config{
		Auth: bearers{}, Limits: limit.New(limit.Config{Address: 1}), // of which the socket itself is one, and one more may come
	})})
	c := e.ask(t, "", append(handshake, asAda)...)
	c.frame(t) // ready
	for range 20 {
		if _, err := c.Write([]byte{0x89, 0x80, 0, 0, 0, 0}); err != nil {
			t.Fatal(err)
		}
	}
	c.send(t, "{}")
	pongs := 0
	for {
		var header [2]byte
		if _, err := io.ReadFull(c.lines, header[:1]); err != nil {
			t.Fatal(err)
		}
		if header[0] != 0x8a {
			break
		}
		pongs++
		if _, err := io.ReadFull(c.lines, header[:1]); err != nil {
			t.Fatal(err)
		}
	}
	if pongs > 3 { // a token comes back while the test runs
		t.Errorf("%d of 20 pings were answered", pongs)
	}
}

func TestTheFramesOfAClientAreFollowedHoweverTheyCome(t *testing.T) {
	frame := func(first byte, length int, masked bool) []byte {
		b := appendFrame(nil, make([]byte, length))
		b[0] = first
		if masked {
			header := len(b) - length
			b[1] |= 0x80
			b = append(b[:header:header], make([]byte, 4+length)...)
		}
		return b
	}
	for _, length := range []int{0, 1, 125, 126, 65_535, 65_536} {
		for _, masked := range []bool{true, false} {
			ping := frame(0x89, min(length, 125), masked)
			all := [][]byte{ping, frame(0x01, length, masked), ping, frame(0x00, length, masked), frame(0x80, length, masked), ping, frame(0x82, length, masked)}
			want := []bool{false, true, true, true, false, false, false}
			for _, piece := range []int{1, 7, 1 << 20} {
				var f framing
				for i, b := range all {
					for len(b) > 0 {
						n := min(piece, len(b))
						f.follow(b[:n])
						b = b[n:]
					}
					if f.unfinished() != want[i] {
						t.Fatalf("length %d, in pieces of %d: after frame %d unfinished = %v", length, piece, i, !want[i])
					}
				}
				if f.messages != 2 {
					t.Errorf("length %d, in pieces of %d: %d messages, want 2", length, piece, f.messages)
				}
			}
		}
	}
}

// BenchmarkLimitAnswer is what it costs to bound how long an answer may take.
func BenchmarkLimitAnswer(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		b.ReportAllocs()
		for b.Loop() {
			limitAnswer(w, answerTime)
		}
	}))
	defer server.Close()
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, server.URL, http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	answer.Body.Close()
}
