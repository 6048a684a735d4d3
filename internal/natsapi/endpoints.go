package natsapi

import (
	"context"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/session"
)

// sessionsSubject begins all subjects.
const sessionsSubject = "parley.v1.sessions."

// target is what a subject says that its request is about.
type target struct {
	session string // the id; empty: none
	message string // likewise
}

// endpoint is one subject, or one of each session.
type endpoint struct {
	name     string
	subject  string // with * for an id
	pattern  string // the same for readers: with {session}, {message}
	method   gate.Method
	request  string // the full name of the message
	response string
	inJSON   func(ctx context.Context, c *jsonCall) ([]byte, error)
}

// endpoints are all of them. A session may be called like a method: its subjects have a token more.
var endpoints = [...]endpoint{
	endpointOf[conversationv1.CreateSessionRequest, conversationv1.Session]("create-new", "create", gate.CreateSession, (*jsonCall).create),
	endpointOf[conversationv1.ListSessionsRequest, conversationv1.ListSessionsResponse]("list", "list", gate.ListSessions, (*jsonCall).list),
	endpointOf[conversationv1.CreateSessionRequest, conversationv1.Session](
		"create", "{session}.create", gate.CreateSession, (*jsonCall).create),
	endpointOf[conversationv1.GetSessionRequest, conversationv1.Session]("get", "{session}.get", gate.GetSession, (*jsonCall).get),
	endpointOf[conversationv1.UpdateSessionRequest, conversationv1.Session](
		"update", "{session}.update", gate.UpdateSession, (*jsonCall).update),
	endpointOf[conversationv1.DeleteSessionRequest, emptypb.Empty]("delete", "{session}.delete", gate.DeleteSession, (*jsonCall).remove),
	endpointOf[conversationv1.JoinSessionRequest, conversationv1.JoinSessionResponse](
		"join", "{session}.join", gate.JoinSession, (*jsonCall).join),
	endpointOf[conversationv1.LeaveSessionRequest, conversationv1.LeaveSessionResponse](
		"leave", "{session}.leave", gate.LeaveSession, (*jsonCall).leave),
	endpointOf[conversationv1.PublishMessageRequest, conversationv1.PublishMessageResponse](
		"publish", "{session}.publish", gate.PublishMessage, (*jsonCall).publish),
	endpointOf[conversationv1.ListMessagesRequest, conversationv1.ListMessagesResponse](
		"messages", "{session}.messages", gate.ListMessages, (*jsonCall).messages),
	endpointOf[conversationv1.GetMessageRequest, conversationv1.Message](
		"message", "{session}.messages.{message}", gate.GetMessage, (*jsonCall).message),
	endpointOf[conversationv1.ListMembersRequest, conversationv1.ListMembersResponse](
		"members", "{session}.members", gate.ListMembers, (*jsonCall).members),
}

func endpointOf[Request, Response any, R message[Request], S message[Response]](
	name, pattern string, method gate.Method, inJSON func(*jsonCall, context.Context) ([]byte, error),
) endpoint {
	return endpoint{
		name:     name,
		subject:  sessionsSubject + strings.NewReplacer("{session}", "*", "{message}", "*").Replace(pattern),
		pattern:  sessionsSubject + pattern,
		method:   method,
		request:  string(proto.MessageName(R(new(Request)))),
		response: string(proto.MessageName(S(new(Response)))),
		inJSON:   func(ctx context.Context, c *jsonCall) ([]byte, error) { return inJSON(c, ctx) },
	}
}

// message is a pointer to a generated message.
type message[T any] interface {
	*T
	proto.Message
}

// targetOf is what a request to the subject is about.
func (e *endpoint) targetOf(subject string) (t target) {
	tokens := strings.Split(strings.TrimPrefix(subject, sessionsSubject), ".")
	for i, token := range strings.Split(strings.TrimPrefix(e.pattern, sessionsSubject), ".") {
		switch {
		case i >= len(tokens):
		case token == "{session}":
			t.session = tokens[i]
		case token == "{message}":
			t.message = tokens[i]
		default:
		}
	}
	return t
}

// jsonCall is a call whose request and answer are JSON.
type jsonCall struct {
	target

	call    *gate.Call
	service *session.Service
	body    []byte
	most    int // bytes that the answer may have
}

