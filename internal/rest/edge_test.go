package rest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/limit"
	"github.com/parleyhq/parley/internal/session"
)

// bearers are an authenticator that takes whoever names a user for that user: "Bearer u1". A user that begins with "admin"
// is one.
type bearers struct{}

func (bearers) Caller(_ context.Context, r auth.Request) (session.Caller, error) {
	user, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		f := fault.New(fault.Unauthenticated, "TOKEN_MISSING", "no token")
		if user != "" {
			f.Challenge = `Bearer realm="parley", error="invalid_token"`
		}
		return session.Caller{}, f
	}
	return session.Caller{User: user, Admin: strings.HasPrefix(user, "admin")}, nil
}

// oneTicket is good once, for the session s, as ada.
type oneTicket struct{ used bool }

func (o *oneTicket) UseTicket(_ context.Context, id, ticket string) (session.Caller, error) {
	if o.used || id != "s" || ticket != "good" {
		return session.Caller{}, fault.New(fault.Unauthenticated, "TICKET_INVALID", "no such ticket")
	}
	o.used = true
	return session.Caller{User: "ada"}, nil
}

// handlerOf is the handler of an edge whose store fails with the error.
func handlerOf(err error, config Config) *Handler {
	config.Service = session.NewService(brokenStore{err}, noTail{}, session.NewKeyRing())
	config.Ready = func() bool { return true }
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.Gate == nil {
		config.Gate = gate.New(gate.Config{Auth: bearers{}})
	}
	return NewHandler(config)
}

// ask asks a handler. Headers are "Name: value".
func ask(handler http.Handler, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequestWithContext(context.Background(), method, "http://localhost"+path, strings.NewReader(body))
	if body != "" {
		request.Header.Set("Content-Type", contentJSON)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Add(name, value)
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	return answer
}

// wantRefused fails unless the answer is the error.
func wantRefused(t *testing.T, answer *httptest.ResponseRecorder, code int, reason string) {
	t.Helper()
	shown := shownIn(t, answer)
	if answer.Code != code || len(shown.Error.Details) == 0 || shown.Error.Details[0]["reason"] != reason {
		t.Errorf("answer = %d %s, want %d %s", answer.Code, answer.Body, code, reason)
	}
}

const asAda = "Authorization: Bearer ada"

var errFromTheStore = fault.New(fault.Aborted, "FROM_THE_STORE", "m")

func TestEveryAnswerHasTheHeadersOfSecurity(t *testing.T) {
	handler := handlerOf(errFromTheStore, Config{})
	want := http.Header{
		"X-Content-Type-Options": {"nosniff"}, "Content-Security-Policy": {"default-src 'none'; frame-ancestors 'none'"},
		"Referrer-Policy": {"no-referrer"}, "Cache-Control": {"no-store"},
	}
	for _, path := range []string{"/healthz", "/readyz", "/", "//", "/v1/.x", sessionsPath, sessionsPath + "/s", sessionsPath + "/s/events"} {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodOptions} {
			header := ask(handler, method, path, "", asAda).Header()
			for name, values := range want {
				if !slices.Equal(header[name], values) {
					t.Errorf("%s %s: %s = %q, want %q", method, path, name, header[name], values)
				}
			}
			if requestIDOf(header) == "" {
				t.Errorf("%s %s: no X-Request-Id", method, path)
			}
		}
	}
}

func TestARequestsIDIsInTheAnswerTheLogTheMessageAndTheRecord(t *testing.T) {
	var log, record bytes.Buffer
	handler := handlerOf(errors.New("zebra"), Config{
		Log:  slog.New(slog.NewTextHandler(&log, nil)),
		Gate: gate.New(gate.Config{Auth: bearers{}, Audit: slog.New(slog.NewTextHandler(&record, nil))}),
	})
	answer := ask(handler, http.MethodDelete, sessionsPath+"/s", "", asAda, "X-Request-Id: my.request-1")
	if got := requestIDOf(answer.Header()); got != "my.request-1" {
		t.Errorf("X-Request-Id = %q, want the client's", got)
	}
	if got := shownIn(t, answer).Error.Message; got != "internal error (request my.request-1)" {
		t.Errorf("message = %q", got)
	}
	for name, text := range map[string]string{"log": log.String(), "record": record.String()} {
		if !strings.Contains(text, "requestId=my.request-1") {
			t.Errorf("%s = %q, want the id in it", name, text)
		}
	}
	answer = ask(handler, http.MethodDelete, sessionsPath+"/s", "", asAda, "X-Request-Id: no good")
	if got := requestIDOf(answer.Header()); got == "no good" || got == "" {
		t.Errorf("X-Request-Id = %q, want one of ours", got)
	}
}

