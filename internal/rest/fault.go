package rest

import (
	"cmp"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/rpc"
)

// answerFault answers with a fault. What only we should know of it goes to the log.
func (h *handler) answerFault(w http.ResponseWriter, r *http.Request, err error) {
	header := w.Header()
	f := gate.Shown(r.Context(), h.Log, requestIDOf(header), err,
		slog.String("method", r.Method), slog.String("path", r.URL.Path))
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
	w.WriteHeader(rpc.HTTPStatus(f.Kind))
	_, _ = w.Write(rpc.AppendErrorJSON(nil, f)) //nolint:gosec // it is JSON, and its type says so
}
