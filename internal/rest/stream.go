package rest

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/parleyhq/parley/internal/fault"
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

// events answers with a stream, in the format that the client asks for.
func (h *handler) events(w http.ResponseWriter, r *http.Request, caller session.Caller) error {
	format, err := formatOf(r)
	if err != nil {
		return err
	}
	request, err := subscribeRequest(r)
	if err != nil {
		return err
	}
	if h.streams.closed() {
		return fault.New(fault.Unavailable, "SHUTTING_DOWN", "the server is shutting down").After(streamRetry)
	}
	c := newStreamConn(h.streams, format)
	if c.stream, err = h.Service.Subscribe(r.Context(), caller, request, c.wake); err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		c.close()
		w.Header().Set("Content-Type", contentTypes[format])
		return nil
	}
	if format == formatWebSocket {
		err = h.upgrade(w, r, c, caller, request.ID)
	} else {
		err = c.hijack(w)
	}
	if err != nil {
		c.close()
		return err
	}
	c.begin()
	return nil
}

var contentTypes = [...]string{formatSSE: contentSSE, formatNDJSON: contentNDJSON, formatWebSocket: contentJSON}

// formatOf is the format that the request asks for: by an upgrade, or by Accept; SSE if it takes anything.
func formatOf(r *http.Request) (format, error) {
	if isUpgrade(r) {
		return formatWebSocket, nil
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

// subscribeRequest reads what the stream is to be. Last-Event-ID beats the cursor: EventSource repeats its URL.
func subscribeRequest(r *http.Request) (request session.SubscribeRequest, err error) {
	request.ID = r.PathValue("session")
	raw, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return request, fault.New(fault.InvalidArgument, "MALFORMED_QUERY", "the query is malformed").Because(err)
	}
	var violations fault.Violations
	for name, values := range raw {
		switch name {
		case "channel":
			request.Channels = channelsIn(values, &violations)
		case "cursor":
			request.Cursor = values[0]
			if len(values) > 1 {
				violations.Addf("cursor", "must be given once")
			}
		case "ticket":
			violations.Addf("ticket", "tickets are not built yet")
		default:
			violations.Addf(fault.Shown(name), "unknown query parameter; known are channel, cursor")
		}
	}
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		request.Cursor = last
	}
	return request, violations.Err()
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