func TestTheChallengeOfA401(t *testing.T) {
	handler := handlerOf(nil, Config{})
	for name, test := range map[string]struct {
		headers []string
		want    string
	}{
		"no token":    {nil, `Bearer realm="parley"`},
		"a bad token": {[]string{"Authorization: Basic x"}, `Bearer realm="parley", error="invalid_token"`},
	} {
		answer := ask(handler, http.MethodGet, sessionsPath, "", test.headers...)
		if got := answer.Header().Get("WWW-Authenticate"); answer.Code != http.StatusUnauthorized || got != test.want {
			t.Errorf("%s: %d, WWW-Authenticate %q; want 401, %q", name, answer.Code, got, test.want)
		}
	}
}

func TestATokenInAURLIsRefusedThoughTheRequestIsGoodWithoutIt(t *testing.T) {
	handler := handlerOf(errFromTheStore, Config{})
	for _, path := range []string{"", "/s", "/s/events", "/s/messages"} {
		wantRefused(t, ask(handler, http.MethodGet, sessionsPath+path+"?access_token=x", "", asAda), http.StatusUnauthorized, "TOKEN_IN_URL")
	}
}

func TestEachMethodHasTheLimitsOfItsClass(t *testing.T) {
	const draft = `{"profile":"p","displayName":"d","sessionType":1,"owners":["ada","bob"],"defaultChannels":[1]}`
	for name, test := range map[string]struct {
		limits             limit.Config
		method, path, body string
	}{
		"any":      {limit.Config{Requests: 1}, http.MethodGet, "/s", ""},
		"a create": {limit.Config{Creates: 1}, http.MethodPost, "", draft},
		"publish":  {limit.Config{Publishes: 1}, http.MethodPost, "/s/messages", `{"message":{"text":"x"}}`},
		"a stream": {limit.Config{Streams: 1}, http.MethodGet, "/s/events", ""},
		"address":  {limit.Config{Address: 1}, http.MethodGet, "/s", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				handler := handlerOf(errFromTheStore, Config{Gate: gate.New(gate.Config{Auth: bearers{}, Limits: limit.New(test.limits)})})
				again := func(user string) *httptest.ResponseRecorder {
					return ask(handler, test.method, sessionsPath+test.path, test.body, "Authorization: Bearer "+user)
				}
				for range 2 {
					wantRefused(t, again("ada"), http.StatusConflict, "FROM_THE_STORE")
				}
				answer := again("ada")
				wantRefused(t, answer, http.StatusTooManyRequests, "RATE_LIMITED")
				if got := answer.Header().Get("Retry-After"); got != "1" {
					t.Errorf("Retry-After = %q, want 1", got)
				}
				if name != "address" {
					wantRefused(t, again("bob"), http.StatusConflict, "FROM_THE_STORE")
					wantRefused(t, again("admin"), http.StatusConflict, "FROM_THE_STORE")
				}
				time.Sleep(time.Second) //nolint:forbidigo // in a bubble
				wantRefused(t, again("ada"), http.StatusConflict, "FROM_THE_STORE")
			})
		})
	}
}

