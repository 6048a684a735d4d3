package rpc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/limit"
	"github.com/parleyhq/parley/internal/rpc"
	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/sqlite"
	"github.com/parleyhq/parley/internal/tail"
)

// bearers are an authenticator that takes whoever names a user for that user: "Bearer u1".
type bearers struct{}

func (bearers) Caller(_ context.Context, r auth.Request) (session.Caller, error) {
	user, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return session.Caller{}, fault.New(fault.Unauthenticated, "TOKEN_MISSING", "no token")
	}
	return session.Caller{User: user, Admin: user == "admin"}, nil
}

// oneTicket is good once, for the session s, as user-1.
type oneTicket struct {
	mu   sync.Mutex // guards the field below
	used bool
}

func (o *oneTicket) UseTicket(_ context.Context, id, ticket string) (session.Caller, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.used || id != "s" || ticket != "good" {
		return session.Caller{}, fault.New(fault.Unauthenticated, "TICKET_INVALID", "no such ticket")
	}
	o.used = true
	return session.Caller{User: "user-1"}, nil
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

// lateLog is the log of a store that is opened later.
type lateLog struct{ store **sqlite.Store }

func (l lateLog) Log(ctx context.Context, uid session.UID, after int64, most, maxBytes int) (*session.Log, error) {
	return (*l.store).Log(ctx, uid, after, most, maxBytes)
}

// startEdge runs the edge alone, over a real store with the session s of user-1, who is its member.
func startEdge(t *testing.T, config gate.Config) *server {
	t.Helper()
	return startEdgeOf(t, rpc.Config{Gate: gate.New(config)}, rpc.Timing{})
}

// startEdgeOf does so with a configuration of which the rest is filled in.
func startEdgeOf(t *testing.T, config rpc.Config, timing rpc.Timing) *server {
	t.Helper()
	keys := session.NewKeyRing()
	var store *sqlite.Store
	hub := tail.New(tail.Options{Log: lateLog{&store}})
	store, err := sqlite.Open(t.Context(), sqlite.Config{
		Dir: t.TempDir(), Keys: keys, Log: slog.New(slog.DiscardHandler), Committed: hub.Committed,
	})
	if err != nil {
		t.Fatal(err)
	}
	service := session.NewService(store, hub, keys)
	config.Service, config.Log = service, slog.New(slog.DiscardHandler)
	edge := rpc.NewServerOf(config, timing)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- edge.Serve(listener) }()
	connection, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = connection.Close()
		edge.Stop()
		if err := errors.Join(<-done, store.Close(context.Background())); err != nil {
			t.Error(err)
		}
		hub.Close()
	})
	owner := session.Caller{User: "user-1"}
	if _, err := service.Create(t.Context(), owner, session.CreateRequest{SessionID: "s", Draft: &session.Draft{Spec: session.Spec{
		Profile: "p", DisplayName: "d", Type: session.Public, Owners: []string{"user-1"}, DefaultChannels: []int32{1},
	}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := service.Join(t.Context(), owner, session.JoinRequest{ID: "s"}); err != nil {
		t.Fatal(err)
	}
	return &server{
		SessionServiceClient: conversationv1.NewSessionServiceClient(connection), connection: connection,
		target: listener.Addr().String(), service: service,
	}
}

// bearing is a context of calls by the user.
func bearing(ctx context.Context, user string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+user)
}

const theSession = "sessions/s"

// open opens a stream, and reads its first event or the error.
func (s *server) open(ctx context.Context, r *conversationv1.SessionEventsRequest) (grpc.ServerStreamingClient[conversationv1.Event], error) {
	stream, err := s.SessionEvents(ctx, r)
	if err != nil {
		return nil, err
	}
	_, err = stream.Recv()
	return stream, err
}

func TestEachMethodHasTheLimitsOfItsClass(t *testing.T) {
	get := func(ctx context.Context, s *server) error {
		_, err := s.GetSession(ctx, &conversationv1.GetSessionRequest{Name: theSession})
		return err
	}
	for name, test := range map[string]struct {
		limits limit.Config
		call   func(context.Context, *server) error
	}{
		"any":     {limit.Config{Requests: 1}, get},
		"address": {limit.Config{Address: 1}, get},
		"a create": {limit.Config{Creates: 1}, func(ctx context.Context, s *server) error {
			_, err := s.CreateSession(ctx, &conversationv1.CreateSessionRequest{Session: draft()})
			return err
		}},
		"a publish": {limit.Config{Publishes: 1}, func(ctx context.Context, s *server) error {
			_, err := s.PublishMessage(ctx, &conversationv1.PublishMessageRequest{Session: theSession, Message: textOf("x")})
			return err
		}},
		"a stream": {limit.Config{Streams: 1}, func(ctx context.Context, s *server) error {
			_, err := s.open(ctx, &conversationv1.SessionEventsRequest{Session: theSession})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := startEdge(t, gate.Config{Auth: bearers{}, Limits: limit.New(test.limits)})
			ctx := bearing(t.Context(), "user-1")
			var err error
			for calls := 0; err == nil; calls++ {
				if calls > 20 {
					t.Fatal("nothing is refused")
				}
				err = test.call(ctx, s)
			}
			refused(t, err, codes.ResourceExhausted, "RATE_LIMITED")
			wait := time.Duration(0)
			for _, detail := range status.Convert(err).Details() {
				if retry, ok := detail.(*errdetails.RetryInfo); ok {
					wait = retry.GetRetryDelay().AsDuration()
				}
			}
			if wait <= 0 || wait > time.Second {
				t.Errorf("ask again after %v, want at most a second", wait)
			}
		})
	}
}

func TestTheStreamsOfAUserAreCountedUntilTheyEnd(t *testing.T) {
	s := startEdge(t, gate.Config{Auth: bearers{}, Limits: limit.New(limit.Config{OpenStreams: 1})})
	request := &conversationv1.SessionEventsRequest{Session: theSession}
	ctx, cancel := context.WithCancel(bearing(t.Context(), "user-1"))
	defer cancel()
	stream, err := s.open(ctx, request)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.open(bearing(t.Context(), "user-1"), request)
	refused(t, err, codes.ResourceExhausted, "QUOTA_STREAMS")
	if _, err := s.open(bearing(t.Context(), "other"), request); err != nil {
		t.Errorf("another user is refused: %v", err)
	}
	for range 3 {
		_, err = s.open(bearing(t.Context(), "third"), &conversationv1.SessionEventsRequest{Session: "sessions/none"})
		refused(t, err, codes.NotFound, "SESSION_NOT_FOUND")
	}
	cancel()
	for err = nil; err == nil; {
		_, err = stream.Recv()
	}
	deadline, done := context.WithTimeout(bearing(t.Context(), "user-1"), 20*time.Second)
	defer done()
	for { // the server learns of the end a moment later
		if _, err = s.open(deadline, request); err == nil || deadline.Err() != nil {
			break
		}
	}
	if err != nil {
		t.Errorf("when the stream has ended: %v", err)
	}
}

func TestTheBytesOfARequestCount(t *testing.T) {
	limits := limit.New(limit.Config{BytesInFlight: 100})
	s := startEdge(t, gate.Config{Auth: bearers{}, Limits: limits})
	publish := func() error {
		_, err := s.PublishMessage(bearing(t.Context(), "user-1"), &conversationv1.PublishMessageRequest{
			Session: theSession, Message: textOf(strings.Repeat("x", 60)),
		})
		return err
	}
	if err := limits.TakeBytes("user-1", 60); err != nil { // another request of theirs
		t.Fatal(err)
	}
	refused(t, publish(), codes.ResourceExhausted, "QUOTA_BYTES")
	limits.ReleaseBytes("user-1", 60)
	for range 3 {
		if err := publish(); err != nil {
			t.Error(err)
		}
	}
}

func TestARequestsIDIsInTheAnswer(t *testing.T) {
	s := startEdge(t, gate.Config{Auth: bearers{}, Limits: limit.New(limit.Config{Creates: 1})})
	with := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "my.request-1")
	name := &conversationv1.GetSessionRequest{Name: theSession}
	for what, call := range map[string]func(...grpc.CallOption) error{
		"an answer": func(o ...grpc.CallOption) error {
			_, err := s.GetSession(bearing(with, "user-1"), name, o...)
			return err
		},
		"a refusal": func(o ...grpc.CallOption) error { _, err := s.GetSession(with, name, o...); return err },
		"health": func(o ...grpc.CallOption) error {
			_, err := healthv1.NewHealthClient(s.connection).Check(with, &healthv1.HealthCheckRequest{}, o...)
			return err
		},
	} {
		var header metadata.MD
		if err := call(grpc.Header(&header)); what != "a refusal" && err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got := header.Get("x-request-id"); !cmp.Equal(got, []string{"my.request-1"}) {
			t.Errorf("%s: x-request-id = %q, want the client's", what, got)
		}
	}
	for what, ctx := range map[string]context.Context{"a stream": bearing(t.Context(), "user-1"), "a stream that is refused": t.Context()} {
		stream, err := s.SessionEvents(ctx, &conversationv1.SessionEventsRequest{Session: theSession})
		if err != nil {
			t.Fatal(err)
		}
		header, err := stream.Header()
		if got := header.Get("x-request-id"); err != nil || len(got) != 1 || got[0] == "" {
			t.Errorf("%s: x-request-id = %q, %v; want one of ours", what, got, err)
		}
	}
}

