package contract_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// event is one event of a stream, whatever the transport.
type event struct {
	Event, Cursor, Session, Actor string
	Sequence                      int64 `json:",string"`
	Channel                       int32
	Gap                           bool
	Message, Member, Snapshot     object

	id, name string // what SSE said besides
}

// text is what a message says.
func (e event) text() string { text, _ := e.Message["text"].(string); return text }

// stream is an open stream, in any format.
type stream struct {
	events chan event // closed at the end
	close  func()
}

// next is the next event, which must come.
func (s *stream) next(t *testing.T) event {
	t.Helper()
	select {
	case e, ok := <-s.events:
		if !ok {
			t.Fatal("the stream ended, want an event")
		}
		return e
	case <-time.After(patience):
		t.Fatal("no event came")
	}
	return event{}
}

// until skips events until one has the name.
func (s *stream) until(t *testing.T, name string) event {
	t.Helper()
	for {
		if e := s.next(t); e.Event == name {
			return e
		}
	}
}

// ended fails unless the stream ends without another event.
func (s *stream) ended(t *testing.T) {
	t.Helper()
	select {
	case e, ok := <-s.events:
		if ok {
			t.Fatalf("got %s %d, want the end of the stream", e.Event, e.Sequence)
		}
	case <-time.After(patience):
		t.Fatal("the stream does not end")
	}
}

// texts are those of the next n messages.
func (s *stream) texts(t *testing.T, n int) []string {
	t.Helper()
	var texts []string
	for len(texts) < n {
		texts = append(texts, s.until(t, "message").text())
	}
	return texts
}

const (
	sse    = "text/event-stream"
	ndjson = "application/x-ndjson"
)

// subscribe opens a stream in the format, and reads its first event, ready.
func subscribe(t *testing.T, id, query, format string, options ...option) (*stream, event) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, baseURL+sessions+"/"+id+"/events"+query, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", format)
	for _, option := range options {
		option(request)
	}
	response, err := client.Do(request) //nolint:bodyclose // who reads it closes it
	if err != nil {
		t.Fatal(err)
	}
	if got := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || got != format {
		body, _ := io.ReadAll(response.Body)
		t.Fatalf("status = %d, Content-Type = %q; body: %s", response.StatusCode, got, body)
	}
	s := &stream{events: make(chan event, 1024)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(s.events)
		defer response.Body.Close()
		read := readSSE
		if format == ndjson {
			read = readNDJSON
		}
		read(response.Body, s.events)
	}()
	s.close = func() {
		cancel()
		<-done
	}
	t.Cleanup(s.close)
	ready := s.next(t)
	if ready.Event != "ready" || ready.Cursor == "" || ready.Snapshot["sessionId"] != id || ready.Sequence != 0 {
		t.Fatalf("the first event is %+v, want ready with a cursor and the session", ready)
	}
	return s, ready
}

// readSSE reads events by the rules of the HTML standard, as far as a server may use them.
func readSSE(body io.Reader, to chan<- event) {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 4<<20)
	var e event
	var data string
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			e.name = value
		case "id":
			e.id = value
		case "data":
			data = value
		case "retry":
		default:
			if lines.Text() != "" || data == "" {
				continue
			}
			if json.Unmarshal([]byte(data), &e) != nil || e.name != e.Event || e.id != e.Cursor {
				e.Event = "malformed: " + data
			}
			to <- e
			e, data = event{}, ""
		}
	}
}

func readNDJSON(body io.Reader, to chan<- event) {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		if lines.Text() == "" {
			continue
		}
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			e.Event = "malformed: " + lines.Text()
		}
		to <- e
	}
}

// room makes a session of which user-1 and user-2 are members.
func room(t *testing.T, changes ...object) string {
	t.Helper()
	id, _ := create(t, changes...)
	for _, user := range []string{"user-1", "user-2"} {
		do(t, http.MethodPost, sessions+"/"+id+"/join", object{}, as(user)).ok(t)
	}
	return id
}

func say(t *testing.T, id, user, text string) object {
	t.Helper()
	return do(t, http.MethodPost, sessions+"/"+id+"/messages", object{"message": object{"text": text}}, as(user)).ok(t)
}