func TestTheAddressOfARequestIsTheOneBehindOurProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler := handlerOf(errFromTheStore, Config{Gate: gate.New(gate.Config{
			Auth: bearers{}, Limits: limit.New(limit.Config{Address: 1}),
			Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, // httptest's
		})})
		for range 2 {
			wantRefused(t, ask(handler, http.MethodGet, sessionsPath+"/s", "", asAda, "X-Forwarded-For: 198.51.100.1"), http.StatusConflict, "FROM_THE_STORE")
		}
		wantRefused(t, ask(handler, http.MethodGet, sessionsPath+"/s", "", "X-Forwarded-For: 198.51.100.1"), http.StatusTooManyRequests, "RATE_LIMITED")
		wantRefused(t, ask(handler, http.MethodGet, sessionsPath+"/s", "", asAda, "X-Forwarded-For: 198.51.100.2"), http.StatusConflict, "FROM_THE_STORE")
	})
}

// slowBody is a body that arrives when it is told to.
type slowBody struct{ begun, arrive chan struct{} }

func (b slowBody) Read([]byte) (int, error) {
	close(b.begun)
	<-b.arrive
	return 0, io.EOF
}

func TestBodiesInFlightAreBoundedUntilTheyAreAnswered(t *testing.T) {
	handler := handlerOf(errFromTheStore, Config{Gate: gate.New(gate.Config{
		Auth: bearers{}, Limits: limit.New(limit.Config{BytesInFlight: gate.MaxBody + 10}),
	})})
	body := slowBody{make(chan struct{}), make(chan struct{})}
	slow := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost"+sessionsPath+"/s/join", body)
	slow.ContentLength = -1 // so all that it may have is counted
	slow.Header.Set("Content-Type", contentJSON)
	slow.Header.Set("Authorization", "Bearer ada")
	done := make(chan struct{})
	go func() {
		defer close(done)
		handler.ServeHTTP(httptest.NewRecorder(), slow)
	}()
	<-body.begun
	join := func(user, body string) *httptest.ResponseRecorder {
		return ask(handler, http.MethodPost, sessionsPath+"/s/join", body, "Authorization: Bearer "+user)
	}
	wantRefused(t, join("ada", "{}"), http.StatusConflict, "FROM_THE_STORE")
	answer := join("ada", `{"name":"ada"}`)
	wantRefused(t, answer, http.StatusTooManyRequests, "QUOTA_BYTES")
	if answer.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	wantRefused(t, join("bob", `{"name":"bob"}`), http.StatusConflict, "FROM_THE_STORE")
	close(body.arrive)
	<-done
	wantRefused(t, join("ada", `{"name":"ada"}`), http.StatusConflict, "FROM_THE_STORE")
}

func TestARequestThatPanicsHoldsNothing(t *testing.T) {
	limits := limit.New(limit.Config{BytesInFlight: 10})
	var record bytes.Buffer
	h := &handler{
		Config:  Config{Gate: gate.New(gate.Config{Auth: bearers{}, Limits: limits, Audit: slog.New(slog.NewTextHandler(&record, nil))})},
		streams: newStreams(slog.New(slog.DiscardHandler)),
	}
	defer h.streams.end()
	panics := h.handle(gate.DeleteSession, func(_ http.ResponseWriter, _ *http.Request, call *gate.Call) error {
		if err := call.TakeBody(10); err != nil {
			t.Error(err)
		}
		panic(http.ErrAbortHandler)
	})
	for range 2 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was lost")
				}
			}()
			ask(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h.prepare(w.Header(), r)
				panics(w, r)
			}), http.MethodDelete, "/", "", asAda)
		}()
	}
	if strings.Count(record.String(), "allowed=true reason=INTERNAL") != 2 {
		t.Errorf("record = %q, want two changes that may have been done", &record)
	}
}

// records are the records in a log.
func records(t *testing.T, log *bytes.Buffer) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(log.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"time", "level", "msg", "requestId", "key", "remote"} {
			delete(record, name)
		}
		all = append(all, record)
	}
	return all
}

