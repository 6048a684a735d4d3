package rpc

import (
	"google.golang.org/grpc"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
)

// SessionEvents implements the method of this name.
func (s *sessions) SessionEvents(r *conversationv1.SessionEventsRequest, to grpc.ServerStreamingServer[conversationv1.Event]) error {
	id, err := session.ParseSession(r.GetSession())
	if err != nil {
		return err
	}
	if r.GetTicket() != "" {
		return fault.Invalid("ticket", "tickets are not built yet")
	}
	woken := make(chan struct{}, 1)
	stream, err := s.service.Subscribe(to.Context(), callerOf(to.Context()), session.SubscribeRequest{
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
	return pass(stream, woken, to)
}

// pass sends what the stream delivers, until it or its client ends.
func pass(stream *session.Stream, woken <-chan struct{}, to grpc.ServerStreamingServer[conversationv1.Event]) error {
	var events []*session.Event
	for {
		var state session.StreamState
		events, state = stream.Next(events[:0])
		for _, e := range events {
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