func TestAStreamDeliversWhatHappensAndResumes(t *testing.T) {
	for _, format := range []string{sse, ndjson} {
		t.Run(format, func(t *testing.T) {
			id := room(t)
			live, ready := subscribe(t, id, "", format, as("user-2"))
			if ready.Snapshot["memberCount"] != 2.0 || ready.Snapshot["headSequence"] != "3" {
				t.Errorf("snapshot = %v, want 2 members and the head 3", ready.Snapshot)
			}
			ack := say(t, id, "user-1", "one")
			first := live.next(t)
			if first.Event != "message" || first.text() != "one" || first.Actor != "user-1" || first.Sequence != 4 ||
				first.Session != "sessions/"+id || first.Channel != 1 || first.Cursor != ack["acknowledgment"] {
				t.Errorf("event = %+v, want the message with the cursor %v", first, ack["acknowledgment"])
			}
			if diff := cmp.Diff(ack["message"], first.Message); diff != "" {
				t.Errorf("message (-answer +event):\n%s", diff)
			}
			live.close()

			for i := range 700 { // more than the server reads at once
				say(t, id, "user-1", strconv.Itoa(i))
			}
			resumed, again := subscribe(t, id, "?cursor="+first.Cursor, format, as("user-2"))
			if again.Cursor != first.Cursor {
				t.Errorf("ready has the cursor %s, want the one that was given, %s", again.Cursor, first.Cursor)
			}
			for i := range 700 {
				e := resumed.next(t)
				if e.Sequence != int64(5+i) || e.text() != strconv.Itoa(i) {
					t.Fatalf("event %d is %s %d %q", i, e.Event, e.Sequence, e.text())
				}
			}
			say(t, id, "user-2", "last")
			if e := resumed.next(t); e.text() != "last" {
				t.Errorf("event = %+v, want the last message", e)
			}
		})
	}
}

func TestWhereAStreamBegins(t *testing.T) {
	id, session := create(t)
	uid, _ := session["uid"].(string)
	joined := do(t, http.MethodPost, sessions+"/"+id+"/join", object{}, as("user-1")).ok(t)
	say(t, id, "user-1", "hello")
	other, _ := create(t)
	foreign := do(t, http.MethodPost, sessions+"/"+other+"/join", object{}, as("user-1")).ok(t)["cursor"].(string)

	t.Run("beginning", func(t *testing.T) {
		s, _ := subscribe(t, id, "?cursor=beginning", sse)
		created, member, message := s.next(t), s.next(t), s.next(t)
		if created.Event != "session.created" || created.Sequence != 1 || created.Snapshot != nil || created.Actor != "operator" {
			t.Errorf("first = %+v, want session.created without a snapshot", created)
		}
		if member.Event != "member.joined" || member.Member["user"] != "user-1" || member.Member["role"] != "owner" {
			t.Errorf("second = %+v, want member.joined", member)
		}
		if message.text() != "hello" {
			t.Errorf("third = %+v, want the message", message)
		}
	})
	t.Run("the cursor of a join", func(t *testing.T) {
		s, _ := subscribe(t, id, "?cursor="+joined["cursor"].(string), sse)
		if e := s.next(t); e.text() != "hello" {
			t.Errorf("event = %+v, want the message", e)
		}
	})
	t.Run("Last-Event-ID beats the cursor", func(t *testing.T) {
		s, _ := subscribe(t, id, "?cursor=beginning", sse, withHeader("Last-Event-ID", joined["cursor"].(string)))
		if e := s.next(t); e.text() != "hello" {
			t.Errorf("event = %+v, want the message", e)
		}
	})
	for name, cursor := range map[string]string{
		"of another session": foreign, "beyond the head": uid + ":99", "forged": "00000000-0000-7000-8000-000000000000:1",
	} {
		t.Run(name, func(t *testing.T) {
			s, ready := subscribe(t, id, "?cursor="+cursor, sse)
			reset := s.next(t)
			if ready.Cursor != cursor || reset.Event != "reset" || reset.Cursor != uid+":3" || reset.Snapshot["uid"] != uid {
				t.Errorf("ready at %s, then %+v; want the same cursor, then a reset to the head", ready.Cursor, reset)
			}
		})
	}
	for _, cursor := range []string{"x", uid, uid + ":", uid + ":-1", uid + ":+1", uid + ":01", strings.ToUpper(uid) + ":1", uid + ":1:1"} {
		t.Run("malformed "+cursor, func(t *testing.T) {
			do(t, http.MethodGet, sessions+"/"+id+"/events?cursor="+strings.ReplaceAll(cursor, "+", "%2B"), nil, withHeader("Accept", sse)).invalid(t, "cursor")
			do(t, http.MethodGet, sessions+"/"+id+"/events", nil, withHeader("Accept", sse), withHeader("Last-Event-ID", cursor)).invalid(t, "cursor")
		})
	}
}

