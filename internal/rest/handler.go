// Package rest is the HTTP/JSON edge: it decodes, goes through the gate, calls the service, and encodes.
package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lxzan/gws"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/session"
)

// Config says what the edge stands on.
type Config struct {
	Service *session.Service
	Gate    *gate.Gate
	Log     *slog.Logger

	// Ready tells whether the server is to be given work: what /readyz answers. It answers requests anyway.
	Ready func() bool

	// Origins are the web origins, besides our own host, whose pages may read answers and change things; "*": all.
	Origins []string
}

// Handler answers everything under "/".
type Handler struct {
	handler *handler
	mux     *http.ServeMux
	unknown http.HandlerFunc
	streams *streams
}

// NewHandler returns the handler of an edge.
func NewHandler(config Config) *Handler {
	h := &handler{
		Config: config, streams: newStreams(config.Log), upgrader: newUpgrader(),
		anyOrigin: slices.Contains(config.Origins, anyOrigin),
	}
	mux := http.NewServeMux()
	h.routes(mux)
	return &Handler{handler: h, mux: mux, unknown: h.handle(gate.Other, unknownPath), streams: h.streams}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	limitAnswer(w, requestTime+answerTime)
	h.handler.prepare(w.Header(), r)
	if isUnclean(r.URL.Path) {
		h.unknown(w, r)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// How long a client may take to send its request, which is the server's to hold, and to take its answer.
const (
	requestTime = time.Minute
	answerTime  = time.Minute
)

// limitAnswer sets when the client must have taken its answer. A stream lifts that when it begins.
func limitAnswer(w http.ResponseWriter, most time.Duration) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(most)) // what has no deadlines is no connection
}

// Drain accepts no more streams, and waits until the open ones have ended, which they do once the tail drains. It cuts
// those that have not when ctx ends, and says so.
func (h *Handler) Drain(ctx context.Context) error { return h.streams.drain(ctx) }

// isUnclean tells whether the mux would answer the path with a redirect to another, which no client of an API follows.
// No path of ours has a segment that begins with a dot.
func isUnclean(path string) bool { return strings.Contains(path, "//") || strings.Contains(path, "/.") }

type handler struct {
	Config

	streams   *streams
	upgrader  *gws.Upgrader
	anyOrigin bool // all origins are configured
}

const sessionsPath = "/v1/conversation/sessions"

// endpoint answers one request, or returns the fault to answer with.
type endpoint func(w http.ResponseWriter, r *http.Request, call *gate.Call) error

func (h *handler) routes(mux *http.ServeMux) {
	type route struct {
		method   gate.Method
		endpoint endpoint
	}
	for path, routes := range map[string]map[string]route{
		sessionsPath: {
			http.MethodGet:  {gate.ListSessions, h.listSessions},
			http.MethodPost: {gate.CreateSession, h.createSession},
		},
		sessionsPath + "/{session}": {
			http.MethodGet:    {gate.GetSession, h.getSession},
			http.MethodPatch:  {gate.UpdateSession, h.updateSession},
			http.MethodDelete: {gate.DeleteSession, h.deleteSession},
		},
		sessionsPath + "/{session}/join":  {http.MethodPost: {gate.JoinSession, h.joinSession}},
		sessionsPath + "/{session}/leave": {http.MethodPost: {gate.LeaveSession, h.leaveSession}},
		sessionsPath + "/{session}/messages": {
			http.MethodPost: {gate.PublishMessage, h.publishMessage},
			http.MethodGet:  {gate.ListMessages, h.listMessages},
		},
		sessionsPath + "/{session}/messages/{message}": {http.MethodGet: {gate.GetMessage, h.getMessage}},
		sessionsPath + "/{session}/members":            {http.MethodGet: {gate.ListMembers, h.listMembers}},
		sessionsPath + "/{session}/tickets":            {http.MethodPost: {gate.CreateTicket, h.createTicket}},
	} {
		for method, route := range routes {
			mux.HandleFunc(method+" "+path, h.handle(route.method, route.endpoint))
		}
		mux.HandleFunc(path, h.otherMethods(slices.Collect(maps.Keys(routes))...))
	}
	const events = sessionsPath + "/{session}/events"
	mux.HandleFunc("GET "+events, h.handleStream)
	mux.HandleFunc(events, h.otherMethods(http.MethodGet))
	mux.HandleFunc("POST "+sessionsPath+"/{session}", h.customMethod())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answerText(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", h.readyz)
	mux.HandleFunc("/", h.handle(gate.Other, unknownPath))
}

func (h *handler) readyz(w http.ResponseWriter, _ *http.Request) {
	if h.Ready() {
		answerText(w, http.StatusOK, "ready\n")
		return
	}
	answerText(w, http.StatusServiceUnavailable, "not ready\n")
}

func answerText(w http.ResponseWriter, status int, text string) {
	w.Header()["Content-Type"] = []string{"text/plain; charset=utf-8"}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // a client that is gone needs no answer
}

// handle is what all endpoints have in common: who asks, and how faults are answered.
func (h *handler) handle(method gate.Method, endpoint endpoint) http.HandlerFunc {
	entered := func(w http.ResponseWriter, r *http.Request, call *gate.Call) error {
		if err := h.enter(r, call); err != nil {
			return err
		}
		if err := acceptable(r); err != nil {
			return err
		}
		return endpoint(w, r, call)
	}
	return func(w http.ResponseWriter, r *http.Request) {
		h.streams.pace.requests.Add(1)
		h.serve(w, r, method, entered)
	}
}

// handleStream is the same for a stream, which has formats of its own, and another way to say who asks.
func (h *handler) handleStream(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, gate.SessionEvents, h.events)
}

