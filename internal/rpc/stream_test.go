package rpc_test

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/limit"
	"github.com/parleyhq/parley/internal/rpc"
	"github.com/parleyhq/parley/internal/session"
)

const servicePath = "/parley.conversation.v1.SessionService/"

// halfSent makes a call of whose request only so many bytes of a mebibyte are sent, and no end. It returns when there is
// an answer.
func (s *server) halfSent(ctx context.Context, method, user string, sent int) (http.Header, error) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	body, writer := io.Pipe()
	defer writer.Close()
	go func() {
		message := append(binary.BigEndian.AppendUint32([]byte{0}, 1<<20), make([]byte, sent)...)
		_, _ = writer.Write(message) // fails when the call has ended
	}()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.target+servicePath+method, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("TE", "trailers")
	if user != "" {
		request.Header.Set("Authorization", "Bearer "+user)
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return nil, err
	}
	header := answer.Header
	maps.Copy(header, answer.Trailer)
	return header, nil
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestWhoDoesNotSayWhoIsAskingIsRefusedBeforeTheRequestIsRead(t *testing.T) {
	log := new(lockedBuffer)
	s := startEdge(t, gate.Config{Auth: bearers{}, Audit: slog.New(slog.NewTextHandler(log, nil))})
	for _, method := range []string{"CreateSession", "PublishMessage", "ListSessions"} {
		header, err := s.halfSent(soon(t), method, "", 100)
		if err != nil {
			t.Errorf("%s: %v", method, err)
			continue
		}
		if header.Get("Grpc-Status") != "16" || header.Get("Grpc-Status-Details-Bin") == "" || len(header["X-Request-Id"]) != 1 {
			t.Errorf("%s: header = %v, want Unauthenticated with details and the request's id", method, header)
		}
	}
	if got := strings.Count(log.String(), "TOKEN_MISSING"); got != 3 {
		t.Errorf("%d records of 3 denials: %s", got, log)
	}
}

func TestARequestThatDoesNotArriveEnds(t *testing.T) {
	s := startEdgeOf(t, rpc.Config{Gate: gate.New(gate.Config{Auth: bearers{}})},
		rpc.Timing{Slow: 10 * time.Millisecond, Unfinished: 50 * time.Millisecond})
	for _, test := range []struct{ method, user string }{
		{"SessionEvents", ""}, {"SessionEvents", "user-1"}, {"CreateSession", "user-1"},
	} {
		for _, sent := range []int{0, 1000, 1<<20 - 1} {
			header, err := s.halfSent(soon(t), test.method, test.user, sent)
			if err != nil || header.Get("Grpc-Status") != "4" {
				t.Errorf("%s by %q, of which %d bytes come: %v, %v; want DeadlineExceeded", test.method, test.user, sent, header, err)
			}
		}
	}
}

func TestARequestThatIsSlowToArriveCountsAsTheLargest(t *testing.T) {
	limits := limit.New(limit.Config{BytesInFlight: 1 << 20})
	s := startEdgeOf(t, rpc.Config{Gate: gate.New(gate.Config{Auth: bearers{}, Limits: limits})}, rpc.Timing{Slow: time.Millisecond})
	if err := limits.TakeBytes("user-1", 1); err != nil { // another request of theirs
		t.Fatal(err)
	}
	header, err := s.halfSent(soon(t), "CreateSession", "user-1", 1000)
	if err != nil || header.Get("Grpc-Status") != "4" {
		t.Errorf("there is no room for it, but: %v, %v; want DeadlineExceeded at once", header, err)
	}
}

func TestOfManyWhoDoNotSayWhoIsAskingTheOldestGivesWay(t *testing.T) {
	s := startEdge(t, gate.Config{Auth: bearers{}})
	ctx := soon(t)
	ended := make(chan error, rpc.MaxUnnamed+1)
	for range rpc.MaxUnnamed + 1 {
		stream, err := s.connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, servicePath+"SessionEvents")
		if err != nil {
			t.Fatal(err)
		}
		go func() { ended <- stream.RecvMsg(new(conversationv1.Event)) }()
	}
	select {
	case err := <-ended:
		if status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("the first ends with %v, want DeadlineExceeded", err)
		}
	case <-ctx.Done():
		t.Error("they all stay")
	}
}

// ending are bearers whose credential ends at a time.
type ending struct{ until session.Time }

func (e ending) Caller(ctx context.Context, r auth.Request) (session.Caller, error) {
	caller, err := bearers{}.Caller(ctx, r)
	caller.Until = e.until
	return caller, err
}

func TestAStreamWhoseClientTakesNothingIsCut(t *testing.T) {
	const moment = 50 * time.Millisecond
	for name, test := range map[string]struct {
		timing rpc.Timing
		life   time.Duration // of the credential
		drains bool
	}{
		"for long":                      {timing: rpc.Timing{Stall: moment, Look: moment}},
		"when its credential has ended": {timing: rpc.Timing{Grace: moment, Look: moment}, life: time.Second},
		"when the server goes away":     {timing: rpc.Timing{Grace: moment, Look: moment}, drains: true},
	} {
		t.Run(name, func(t *testing.T) {
			config := gate.Config{Auth: bearers{}}
			if test.life != 0 {
				config.Auth = ending{session.Now() + session.Time(test.life.Microseconds())}
			}
			var drains atomic.Bool
			s := startEdgeOf(t, rpc.Config{Gate: gate.New(config), Draining: drains.Load}, test.timing)
			ctx := soon(t)
			stream, err := s.open(bearing(ctx, "user-1"), &conversationv1.SessionEventsRequest{Session: theSession})
			if err != nil {
				t.Fatal(err)
			}
			owner := session.Caller{User: "user-1"}
			text := strings.Repeat("x", 60_000)
			for range 5 { // more than the client has room for
				message := &session.Message{Kind: session.ContentText, Text: text, Contents: 1}
				if _, err := s.service.Publish(ctx, owner, session.PublishRequest{ID: "s", Message: message}); err != nil {
					t.Fatal(err)
				}
			}
			drains.Store(test.drains)
			for online := true; online && ctx.Err() == nil; {
				members, err := s.service.ListMembers(ctx, owner, session.ListMembersRequest{ID: "s"})
				if err != nil {
					t.Fatal(err)
				}
				online = members.Members[0].Online
			}
			for err = nil; err == nil; {
				_, err = stream.Recv()
			}
			if status.Code(err) != codes.DeadlineExceeded || ctx.Err() != nil {
				t.Errorf("the stream ends with %v, want DeadlineExceeded before the test's own", err)
			}
		})
	}
}
