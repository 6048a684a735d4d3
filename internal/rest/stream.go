package rest

import (
	"cmp"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/session"
)

// format is how a stream is written.
type format uint8

const (
	formatSSE format = iota
	formatNDJSON
	formatWebSocket
)

const (
	contentSSE    = "text/event-stream"
	contentNDJSON = "application/x-ndjson"
)

// subscription is what a client asks for.
type subscription struct {
	session.SubscribeRequest

	format format
	ticket string // says who is asking; empty: the header does
}

// events answers with a stream, in the format that the client asks for.
func (h *handler) events(w http.ResponseWriter, r *http.Request, call *gate.Call) error {
	asked, err := h.subscribe(r, call)
	if err != nil {
		return err
	}
	leave, err := call.OpenStream()
	if err != nil {
		return err
	}
	c := newStreamConn(h.streams, asked.format)
	c.leave = leave
	begun := false
	defer func() {
		if !begun {
			c.close()
		}
	}()
	if c.stream, err = h.Service.Subscribe(r.Context(), call.Caller, asked.SubscribeRequest, c.wake); err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", contentTypes[asked.format])
		return nil
	}
	if asked.format == formatWebSocket {
		err = h.upgrade(w, r, c, call)
	} else {
		err = c.answer(w, r)
	}
	if err != nil {
		return err
	}
	c.begin()
	begun = true
	return nil
}

// subscribe reads what the client asks for, and finds the caller. A ticket is good once: it is used when nothing else is
// wrong with the request.
func (h *handler) subscribe(r *http.Request, call *gate.Call) (*subscription, error) {
	asked, wrong := readSubscription(r)
	if asked.ticket == "" {
		if err := h.enter(r, call); err != nil {
			return nil, err
		}
	}
	if wrong != nil {
		return nil, wrong
	}
	if h.streams.closed() {
		return nil, fault.New(fault.Unavailable, "SHUTTING_DOWN", "the server is shutting down").After(streamRetry)
	}
	if asked.ticket == "" {
		return asked, nil
	}
	if err := h.checkOrigin(r); err != nil {
		return nil, err
	}
	return asked, call.UseTicket(r.Context(), authRequest(r), asked.ticket)
}

var contentTypes = [...]string{formatSSE: contentSSE, formatNDJSON: contentNDJSON, formatWebSocket: contentJSON}

// formatOf is the format that the request asks for: by an upgrade, or by Accept; SSE if it takes anything.
func formatOf(r *http.Request) (format, error) {
	if isUpgrade(r) {
		return formatWebSocket, checkHandshake(r.Header)
	}
	accept := r.Header.Get("Accept")
	if accept == "" {
		return formatSSE, nil
	}
	for entry := range strings.SplitSeq(accept, ",") {
		media, _, _ := strings.Cut(entry, ";")
		switch strings.ToLower(strings.TrimSpace(media)) {
		case contentSSE, "text/*", "*/*":
			return formatSSE, nil
		case contentNDJSON, "application/*":
			return formatNDJSON, nil
		}
	}
	return 0, fault.New(fault.NotAcceptable, "NOT_ACCEPTABLE",
		"a stream is %s or %s, by Accept, or a WebSocket", contentSSE, contentNDJSON)
}

// isUpgrade tells whether the client wants a WebSocket.
func isUpgrade(r *http.Request) bool { return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") }

// readSubscription reads what the stream is to be, and who is asking if a ticket says it, which is known also where
// something else is wrong. Last-Event-ID beats the cursor: EventSource repeats its URL.
func readSubscription(r *http.Request) (*subscription, error) {
	asked := &subscription{SubscribeRequest: session.SubscribeRequest{ID: r.PathValue("session")}}
	raw, malformed := url.ParseQuery(r.URL.RawQuery)
	asked.ticket = raw.Get("ticket")
	if malformed != nil {
		return asked, fault.New(fault.InvalidArgument, "MALFORMED_QUERY", "the query is malformed").Because(malformed)
	}
	var err error
	if asked.format, err = formatOf(r); err != nil {
		return asked, err
	}
	var violations fault.Violations
	for name, values := range raw {
		switch name {
		case "channel":
			asked.Channels = channelsIn(values, &violations)
		case "cursor", "ticket":
			if len(values) > 1 {
				violations.Addf(name, "must be given once")
			}
		default:
			violations.Addf(fault.Shown(name), "unknown query parameter; known are channel, cursor, ticket")
		}
	}
	asked.Cursor = cmp.Or(r.Header.Get("Last-Event-ID"), raw.Get("cursor"))
	if asked.ticket != "" && asked.Cursor != "" && asked.Cursor != session.Beginning {
		if _, err := session.ParseCursor(asked.Cursor); err != nil { // or else Subscribe would tell, when the ticket is used
			violations = append(violations, fault.From(err).Violations...)
		}
	}
	return asked, violations.Err()
}

func channelsIn(values []string, v *fault.Violations) []int32 {
	if len(values) > session.MaxChannels {
		v.Addf("channel", "must be at most %d channels", session.MaxChannels)
		return nil
	}
	channels := make([]int32, 0, len(values))
	for _, value := range values {
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil || n <= 0 {
			v.Addf("channel", "must be a positive integer of 32 bits")
			return nil
		}
		channels = append(channels, int32(n))
	}
	return channels
}
