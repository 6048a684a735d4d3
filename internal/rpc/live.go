package rpc

import (
	"context"

	"google.golang.org/protobuf/encoding/protojson"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
)

// JoinSession implements the method of this name.
func (s *sessions) JoinSession(ctx context.Context, r *conversationv1.JoinSessionRequest) (*conversationv1.JoinSessionResponse, error) {
	callOf(ctx).For = r.GetName()
	id, err := session.ParseSession(r.GetSession())
	if err != nil {
		return nil, err
	}
	result, err := s.service.Join(ctx, callerOf(ctx), session.JoinRequest{
		ID:        id,
		Name:      r.GetName(),
		SecretKey: r.GetSecretKey(),
		Channels:  r.GetChannels(),
		UID:       r.GetUid(),
		RequestID: r.GetRequestId(),
	})
	if err != nil {
		return nil, err
	}
	joined, err := sessionOf(session.Result{Record: result.Record})
	if err != nil {
		return nil, err
	}
	return &conversationv1.JoinSessionResponse{Session: joined, Member: memberOf(result.Member), Cursor: result.Cursor.String()}, nil
}

// LeaveSession implements the method of this name.
func (s *sessions) LeaveSession(ctx context.Context, r *conversationv1.LeaveSessionRequest) (*conversationv1.LeaveSessionResponse, error) {
	callOf(ctx).For = r.GetName()
	id, err := session.ParseSession(r.GetSession())
	if err != nil {
		return nil, err
	}
	record, err := s.service.Leave(ctx, callerOf(ctx), session.LeaveRequest{ID: id, Name: r.GetName(), RequestID: r.GetRequestId()})
	if err != nil {
		return nil, err
	}
	left, err := sessionOf(session.Result{Record: record})
	if err != nil {
		return nil, err
	}
	return &conversationv1.LeaveSessionResponse{Session: left}, nil
}

// CreateTicket implements the method of this name.
func (s *sessions) CreateTicket(ctx context.Context, r *conversationv1.CreateTicketRequest) (*conversationv1.CreateTicketResponse, error) {
	id, err := session.ParseSession(r.GetSession())
	if err != nil {
		return nil, err
	}
	ticket, expire, err := s.service.CreateTicket(ctx, callerOf(ctx), session.CreateTicketRequest{ID: id, RequestID: r.GetRequestId()})
	if err != nil {
		return nil, err
	}
	return &conversationv1.CreateTicketResponse{Ticket: ticket, ExpireTime: timestampOf(expire)}, nil
}

// PublishMessage implements the method of this name.
func (s *sessions) PublishMessage(
	ctx context.Context, r *conversationv1.PublishMessageRequest,
) (*conversationv1.PublishMessageResponse, error) {
	callOf(ctx).For = r.GetName()
	id, err := session.ParseSession(r.GetSession())
	if err != nil {
		return nil, err
	}
	message, err := publishedOf(r.GetMessage())
	if err != nil {
		return nil, err
	}
	event, err := s.service.Publish(ctx, callerOf(ctx), session.PublishRequest{
		ID:        id,
		Name:      r.GetName(),
		Message:   message,
		UID:       r.GetUid(),
		RequestID: r.GetRequestId(),
	})
	if err != nil {
		return nil, err
	}
	response := &conversationv1.PublishMessageResponse{Acknowledgment: cursorOf(event)}
	response.Message, err = messageOf(event)
	return response, err
}

// ListMessages implements the method of this name.
func (s *sessions) ListMessages(ctx context.Context, r *conversationv1.ListMessagesRequest) (*conversationv1.ListMessagesResponse, error) {
	id, err := session.ParseSession(r.GetSession())
	if err != nil {
		return nil, err
	}
	page, err := s.service.ListMessages(ctx, callerOf(ctx), session.ListMessagesRequest{
		ID:        id,
		PageSize:  r.GetPageSize(),
		PageToken: r.GetPageToken(),
		Filter:    r.GetFilter(),
		OrderBy:   r.GetOrderBy(),
		Cursor:    r.GetCursor(),
	})
	if err != nil {
		return nil, err
	}
	response := &conversationv1.ListMessagesResponse{NextPageToken: page.NextPageToken}
	for _, event := range page.Events {
		message, err := messageOf(event)
		if err != nil {
			return nil, err
		}
		response.Messages = append(response.Messages, message)
	}
	return response, nil
}

