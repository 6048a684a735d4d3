package natsapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/bus/natsbus"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/limit"
	"github.com/parleyhq/parley/internal/natsapi"
	"github.com/parleyhq/parley/internal/rest"
	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/sqlite"
	"github.com/parleyhq/parley/internal/tail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bearers takes whoever names a user for that user: "Bearer ada". One that begins with "admin" is an administrator, one
// that begins with "key-" has that key, and "soon" has a credential that ends in two seconds.
type bearers struct{}

func (bearers) Caller(_ context.Context, r auth.Request) (session.Caller, error) {
	user, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || user == "wrong" {
		return session.Caller{}, fault.New(fault.Unauthenticated, "TOKEN_INVALID", "no")
	}
	caller := session.Caller{User: user, Admin: strings.HasPrefix(user, "admin")}
	if as := r.Header.Get("Parley-User"); as != "" && as != user {
		if !caller.Admin {
			return session.Caller{}, fault.New(fault.PermissionDenied, "ACTING_AS_ANOTHER", "no")
		}
		caller = session.Caller{User: as, Named: true}
	}
	if strings.HasPrefix(user, "key-") {
		caller.Key = user
	}
	if user == "soon" {
		caller.Until = session.Now().Add(2 * time.Second)
	}
	return caller, nil
}

