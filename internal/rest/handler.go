// Package rest is the HTTP/JSON edge: it decodes, authenticates, calls the service, and encodes.
package rest

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/lxzan/gws"

	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
)

// Config says what the edge stands on.
type Config struct {
	Service *session.Service
	Auth    auth.Authenticator
	Log     *slog.Logger

	// Ready tells whether the server takes new work: what /readyz answers.
	Ready func() bool

	// Origins are the web origins, besides our own host, whose pages may change things.
	Origins []string
}

// Handler answers everything under "/".
type Handler struct {
	mux     *http.ServeMux
	unknown http.HandlerFunc
	streams *streams
}

// NewHandler returns the handler of an edge.
func NewHandler(config Config) *Handler {
	h := &handler{Config: config, streams: newStreams(config.Log), upgrader: newUpgrader()}
	mux := http.NewServeMux()
	h.routes(mux)
	return &Handler{mux: mux, unknown: h.handle(unknownPath), streams: h.streams}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if isUnclean(r.URL.Path) {
		h.unknown(w, r)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// Drain accepts no more streams, and waits until the open ones have ended, which they do once the tail drains. It cuts
// those that have not when ctx ends, and says so.
func (h *Handler) Drain(ctx context.Context) error { return h.streams.drain(ctx) }

// isUnclean tells whether the mux would answer the path with a redirect to another, which no client of an API follows.
// No path of ours has a segment that begins with a dot.
func isUnclean(path string) bool { return strings.Contains(path, "//") || strings.Contains(path, "/.") }

type handler struct {
	Config

	streams  *streams
	upgrader *gws.Upgrader
}

const sessionsPath = "/v1/conversation/sessions"

// endpoint answers one request, or returns the fault to answer with.
type endpoint func(w http.ResponseWriter, r *http.Request, caller session.Caller) error

func (h *handler) routes(mux *http.ServeMux) {
	type methods map[string]endpoint
	for path, methods := range map[string]methods{
		sessionsPath: {
			http.MethodGet:  h.listSessions,
			http.MethodPost: h.createSession,
		},
		sessionsPath + "/{session}": {
			http.MethodGet:    h.getSession,
			http.MethodPatch:  h.updateSession,
			http.MethodDelete: h.deleteSession,
		},
		sessionsPath + "/{session}/join":               {http.MethodPost: h.joinSession},
		sessionsPath + "/{session}/leave":              {http.MethodPost: h.leaveSession},
		sessionsPath + "/{session}/messages":           {http.MethodPost: h.publishMessage, http.MethodGet: h.listMessages},
		sessionsPath + "/{session}/messages/{message}": {http.MethodGet: h.getMessage},
		sessionsPath + "/{session}/members":            {http.MethodGet: h.listMembers},
		sessionsPath + "/{session}/tickets":            {http.MethodPost: unimplemented},
	} {
		allow := make([]string, 0, len(methods)+1)
		for method, endpoint := range methods {
			mux.HandleFunc(method+" "+path, h.handle(endpoint))
			allow = append(allow, method)
		}
		mux.HandleFunc(path, h.handle(methodNotAllowed(allow...)))
	}
	const events = sessionsPath + "/{session}/events"
	mux.HandleFunc("GET "+events, h.handleStream(h.events))
	mux.HandleFunc(events, h.handle(methodNotAllowed(http.MethodGet)))
	mux.HandleFunc("POST "+sessionsPath+"/{session}", h.handle(h.customMethod))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answerText(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", h.readyz)
	mux.HandleFunc("/", h.handle(unknownPath))
}

func (h *handler) readyz(w http.ResponseWriter, _ *http.Request) {
	if h.Ready() {
		answerText(w, http.StatusOK, "ready\n")
		return
	}
	answerText(w, http.StatusServiceUnavailable, "draining\n")
}

func answerText(w http.ResponseWriter, status int, text string) {
	w.Header()["Content-Type"] = []string{"text/plain; charset=utf-8"}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // a client that is gone needs no answer
}

// handle is what all endpoints have in common: who asks, and how faults are answered.
func (h *handler) handle(endpoint endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h.streams.pace.requests.Add(1)
		h.serve(w, r, func(w http.ResponseWriter, r *http.Request, caller session.Caller) error {
			if err := acceptable(r); err != nil {
				return err
			}
			return endpoint(w, r, caller)
		})
	}
}

// handleStream is the same for a stream, which has formats of its own.
func (h *handler) handleStream(endpoint endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, endpoint) }
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request, endpoint endpoint) {
	caller, err := h.authenticate(r)
	if err == nil {
		err = endpoint(w, r, caller)
	}
	if err != nil {
		h.answerFault(w, r, err)
	}
}

