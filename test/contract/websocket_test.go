package contract_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lxzan/gws"
)

// socket is an open WebSocket, and what came through it.
type socket struct {
	gws.BuiltinEventHandler

	conn   *gws.Conn
	frames chan object // closed at the end
}

// OnMessage implements gws.Event.
func (s *socket) OnMessage(_ *gws.Conn, message *gws.Message) {
	defer message.Close()
	var frame object
	if err := json.Unmarshal(message.Bytes(), &frame); err != nil {
		frame = object{"malformed": message.Data.String()}
	}
	s.frames <- frame
}

// OnClose implements gws.Event.
func (s *socket) OnClose(*gws.Conn, error) { close(s.frames) }

func dialSocket(t *testing.T, id, query, user string) *socket {
	t.Helper()
	s := &socket{frames: make(chan object, 1024)}
	conn, response, err := gws.NewClient(s, &gws.ClientOption{
		Addr:          "ws" + strings.TrimPrefix(baseURL, "http") + sessions + "/" + id + "/events" + query,
		RequestHeader: http.Header{"Parley-User": {user}},
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	s.conn = conn
	go conn.ReadLoop()
	t.Cleanup(func() { _ = conn.NetConn().Close() })
	return s
}

func (s *socket) next(t *testing.T) object {
	t.Helper()
	select {
	case frame, ok := <-s.frames:
		if !ok {
			t.Fatal("the socket was closed, want a frame")
		}
		return frame
	case <-time.After(patience):
		t.Fatal("no frame came")
	}
	return nil
}

// both are the next two frames: one with the field, and the other.
func (s *socket) both(t *testing.T, field string) (with, without object) {
	t.Helper()
	one, two := s.next(t), s.next(t)
	if one[field] == nil {
		one, two = two, one
	}
	if one[field] == nil || two[field] != nil {
		t.Fatalf("frames = %v and %v, want one with %s", one, two, field)
	}
	return one, two
}

func (s *socket) send(t *testing.T, frame string) {
	t.Helper()
	if err := s.conn.WriteString(frame); err != nil {
		t.Fatal(err)
	}
}

func TestAWebSocketStreamsAndPublishes(t *testing.T) {
	id := room(t)
	s := dialSocket(t, id, "", "user-1")
	if ready := s.next(t); ready["event"] != "ready" {
		t.Fatalf("first frame = %v, want ready", ready)
	}
	s.send(t, `{"publish": {"message": {"text": "over a socket"}, "requestId": "r-1"}}`)
	acked, delivered := s.both(t, "ack")
	ack, _ := acked["ack"].(object)
	want(t, ack, object{"requestId": "r-1", "acknowledgment": delivered["cursor"], "message": delivered["message"]})

	s.send(t, `{"publish": {"message": {"text": "over a socket"}, "requestId": "r-1"}}`)
	again, _ := s.next(t)["ack"].(object)
	want(t, again, object{"acknowledgment": ack["acknowledgment"], "message": ack["message"]})

	resumed := dialSocket(t, id, "?cursor="+ack["acknowledgment"].(string), "user-2")
	resumed.next(t)
	say(t, id, "user-1", "next")
	if frame := resumed.next(t); frame["sequence"] != "5" {
		t.Errorf("frame = %v, want only what came after the cursor", frame)
	}
}

func TestAWebSocketFrameThatIsWrong(t *testing.T) {
	id := room(t)
	s := dialSocket(t, id, "", "user-1")
	s.next(t)
	for frame, reason := range map[string]string{
		`hello`:                      "MALFORMED_JSON",
		`{"pub`:                      "MALFORMED_JSON",
		`[]`:                         "MALFORMED_JSON",
		`{"a":1}`:                    "INVALID_FIELDS",
		`{}`:                         "INVALID_FIELDS",
		`{"publish":{"message":{}}}`: "INVALID_FIELDS",
		`{"publish":{"message":{"text":"x","channel":-1}}}`:              "INVALID_FIELDS",
		`{"publish":{"message":{"text":"x"},"name":"user-2"}}`:           "ACTING_AS_ANOTHER",
		`{"publish":{"message":{"text":"x"},"requestId":"not \" good"}}`: "INVALID_FIELDS",
	} {
		s.send(t, frame)
		answer := s.next(t)
		refusal, _ := answer["error"].(object)
		if refusal == nil || !strings.Contains(string(must(json.Marshal(refusal["details"]))), reason) {
			t.Errorf("%s: answer = %v, want an error with the reason %s", frame, answer, reason)
		}
	}
	s.send(t, `{"publish":{"message":{"text":1},"requestId":"r-7"}}`)
	if answer := s.next(t); answer["requestId"] != "r-7" || answer["error"] == nil {
		t.Errorf("answer = %v, want an error with the frame's requestId", answer)
	}
	s.send(t, `{"publish":{"message":{"text":"still here"}}}`)
	s.both(t, "ack")

	_ = s.conn.WriteString(`{"publish":{"message":{"text":"` + strings.Repeat("x", 1<<20) + `"}}}`) // it may be cut off on the way
	select {
	case _, ok := <-s.frames:
		if ok {
			t.Error("a frame over the limit was answered, want the socket to be closed")
		}
	case <-time.After(patience):
		t.Error("a frame over the limit did not close the socket")
	}
}

// A flood is served in its order and as fast as it goes; who floods waits, the others do not.
func TestAWebSocketFlood(t *testing.T) {
	id := room(t)
	s := dialSocket(t, id, "?channel=5", "user-1") // it does not get its own messages back
	s.next(t)
	const flood = 2000
	sent := make(chan error, 1)
	go func() {
		for range flood {
			if err := s.conn.WriteString(`{"publish":{"message":{"text":"x"}}}`); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	say(t, id, "user-2", "meanwhile")
	for range flood {
		if frame := s.next(t); frame["ack"] == nil {
			t.Fatalf("frame = %v, want an acknowledgment", frame)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// A frame that claims a length of 64 bits must end its own connection, and nothing else.
func TestAWebSocketFrameThatClaimsTooMuch(t *testing.T) {
	id := room(t)
	s := dialSocket(t, id, "", "user-1")
	s.next(t)
	frame := []byte{0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4}
	if _, err := s.conn.NetConn().Write(frame); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.frames:
	case <-time.After(patience):
		t.Error("the socket stays open")
	}
	get(t, id).ok(t)
}
