package rest

import (
	"net/http"

	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/session"
)

func (h *handler) joinSession(w http.ResponseWriter, r *http.Request, call *gate.Call) error {
	q, err := parseQuery(r, "requestId")
	if err != nil {
		return err
	}
	request, err := readBodyIfAny(call, r, maxBody, session.DecodeJoin)
	if err != nil {
		return err
	}
	if request.RequestID, err = q.requestID(request.RequestID); err != nil {
		return err
	}
	request.ID = r.PathValue("session")
	call.For = request.Name
	result, err := h.Service.Join(r.Context(), call.Caller, *request)
	if err != nil {
		return err
	}
	b := buffers.Get().(*buffer)
	defer b.release()
	b.bytes = append(b.bytes, `{"session":`...)
	b.bytes = result.Record.AppendJSON(b.bytes, "")
	b.bytes = append(b.bytes, `,"member":`...)
	b.bytes = result.Member.AppendJSON(b.bytes)
	b.bytes = append(b.bytes, `,"cursor":"`...)
	b.bytes = result.Cursor.Append(b.bytes)
	b.bytes = append(b.bytes, `"}`...)
	answer(w, b.bytes)
	return nil
}

func (h *handler) leaveSession(w http.ResponseWriter, r *http.Request, call *gate.Call) error {
	q, err := parseQuery(r, "requestId")
	if err != nil {
		return err
	}
	request, err := readBodyIfAny(call, r, maxBody, session.DecodeLeave)
	if err != nil {
		return err
	}
	if request.RequestID, err = q.requestID(request.RequestID); err != nil {
		return err
	}
	request.ID = r.PathValue("session")
	call.For = request.Name
	record, err := h.Service.Leave(r.Context(), call.Caller, *request)
	if err != nil {
		return err
	}
	b := buffers.Get().(*buffer)
	defer b.release()
	b.bytes = append(b.bytes, `{"session":`...)
	b.bytes = record.AppendJSON(b.bytes, "")
	b.bytes = append(b.bytes, '}')
	answer(w, b.bytes)
	return nil
}

func (h *handler) createTicket(w http.ResponseWriter, r *http.Request, call *gate.Call) error {
	q, err := parseQuery(r, "requestId")
	if err != nil {
		return err
	}
	request, err := readBodyIfAny(call, r, maxBody, session.DecodeCreateTicket)
	if err != nil {
		return err
	}
	if request.RequestID, err = q.requestID(request.RequestID); err != nil {
		return err
	}
	request.ID = r.PathValue("session")
	ticket, expire, err := h.Service.CreateTicket(r.Context(), call.Caller, *request)
	if err != nil {
		return err
	}
	b := buffers.Get().(*buffer)
	defer b.release()
	b.bytes = session.AppendTicketJSON(b.bytes, ticket, expire)
	answer(w, b.bytes)
	return nil
}

func (h *handler) publishMessage(w http.ResponseWriter, r *http.Request, call *gate.Call) error {
	q, err := parseQuery(r, "requestId")
	if err != nil {
		return err
	}
	request, err := readBody(call, r, maxPublishBody, session.DecodePublish)
	if err != nil {
		return err
	}
	if request.RequestID, err = q.requestID(request.RequestID); err != nil {
		return err
	}
	request.ID = r.PathValue("session")
	call.For = request.Name
	event, err := h.Service.Publish(r.Context(), call.Caller, *request)
	if err != nil {
		return err
	}
	b := buffers.Get().(*buffer)
	defer b.release()
	b.bytes = append(b.bytes, '{')
	b.bytes = appendPublished(b.bytes, event)
	b.bytes = append(b.bytes, '}')
	answer(w, b.bytes)
	return nil
}

// appendPublished appends the members of an object that say what became of a message.
func appendPublished(b []byte, event *session.Event) []byte {
	b = append(b, `"acknowledgment":"`...)
	if cursor, stored := event.Cursor(); stored {
		b = cursor.Append(b)
	}
	b = append(b, `","message":`...)
	return event.AppendPayload(b)
}

func (h *handler) getMessage(w http.ResponseWriter, r *http.Request, call *gate.Call) error {
	if _, err := parseQuery(r); err != nil {
		return err
	}
	event, err := h.Service.GetMessage(r.Context(), call.Caller, r.PathValue("session"), r.PathValue("message"))
	if err != nil {
		return err
	}
	b := buffers.Get().(*buffer)
	defer b.release()
	b.bytes = event.AppendPayload(b.bytes)
	answer(w, b.bytes)
	return nil
}

func (h *handler) listMessages(w http.ResponseWriter, r *http.Request, call *gate.Call) error {
	list, err := parseList(r)
	if err != nil {
		return err
	}
	page, err := h.Service.ListMessages(r.Context(), call.Caller, session.ListMessagesRequest{
		ID:        r.PathValue("session"),
		PageSize:  list.PageSize,
		PageToken: list.PageToken,
		Filter:    list.Filter,
		OrderBy:   list.OrderBy,
	})
	if err != nil {
		return err
	}
	answerPage(w, "messages", page.Events, (*session.Event).AppendPayload, page.NextPageToken)
	return nil
}

func (h *handler) listMembers(w http.ResponseWriter, r *http.Request, call *gate.Call) error {
	list, err := parseList(r)
	if err != nil {
		return err
	}
	page, err := h.Service.ListMembers(r.Context(), call.Caller, session.ListMembersRequest{
		ID:        r.PathValue("session"),
		PageSize:  list.PageSize,
		PageToken: list.PageToken,
		Filter:    list.Filter,
		OrderBy:   list.OrderBy,
	})
	if err != nil {
		return err
	}
	answerPage(w, "members", page.Members, session.MemberState.AppendJSON, page.NextPageToken)
	return nil
}
