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
	request, err := readBodyIfAny(call, r, gate.MaxBody, session.DecodeJoin)
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
	answerWith(w, result.AppendJSON)
	return nil
}

func (h *handler) leaveSession(w http.ResponseWriter, r *http.Request, call *gate.Call) error {
	q, err := parseQuery(r, "requestId")
	if err != nil {
		return err
	}
	request, err := readBodyIfAny(call, r, gate.MaxBody, session.DecodeLeave)
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
	answerWith(w, func(b []byte) []byte { return session.AppendLeftJSON(b, record) })
	return nil
}

func (h *handler) createTicket(w http.ResponseWriter, r *http.Request, call *gate.Call) error {
	q, err := parseQuery(r, "requestId")
	if err != nil {
		return err
	}
	request, err := readBodyIfAny(call, r, gate.MaxBody, session.DecodeCreateTicket)
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
	answerWith(w, func(b []byte) []byte { return session.AppendTicketJSON(b, ticket, expire) })
	return nil
}

func (h *handler) publishMessage(w http.ResponseWriter, r *http.Request, call *gate.Call) error {
	q, err := parseQuery(r, "requestId")
	if err != nil {
		return err
	}
	request, err := readBody(call, r, gate.MaxPublishBody, session.DecodePublish)
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
	answerWith(w, func(b []byte) []byte { return session.AppendPublishedJSON(b, event) })
	return nil
}

func (h *handler) getMessage(w http.ResponseWriter, r *http.Request, call *gate.Call) error {
	if _, err := parseQuery(r); err != nil {
		return err
	}
	event, err := h.Service.GetMessage(r.Context(), call.Caller, r.PathValue("session"), r.PathValue("message"))
	if err != nil {
		return err
	}
	answerWith(w, event.AppendPayload)
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
	answerWith(w, page.AppendJSON)
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
	answerWith(w, page.AppendJSON)
	return nil
}
