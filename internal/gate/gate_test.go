package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/limit"
	"github.com/parleyhq/parley/internal/session"
)

// tokens are the callers by their token.
type tokens map[string]session.Caller

func (k tokens) Caller(_ context.Context, r auth.Request) (session.Caller, error) {
	caller, ok := k[r.Header.Get("Authorization")]
	if !ok {
		return session.Caller{}, fault.New(fault.Unauthenticated, "TOKEN_INVALID", "no")
	}
	return caller, nil
}

// tickets are the callers by session and ticket.
type tickets map[[2]string]session.Caller

func (k tickets) UseTicket(_ context.Context, id, ticket string) (session.Caller, error) {
	key := [2]string{id, ticket}
	caller, ok := k[key]
	if !ok {
		return session.Caller{}, fault.New(fault.Unauthenticated, "TICKET_INVALID", "no")
	}
	delete(k, key)
	return caller, nil
}

func with(token string) auth.Request {
	return auth.Request{Host: "localhost", Header: http.Header{"Authorization": {token}}}
}

var somewhere = netip.MustParseAddr("192.0.2.1")

func arrival(method Method) Arrival {
	return Arrival{ID: "id", Transport: "rest", Method: method, Session: "s", Address: somewhere}
}

func wantReason(t *testing.T, err error, kind fault.Kind, reason string) {
	t.Helper()
	if f := fault.From(err); f == nil || f.Kind != kind || f.Reason != reason {
		t.Errorf("%v, want a fault of kind %d, %s", err, kind, reason)
	}
}

func TestTheAddressIsLimitedBeforeAnyCredentialIsLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Config{Auth: tokens{}, Limits: limit.New(limit.Config{Address: 1})})
		for range 2 {
			call, err := g.Arrive(arrival(GetSession))
			if err != nil {
				t.Fatal(err)
			}
			wantReason(t, call.Authenticate(t.Context(), with("wrong")), fault.Unauthenticated, "TOKEN_INVALID")
		}
		call, err := g.Arrive(arrival(GetSession))
		wantReason(t, err, fault.ResourceExhausted, "RATE_LIMITED")
		if call == nil || call.Remote != somewhere {
			t.Errorf("call = %+v, want one that can be recorded", call)
		}
	})
}

func TestWhoseLimitsHold(t *testing.T) {
	callers := tokens{
		"user":     {User: "u"},
		"named":    {User: "u", Named: true},
		"acting":   {User: "u", Named: true, Key: "k1"},
		"backend":  {User: "u", Service: true, Key: "k1"},
		"operator": {User: "u", Admin: true},
	}
	for token, limited := range map[string]bool{"user": true, "named": true, "acting": true, "backend": false, "operator": false} {
		t.Run(token, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limits := limit.New(limit.Config{Publishes: 1, OpenStreams: 1, BytesInFlight: 10})
				g := New(Config{Auth: callers, Limits: limits})
				ask := func() (*Call, error) {
					call, err := g.Arrive(arrival(PublishMessage))
					if err != nil {
						t.Fatal(err)
					}
					return call, call.Authenticate(t.Context(), with(token))
				}
				first, err := ask()
				if err != nil {
					t.Fatal(err)
				}
				leave, err := first.OpenStream()
				if err != nil {
					t.Fatal(err)
				}
				if err := first.TakeBody(8); err != nil {
					t.Fatal(err)
				}
				second, err := ask()
				if err != nil {
					t.Fatal(err)
				}
				_, rate := ask()
				_, streams := second.OpenStream()
				body := second.TakeBody(8)
				if !limited {
					if rate != nil || streams != nil || body != nil {
						t.Errorf("rate: %v, streams: %v, bytes: %v; want no limit", rate, streams, body)
					}
					return
				}
				wantReason(t, rate, fault.ResourceExhausted, "RATE_LIMITED")
				wantReason(t, streams, fault.ResourceExhausted, "QUOTA_STREAMS")
				wantReason(t, body, fault.ResourceExhausted, "QUOTA_BYTES")
				leave()
				first.End(t.Context(), nil)
				if _, err := second.OpenStream(); err != nil {
					t.Errorf("when the stream is closed: %v", err)
				}
				if err := second.TakeBody(8); err != nil {
					t.Errorf("when the call has ended: %v", err)
				}
			})
		})
	}
}

