package access_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
)

// formats are the ways to have a stream.
var formats = []string{sse, ndjson, socket, rpc}

const (
	sse    = "SSE"
	ndjson = "NDJSON"
	socket = "WebSocket"
	rpc    = "gRPC"
)

// stream is an open stream, in any format.
type stream struct {
	events chan *conversationv1.Event // closed at the end
	frames chan string                // what a WebSocket answered to what was sent
	send   func(frame string) error   // nil unless it is a WebSocket
	close  func()
	end    context.Context // of whoever reads
}

// pass hands on what came, unless nobody wants it any more.
func pass[T any](s *stream, to chan T, what T) {
	select {
	case to <- what:
	case <-s.end.Done():
	}
}

// next is the next event, or nil if the stream has ended.
func (s *stream) next(t tb) *conversationv1.Event {
	t.Helper()
	select {
	case e := <-s.events:
		return e
	case <-time.After(patience):
		t.Fatal("no event came, and the stream does not end")
	}
	return nil
}

// last is the last event of a stream that must end.
func (s *stream) last(t tb) string {
	t.Helper()
	last := ""
	for e := s.next(t); e != nil; e = s.next(t) {
		last = e.GetEvent()
	}
	return last
}

// until skips events until one is wanted, which must come.
func (s *stream) until(t tb, wanted func(e *conversationv1.Event) bool) {
	t.Helper()
	for e := s.next(t); ; e = s.next(t) {
		if e == nil {
			t.Fatal("the stream ended, want an event")
		}
		if wanted(e) {
			return
		}
	}
}

// revoked fails unless the stream ends with access.revoked.
func (s *stream) revoked(t tb) {
	t.Helper()
	if last := s.last(t); last != "access.revoked" {
		t.Fatalf("the last event is %q, want access.revoked", last)
	}
}

// publish publishes through a WebSocket.
func (s *stream) publish(t tb, request *conversationv1.PublishMessageRequest) outcome {
	t.Helper()
	encoded, err := protojson.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.send(`{"publish":` + string(encoded) + `}`); err != nil {
		t.Fatal(err)
	}
	select {
	case frame := <-s.frames:
		return outcomeOfFrame(t, frame)
	case <-time.After(patience):
		t.Fatal("a frame was not answered")
	}
	return outcome{}
}

// outcomeOfFrame reads what a WebSocket answers to a frame.
func outcomeOfFrame(t tb, frame string) outcome {
	t.Helper()
	var content struct {
		Ack   json.RawMessage
		Error json.RawMessage
	}
	if err := json.Unmarshal([]byte(frame), &content); err != nil {
		t.Fatalf("%v; frame: %s", err, frame)
	}
	if content.Ack != nil {
		answer := new(conversationv1.PublishMessageResponse)
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(content.Ack, answer); err != nil {
			t.Fatalf("%v; frame: %s", err, frame)
		}
		return outcome{answer: answer}
	}
	var code struct{ Code int }
	if err := json.Unmarshal(content.Error, &code); err != nil {
		t.Fatalf("%v; frame: %s", err, frame)
	}
	body := `{"error":` + string(content.Error) + `}`
	return outcomeOfREST(t, &http.Response{StatusCode: code.Code, Body: io.NopCloser(strings.NewReader(body))})
}

// open opens a stream, and reads its first event, which is ready; or tells why there is none. The cursor and the ticket
// may be empty.
func open(t tb, format string, w who, id, cursor, ticket string) (*stream, outcome) {
	t.Helper()
	s := &stream{events: make(chan *conversationv1.Event, 256), frames: make(chan string, 256)}
	ctx, cancel := context.WithCancel(t.Context())
	s.end = ctx
	begin := s.beginHTTP
	if format == rpc {
		begin = s.beginGRPC
	}
	read, refusal := begin(t, format, w, id, cursor, ticket)
	if read == nil {
		cancel()
		return nil, refusal
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(s.events)
		read()
	}()
	stop := s.close
	s.close = sync.OnceFunc(func() {
		cancel()
		if stop != nil {
			stop()
		}
		<-done
	})
	t.Cleanup(s.close)
	if ready := s.next(t); ready.GetEvent() != "ready" {
		t.Fatalf("the first event is %v, want ready", ready)
	}
	return s, outcome{}
}

// listen is open where it must succeed.
func listen(t tb, format string, w who, id, cursor string) *stream {
	t.Helper()
	s, refusal := open(t, format, w, id, cursor, "")
	refusal.ok(t)
	return s
}