func TestAStreamThatIsRefused(t *testing.T) {
	private := room(t, object{"sessionType": 2, "allowedUsers": []any{"user-2", "user-3"}})
	events := func(id, query string, options ...option) answer {
		return do(t, http.MethodGet, sessions+"/"+id+"/events"+query, nil, options...)
	}
	for _, query := range []string{"?channel=x", "?channel=0", "?channel=-1", "?channel=2147483648", "?channel=1&channel=1"} {
		if code := events(private, query).status; code != http.StatusBadRequest {
			t.Errorf("%s: status = %d, want 400", query, code)
		}
	}
	events(private, "?chanel=1").invalid(t, "chanel")
	events(private, "?cursor=a&cursor=b").invalid(t, "cursor")
	events(private, "", withHeader("Accept", "application/json")).refused(t, http.StatusNotAcceptable, "INVALID_ARGUMENT", "NOT_ACCEPTABLE")
	events(private, "", as("user-3")).refused(t, http.StatusForbidden, "PERMISSION_DENIED", "NOT_A_MEMBER")
	events(private, "", as("stranger")).hidden(t)
	events(newID(), "", as("stranger")).hidden(t)
	events(private, "", withHeader("Upgrade", "websocket"), withHeader("Connection", "Upgrade"), withHeader("Origin", "https://evil.example")).
		refused(t, http.StatusForbidden, "PERMISSION_DENIED", "FOREIGN_ORIGIN")
	events(private, "", withHeader("Upgrade", "websocket"), withHeader("Connection", "Upgrade")).
		refused(t, http.StatusBadRequest, "INVALID_ARGUMENT", "BAD_HANDSHAKE")
}