// authenticate finds the caller, and refuses what another website makes a browser send.
func (h *handler) authenticate(r *http.Request) (session.Caller, error) {
	caller, err := h.Auth.Caller(r.Context(), auth.Request{Host: r.Host, Header: r.Header})
	if err != nil {
		return caller, err
	}
	if origin := r.Header.Get("Origin"); origin != "" && (changes(r.Method) || isUpgrade(r)) && !h.trusted(origin, r.Host) {
		return caller, fault.New(fault.PermissionDenied, "FOREIGN_ORIGIN",
			"pages of another website may not do this; see --cors-origin")
	}
	return caller, nil
}

func changes(method string) bool { return method != http.MethodGet && method != http.MethodHead }

// trusted tells whether a page of the origin may change things: it is our own host's, or was configured.
func (h *handler) trusted(origin, host string) bool {
	for _, configured := range h.Origins {
		if strings.EqualFold(origin, configured) {
			return true
		}
	}
	_, originHost, _ := strings.Cut(origin, "://")
	return strings.EqualFold(originHost, host)
}

// acceptable is a fault unless the client takes JSON.
func acceptable(r *http.Request) error {
	accept := r.Header.Get("Accept")
	if accept == "" || accept == "*/*" || accept == contentJSON {
		return nil
	}
	for entry := range strings.SplitSeq(accept, ",") {
		media, _, _ := strings.Cut(entry, ";")
		switch strings.ToLower(strings.TrimSpace(media)) {
		case "*/*", "application/*", contentJSON:
			return nil
		}
	}
	return fault.New(fault.NotAcceptable, "NOT_ACCEPTABLE", "answers are application/json: Accept must allow it")
}

func unimplemented(http.ResponseWriter, *http.Request, session.Caller) error {
	return fault.New(fault.Unimplemented, "UNIMPLEMENTED", "this method is not built yet")
}

// customMethod answers AIP-136 paths such as sessions/s:join; nothing else can be posted to a session.
func (h *handler) customMethod(w http.ResponseWriter, r *http.Request, caller session.Caller) error {
	id, verb, _ := strings.Cut(r.PathValue("session"), ":")
	r.SetPathValue("session", id)
	switch verb {
	case "join":
		return h.joinSession(w, r, caller)
	case "leave":
		return h.leaveSession(w, r, caller)
	default:
		return methodNotAllowed(http.MethodGet, http.MethodPatch, http.MethodDelete)(w, r, caller)
	}
}

// methodNotAllowed refuses a method, and says which the path has. Who may GET may HEAD.
func methodNotAllowed(allow ...string) endpoint {
	if slices.Contains(allow, http.MethodGet) {
		allow = append(allow, http.MethodHead)
	}
	slices.Sort(allow)
	return func(http.ResponseWriter, *http.Request, session.Caller) error {
		f := fault.New(fault.MethodNotAllowed, "METHOD_NOT_ALLOWED", "this path does not have this method")
		f.Allow = strings.Join(allow, ", ")
		return f
	}
}

func unknownPath(http.ResponseWriter, *http.Request, session.Caller) error {
	return fault.New(fault.NotFound, "UNKNOWN_PATH", "there is nothing at this path; the API is under %s", sessionsPath)
}

// buffers hold request bodies and answers while they are made.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

type buffer struct{ bytes []byte }

// maxKeptBuffer bounds what an idle server holds on to.
const maxKeptBuffer = 64 << 10

func (b *buffer) release() {
	if cap(b.bytes) <= maxKeptBuffer {
		b.bytes = b.bytes[:0]
		buffers.Put(b)
	}
}