func (s *stream) beginGRPC(t tb, _ string, w who, id, cursor, ticket string) (read func(), refusal outcome) {
	t.Helper()
	ctx := metadata.NewOutgoingContext(s.end, metadata.New(w.headers(t)))
	from, err := conversationv1.NewSessionServiceClient(server.rpc).SessionEvents(ctx,
		&conversationv1.SessionEventsRequest{Session: name(id), Cursor: cursor, Ticket: ticket})
	if err != nil {
		t.Fatal(err)
	}
	first, err := from.Recv()
	if errors.Is(err, io.EOF) {
		t.Fatal("the stream ended before it began")
	}
	if err != nil {
		header, _ := from.Header()
		return nil, outcomeOfGRPC(t, nil, err, header, from.Trailer())
	}
	return func() {
		for e := first; err == nil; e, err = from.Recv() {
			pass(s, s.events, e)
		}
		if !errors.Is(err, io.EOF) && s.end.Err() == nil {
			pass(s, s.events, &conversationv1.Event{Event: "error: " + err.Error()})
		}
	}, outcome{}
}

// beginHTTP begins a stream of one of HTTP's formats.
func (s *stream) beginHTTP(t tb, format string, w who, id, cursor, ticket string) (read func(), refusal outcome) {
	t.Helper()
	query := queryOf("cursor", cursor, "ticket", ticket).Encode()
	request, err := http.NewRequestWithContext(s.end, http.MethodGet, server.url+root+name(id)+"/events?"+query, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range w.headers(t) {
		request.Header.Set(name, value)
	}
	want := http.StatusOK
	switch format {
	case sse:
		request.Header.Set("Accept", "text/event-stream")
	case ndjson:
		request.Header.Set("Accept", "application/x-ndjson")
	default:
		want = http.StatusSwitchingProtocols
		for name, value := range map[string]string{
			"Connection": "Upgrade", "Upgrade": "websocket",
			"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
		} {
			request.Header.Set(name, value)
		}
	}
	response, err := client.Do(request) //nolint:bodyclose // who reads it closes it
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != want {
		defer response.Body.Close()
		return nil, outcomeOfREST(t, response)
	}
	s.close = func() { _ = response.Body.Close() }
	switch format {
	case sse:
		return func() { s.readSSE(response.Body) }, outcome{}
	case ndjson:
		return func() { s.readNDJSON(response.Body) }, outcome{}
	default:
		conn := response.Body.(io.ReadWriter)
		s.send = func(frame string) error { return writeFrame(conn, frame) }
		return func() { s.readFrames(conn) }, outcome{}
	}
}

// event passes on one event in JSON.
func (s *stream) event(encoded []byte) {
	e := new(conversationv1.Event)
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(encoded, e); err != nil {
		e.Event = fmt.Sprintf("malformed: %s", encoded)
	}
	pass(s, s.events, e)
}

func (s *stream) readSSE(body io.Reader) {
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data:"); ok {
			s.event([]byte(data))
		}
	}
}

func (s *stream) readNDJSON(body io.Reader) {
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		if lines.Text() != "" {
			s.event(lines.Bytes())
		}
	}
}

// The first bytes of a WebSocket's frames (RFC 6455 section 5.2): each is whole.
const (
	frameText  = 0x81
	frameClose = 0x88
)

// readFrames reads what a WebSocket's server sends.
func (s *stream) readFrames(from io.Reader) {
	buffered := bufio.NewReader(from)
	for {
		var head [2]byte
		if _, err := io.ReadFull(buffered, head[:]); err != nil || head[0] == frameClose {
			return
		}
		length := int(head[1])
		if length == 126 {
			var long [2]byte
			if _, err := io.ReadFull(buffered, long[:]); err != nil {
				return
			}
			length = int(binary.BigEndian.Uint16(long[:]))
		}
		payload := make([]byte, length)
		if _, err := io.ReadFull(buffered, payload); err != nil {
			return
		}
		var answer struct{ Ack, Error json.RawMessage }
		switch _ = json.Unmarshal(payload, &answer); {
		case head[0] != frameText:
		case answer.Ack != nil || answer.Error != nil:
			pass(s, s.frames, string(payload))
		default:
			s.event(payload)
		}
	}
}

// writeFrame sends a text frame. Its mask is zero, which leaves the text as it is.
func writeFrame(to io.Writer, frame string) error {
	b := []byte{frameText}
	if len(frame) < 126 {
		b = append(b, 0x80|byte(len(frame)))
	} else {
		b = append(b, 0x80|126)
		b = binary.BigEndian.AppendUint16(b, uint16(len(frame)))
	}
	b = append(b, 0, 0, 0, 0)
	_, err := to.Write(append(b, frame...))
	return err
}

// publishThrough publishes through a WebSocket that it opens for that.
func publishThrough(t tb, w who, id string, request *conversationv1.PublishMessageRequest) outcome {
	t.Helper()
	s, refusal := open(t, socket, w, id, "", "")
	if refusal.code != codes.OK {
		return refusal
	}
	defer s.close()
	return s.publish(t, request)
}
