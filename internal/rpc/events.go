package rpc

import (
	"context"

	"google.golang.org/grpc"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/session"
)

// SessionEvents implements the method of this name.
func (s *sessions) SessionEvents(r *conversationv1.SessionEventsRequest, to grpc.ServerStreamingServer[conversationv1.Event]) error {
	ctx := to.Context()
	call := callOf(ctx)
	id, err := enterEvents(ctx, call, r)
	if err != nil {
		return err
	}
	leave, err := call.OpenStream()
	if err != nil {
		return err
	}
	defer leave()
	woken := make(chan struct{}, 1)
	stream, err := s.service.Subscribe(ctx, call.Caller, session.SubscribeRequest{
		ID: id, Channels: r.GetChannel(), Cursor: r.GetCursor(),
	}, func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return err
	}
	defer stream.Close()
	streamOf(ctx).ended = stream.Ended
	return pass(stream, woken, to)
}

// enterEvents finds the caller, by the ticket if there is one, and the session's id. A ticket is good once: it is used
// when nothing else is wrong with the request.
func enterEvents(ctx context.Context, call *gate.Call, r *conversationv1.SessionEventsRequest) (id string, err error) {
	call.Session = sessionIn(r)
	asked := authRequest(ctx)
	if r.GetTicket() == "" {
		if !streamOf(ctx).named {
			if err := call.Authenticate(ctx, asked); err != nil {
				return "", err
			}
		}
		return session.ParseSession(r.GetSession())
	}
	if id, err = session.ParseSession(r.GetSession()); err != nil {
		return "", err
	}
	if cursor := r.GetCursor(); cursor != "" && cursor != session.Beginning {
		if _, err := session.ParseCursor(cursor); err != nil { // or else Subscribe would tell, when the ticket is used
			return "", err
		}
	}
	return id, call.UseTicket(ctx, asked, r.GetTicket())
}

// pass sends what the stream delivers, until it or its client ends.
func pass(stream *session.Stream, woken <-chan struct{}, to grpc.ServerStreamingServer[conversationv1.Event]) error {
	var events []*session.Event
	for {
		var state session.StreamState
		events, state = stream.Next(events[:0])
		for _, e := range events {
			if state != session.StreamOver && stream.Ended() { // the client may have been slow to take the one before
				break
			}
			encoded, err := e.Protobuf(encodeEvent)
			if err != nil {
				return err
			}
			if err := to.SendMsg(encodedEvent(encoded)); err != nil {
				return err
			}
		}
		clear(events)
		switch state {
		case session.StreamOver:
			return nil
		case session.StreamBlocked:
			if err := stream.Advance(to.Context()); err != nil {
				return err
			}
		case session.StreamIdle:
			select {
			case <-woken:
			case <-to.Context().Done():
				return to.Context().Err()
			}
		case session.StreamMore:
		}
	}
}
