package rest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/rpc"
)

// errorBody is an error as AIP-193 has it in JSON.
type errorBody struct {
	Error errorJSON `json:"error"`
}

type errorJSON struct {
	Code    int               `json:"code"` // HTTP's
	Status  string            `json:"status"`
	Message string            `json:"message"`
	Details []json.RawMessage `json:"details"`
}

// answerFault answers with a fault. What only we should know of it goes to the log.
func (h *handler) answerFault(w http.ResponseWriter, r *http.Request, err error) {
	f := fault.From(err)
	if f.Kind == fault.Internal || f.Kind == fault.Unavailable {
		f = h.logged(r.Context(), r, f)
	}
	status := rpc.HTTPStatus(f.Kind)
	header := w.Header()
	header["Content-Type"] = headerJSON
	if f.Allow != "" {
		header.Set("Allow", f.Allow)
	}
	if f.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int((f.RetryAfter+time.Second-1)/time.Second)))
	}
	if f.Kind == fault.Unauthenticated {
		header.Set("WWW-Authenticate", "Bearer")
	}
	body := errorBody{Error: errorJSON{Code: status, Status: rpc.CodeName(f.Kind), Message: f.Message}}
	for _, detail := range rpc.Status(f).Proto().GetDetails() {
		if encoded, err := protojson.Marshal(detail); err == nil { // our own details always encode
			body.Error.Details = append(body.Error.Details, encoded)
		}
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		encoded = []byte(`{"error":{"code":500,"status":"INTERNAL","message":"internal error","details":[]}}`)
	}
	w.WriteHeader(status)
	_, _ = w.Write(encoded)
}

// logged logs a fault of ours under a request id, and returns it with that id in its message if the message says
// nothing else.
func (h *handler) logged(ctx context.Context, r *http.Request, f *fault.Error) *fault.Error {
	id := rand.Text()
	h.Log.ErrorContext(ctx, "request failed", "requestId", id, "method", r.Method, "path", r.URL.Path, "error", f)
	if f.Kind != fault.Internal {
		return f
	}
	shown := *f
	shown.Message = "internal error (request " + id + ")"
	return &shown
}
