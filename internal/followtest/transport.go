package followtest

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/lxzan/gws"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
)

// Request says which stream is to be opened.
type Request struct {
	Session string
	Cursor  string      // empty: from now
	Last    string      // where who comes back was, which is then preferred to Cursor
	Ticket  string      // empty: none
	Header  http.Header // says who asks, over gRPC as metadata
}

func (r Request) url(server Server) string {
	query := url.Values{}
	for name, value := range map[string]string{"cursor": r.Cursor, "ticket": r.Ticket} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return server.Base + "/" + r.Session + "/events?" + query.Encode()
}

// Transport is a way to have a stream.
type Transport string

// The transports.
const (
	SSE       Transport = "SSE"
	NDJSON    Transport = "NDJSON"
	WebSocket Transport = "WebSocket"
	GRPC      Transport = "gRPC"
)

// Transports are all of them.
var Transports = []Transport{SSE, NDJSON, WebSocket, GRPC}

// Listen opens a stream and reads it until it ends or ctx does.
func (t Transport) Listen(ctx context.Context, server Server, r Request, heard func(Event)) error {
	switch t {
	case SSE:
		return overHTTP(ctx, "text/event-stream", server, r, heard)
	case NDJSON:
		return overHTTP(ctx, "application/x-ndjson", server, r, heard)
	case WebSocket:
		return overWebSocket(ctx, server, r, heard)
	default:
		return overGRPC(ctx, server, r, heard)
	}
}

// overHTTP is SSE or NDJSON: what comes before the JSON of a line is for browsers.
func overHTTP(ctx context.Context, accept string, server Server, r Request, heard func(Event)) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url(server), http.NoBody)
	if err != nil {
		return err
	}
	maps.Copy(request.Header, r.Header)
	request.Header.Set("Accept", accept)
	if r.Last != "" {
		request.Header.Set("Last-Event-ID", r.Last)
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
		var e Event
		if json.Unmarshal([]byte(strings.TrimPrefix(line, "data:")), &e) == nil && e.Event != "" { // nor is a refusal
			heard(e)
		}
	}
}

// listener hands a socket's frames on.
type listener struct {
	gws.BuiltinEventHandler

	heard func(Event)
}

// OnMessage implements gws.Event.
func (l *listener) OnMessage(_ *gws.Conn, message *gws.Message) {
	defer func() { _ = message.Close() }()
	var e Event
	if json.Unmarshal(message.Bytes(), &e) == nil {
		l.heard(e)
	}
}

func overWebSocket(ctx context.Context, server Server, r Request, heard func(Event)) error {
	r.Cursor = cmp.Or(r.Last, r.Cursor)
	socket, response, err := gws.NewClient(&listener{heard: heard}, &gws.ClientOption{
		Addr: "ws" + strings.TrimPrefix(r.url(server), "http"), RequestHeader: r.Header,
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

func overGRPC(ctx context.Context, server Server, r Request, heard func(Event)) error {
	conn, err := grpc.NewClient(server.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	who := metadata.MD{}
	for name, values := range r.Header {
		who.Set(name, values...)
	}
	stream, err := conversationv1.NewSessionServiceClient(conn).SessionEvents(metadata.NewOutgoingContext(ctx, who),
		&conversationv1.SessionEventsRequest{Session: "sessions/" + r.Session, Cursor: cmp.Or(r.Last, r.Cursor), Ticket: r.Ticket})
	if err != nil {
		return err
	}
	for {
		event, err := stream.Recv()
		if err != nil {
			return err
		}
		e := Event{
			Event: event.GetEvent(), Cursor: event.GetCursor(), Sequence: event.GetSequence(),
			CreateTime: event.GetCreateTime().AsTime(), Channel: event.GetChannel(),
		}
		e.Message.Text = event.GetMessage().GetText()
		heard(e)
	}
}
