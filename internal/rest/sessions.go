package rest

import (
	"net/http"
	"strconv"

	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/session"
)

func (h *handler) createSession(w http.ResponseWriter, r *http.Request, call *gate.Call) error {
	q, err := parseQuery(r, "sessionId", "requestId")
	if err != nil {
		return err
	}
	draft, err := readBody(call, r, gate.MaxBody, session.DecodeDraft)
	if err != nil {
		return err
	}
	call.Session = q.get("sessionId")
	result, err := h.Service.Create(r.Context(), call.Caller, session.CreateRequest{
		Draft:     draft,
		SessionID: q.get("sessionId"),
		RequestID: q.get("requestId"),
	})
	if err != nil {
		return err
	}
	call.Session = result.Record.ID
	answerWith(w, result.AppendJSON)
	return nil
}

func (h *handler) getSession(w http.ResponseWriter, r *http.Request, call *gate.Call) error {
	if _, err := parseQuery(r); err != nil {
		return err
	}
	record, err := h.Service.Get(r.Context(), call.Caller, r.PathValue("session"))
	if err != nil {
		return err
	}
	answerWith(w, session.Result{Record: record}.AppendJSON)
	return nil
}

func (h *handler) listSessions(w http.ResponseWriter, r *http.Request, call *gate.Call) error {
	list, err := parseList(r)
	if err != nil {
		return err
	}
	page, err := h.Service.List(r.Context(), call.Caller, list)
	if err != nil {
		return err
	}
	answerWith(w, page.AppendJSON)
	return nil
}

// parseList reads the parameters that all lists have.
func parseList(r *http.Request) (list session.ListRequest, err error) {
	q, err := parseQuery(r, "pageSize", "pageToken", "filter", "orderBy")
	if err != nil {
		return list, err
	}
	size, err := q.int32("pageSize")
	return session.ListRequest{
		PageSize:  size,
		PageToken: q.get("pageToken"),
		Filter:    q.get("filter"),
		OrderBy:   q.get("orderBy"),
	}, err
}

func (h *handler) updateSession(w http.ResponseWriter, r *http.Request, call *gate.Call) error {
	q, err := parseQuery(r, "updateMask", "requestId")
	if err != nil {
		return err
	}
	mask, err := session.ParseMask(session.SplitMask(q.get("updateMask")))
	if err != nil {
		return err
	}
	draft, err := readBody(call, r, gate.MaxBody, session.DecodeDraft)
	if err != nil {
		return err
	}
	result, err := h.Service.Update(r.Context(), call.Caller, session.UpdateRequest{
		ID:        r.PathValue("session"),
		Draft:     draft,
		Mask:      mask,
		RequestID: q.get("requestId"),
	})
	if err != nil {
		return err
	}
	answerWith(w, result.AppendJSON)
	return nil
}

func (h *handler) deleteSession(w http.ResponseWriter, r *http.Request, call *gate.Call) error {
	q, err := parseQuery(r, "etag", "requestId")
	if err != nil {
		return err
	}
	err = h.Service.Delete(r.Context(), call.Caller, session.DeleteRequest{
		ID:        r.PathValue("session"),
		ETag:      q.get("etag"),
		RequestID: q.get("requestId"),
	})
	if err != nil {
		return err
	}
	answer(w, []byte("{}"))
	return nil
}

// headerJSON is shared by all answers, which saves making one for each.
var headerJSON = []string{contentJSON}

// answerWith answers with the JSON that the function appends.
func answerWith(w http.ResponseWriter, appendJSON func(b []byte) []byte) {
	b := buffers.Get().(*buffer)
	defer b.release()
	b.bytes = appendJSON(b.bytes)
	answer(w, b.bytes)
}

// largeAnswer is what a socket may not take at once.
const largeAnswer = 64 << 10

// answer sends JSON with the status 200.
func answer(w http.ResponseWriter, body []byte) {
	if len(body) > largeAnswer {
		limitAnswer(w, answerTime)
	}
	header := w.Header()
	header["Content-Type"] = headerJSON
	if len(body) > 2048 { // net/http does so by itself for what fits its buffer
		header["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	_, _ = w.Write(body) // a client that is gone needs no answer
}