func TestAFurtherCallOnAConnectionIsLimitedLikeAnyOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := func(config limit.Config) *Call {
			g := New(Config{Auth: tokens{"u": {User: "u"}}, Limits: limit.New(config)})
			call, err := g.Arrive(arrival(SessionEvents))
			if err != nil {
				t.Fatal(err)
			}
			if err := call.Authenticate(t.Context(), with("u")); err != nil {
				t.Fatal(err)
			}
			return call
		}
		for name, test := range map[string]struct {
			config limit.Config
			passed int
		}{
			"publishes": {limit.Config{Publishes: 2, Streams: 1}, 4},
			"addresses": {limit.Config{Address: 2}, 3}, // the socket itself was one
		} {
			opened := open(test.config)
			for i := range 10 {
				call, err := opened.Next("id.1", "websocket", PublishMessage)
				if passed := err == nil; passed != (i < test.passed) {
					t.Errorf("%s: call %d: %v", name, i, err)
				}
				if call.Caller.User != "u" || call.Session != "s" || call.Remote != somewhere || call.ID != "id.1" {
					t.Errorf("%s: call = %+v", name, call)
				}
			}
		}
	})
}

func TestATicketIsForOneStreamOfOneSession(t *testing.T) {
	g := New(Config{Auth: tokens{}, Tickets: tickets{{"s", "t"}: {User: "u"}}})
	use := func(id, ticket string, r auth.Request) (session.Caller, error) {
		a := arrival(SessionEvents)
		a.Session = id
		call, err := g.Arrive(a)
		if err != nil {
			t.Fatal(err)
		}
		err = call.UseTicket(t.Context(), r, ticket)
		return call.Caller, err
	}
	for _, header := range []string{"Authorization", "Parley-User"} {
		_, err := use("s", "t", auth.Request{Header: http.Header{header: {"x"}}})
		if f := fault.From(err); f == nil || len(f.Violations) != 1 || f.Violations[0].Field != "ticket" {
			t.Errorf("a ticket and %s: %v, want a violation at ticket", header, err)
		}
	}
	_, err := use("other", "t", auth.Request{})
	wantReason(t, err, fault.Unauthenticated, "TICKET_INVALID")
	if caller, err := use("s", "t", auth.Request{}); err != nil || caller.User != "u" {
		t.Errorf("caller = %+v, %v; want u", caller, err)
	}
	_, err = use("s", "t", auth.Request{})
	wantReason(t, err, fault.Unauthenticated, "TICKET_INVALID")
}

func TestATicketsCallerHasLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known := tickets{}
		for i := range 3 {
			known[[2]string{"s", strconv.Itoa(i)}] = session.Caller{User: "u"}
		}
		g := New(Config{Auth: tokens{}, Tickets: known, Limits: limit.New(limit.Config{Streams: 1})})
		for i := range 3 {
			call, err := g.Arrive(arrival(SessionEvents))
			if err != nil {
				t.Fatal(err)
			}
			err = call.UseTicket(t.Context(), auth.Request{}, strconv.Itoa(i))
			if i < 2 && err != nil {
				t.Error(err)
			}
			if i == 2 {
				wantReason(t, err, fault.ResourceExhausted, "RATE_LIMITED")
			}
		}
	})
}

func TestWithoutTicketsNoneIsGood(t *testing.T) {
	call, err := New(Config{Auth: tokens{}}).Arrive(arrival(SessionEvents))
	if err != nil {
		t.Fatal(err)
	}
	wantReason(t, call.UseTicket(t.Context(), auth.Request{}, "t"), fault.Unauthenticated, "TICKETS_OFF")
}