func TestARefusalByTheAddressHasTheRequestsIDToo(t *testing.T) {
	s := startEdge(t, gate.Config{Auth: bearers{}, Limits: limit.New(limit.Config{Address: 1})})
	for {
		var header metadata.MD
		_, err := s.GetSession(bearing(t.Context(), "user-1"), &conversationv1.GetSessionRequest{Name: theSession}, grpc.Header(&header))
		if len(header.Get("x-request-id")) != 1 {
			t.Errorf("%v: header = %v, want an x-request-id", err, header)
		}
		if err != nil {
			return
		}
	}
}

func TestHealthIsForEveryoneAndReflectionIsNot(t *testing.T) {
	s := startEdge(t, gate.Config{Auth: bearers{}})
	if _, err := healthv1.NewHealthClient(s.connection).Check(t.Context(), &healthv1.HealthCheckRequest{}); err != nil {
		t.Error(err)
	}
	watch, err := healthv1.NewHealthClient(s.connection).Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Error(err)
	}
	stream, err := reflectionv1.NewServerReflectionClient(s.connection).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	refused(t, err, codes.Unauthenticated, "TOKEN_MISSING")
}

func TestATicketIsUsedOnlyByARequestThatIsRightOtherwise(t *testing.T) {
	ticket := new(oneTicket)
	s := startEdge(t, gate.Config{Auth: bearers{}, Tickets: ticket})
	plain := t.Context()
	for name, test := range map[string]struct {
		ctx                     context.Context
		session, cursor, ticket string
		code                    codes.Code
		reason                  string
		fields                  []string
	}{
		"no credential":    {plain, theSession, "", "", codes.Unauthenticated, "TOKEN_MISSING", nil},
		"a bad cursor":     {plain, theSession, "x", "good", codes.InvalidArgument, "INVALID_FIELDS", []string{"cursor"}},
		"a bad name":       {plain, "s", "", "good", codes.InvalidArgument, "INVALID_FIELDS", []string{"session"}},
		"a token too":      {bearing(plain, "user-1"), theSession, "", "good", codes.InvalidArgument, "INVALID_FIELDS", []string{"ticket"}},
		"a user too":       {as(plain, "user-1"), theSession, "", "good", codes.InvalidArgument, "INVALID_FIELDS", []string{"ticket"}},
		"another session":  {plain, "sessions/other", "", "good", codes.Unauthenticated, "TICKET_INVALID", nil},
		"a ticket of none": {plain, theSession, "", "bad", codes.Unauthenticated, "TICKET_INVALID", nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.open(test.ctx, &conversationv1.SessionEventsRequest{Session: test.session, Cursor: test.cursor, Ticket: test.ticket})
			refused(t, err, test.code, test.reason, test.fields...)
		})
	}
	request := &conversationv1.SessionEventsRequest{Session: theSession, Ticket: "good", Cursor: session.Beginning}
	if _, err := s.open(plain, request); err != nil {
		t.Fatal(err)
	}
	_, err := s.open(plain, request)
	refused(t, err, codes.Unauthenticated, "TICKET_INVALID")
}

