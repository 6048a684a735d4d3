package rest

import (
	"cmp"
	"context"
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
	header := w.Header()
	f := h.shown(r.Context(), requestIDOf(header), r.Method, r.URL.Path, err)
	header["Content-Type"] = headerJSON
	if f.Allow != "" {
		header.Set("Allow", f.Allow)
	}
	if f.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int((f.RetryAfter+time.Second-1)/time.Second)))
	}
	if f.Kind == fault.Unauthenticated {
		header.Set("WWW-Authenticate", cmp.Or(f.Challenge, `Bearer realm="parley"`))
	}
	encoded, err := json.Marshal(errorBody{Error: errorOf(f)})
	if err != nil {
		encoded = []byte(internalError)
	}
	w.WriteHeader(rpc.HTTPStatus(f.Kind))
	_, _ = w.Write(encoded)
}

// internalError is the answer when even the error cannot be encoded.
const internalError = `{"error":{"code":500,"status":"INTERNAL","message":"internal error","details":[]}}`

// errorOf is a fault as clients get to see it.
func errorOf(f *fault.Error) errorJSON {
	shown := errorJSON{Code: rpc.HTTPStatus(f.Kind), Status: rpc.CodeName(f.Kind), Message: f.Message}
	for _, detail := range rpc.Status(f).Proto().GetDetails() {
		if encoded, err := protojson.Marshal(detail); err == nil { // our own details always encode
			shown.Details = append(shown.Details, encoded)
		}
	}
	return shown
}

// shown is the fault to answer with. One of ours is logged under the request's id, and has that id in its message if the
// message says nothing else.
func (h *handler) shown(ctx context.Context, id, method, path string, err error) *fault.Error {
	f := fault.From(err)
	if f.Kind != fault.Internal && f.Kind != fault.Unavailable {
		return f
	}
	h.Log.ErrorContext(ctx, "request failed", "requestId", id, "method", method, "path", path, "error", f)
	if f.Kind != fault.Internal {
		return f
	}
	shown := *f
	shown.Message = "internal error (request " + id + ")"
	return &shown
}