func (c *jsonCall) create(ctx context.Context) ([]byte, error) {
	request, err := session.DecodeCreateCall(c.body, c.session)
	if err != nil {
		return nil, err
	}
	c.call.Session = request.SessionID
	result, err := c.service.Create(ctx, c.call.Caller, *request)
	if err != nil {
		return nil, err
	}
	c.call.Session = result.Record.ID
	return result.AppendJSON(nil), nil
}

func (c *jsonCall) get(ctx context.Context) ([]byte, error) {
	if err := session.DecodeGetCall(c.body, c.session); err != nil {
		return nil, err
	}
	record, err := c.service.Get(ctx, c.call.Caller, c.session)
	if err != nil {
		return nil, err
	}
	return record.AppendJSON(nil, ""), nil
}

func (c *jsonCall) list(ctx context.Context) ([]byte, error) {
	request, err := session.DecodeListCall(c.body)
	if err != nil {
		return nil, err
	}
	return fitting(c.most, &request.PageSize, func() (int, []byte, error) {
		page, err := c.service.List(ctx, c.call.Caller, *request)
		return len(page.Records), page.AppendJSON(nil), err
	})
}

func (c *jsonCall) update(ctx context.Context) ([]byte, error) {
	request, err := session.DecodeUpdateCall(c.body, c.session)
	if err != nil {
		return nil, err
	}
	result, err := c.service.Update(ctx, c.call.Caller, *request)
	if err != nil {
		return nil, err
	}
	return result.AppendJSON(nil), nil
}

func (c *jsonCall) remove(ctx context.Context) ([]byte, error) {
	request, err := session.DecodeDeleteCall(c.body, c.session)
	if err != nil {
		return nil, err
	}
	return []byte("{}"), c.service.Delete(ctx, c.call.Caller, *request)
}

func (c *jsonCall) join(ctx context.Context) ([]byte, error) {
	request, err := session.DecodeJoinCall(c.body, c.session)
	if err != nil {
		return nil, err
	}
	c.call.For = request.Name
	result, err := c.service.Join(ctx, c.call.Caller, *request)
	if err != nil {
		return nil, err
	}
	return result.AppendJSON(nil), nil
}

func (c *jsonCall) leave(ctx context.Context) ([]byte, error) {
	request, err := session.DecodeLeaveCall(c.body, c.session)
	if err != nil {
		return nil, err
	}
	c.call.For = request.Name
	record, err := c.service.Leave(ctx, c.call.Caller, *request)
	if err != nil {
		return nil, err
	}
	return session.AppendLeftJSON(nil, record), nil
}

func (c *jsonCall) publish(ctx context.Context) ([]byte, error) {
	request, err := session.DecodePublishCall(c.body, c.session)
	if err != nil {
		return nil, err
	}
	c.call.For = request.Name
	event, err := c.service.Publish(ctx, c.call.Caller, *request)
	if err != nil {
		return nil, err
	}
	return session.AppendPublishedJSON(nil, event), nil
}

func (c *jsonCall) messages(ctx context.Context) ([]byte, error) {
	request, err := session.DecodeListMessagesCall(c.body, c.session)
	if err != nil {
		return nil, err
	}
	return fitting(c.most, &request.PageSize, func() (int, []byte, error) {
		page, err := c.service.ListMessages(ctx, c.call.Caller, *request)
		return len(page.Events), page.AppendJSON(nil), err
	})
}

func (c *jsonCall) message(ctx context.Context) ([]byte, error) {
	if err := session.DecodeGetMessageCall(c.body, c.session, c.target.message); err != nil {
		return nil, err
	}
	event, err := c.service.GetMessage(ctx, c.call.Caller, c.session, c.target.message)
	if err != nil {
		return nil, err
	}
	return event.AppendPayload(nil), nil
}

func (c *jsonCall) members(ctx context.Context) ([]byte, error) {
	request, err := session.DecodeListMembersCall(c.body, c.session)
	if err != nil {
		return nil, err
	}
	return fitting(c.most, &request.PageSize, func() (int, []byte, error) {
		page, err := c.service.ListMembers(ctx, c.call.Caller, *request)
		return len(page.Members), page.AppendJSON(nil), err
	})
}

// fitting is a page that NATS carries: if it has too many bytes then it is asked for again, with half as many items. A
// page may have fewer than were asked for (AIP-158).
func fitting(most int, size *int32, page func() (items int, answer []byte, err error)) ([]byte, error) {
	for {
		items, answer, err := page()
		if err != nil {
			return nil, err
		}
		if len(answer) <= most || items <= 1 {
			return answer, nil
		}
		*size = int32(items / 2)
	}
}
