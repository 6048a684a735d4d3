package rest

import (
	"net/http"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/gate"
)

// anyOrigin in the configuration lets the pages of all origins do what those of a configured one may.
const anyOrigin = "*"

// What pages of other origins may know of an answer, and may send (the CORS protocol of the Fetch standard). They have
// no cookies to send: who asks is said by a token.
var (
	headerAnyOrigin = []string{anyOrigin}
	headerVary      = []string{"Origin"}
	headerExposed   = []string{"X-Request-Id, Retry-After, WWW-Authenticate"}
	headerAllowed   = []string{"Authorization, Content-Type, Accept, Last-Event-ID, Parley-User, X-Request-Id"}
	headerMaxAge    = []string{"600"}
)

// allowOrigin lets pages of the origin read the answer, if they may.
func (h *handler) allowOrigin(header http.Header, origins []string) {
	switch {
	case h.anyOrigin:
		header["Access-Control-Allow-Origin"] = headerAnyOrigin
	case h.configured(origins[0]):
		header["Access-Control-Allow-Origin"] = origins
		header["Vary"] = headerVary
	default:
		return
	}
	header["Access-Control-Expose-Headers"] = headerExposed
}

// checkOrigin refuses what a page of another website makes a browser send: a change, or a WebSocket.
func (h *handler) checkOrigin(r *http.Request) error {
	origin := r.Header.Get("Origin")
	if origin == "" || !changes(r.Method) && !isUpgrade(r) || h.trusted(origin, r.Host) {
		return nil
	}
	return fault.New(fault.PermissionDenied, "FOREIGN_ORIGIN", "pages of another website may not do this; see --cors-origin")
}

func changes(method string) bool { return method != http.MethodGet && method != http.MethodHead }

// trusted tells whether a page of the origin may change things: it is our own host's, or was configured.
func (h *handler) trusted(origin, host string) bool {
	_, originHost, _ := strings.Cut(origin, "://")
	return h.configured(origin) || strings.EqualFold(originHost, host)
}

// configured tells whether pages of the origin may change things, besides our own.
func (h *handler) configured(origin string) bool {
	return h.anyOrigin || slices.ContainsFunc(h.Origins, func(known string) bool { return strings.EqualFold(origin, known) })
}

// otherMethods answers the methods that a path does not have: a browser that asks for a page whether it may send a
// request, and those who need to be told which methods there are.
func (h *handler) otherMethods(allow ...string) http.HandlerFunc {
	refuse, allowed := h.handle(gate.Other, methodNotAllowed(allow...)), methodList(allow)
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !h.isPreflight(r):
			refuse(w, r)
		case isCustom(r.PathValue("session")):
			h.preflight(w, r, http.MethodPost)
		default:
			h.preflight(w, r, allowed)
		}
	}
}

// isCustom tells whether the last segment of a path is that of a custom method; see handler.customMethod.
func isCustom(segment string) bool {
	_, verb, _ := strings.Cut(segment, ":")
	return verb == "join" || verb == "leave"
}

// isPreflight tells whether a browser asks, for a page of an origin that may do things, whether it may do this. To pages of
// other origins nothing is said.
func (h *handler) isPreflight(r *http.Request) bool {
	origins := r.Header["Origin"]
	return r.Method == http.MethodOptions && len(origins) == 1 && h.configured(origins[0]) &&
		r.Header.Get("Access-Control-Request-Method") != ""
}

// preflight says what may be sent. Browsers ask without saying who is there.
func (h *handler) preflight(w http.ResponseWriter, r *http.Request, allowed string) {
	ctx := r.Context()
	call, err := h.arrive(w, r, gate.Other)
	defer func() { call.End(ctx, err) }()
	if err == nil {
		err = call.Admit(ctx, authRequest(r))
	}
	if err != nil {
		h.answerFault(w, r, err)
		return
	}
	header := w.Header()
	header["Access-Control-Allow-Methods"] = []string{allowed}
	header["Access-Control-Allow-Headers"] = headerAllowed
	header["Access-Control-Max-Age"] = headerMaxAge
	w.WriteHeader(http.StatusNoContent)
}