func TestAFilterHidesOnlyMessages(t *testing.T) {
	id := room(t)
	s, _ := subscribe(t, id, "?channel=4&channel=7", sse, as("user-1"))
	for _, channel := range []int{1, 4, 5, 7} {
		do(t, http.MethodPost, sessions+"/"+id+"/messages",
			object{"message": object{"channel": channel, "text": strconv.Itoa(channel)}}, as("user-1")).ok(t)
	}
	do(t, http.MethodPost, sessions+"/"+id+"/leave", object{}, as("user-2")).ok(t)
	var got []string
	for range 3 {
		e := s.next(t)
		got = append(got, e.Event+e.text())
	}
	if diff := cmp.Diff([]string{"message4", "message7", "member.left"}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestAnEphemeralChannelIsLiveOnly(t *testing.T) {
	id := room(t, object{"options": object{"channels": object{"4": object{"history": false}}}})
	s, _ := subscribe(t, id, "", sse, as("user-1"))
	got := do(t, http.MethodPost, sessions+"/"+id+"/messages", object{"message": object{"channel": 4, "text": "now"}}, as("user-2")).ok(t)
	message, _ := got["message"].(object)
	if got["acknowledgment"] != "" || message["sequence"] != "0" || message["messageId"] == "" {
		t.Errorf("answer = %v, want no acknowledgment, no sequence and an id", got)
	}
	if e := s.next(t); e.text() != "now" || e.Sequence != 0 || e.Cursor != "" || e.id != "" {
		t.Errorf("event = %+v, want the message without a place", e)
	}
	if head := get(t, id).ok(t)["headSequence"]; head != "3" {
		t.Errorf("headSequence = %v, want 3", head)
	}
	again, _ := subscribe(t, id, "?cursor=beginning", sse, as("user-1"))
	say(t, id, "user-1", "stored")
	if e := again.until(t, "message"); e.text() != "stored" {
		t.Errorf("the first message of a new stream is %q, want only what is stored", e.text())
	}
}

func TestTheEndOfASessionEndsItsStreams(t *testing.T) {
	id := room(t)
	s, _ := subscribe(t, id, "", sse, as("user-2"))
	do(t, http.MethodDelete, sessions+"/"+id, nil, as("user-1")).ok(t)
	if e := s.next(t); e.Event != "session.deleted" || e.Sequence != 4 || e.Actor != "user-1" || e.Gap {
		t.Errorf("event = %+v, want session.deleted", e)
	}
	s.ended(t)
	do(t, http.MethodGet, sessions+"/"+id+"/events", nil, withHeader("Accept", sse), as("user-2")).hidden(t)

	short := room(t, object{"options": object{"ttl": "1.5s"}})
	s, _ = subscribe(t, short, "", ndjson, as("user-2"))
	if e := s.next(t); e.Event != "session.expired" || e.Sequence != 4 || e.Actor != "" {
		t.Errorf("event = %+v, want session.expired", e)
	}
	s.ended(t)
}

func TestRightsThatEndCutTheStream(t *testing.T) {
	for name, end := range map[string]func(id string){
		"removed": func(id string) {
			do(t, http.MethodPost, sessions+"/"+id+"/leave", object{"name": "user-2"}, as("user-1")).ok(t)
		},
		"blocked": func(id string) { patch(t, id, "", object{"blockedUsers": []any{"user-2"}}, as("user-1")).ok(t) },
		"left":    func(id string) { do(t, http.MethodPost, sessions+"/"+id+"/leave", object{}, as("user-2")).ok(t) },
	} {
		t.Run(name, func(t *testing.T) {
			id := room(t, object{"sessionType": 2, "allowedUsers": []any{"user-2"}})
			s, _ := subscribe(t, id, "", sse, as("user-2"))
			owners, _ := subscribe(t, id, "", sse, as("user-1"))
			end(id)
			say(t, id, "user-1", "secret")
			for {
				e := s.next(t)
				if e.text() == "secret" {
					t.Fatal("the message came after the right to read it had ended")
				}
				if e.Event == "access.revoked" {
					break
				}
			}
			s.ended(t)
			if got := owners.texts(t, 1); got[0] != "secret" {
				t.Errorf("the owner got %q, want everything", got)
			}
		})
	}
	t.Run("turned private", func(t *testing.T) {
		id, _ := create(t)
		s, _ := subscribe(t, id, "", sse, as("reader"))
		patch(t, id, "", object{"description": "still public"}, as("user-1")).ok(t)
		if e := s.next(t); e.Event != "session.updated" || e.Snapshot["description"] != "still public" {
			t.Errorf("event = %+v, want session.updated with the session", e)
		}
		patch(t, id, "", object{"sessionType": 2}, as("user-1")).ok(t)
		s.until(t, "access.revoked")
		s.ended(t)
	})
}

// A client that takes nothing must not keep the others waiting, nor cost the server more than a batch.
func TestASubscriberThatNeverReads(t *testing.T) {
	id := room(t)
	stalled, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(baseURL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Close()
	if _, err := fmt.Fprintf(stalled, "GET %s/%s/events HTTP/1.1\r\nHost: localhost\r\nParley-User: user-1\r\n\r\n", sessions, id); err != nil {
		t.Fatal(err)
	}
	s, _ := subscribe(t, id, "", sse, as("user-1"))
	long := strings.Repeat("x", 60_000)
	for range 200 { // 12 MB: more than the sockets hold
		say(t, id, "user-2", long)
	}
	for i := range 200 {
		if e := s.next(t); e.Sequence != int64(4+i) {
			t.Fatalf("event %d has the sequence %d", i, e.Sequence)
		}
	}
}

func TestPresence(t *testing.T) {
	id := room(t)
	online := func() (users []string) {
		list := do(t, http.MethodGet, sessions+"/"+id+"/members", nil).ok(t)
		for _, member := range list["members"].([]any) {
			if m := member.(object); m["online"] == true {
				users = append(users, m["user"].(string))
			}
		}
		return users
	}
	if got := online(); got != nil {
		t.Errorf("online = %v, want nobody", got)
	}
	subscribe(t, id, "", sse, as("user-2"))
	if diff := cmp.Diff([]string{"user-2"}, online()); diff != "" {
		t.Errorf("online (-want +got):\n%s", diff)
	}
}

// The body of a stream has no length and no end, and nothing between may hold it back.
func TestTheHeaderOfAStream(t *testing.T) {
	id := room(t)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(baseURL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET %s/%s/events HTTP/1.1\r\nHost: localhost\r\n\r\n", sessions, id); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	for name, value := range map[string]string{
		"Content-Type": sse, "Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff",
	} {
		if got := response.Header.Get(name); got != value {
			t.Errorf("%s = %q, want %q", name, got, value)
		}
	}
	if response.ContentLength != -1 || !response.Close {
		t.Errorf("length = %d, close = %t; want a body that ends with the connection", response.ContentLength, response.Close)
	}
	line := make([]byte, len("retry: 1000\n\n"))
	if _, err := io.ReadFull(response.Body, line); err != nil || string(line) != "retry: 1000\n\n" {
		t.Errorf("the body begins with %q, %v; want the time to wait before coming back", line, err)
	}
	if err := conn.SetReadDeadline(time.Now()); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// Whoever loses the right to read a session must not see what it became.
func TestAnUpdateThatTakesTheRightIsNotShown(t *testing.T) {
	id, _ := create(t)
	s, _ := subscribe(t, id, "", sse, as("reader"))
	patch(t, id, "", object{"sessionType": 2, "description": "secret"}, as("user-1")).ok(t)
	if e := s.next(t); e.Event != "access.revoked" {
		t.Errorf("event = %s %v, want access.revoked", e.Event, e.Snapshot["description"])
	}
	s.ended(t)
}