func TestTheRecordOfWhoDidWhat(t *testing.T) {
	var log bytes.Buffer
	e := newEdgeOf(t, defaultTiming, Config{Gate: gate.New(gate.Config{Auth: bearers{}, Audit: slog.New(slog.NewJSONHandler(&log, nil))})})
	const created = `{"profile":"p","displayName":"d","sessionType":2,"owners":["ada"],"defaultChannels":[1],"secretKey":"a-secret-key"}`
	for _, step := range []struct {
		method, path, user, body string
		code                     int
		want                     map[string]any
	}{
		{"POST", "?sessionId=new&requestId=in-the-query", "ada", created, 200, map[string]any{"method": "CreateSession", "session": "new", "allowed": true}},
		{"GET", "/new", "ada", "", 200, nil},
		{"GET", "", "ada", "", 200, nil},
		{"GET", "/new", "bob", "", 404, map[string]any{"method": "GetSession", "session": "new", "allowed": false, "reason": "SESSION_NOT_FOUND"}},
		{"PATCH", "/new", "ada", `{"profile":"q"}`, 200, map[string]any{"method": "UpdateSession", "session": "new", "allowed": true}},
		{"PATCH", "/new", "ada", `{"profile":7}`, 400, nil},
		{"POST", "/new/join", "ada", "", 200, map[string]any{"method": "JoinSession", "session": "new", "allowed": true}},
		{"POST", "/new:join", "ada", "", 200, map[string]any{"method": "JoinSession", "session": "new", "allowed": true}},
		{"POST", "/new/join", "bob", `{"secretKey":"a-secret-that-is-wrong"}`, 404, map[string]any{"method": "JoinSession", "session": "new", "allowed": false, "reason": "SESSION_NOT_FOUND"}},
		{"POST", "/new/messages", "ada", `{"message":{"text":"a secret"}}`, 200, nil},
		{"POST", "/s/messages", "bob", `{"message":{"text":"a secret"}}`, 403, map[string]any{"method": "PublishMessage", "session": "s", "allowed": false, "reason": "NOT_A_MEMBER"}},
		{"POST", "/s/messages", "bob", `{"message":{"text":"a secret"},"name":"ada"}`, 403, map[string]any{"method": "PublishMessage", "session": "s", "for": "ada", "allowed": false, "reason": "ACTING_AS_ANOTHER"}},
		{"POST", "/new/join", "bob", `{"name":"ada"}`, 404, map[string]any{"method": "JoinSession", "session": "new", "for": "ada", "allowed": false, "reason": "SESSION_NOT_FOUND"}},
		{"POST", "/s/leave", "bob", `{"name":"ada"}`, 403, map[string]any{"method": "LeaveSession", "session": "s", "for": "ada", "allowed": false, "reason": "NOT_AN_OWNER"}},
		{"GET", "/new/messages/none", "ada", "", 404, nil},
		{"POST", "/new/leave", "ada", "", 200, map[string]any{"method": "LeaveSession", "session": "new", "allowed": true}},
		{"DELETE", "/new", "ada", "", 200, map[string]any{"method": "DeleteSession", "session": "new", "allowed": true}},
		{"DELETE", "/s", "bob", "", 403, map[string]any{"method": "DeleteSession", "session": "s", "allowed": false, "reason": "NOT_AN_OWNER"}},
		{"GET", "/new?access_token=a-secret-token", "ada", "", 401, map[string]any{"method": "GetSession", "session": "new", "user": "", "allowed": false, "reason": "TOKEN_IN_URL"}},
		{"GET", "/new/events?ticket=a-secret-ticket", "", "", 401, map[string]any{"method": "SessionEvents", "session": "new", "allowed": false, "reason": "TICKETS_OFF"}},
		{"POST", "/new/messages", "", "", 401, map[string]any{"method": "PublishMessage", "session": "new", "allowed": false, "reason": "TOKEN_MISSING"}},
	} {
		log.Reset()
		var headers []string
		if step.user != "" {
			headers = append(headers, "Authorization: Bearer "+step.user)
		}
		answer := ask(e.handler, step.method, sessionsPath+step.path, step.body, headers...)
		if answer.Code != step.code {
			t.Errorf("%s %s: %d, want %d; body: %s", step.method, step.path, answer.Code, step.code, answer.Body)
		}
		if strings.Contains(log.String(), "secret") || strings.Contains(log.String(), "in-the-query") {
			t.Errorf("%s %s: the record has what it must not: %s", step.method, step.path, &log)
		}
		var want []map[string]any
		if step.want != nil {
			step.want["transport"] = "rest"
			if _, said := step.want["user"]; !said {
				step.want["user"] = step.user
			}
			want = append(want, step.want)
		}
		if diff := cmp.Diff(want, records(t, &log)); diff != "" {
			t.Errorf("%s %s by %s: records (-want +got):\n%s", step.method, step.path, step.user, diff)
		}
	}
}