// GetMessage implements the method of this name.
func (s *sessions) GetMessage(ctx context.Context, r *conversationv1.GetMessageRequest) (*conversationv1.Message, error) {
	id, messageID, err := session.ParseMessageName(r.GetName())
	if err != nil {
		return nil, err
	}
	event, err := s.service.GetMessage(ctx, callerOf(ctx), id, messageID)
	if err != nil {
		return nil, err
	}
	return messageOf(event)
}

// ListMembers implements the method of this name.
func (s *sessions) ListMembers(ctx context.Context, r *conversationv1.ListMembersRequest) (*conversationv1.ListMembersResponse, error) {
	id, err := session.ParseSession(r.GetSession())
	if err != nil {
		return nil, err
	}
	page, err := s.service.ListMembers(ctx, callerOf(ctx), session.ListMembersRequest{
		ID:        id,
		PageSize:  r.GetPageSize(),
		PageToken: r.GetPageToken(),
		Filter:    r.GetFilter(),
		OrderBy:   r.GetOrderBy(),
	})
	if err != nil {
		return nil, err
	}
	response := &conversationv1.ListMembersResponse{NextPageToken: page.NextPageToken}
	for _, member := range page.Members {
		response.Members = append(response.Members, memberOf(member))
	}
	return response, nil
}

// publishedOf reads a message in a request; its read-only fields are ignored.
func publishedOf(m *conversationv1.Message) (*session.Message, error) {
	if m == nil {
		return nil, fault.Invalid("message", "is required")
	}
	message := &session.Message{
		ID: m.GetMessageId(), Channel: m.GetChannel(), ContentType: m.GetContentType(), ReplyTo: m.GetReplyTo(), Contents: 1,
	}
	var violations fault.Violations
	var err error
	switch content := m.GetContent().(type) {
	case *conversationv1.Message_Text:
		message.Kind, message.Text = session.ContentText, content.Text
	case *conversationv1.Message_Blob:
		message.Kind, message.Blob = session.ContentBlob, content.Blob
	case *conversationv1.Message_Data:
		message.Kind = session.ContentData
		message.Data, err = valueOf(content.Data, "message.data")
		note(&violations, err)
	}
	if message.Kind == session.ContentNone || message.Kind == session.ContentData && message.Data == nil {
		message.Kind, message.Contents = session.ContentNone, 0 // null is absent, as in JSON
	}
	message.Metadata, err = objectOf(m.GetMetadata(), "message.metadata")
	note(&violations, err)
	return message, violations.Err()
}

// note adds the violations of a fault.
func note(v *fault.Violations, err error) {
	if err != nil {
		*v = append(*v, fault.From(err).Violations...)
	}
}

// messageOf is the message that an event is of.
func messageOf(e *session.Event) (*conversationv1.Message, error) {
	message := new(conversationv1.Message)
	return message, protojson.Unmarshal(e.AppendPayload(nil), message)
}

func memberOf(m session.MemberState) *conversationv1.Member {
	return &conversationv1.Member{
		User: m.User, Role: m.Role, Channels: m.Channels, JoinTime: timestampOf(m.JoinTime), Online: m.Online,
	}
}

// cursorOf is where a stream goes on after the event; empty if it has no place.
func cursorOf(e *session.Event) string {
	cursor, ok := e.Cursor()
	if !ok {
		return ""
	}
	return cursor.String()
}

// eventOf is an event as clients get to see it.
func eventOf(e *session.Event) (*conversationv1.Event, error) {
	event := &conversationv1.Event{
		Event:      e.Kind.String(),
		Cursor:     cursorOf(e),
		Sequence:   e.Sequence,
		Session:    session.NamePrefix + e.ID,
		Channel:    e.Channel,
		CreateTime: timestampOf(e.Time),
		Actor:      e.Actor,
		Gap:        e.Gap,
	}
	return event, setPayload(event, e)
}

// setPayload sets what the event is about. A later server may know more of it.
func setPayload(event *conversationv1.Event, e *session.Event) error {
	read := protojson.UnmarshalOptions{DiscardUnknown: true}
	switch e.Payload() {
	case "message":
		payload := &conversationv1.Event_Message{Message: new(conversationv1.Message)}
		event.Payload = payload
		return read.Unmarshal(e.AppendPayload(nil), payload.Message)
	case "member":
		payload := &conversationv1.Event_Member{Member: new(conversationv1.Member)}
		event.Payload = payload
		return read.Unmarshal(e.Document, payload.Member)
	case "snapshot":
		payload := &conversationv1.Event_Snapshot{Snapshot: new(conversationv1.Session)}
		event.Payload = payload
		return read.Unmarshal(e.Document, payload.Snapshot)
	default:
		return nil
	}
}