func TestTheRecordOfWhoDidWhat(t *testing.T) {
	log := new(lockedBuffer)
	s := startEdge(t, gate.Config{
		Auth: bearers{}, Audit: slog.New(slog.NewJSONHandler(log, nil)), Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	proxied := metadata.AppendToOutgoingContext(t.Context(), "x-forwarded-for", "203.0.113.9, 198.51.100.1", "x-request-id", "mine")
	user, other := bearing(proxied, "user-1"), bearing(proxied, "other")
	made, err := s.CreateSession(user, &conversationv1.CreateSessionRequest{Session: draft(), RequestId: "a-secret"})
	if err != nil {
		t.Fatal(err)
	}
	var want []map[string]any
	record := func(method, user, id, reason string) {
		r := map[string]any{
			"requestId": "mine", "transport": "grpc", "method": method, "user": user, "key": "", "session": id,
			"remote": "198.51.100.1", "allowed": reason == "",
		}
		if reason != "" {
			r["reason"] = reason
		}
		want = append(want, r)
	}
	record("CreateSession", "user-1", made.GetSessionId(), "")
	ignore := func(_ any, _ error) {}
	ignore(s.GetSession(user, &conversationv1.GetSessionRequest{Name: theSession}))
	ignore(s.GetSession(proxied, &conversationv1.GetSessionRequest{Name: theSession}))
	record("GetSession", "", "", "TOKEN_MISSING") // what it is about is in the request, which is not read
	ignore(s.UpdateSession(other, &conversationv1.UpdateSessionRequest{Session: &conversationv1.Session{Name: theSession, DisplayName: "a secret"}}))
	record("UpdateSession", "other", "s", "NOT_AN_OWNER")
	ignore(s.JoinSession(other, &conversationv1.JoinSessionRequest{Session: theSession}))
	record("JoinSession", "other", "s", "")
	ignore(s.PublishMessage(other, &conversationv1.PublishMessageRequest{Session: theSession, Message: textOf("a secret")}))
	ignore(s.LeaveSession(other, &conversationv1.LeaveSessionRequest{Session: theSession}))
	record("LeaveSession", "other", "s", "")
	ignore(s.PublishMessage(other, &conversationv1.PublishMessageRequest{Session: theSession, Message: textOf("a secret")}))
	record("PublishMessage", "other", "s", "NOT_A_MEMBER")
	ignore(s.GetMessage(user, &conversationv1.GetMessageRequest{Name: "sessions/none/messages/m"}))
	record("GetMessage", "user-1", "none", "SESSION_NOT_FOUND")
	ignore(s.GetMessage(user, &conversationv1.GetMessageRequest{Name: theSession + "/messages/m"}))
	ignore(s.open(proxied, &conversationv1.SessionEventsRequest{Session: theSession, Ticket: "a-secret"}))
	record("SessionEvents", "", "s", "TICKETS_OFF")
	ignore(s.DeleteSession(user, &conversationv1.DeleteSessionRequest{Name: made.GetName()}))
	record("DeleteSession", "user-1", made.GetSessionId(), "")

	if strings.Contains(log.String(), "secret") {
		t.Errorf("the record has what it must not: %s", log)
	}
	var got []map[string]any
	for line := range strings.Lines(log.String()) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"time", "level", "msg"} {
			delete(r, name)
		}
		got = append(got, r)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}
