package natsapi

import (
	"context"

	"google.golang.org/protobuf/proto"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/rpc"
	"github.com/parleyhq/parley/internal/session"
)

// inProtobuf answers a call whose request and answer are protobuf, as gRPC has them.
func inProtobuf(ctx context.Context, methods *rpc.Methods, call *gate.Call, at target, body []byte, most int) ([]byte, error) {
	var size int32 // of a page that is asked for again; see fitting
	return fitting(most, &size, func() (int, []byte, error) {
		answer, err := methods.Call(ctx, call, func(request proto.Message) error {
			if err := proto.Unmarshal(body, request); err != nil {
				return fault.New(fault.InvalidArgument, "MALFORMED_PROTOBUF",
					"the body is not a %s in protobuf", proto.MessageName(request)).Because(err)
			}
			setPageSize(request, size)
			return place(request, at, call)
		})
		if err != nil {
			return 0, nil, err
		}
		if created, ok := answer.(*conversationv1.Session); ok {
			call.Session = created.GetSessionId() // which the server may have made
		}
		encoded, err := proto.Marshal(answer)
		return itemsOf(answer), encoded, err
	})
}

// place has a request be about what it was sent to. Where it says so itself it must say the same.
func place(request proto.Message, at target, call *gate.Call) (err error) {
	name := session.NamePrefix + at.session
	switch r := request.(type) {
	case *conversationv1.CreateSessionRequest:
		r.SessionId, err = session.CreatedID(r.GetSessionId(), r.GetSession().GetName(), at.session)
		call.Session = r.GetSessionId()
	case *conversationv1.UpdateSessionRequest:
		if r.GetSession() == nil {
			return fault.Invalid("session", "is required")
		}
		err = fill(&r.Session.Name, "name", name)
	case *conversationv1.GetSessionRequest:
		err = fill(&r.Name, "name", name)
	case *conversationv1.DeleteSessionRequest:
		err = fill(&r.Name, "name", name)
	case *conversationv1.GetMessageRequest:
		err = fill(&r.Name, "name", name+"/messages/"+at.message)
	case *conversationv1.JoinSessionRequest:
		err = fill(&r.Session, "session", name)
	case *conversationv1.LeaveSessionRequest:
		err = fill(&r.Session, "session", name)
	case *conversationv1.PublishMessageRequest:
		err = fill(&r.Session, "session", name)
	case *conversationv1.ListMessagesRequest:
		err = fill(&r.Session, "session", name)
	case *conversationv1.ListMembersRequest:
		err = fill(&r.Session, "session", name)
	}
	return err
}

func fill(to *string, field, name string) error {
	if *to != "" && *to != name {
		return session.Contradiction(field)
	}
	*to = name
	return nil
}

// setPageSize has a request ask for so many items; 0: for as many as it does.
func setPageSize(request proto.Message, size int32) {
	if size == 0 {
		return
	}
	switch r := request.(type) {
	case *conversationv1.ListSessionsRequest:
		r.PageSize = size
	case *conversationv1.ListMessagesRequest:
		r.PageSize = size
	case *conversationv1.ListMembersRequest:
		r.PageSize = size
	}
}

// itemsOf is how many items a page has; 0: the answer is none.
func itemsOf(answer proto.Message) int {
	switch page := answer.(type) {
	case *conversationv1.ListSessionsResponse:
		return len(page.GetSessions())
	case *conversationv1.ListMessagesResponse:
		return len(page.GetMessages())
	case *conversationv1.ListMembersResponse:
		return len(page.GetMembers())
	default:
		return 0
	}
}