// rig is a node: a store, a service, and its edges over HTTP and over NATS.
type rig struct {
	api     *natsapi.API
	bus     *natsbus.Bus
	service *session.Service
	rest    http.Handler
	record  *lines // what the audit has
	log     *lines
	deaf    atomic.Bool // the edge is not told what is committed
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// store is the rig's: what it commits goes where the rig says, which is made after it.
type storeLog struct{ store *sqlite.Store }

func (s *storeLog) Log(ctx context.Context, uid session.UID, after int64, most, maxBytes int) (*session.Log, error) {
	return s.store.Log(ctx, uid, after, most, maxBytes)
}

// settings may be changed before a rig starts.
type settings struct {
	auth   auth.Authenticator
	limits limit.Config
	api    natsapi.Config
}

func start(t *testing.T, change ...func(*settings)) *rig {
	t.Helper()
	s := settings{auth: bearers{}, api: natsapi.Config{Mirror: true}}
	for _, f := range change {
		f(&s)
	}
	r := &rig{record: new(lines), log: new(lines)}
	log := slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	bus, err := natsbus.Open(t.Context(), natsbus.Config{Listen: "127.0.0.1:0", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	r.bus = bus
	keys := session.NewKeyRing()
	reader := new(storeLog)
	hub := tail.New(tail.Options{Log: reader})
	store, err := sqlite.Open(t.Context(), sqlite.Config{Dir: t.TempDir(), Keys: keys, Log: log, Committed: func(events []*session.Event) {
		hub.Committed(events)
		if !r.deaf.Load() {
			r.api.Committed(events)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	reader.store = store
	r.service = session.NewService(store, hub, keys)
	entry := gate.New(gate.Config{
		Auth: s.auth, Tickets: r.service, Limits: limit.New(s.limits), Audit: slog.New(slog.NewTextHandler(r.record, nil)),
	})
	handler := rest.NewHandler(rest.Config{Service: r.service, Gate: entry, Log: log, Ready: func() bool { return true }})
	r.rest = handler
	s.api.Conn, s.api.Service, s.api.Gate, s.api.Log, s.api.Disconnect = bus.Clients(), r.service, entry, log, bus.Disconnect
	if r.api, err = natsapi.New(s.api); err != nil {
		t.Fatal(err)
	}
	bus.Gone(r.api.Gone)
	err = bus.Admit(func(ctx context.Context, c natsbus.Client) (natsbus.Grant, error) {
		grant, err := r.api.Admit(ctx, natsapi.Client(c))
		return natsbus.Grant(grant), err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.api.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := r.api.Drain(ctx); err != nil {
			t.Error(err)
		}
		if err := store.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := r.api.Close(ctx); err != nil {
			t.Error(err)
		}
		hub.Close()
		if err := bus.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return r
}

// client is a connection of a user's, and what became of it.
type client struct {
	*nats.Conn

	user    string
	ended   chan struct{} // closed when the connection is
	refused chan error    // what the server has refused
}

// connect connects with a token.
func (r *rig) connect(t *testing.T, user string, options ...nats.Option) *client {
	t.Helper()
	c := &client{user: user, ended: make(chan struct{}), refused: make(chan error, 10)}
	options = append([]nats.Option{
		nats.Token(user), nats.CustomInboxPrefix(natsapi.InboxPrefix(user)), nats.NoReconnect(), nats.Timeout(10 * time.Second),
		nats.ClosedHandler(func(*nats.Conn) { close(c.ended) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			select {
			case c.refused <- err:
			default:
			}
		}),
	}, options...)
	conn, err := nats.Connect(r.bus.ClientURL(), options...)
	if err != nil {
		t.Fatal(err)
	}
	c.Conn = conn
	t.Cleanup(func() {
		conn.Close()
		<-c.ended
	})
	return c
}

// answer is one of either edge.
type answer struct {
	code   int // HTTP's
	reason string
	fields []string // of violations, sorted
	body   string
	header nats.Header
}

// readAnswer reads an answer in JSON.
func readAnswer(t *testing.T, code int, body []byte) answer {
	t.Helper()
	a := answer{code: code, body: string(body)}
	var content struct {
		Error *struct {
			Code    int `json:"code"`
			Details []struct {
				Reason          string `json:"reason"`
				FieldViolations []struct {
					Field string `json:"field"`
				} `json:"fieldViolations"`
			} `json:"details"`
		} `json:"error"`
	}
	if err := json.Unmarshal(body, &content); err != nil {
		t.Fatalf("the answer is no JSON: %v: %s", err, body)
	}
	if content.Error == nil {
		return a
	}
	if content.Error.Code != code {
		t.Errorf("the error's code = %d, the answer's = %d", content.Error.Code, code)
	}
	for _, detail := range content.Error.Details {
		a.reason += detail.Reason
		for _, violation := range detail.FieldViolations {
			a.fields = append(a.fields, violation.Field)
		}
	}
	slices.Sort(a.fields)
	return a
}

// message is a request of the client's user. Headers are "Name: value".
func (c *client) message(subject, body string, headers ...string) *nats.Msg {
	m := &nats.Msg{Subject: subject, Data: []byte(body), Header: nats.Header{"Authorization": {"Bearer " + c.user}}}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		m.Header[name] = append(m.Header[name], value)
	}
	return m
}

// ask asks over NATS, in JSON.
func (c *client) ask(t *testing.T, subject, body string, headers ...string) answer {
	t.Helper()
	m, err := c.RequestMsg(c.message(subject, body, headers...), 20*time.Second)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	code := http.StatusOK
	if text := m.Header.Get("Nats-Service-Error-Code"); text != "" {
		if code, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	a := readAnswer(t, code, m.Data)
	a.header = m.Header
	return a
}

// must is ask, of what must succeed.
func (c *client) must(t *testing.T, subject, body string) map[string]any {
	t.Helper()
	a := c.ask(t, subject, body)
	if a.code != http.StatusOK {
		t.Fatalf("%s = %d %s", subject, a.code, a.body)
	}
	var content map[string]any
	if err := json.Unmarshal([]byte(a.body), &content); err != nil {
		t.Fatal(err)
	}
	return content
}

// askREST asks over HTTP.
func (r *rig) askREST(t *testing.T, user, method, path, body string) answer {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, "http://localhost/v1/conversation/"+path, strings.NewReader(body))
	request.Header.Set("Authorization", "Bearer "+user)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	recorder := httptest.NewRecorder()
	r.rest.ServeHTTP(recorder, request)
	return readAnswer(t, recorder.Code, recorder.Body.Bytes())
}

// draft is the JSON of a small session of the owners.
func draft(sessionType int, owners ...string) string {
	return `{"profile":"p","displayName":"Front desk","sessionType":` + strconv.Itoa(sessionType) +
		`,"owners":["` + strings.Join(owners, `","`) + `"],"defaultChannels":[1]}`
}

// create makes a session over NATS.
func (c *client) create(t *testing.T, id string, sessionType int) {
	t.Helper()
	c.must(t, "parley.v1.sessions."+id+".create", `{"session":`+draft(sessionType, c.user)+`}`)
}

// recordOf is a session.
func (r *rig) recordOf(t *testing.T, id string) *session.Record {
	t.Helper()
	record, err := r.service.Get(t.Context(), session.Caller{Admin: true}, id)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// next is the next message of a subscription.
func next(t *testing.T, s *nats.Subscription) *nats.Msg {
	t.Helper()
	m, err := s.NextMsg(20 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// listen subscribes, and waits until the server knows.
func (c *client) listen(t *testing.T, subject string) *nats.Subscription {
	t.Helper()
	s, err := c.SubscribeSync(subject)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	return s
}

// wantRefused fails unless the server says that the client may not do what it tried.
func (c *client) wantRefused(t *testing.T) {
	t.Helper()
	select {
	case err := <-c.refused:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("refused: %v, want that it is a violation of permissions", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("nothing is refused")
	}
}

// wantCut fails unless the connection ends.
func (c *client) wantCut(t *testing.T) {
	t.Helper()
	select {
	case <-c.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the connection has not ended")
	}
}