// errUnanswered is what a call ends with whose endpoint wants the connection to end, or whose answer panics.
var errUnanswered = errors.New("the endpoint has panicked")

func (h *handler) serve(w http.ResponseWriter, r *http.Request, method gate.Method, endpoint endpoint) {
	ctx := r.Context()
	call, err := h.arrive(w, r, method)
	ended := errUnanswered
	defer func() { call.End(ctx, ended) }()
	if err == nil {
		err = call.CheckQuery(r.URL.RawQuery)
	}
	if err == nil {
		err = answered(endpoint, w, r, call)
	}
	if err != nil {
		call.Veil(ctx, err)
		h.answerFault(w, r, err)
	}
	ended = err
}

// answered has the endpoint answer. A panic is an error like others, except for net/http's own, which ends the connection.
func answered(endpoint endpoint, w http.ResponseWriter, r *http.Request, call *gate.Call) (err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			panic(p)
		default:
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return endpoint(w, r, call)
}

// enter finds the caller, and refuses what another website makes a browser send.
func (h *handler) enter(r *http.Request, call *gate.Call) error {
	if err := call.Authenticate(r.Context(), authRequest(r)); err != nil {
		return err
	}
	return h.checkOrigin(r)
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

// customMethod answers AIP-136 paths such as sessions/s:join; nothing else can be posted to a session.
func (h *handler) customMethod() http.HandlerFunc {
	join, leave := h.handle(gate.JoinSession, h.joinSession), h.handle(gate.LeaveSession, h.leaveSession)
	refuse := h.handle(gate.Other, methodNotAllowed(http.MethodGet, http.MethodPatch, http.MethodDelete))
	return func(w http.ResponseWriter, r *http.Request) {
		id, verb, _ := strings.Cut(r.PathValue("session"), ":")
		r.SetPathValue("session", id)
		switch verb {
		case "join":
			join(w, r)
		case "leave":
			leave(w, r)
		default:
			refuse(w, r)
		}
	}
}

// methodNotAllowed refuses a method, and says which the path has.
func methodNotAllowed(allow ...string) endpoint {
	list := methodList(allow)
	return func(http.ResponseWriter, *http.Request, *gate.Call) error {
		f := fault.New(fault.MethodNotAllowed, "METHOD_NOT_ALLOWED", "this path does not have this method")
		f.Allow = list
		return f
	}
}

// methodList lists the methods that a path has. Who may GET may HEAD.
func methodList(allow []string) string {
	if slices.Contains(allow, http.MethodGet) {
		allow = append(slices.Clip(allow), http.MethodHead)
	}
	return strings.Join(slices.Sorted(slices.Values(allow)), ", ")
}

func unknownPath(http.ResponseWriter, *http.Request, *gate.Call) error {
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