func TestInDevelopmentATicketAndAProbeMustComeFromThisMachine(t *testing.T) {
	foreign := auth.Request{Host: "evil.example.com"}
	proxied := auth.Request{Host: "localhost", Header: http.Header{"Via": {"1.1 proxy"}}}
	here := auth.Request{Host: "localhost:8080"}
	for name, test := range map[string]struct {
		config  Config
		request auth.Request
		reason  string
	}{
		"dev, another host":  {Config{Auth: auth.Dev{}}, foreign, "HOST_NOT_LOOPBACK"},
		"dev, a proxy":       {Config{Auth: auth.Dev{}}, proxied, "PROXIED"},
		"dev, this machine":  {Config{Auth: auth.Dev{}}, here, ""},
		"jwt, another host":  {Config{Auth: tokens{}}, foreign, ""},
		"jwt, through proxy": {Config{Auth: tokens{}}, proxied, ""},
	} {
		t.Run(name, func(t *testing.T) {
			test.config.Tickets = tickets{{"s", "t"}: {User: "u"}}
			for what, ask := range map[string]func(*Call) error{
				"probe":  func(c *Call) error { return c.Admit(t.Context(), test.request) },
				"ticket": func(c *Call) error { return c.UseTicket(t.Context(), test.request, "t") },
			} {
				call, err := New(test.config).Arrive(arrival(SessionEvents))
				if err != nil {
					t.Fatal(err)
				}
				switch err := ask(call); {
				case test.reason != "":
					wantReason(t, err, fault.PermissionDenied, test.reason)
				case err != nil:
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

func TestACredentialInAURL(t *testing.T) {
	for name, test := range map[string]struct {
		auth  auth.Authenticator
		query string
		wrong bool
	}{
		"jwt":                    {tokens{}, "pageSize=1&access_token=x", true},
		"jwt, another parameter": {tokens{}, "pageSize=1", false},
		"jwt, a ticket":          {tokens{}, "ticket=x", false},
		"jwt, no query":          {tokens{}, "", false},
		"dev":                    {auth.Dev{}, "access_token=x", false}, // there it is one of the unknown parameters
	} {
		t.Run(name, func(t *testing.T) {
			call, err := New(Config{Auth: test.auth}).Arrive(arrival(GetSession))
			if err != nil {
				t.Fatal(err)
			}
			switch err := call.CheckQuery(test.query); {
			case test.wrong:
				wantReason(t, err, fault.Unauthenticated, "TOKEN_IN_URL")
			case err != nil:
				t.Error(err)
			}
		})
	}
}

func TestTheRemoteAddressOfARequest(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	for name, test := range map[string]struct {
		connection string
		forwarded  []string
		want       string
	}{
		"no proxy":                     {"192.0.2.1", nil, "192.0.2.1"},
		"no proxy of ours":             {"192.0.2.1", []string{"198.51.100.1"}, "192.0.2.1"},
		"a proxy that says nothing":    {"10.0.0.1", nil, "10.0.0.1"},
		"a proxy":                      {"10.0.0.1", []string{"198.51.100.1"}, "198.51.100.1"},
		"a proxy of IPv6":              {"2001:db8::1", []string{"2001:cafe::1"}, "2001:cafe::1"},
		"an IPv4 address in IPv6":      {"::ffff:10.0.0.1", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		"two proxies":                  {"10.0.0.1", []string{"198.51.100.1, 10.0.0.2"}, "198.51.100.1"},
		"what the client made up":      {"10.0.0.1", []string{"203.0.113.9, 198.51.100.1 , 10.0.0.2"}, "198.51.100.1"},
		"made up, and no address":      {"10.0.0.1", []string{"<script>, 198.51.100.1"}, "198.51.100.1"},
		"two lines":                    {"10.0.0.1", []string{"203.0.113.9", "198.51.100.1,10.0.0.2"}, "198.51.100.1"},
		"all in the second line ours":  {"10.0.0.1", []string{"203.0.113.9,198.51.100.1", "10.0.0.2"}, "198.51.100.1"},
		"all ours":                     {"10.0.0.1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		"with a port":                  {"10.0.0.1", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		"IPv6 with a port":             {"10.0.0.1", []string{"[2001:cafe::1]:4711"}, "2001:cafe::1"},
		"no address":                   {"10.0.0.1", []string{"unknown"}, "10.0.0.1"},
		"no address after ours":        {"10.0.0.1", []string{"unknown, 10.0.0.2"}, "10.0.0.1"},
		"nothing":                      {"10.0.0.1", []string{""}, "10.0.0.1"},
		"nothing at the end":           {"10.0.0.1", []string{"198.51.100.1,"}, "10.0.0.1"},
		"with the network's interface": {"10.0.0.1", []string{"fe80::1%eth0"}, "fe80::1"},
	} {
		t.Run(name, func(t *testing.T) {
			g := New(Config{Auth: tokens{}, Proxies: proxies})
			call, err := g.Arrive(Arrival{Address: netip.MustParseAddr(test.connection), Forwarded: test.forwarded})
			if err != nil || call.Remote.String() != test.want {
				t.Errorf("remote = %v, %v; want %s", call.Remote, err, test.want)
			}
		})
	}
	call, err := New(Config{Auth: tokens{}, Proxies: proxies}).Arrive(Arrival{Forwarded: []string{"198.51.100.1"}})
	if err != nil || call.Remote.IsValid() {
		t.Errorf("of no address: %v, %v", call.Remote, err)
	}
}

func TestTheIDOfARequest(t *testing.T) {
	for name, test := range map[string]struct {
		given []string
		taken bool
	}{
		"none":       {nil, false},
		"empty":      {[]string{""}, false},
		"plain":      {[]string{"aZ09._-"}, true},
		"the most":   {[]string{strings.Repeat("x", 128)}, true},
		"too long":   {[]string{strings.Repeat("x", 129)}, false},
		"a space":    {[]string{"a b"}, false},
		"a line end": {[]string{"a\n"}, false},
		"not ASCII":  {[]string{"ä"}, false},
		"two":        {[]string{"a", "a"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := RequestID(test.given)
			if test.taken && got != test.given[0] {
				t.Errorf("id = %q, want the client's", got)
			}
			if !test.taken && (!isRequestID(got) || got == RequestID(test.given)) {
				t.Errorf("id = %q, want a new one", got)
			}
		})
	}
}

// recorded is the record of a call by u that ended with err.
func recorded(t *testing.T, method Method, id string, err error) []map[string]any {
	t.Helper()
	var log bytes.Buffer
	g := New(Config{Auth: tokens{"u": {User: "u", Key: "k1"}}, Audit: slog.New(slog.NewJSONHandler(&log, nil))})
	a := arrival(method)
	a.Session = id
	call, arrived := g.Arrive(a)
	if arrived != nil {
		t.Fatal(arrived)
	}
	if err := call.Authenticate(t.Context(), with("u")); err != nil {
		t.Fatal(err)
	}
	call.End(t.Context(), err)
	var records []map[string]any
	for line := range strings.Lines(log.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		delete(record, "time")
		records = append(records, record)
	}
	return records
}

func TestWhatIsRecorded(t *testing.T) {
	done := map[string]any{
		"level": "INFO", "msg": "audit", "requestId": "id", "transport": "rest", "user": "u", "key": "k1", "session": "s",
		"remote": "192.0.2.1", "allowed": true,
	}
	for m := range methods {
		method := Method(m)
		changes := slices.Contains([]Method{CreateSession, UpdateSession, DeleteSession, JoinSession, LeaveSession, CreateTicket}, method)
		for name, test := range map[string]struct {
			err     error
			is      bool
			allowed bool
			reason  string
		}{
			"done":              {nil, changes, true, ""},
			"401":               {fault.New(fault.Unauthenticated, "R", "m"), true, false, "R"},
			"403":               {fault.New(fault.PermissionDenied, "R", "m"), true, false, "R"},
			"429":               {fault.New(fault.ResourceExhausted, "R", "m"), true, false, "R"},
			"404 of a session":  {fault.New(fault.NotFound, "SESSION_NOT_FOUND", "m"), true, false, "SESSION_NOT_FOUND"},
			"404 of another":    {fault.New(fault.NotFound, "MESSAGE_NOT_FOUND", "m"), false, false, ""},
			"400":               {fault.Invalid("f", "m"), false, false, ""},
			"409":               {fault.New(fault.Aborted, "R", "m"), false, false, ""},
			"503":               {fault.New(fault.Unavailable, "QUEUE_FULL", "m"), false, false, ""},
			"503, perhaps done": {fault.New(fault.Unavailable, "OUTCOME_UNKNOWN", "m"), changes, true, "OUTCOME_UNKNOWN"},
			"500":               {errors.New("secret"), changes, true, "INTERNAL"},
		} {
			t.Run(method.String()+" "+name, func(t *testing.T) {
				var want []map[string]any
				if test.is {
					record := map[string]any{"method": method.String()}
					maps.Copy(record, done)
					record["allowed"] = test.allowed
					if test.reason != "" {
						record["reason"] = test.reason
					}
					want = append(want, record)
				}
				if diff := cmp.Diff(want, recorded(t, method, "s", test.err)); diff != "" {
					t.Errorf("records (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestARecordIsBoundedWhateverTheClientSends(t *testing.T) {
	for name, id := range map[string]string{
		"long":           strings.Repeat("x", 1<<20),
		"long, of runes": "x" + strings.Repeat("€", 1<<20),
		"line ends":      "a\nlevel=ERROR msg=\x1b[31mforged",
	} {
		t.Run(name, func(t *testing.T) {
			records := recorded(t, GetSession, id, fault.New(fault.NotFound, "SESSION_NOT_FOUND", "m"))
			if len(records) != 1 {
				t.Fatalf("%d records, want 1", len(records))
			}
			got := records[0]["session"].(string)
			if len(got) > 128 || len(got) < min(len(id), 125) || !strings.HasPrefix(id, got) || !utf8.ValidString(got) {
				t.Errorf("session = %q", got)
			}
		})
	}
}

func TestWhoIsNotKnownIsRecordedAsNobody(t *testing.T) {
	var log bytes.Buffer
	g := New(Config{Auth: tokens{}, Audit: slog.New(slog.NewTextHandler(&log, nil))})
	call, err := g.Arrive(arrival(GetSession))
	if err != nil {
		t.Fatal(err)
	}
	call.End(t.Context(), call.Authenticate(t.Context(), with("secret-token")))
	if got := log.String(); !strings.Contains(got, `user="" key="" session=s remote=192.0.2.1 allowed=false reason=TOKEN_INVALID`) ||
		strings.Contains(got, "secret") {
		t.Errorf("log = %q", got)
	}
}

// suspects are the callers, by their token, who are known and refused.
type suspects map[string]session.Caller

func (k suspects) Caller(_ context.Context, r auth.Request) (session.Caller, error) {
	return k[r.Header.Get("Authorization")], fault.New(fault.PermissionDenied, "ACTING_AS_ANOTHER", "no")
}

func TestWhoIsKnownAndRefusedIsRecordedAndMayDoNothing(t *testing.T) {
	var log bytes.Buffer
	g := New(Config{
		Auth:   suspects{"u": {User: "mallory", Key: "k1", Admin: true}},
		Audit:  slog.New(slog.NewTextHandler(&log, nil)),
		Limits: limit.New(limit.Config{Requests: 1}),
	})
	call, err := g.Arrive(arrival(JoinSession))
	if err != nil {
		t.Fatal(err)
	}
	err = call.Authenticate(t.Context(), with("u"))
	wantReason(t, err, fault.PermissionDenied, "ACTING_AS_ANOTHER")
	if call.Caller != (session.Caller{}) || call.limited() != "" {
		t.Errorf("the call is %+v's, want nobody's", call.Caller)
	}
	next, nextErr := call.Next("id.1", "websocket", PublishMessage)
	if nextErr != nil || next.Caller != (session.Caller{}) {
		t.Errorf("the next call is %+v's, %v; want nobody's", next.Caller, nextErr)
	}
	call.End(t.Context(), err)
	if got := log.String(); !strings.Contains(got, "user=mallory key=k1 session=s remote=192.0.2.1 allowed=false reason=ACTING_AS_ANOTHER") {
		t.Errorf("log = %q", got)
	}
}

// A connection's later calls are not those of who was found before.
func TestWhoeverIsRefusedIsNotWhoWasFoundBefore(t *testing.T) {
	call, err := New(Config{Auth: tokens{"u": {User: "u"}}}).Arrive(arrival(SessionEvents))
	if err != nil {
		t.Fatal(err)
	}
	if err := call.Authenticate(t.Context(), with("u")); err != nil {
		t.Fatal(err)
	}
	wantReason(t, call.Authenticate(t.Context(), with("wrong")), fault.Unauthenticated, "TOKEN_INVALID")
	if call.Caller != (session.Caller{}) {
		t.Errorf("the call is %+v's, want nobody's", call.Caller)
	}
}

func TestForWhomItWasDoneIsRecorded(t *testing.T) {
	for name, test := range map[string]struct {
		named string
		err   error
		want  string
	}{
		"another":              {"bob", nil, "user=u key=k1 for=bob session=s remote=192.0.2.1 allowed=true"},
		"another, denied":      {"bob", fault.New(fault.PermissionDenied, "R", "m"), "user=u key=k1 for=bob session=s remote=192.0.2.1 allowed=false reason=R"},
		"nobody":               {"", nil, "user=u key=k1 session=s"},
		"the caller":           {"u", nil, "user=u key=k1 session=s"},
		"a name that is long":  {strings.Repeat("x", 1000), nil, "for=" + strings.Repeat("x", 128) + " session=s"},
		"a name with line end": {"a\nlevel=ERROR", nil, `for="a\nlevel=ERROR" session=s`},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			call, err := New(Config{
				Auth: tokens{"u": {User: "u", Key: "k1", Service: true}}, Audit: slog.New(slog.NewTextHandler(&log, nil)),
			}).Arrive(arrival(LeaveSession))
			if err != nil {
				t.Fatal(err)
			}
			if err := call.Authenticate(t.Context(), with("u")); err != nil {
				t.Fatal(err)
			}
			call.For = test.named
			call.End(t.Context(), test.err)
			if got := log.String(); !strings.Contains(got, test.want) {
				t.Errorf("log = %q, want %q in it", got, test.want)
			}
		})
	}
}

// Who has a network of IPv6 has as many addresses as there are.
func TestDenialsOfANetworkAreCountedAsOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g := New(Config{Auth: tokens{}, Audit: slog.New(slog.NewTextHandler(&log, nil))})
		deny := func(address string) {
			a := arrival(GetSession)
			a.Address = netip.MustParseAddr(address)
			call, err := g.Arrive(a)
			if err != nil {
				t.Fatal(err)
			}
			call.End(t.Context(), call.Authenticate(t.Context(), with("wrong")))
		}
		for i := range 100 {
			deny("2001:db8:0:1::" + strconv.Itoa(i))
		}
		if recorded := strings.Count(log.String(), "allowed=false"); recorded != denialsOfOne {
			t.Errorf("%d denials are recorded, want %d", recorded, denialsOfOne)
		}
		deny("2001:db8:0:2::1")
		if got := log.String(); !strings.Contains(got, "remote=2001:db8:0:2::1 allowed=false reason=TOKEN_INVALID leftOut=90") {
			t.Errorf("log = %q", got)
		}
	})
}

func TestAProxyThatNobodyHasNamedIsInTheLogOnce(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for name, test := range map[string]struct {
		auth       auth.Authenticator
		connection string
		forwarded  []string
		told       bool
	}{
		"a proxy of ours":     {tokens{}, "10.0.0.1", []string{"198.51.100.1"}, false},
		"another":             {tokens{}, "192.0.2.1", []string{"198.51.100.1"}, true},
		"no proxy":            {tokens{}, "192.0.2.1", nil, false},
		"another, when alone": {auth.Dev{}, "192.0.2.1", []string{"198.51.100.1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			g := New(Config{Auth: test.auth, Proxies: proxies, Log: slog.New(slog.NewTextHandler(&log, nil))})
			for range 3 {
				if _, err := g.Arrive(Arrival{Address: netip.MustParseAddr(test.connection), Forwarded: test.forwarded}); err != nil {
					t.Fatal(err)
				}
			}
			told := strings.Count(log.String(), "level=WARN msg=\"X-Forwarded-For comes from an address that is no trusted proxy")
			if want := map[bool]int{true: 1}[test.told]; told != want {
				t.Errorf("it is told %d times, want %d: %s", told, want, log.String())
			}
			if test.told && (!strings.Contains(log.String(), "--trusted-proxy") || !strings.Contains(log.String(), "remote=192.0.2.1")) {
				t.Errorf("log = %s", log.String())
			}
		})
	}
}

func TestEveryMethodHasAName(t *testing.T) {
	for m := range methods {
		if method := Method(m); method.String() == "" || MethodNamed(method.String()) != method {
			t.Errorf("method %d is called %q, which is method %d", m, method, MethodNamed(method.String()))
		}
	}
	if got := MethodNamed("Fly"); got != Other {
		t.Errorf("Fly is %v", got)
	}
}

// BenchmarkCall is what a call costs that is let through and not recorded.
func BenchmarkCall(b *testing.B) {
	g := New(Config{
		Auth: tokens{"u": {User: "u"}}, Limits: limit.New(limit.Config{Requests: 1e9, Publishes: 1e9, Address: 1e9, BytesInFlight: 1e9}),
		Audit: slog.New(slog.DiscardHandler),
	})
	request := with("u")
	b.ReportAllocs()
	for b.Loop() {
		a := arrival(PublishMessage)
		a.ID = RequestID(nil)
		call, err := g.Arrive(a)
		if err == nil {
			err = call.Authenticate(b.Context(), request)
		}
		if err == nil {
			err = call.TakeBody(100)
		}
		if err != nil {
			b.Fatal(err)
		}
		call.End(b.Context(), nil)
	}
}
