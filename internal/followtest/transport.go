package followtest

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/lxzan/gws"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
)

// Transport opens a stream of a session from a cursor, or from the beginning if that is empty, and reads it until it
// breaks or ctx ends.
type Transport func(ctx context.Context, server Server, session, cursor string, heard func(Event)) error

// The transports.
var (
	SSE       = overHTTP("text/event-stream")
	NDJSON    = overHTTP("application/x-ndjson")
	WebSocket = overWebSocket
	GRPC      = overGRPC
)

const beginning = "beginning"

// overHTTP is SSE or NDJSON: what comes before the JSON of a line is for browsers.
func overHTTP(accept string) Transport {
	return func(ctx context.Context, server Server, session, cursor string, heard func(Event)) error {
		url := server.Base + "/" + session + "/events?cursor=" + beginning
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
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
			var e Event
			if json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), &e) == nil {
				heard(e)
			}
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

func overWebSocket(ctx context.Context, server Server, session, cursor string, heard func(Event)) error {
	if cursor == "" {
		cursor = beginning
	}
	socket, response, err := gws.NewClient(&listener{heard: heard}, &gws.ClientOption{
		Addr: "ws" + strings.TrimPrefix(server.Base, "http") + "/" + session + "/events?cursor=" + cursor,
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

func overGRPC(ctx context.Context, server Server, session, cursor string, heard func(Event)) error {
	if cursor == "" {
		cursor = beginning
	}
	conn, err := grpc.NewClient(server.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
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
		e := Event{
			Event: event.GetEvent(), Cursor: event.GetCursor(), Sequence: event.GetSequence(),
			CreateTime: event.GetCreateTime().AsTime(),
		}
		e.Message.Text = event.GetMessage().GetText()
		heard(e)
	}
}