func TestATicketIsUsedOnlyByARequestThatIsRightOtherwise(t *testing.T) {
	ticket := new(oneTicket)
	handler := handlerOf(errFromTheStore, Config{Gate: gate.New(gate.Config{Auth: bearers{}, Tickets: ticket})})
	for name, test := range map[string]struct {
		query   string
		headers []string
		code    int
		reason  string
	}{
		"another parameter":   {"&x=y", nil, http.StatusBadRequest, "INVALID_FIELDS"},
		"twice":               {"&ticket=good", nil, http.StatusBadRequest, "INVALID_FIELDS"},
		"a bad channel":       {"&channel=x", nil, http.StatusBadRequest, "INVALID_FIELDS"},
		"a bad cursor":        {"&cursor=x", nil, http.StatusBadRequest, "INVALID_FIELDS"},
		"a bad Last-Event-ID": {"", []string{"Last-Event-ID: x"}, http.StatusBadRequest, "INVALID_FIELDS"},
		"a malformed query":   {"&a=%zz", nil, http.StatusBadRequest, "MALFORMED_QUERY"},
		"a token too":         {"", []string{asAda}, http.StatusBadRequest, "INVALID_FIELDS"},
		"a user too":          {"", []string{"Parley-User: bob"}, http.StatusBadRequest, "INVALID_FIELDS"},
		"a token in the URL":  {"&token=x", nil, http.StatusUnauthorized, "TOKEN_IN_URL"},
		"another format":      {"", []string{"Accept: image/png"}, http.StatusNotAcceptable, "NOT_ACCEPTABLE"},
		"a bad handshake":     {"", []string{"Upgrade: websocket"}, http.StatusBadRequest, "BAD_HANDSHAKE"},
		"a foreign origin": {"", []string{
			"Origin: https://evil.example.com", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
		}, http.StatusForbidden, "FOREIGN_ORIGIN"},
	} {
		t.Run(name, func(t *testing.T) {
			wantRefused(t, ask(handler, http.MethodGet, sessionsPath+"/s/events?ticket=good"+test.query, "", test.headers...), test.code, test.reason)
			if ticket.used {
				t.Error("the ticket is used up")
			}
		})
	}
	wantRefused(t, ask(handler, http.MethodGet, sessionsPath+"/s/events?ticket=bad", ""), http.StatusUnauthorized, "TICKET_INVALID")
	wantRefused(t, ask(handler, http.MethodGet, sessionsPath+"/other/events?ticket=good", ""), http.StatusUnauthorized, "TICKET_INVALID")
	wantRefused(t, ask(handler, http.MethodGet, sessionsPath+"/s/events?ticket=", ""), http.StatusUnauthorized, "TOKEN_MISSING")
	wantRefused(t, ask(handler, http.MethodGet, sessionsPath+"/s?ticket=good", "", asAda), http.StatusBadRequest, "INVALID_FIELDS")
	if ticket.used {
		t.Fatal("the ticket is used up")
	}
	wantRefused(t, ask(handler, http.MethodGet, sessionsPath+"/s/events?ticket=good", ""), http.StatusConflict, "FROM_THE_STORE")
	wantRefused(t, ask(handler, http.MethodGet, sessionsPath+"/s/events?ticket=good", ""), http.StatusUnauthorized, "TICKET_INVALID")
}

func TestATicketOpensAStreamAsItsCaller(t *testing.T) {
	for name, headers := range map[string][]string{
		"SSE":       nil,
		"WebSocket": {"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdgeOf(t, defaultTiming, Config{Gate: gate.New(gate.Config{Auth: bearers{}, Tickets: new(oneTicket)})})
			e.ask(t, "?ticket=good", headers...)
			e.wantOpen(t, 1)
			if !e.online(t, "ada") {
				t.Error("ada is not online")
			}
		})
	}
}

