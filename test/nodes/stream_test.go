package nodes_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lxzan/gws"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
)

// event is what a stream tells.
type event struct {
	Event, Cursor, Actor string
	Sequence             int64 `json:",string"`
	Channel              int32
	Message              struct{ Text string }
	Member               struct{ User string }
}

// from says which stream is to be opened.
type from struct {
	session, cursor string // an empty cursor: from now
	ticket          string
	by              request // who asks
}

func (f from) query() string {
	query := url.Values{}
	for name, value := range map[string]string{"cursor": f.cursor, "ticket": f.ticket} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return "/" + f.session + "/events?" + query.Encode()
}

// format reads a stream of a node until it breaks or ctx ends.
type format func(ctx context.Context, n *node, f from, heard func(event)) error

// formats are the ways to have a stream.
var formats = map[string]format{
	"SSE": overHTTP("text/event-stream"), "NDJSON": overHTTP("application/x-ndjson"),
	"WebSocket": overWebSocket, "gRPC": overGRPC,
}

// overHTTP is SSE or NDJSON: what comes before the JSON of a line is for browsers.
func overHTTP(accept string) format {
	return func(ctx context.Context, n *node, f from, heard func(event)) error {
		sent, err := http.NewRequestWithContext(ctx, http.MethodGet, n.base+f.query(), http.NoBody)
		if err != nil {
			return err
		}
		sent.Header.Set("Accept", accept)
		f.by.identify(sent.Header)
		response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(sent)
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
			var e event
			if json.Unmarshal([]byte(strings.TrimPrefix(line, "data:")), &e) == nil && e.Event != "" {
				heard(e)
			}
		}
	}
}

// listener hands a socket's frames on.
type listener struct {
	gws.BuiltinEventHandler

	heard func(event)
}

// OnMessage implements gws.Event.
func (l *listener) OnMessage(_ *gws.Conn, message *gws.Message) {
	defer func() { _ = message.Close() }()
	var e event
	if json.Unmarshal(message.Bytes(), &e) == nil {
		l.heard(e)
	}
}

func overWebSocket(ctx context.Context, n *node, f from, heard func(event)) error {
	header := http.Header{}
	f.by.identify(header)
	socket, response, err := gws.NewClient(&listener{heard: heard}, &gws.ClientOption{
		Addr: "ws" + strings.TrimPrefix(n.base, "http") + f.query(), RequestHeader: header,
	})
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	stop := context.AfterFunc(ctx, func() { _ = socket.NetConn().Close() })
	defer stop()
	socket.ReadLoop()
	return errEnded
}

func overGRPC(ctx context.Context, n *node, f from, heard func(event)) error {
	conn, err := grpc.NewClient(n.GRPCAddr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if f.by.user != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "parley-user", f.by.user)
	}
	if f.by.token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+f.by.token)
	}
	stream, err := conversationv1.NewSessionServiceClient(conn).SessionEvents(ctx,
		&conversationv1.SessionEventsRequest{Session: "sessions/" + f.session, Cursor: f.cursor, Ticket: f.ticket})
	if err != nil {
		return err
	}
	for {
		got, err := stream.Recv()
		if err != nil {
			return err
		}
		e := event{
			Event: got.GetEvent(), Cursor: got.GetCursor(), Actor: got.GetActor(), Sequence: got.GetSequence(), Channel: got.GetChannel(),
		}
		e.Message.Text = got.GetMessage().GetText()
		e.Member.User = got.GetMember().GetUser()
		heard(e)
	}
}

// stream is one that is open.
type stream struct {
	events chan event // closed at the end
	close  func()     // returns when it is closed
}

// listen opens a stream, which must begin with ready.
func (n *node) listen(t *testing.T, over string, f from) *stream {
	t.Helper()
	s := &stream{events: make(chan event, 4096)}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() {
		defer close(s.events)
		ended <- formats[over](ctx, n, f, func(e event) {
			select {
			case s.events <- e:
			case <-ctx.Done():
			}
		})
	}()
	s.close = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	t.Cleanup(s.close)
	if first := s.next(t); first.Event != "ready" {
		t.Fatalf("the first event over %s is %+v, want ready", over, first)
	}
	return s
}

// next is the next event; the zero event: the stream has ended.
func (s *stream) next(t *testing.T) event {
	t.Helper()
	select {
	case e := <-s.events:
		return e
	case <-time.After(patience):
		t.Fatal("no event came, and the stream does not end")
	}
	return event{}
}

// says waits for a message.
func (s *stream) says(t *testing.T, text string) event {
	t.Helper()
	for {
		e := s.next(t)
		if e.Event == "" {
			t.Fatalf("the stream ended without the message %q", text)
		}
		if e.Message.Text == text {
			return e
		}
	}
}

// revoked fails unless the stream ends with access.revoked.
func (s *stream) revoked(t *testing.T) {
	t.Helper()
	last := ""
	for e := s.next(t); e.Event != ""; e = s.next(t) {
		last = e.Event
	}
	if last != "access.revoked" {
		t.Errorf("the stream ends with %q, want access.revoked", last)
	}
}