func TestTheStreamsOfAUserAreCountedUntilTheyEnd(t *testing.T) {
	quick := defaultTiming
	quick.sweep = 5 * time.Millisecond
	limits := limit.New(limit.Config{OpenStreams: 2})
	e := newEdgeOf(t, quick, Config{Gate: gate.New(gate.Config{Auth: bearers{}, Limits: limits})})
	upgrade := []string{asAda, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	first, second := e.ask(t, "", asAda), e.ask(t, "", upgrade...)
	e.wantOpen(t, 2)
	events := sessionsPath + "/s/events"
	wantRefused(t, ask(e.handler, http.MethodGet, events, "", asAda), http.StatusTooManyRequests, "QUOTA_STREAMS")
	if answer := ask(e.handler, http.MethodHead, events, "", "Authorization: Bearer bob"); answer.Code != http.StatusOK {
		t.Errorf("another user: %d, want 200", answer.Code)
	}
	for range 5 { // none of which stays
		if answer := ask(e.handler, http.MethodHead, events, "", "Authorization: Bearer bob"); answer.Code != http.StatusOK {
			t.Errorf("HEAD: %d, want 200", answer.Code)
		}
		wantRefused(t, ask(e.handler, http.MethodGet, sessionsPath+"/none/events", "", "Authorization: Bearer bob"), http.StatusNotFound, "SESSION_NOT_FOUND")
		wantRefused(t, ask(e.handler, http.MethodGet, events, "", "Authorization: Bearer bob"), http.StatusNotImplemented, "UNIMPLEMENTED") // no connection
	}
	_, _ = first.Close(), second.Close()
	e.wantOpen(t, 0)
	for range 2 {
		e.ask(t, "", asAda)
	}
	e.wantOpen(t, 2)
	wantRefused(t, ask(e.handler, http.MethodGet, events, "", asAda), http.StatusTooManyRequests, "QUOTA_STREAMS")
}

func TestAStreamsHeaderHasWhatAllAnswersHave(t *testing.T) {
	e := newEdgeOf(t, defaultTiming, Config{
		Gate: gate.New(gate.Config{Auth: bearers{}}), Origins: []string{"https://app.example.com"},
	})
	for name, headers := range map[string][]string{
		"SSE":       nil,
		"NDJSON":    {"Accept: application/x-ndjson"},
		"WebSocket": {"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", e.server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			headers = append(headers, asAda, "Origin: https://app.example.com", "X-Request-Id: mine", "", "")
			if _, err := fmt.Fprintf(conn, "GET %s/s/events HTTP/1.1\r\nHost: localhost\r\n%s", sessionsPath, strings.Join(headers, "\r\n")); err != nil {
				t.Fatal(err)
			}
			c := &connection{Conn: conn, lines: bufio.NewReader(conn)}
			got := http.Header{}
			for c.line(t); ; { // after the status
				line := c.line(t)
				if line == "" {
					break
				}
				field, value, _ := strings.Cut(line, ": ")
				got.Add(field, value)
			}
			for field, want := range map[string]string{
				"X-Request-Id": "mine", "Access-Control-Allow-Origin": "https://app.example.com", "Vary": "Origin",
				"Access-Control-Expose-Headers": headerExposed[0], "X-Content-Type-Options": "nosniff",
				"Content-Security-Policy": headerNoContent[0], "Referrer-Policy": "no-referrer",
			} {
				if values := got.Values(field); len(values) != 1 || values[0] != want {
					t.Errorf("%s = %q, want %q", field, values, want)
				}
			}
			if values := got.Values("Cache-Control"); len(values) != 1 || !strings.HasPrefix(values[0], "no-store") {
				t.Errorf("Cache-Control = %q", values)
			}
		})
	}
}

// frame reads a text frame of at most 65,535 bytes.
func (c *connection) frame(t *testing.T) (text string) {
	t.Helper()
	var header [2]byte
	if _, err := io.ReadFull(c.lines, header[:]); err != nil || header[0] != frameText {
		t.Fatalf("the frame begins with %v, %v", header, err)
	}
	length := int(header[1])
	if length == 126 {
		if _, err := io.ReadFull(c.lines, header[:]); err != nil {
			t.Fatal(err)
		}
		length = int(header[0])<<8 | int(header[1])
	}
	content := make([]byte, length)
	if _, err := io.ReadFull(c.lines, content); err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// send sends a text frame of less than 126 bytes.
func (c *connection) send(t *testing.T, text string) {
	t.Helper()
	frame := append([]byte{frameText, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...) // masked with zeros
	if _, err := c.Write(frame); err != nil {
		t.Fatal(err)
	}
}

func TestTheFramesOfAWebSocketAreCallsLikeOthers(t *testing.T) {
	for name, limits := range map[string]limit.Config{
		"of the user":    {Publishes: 1},
		"of the address": {Address: 2}, // the socket itself was one, so that 3 more may come
	} {
		t.Run(name, func(t *testing.T) {
			log := new(lockedBuffer)
			e := newEdgeOf(t, defaultTiming, Config{Gate: gate.New(gate.Config{
				Auth: bearers{}, Limits: limit.New(limits), Audit: slog.New(slog.NewTextHandler(log, nil)),
			})})
			c := e.ask(t, "?channel=7", asAda, "X-Request-Id: mine", "Upgrade: websocket", "Connection: Upgrade",
				"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
			skipFrame(t, c.lines) // ready
			var refused string
			frames := 0
			for refused == "" {
				frames++
				c.send(t, fmt.Sprintf(`{"publish":{"message":{"text":"x"},"requestId":"r%d"}}`, frames))
				if text := c.frame(t); !strings.HasPrefix(text, `{"ack":`) {
					refused = text
				}
			}
			if frames < 3 || frames > 4 { // a token comes back while the test runs, at most one
				t.Errorf("%d frames were let through", frames-1)
			}
			var got struct {
				RequestID string
				Error     struct {
					Code    int
					Status  string
					Details []map[string]any
				}
			}
			if err := json.Unmarshal([]byte(refused), &got); err != nil {
				t.Fatal(err)
			}
			if got.RequestID != fmt.Sprint("r", frames) || got.Error.Code != 429 || got.Error.Status != "RESOURCE_EXHAUSTED" ||
				len(got.Error.Details) != 2 || got.Error.Details[0]["reason"] != "RATE_LIMITED" || got.Error.Details[1]["retryDelay"] == "" {
				t.Errorf("answer = %s", refused)
			}
			c.send(t, `{"publish":{"message":{"text":"x"},"name":"bob"}}`)
			c.frame(t)
			_ = c.Close()
			e.wantOpen(t, 0)
			want := fmt.Sprintf("requestId=mine.%d transport=websocket method=PublishMessage user=ada key=\"\" session=s "+
				"remote=127.0.0.1 allowed=false reason=RATE_LIMITED", frames)
			if text := log.String(); !strings.Contains(text, want) || strings.Count(text, "msg=audit") < 2 || strings.Contains(text, "allowed=true") {
				t.Errorf("record = %s, want denials alone, with %s", text, want)
			}
		})
	}
}

// lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// BenchmarkGet is a request that the store refuses at once, so that what is measured is the edge.
func BenchmarkGet(b *testing.B) {
	handler := handlerOf(errFromTheStore, Config{Gate: gate.New(gate.Config{
		Auth: bearers{}, Limits: limit.New(limit.Config{Requests: 1e9, Address: 1e9, BytesInFlight: 1e9}),
	})})
	request := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "http://localhost/healthz", http.NoBody)
	request.Header.Set("Authorization", "Bearer ada")
	for name, path := range map[string]string{"nothing": "/healthz", "refused": sessionsPath + "/s"} {
		b.Run(name, func(b *testing.B) {
			request.URL.Path = path
			b.ReportAllocs()
			for b.Loop() {
				handler.ServeHTTP(&discarded{header: make(http.Header)}, request)
			}
		})
	}
}

type discarded struct{ header http.Header }

func (d *discarded) Header() http.Header         { return d.header }
func (d *discarded) Write(b []byte) (int, error) { return len(b), nil }
func (d *discarded) WriteHeader(int)             {}
