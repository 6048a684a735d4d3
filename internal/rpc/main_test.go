package rpc_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
	"github.com/parleyhq/parley/internal/app"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a whole server, with a client of each edge.
type server struct {
	conversationv1.SessionServiceClient

	connection *grpc.ClientConn
	rest       string // URL

	// Of an edge alone:
	target  string // where it is
	service *session.Service
}

// start runs a server until the test ends.
func start(t *testing.T, options ...grpc.DialOption) *server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.New(ctx, config.Config{
		Listen: "127.0.0.1:0", GRPCListen: "127.0.0.1:0", DataDir: t.TempDir(), Auth: "dev",
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	options = append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, options...)
	connection, err := grpc.NewClient(a.GRPCAddr(), options...)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		connection.Close()
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
	return &server{SessionServiceClient: conversationv1.NewSessionServiceClient(connection), connection: connection, rest: "http://" + a.Addr()}
}

// restJSON is what REST answers to a GET.
func (s *server) restJSON(t *testing.T, path string) map[string]any {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.rest+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("status = %d, %v; body: %s", response.StatusCode, err, body)
	}
	var content map[string]any
	if err := json.Unmarshal(body, &content); err != nil {
		t.Fatal(err)
	}
	return content
}

func as(ctx context.Context, user string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "parley-user", user)
}

// draft is the smallest session.
func draft() *conversationv1.Session {
	return &conversationv1.Session{
		Profile: "assistant", DisplayName: "Front desk", SessionType: conversationv1.SessionType_SESSION_TYPE_PUBLIC,
		Owners: []string{"user-1"}, DefaultChannels: []int32{1},
	}
}

// create makes a session, and fails the test if it cannot be made.
func (s *server) create(t *testing.T, made *conversationv1.Session) *conversationv1.Session {
	t.Helper()
	created, err := s.CreateSession(t.Context(), &conversationv1.CreateSessionRequest{Session: made})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// refused fails unless the error has the code, the reason, and violations at exactly these fields, in any order.
func refused(t *testing.T, err error, code codes.Code, reason string, fields ...string) {
	t.Helper()
	s := status.Convert(err)
	got := map[string]bool{}
	gotReason, infos := "", 0
	for _, detail := range s.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			infos++
			if gotReason = detail.GetReason(); detail.GetDomain() != "parley" {
				t.Errorf("domain = %q, want parley", detail.GetDomain())
			}
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				got[violation.GetField()] = true
			}
		}
	}
	if s.Code() != code || gotReason != reason || infos != 1 {
		t.Fatalf("error = %s %s (%d ErrorInfo), want %s %s; message: %s", s.Code(), gotReason, infos, code, reason, s.Message())
	}
	for _, field := range fields {
		if !got[field] {
			t.Errorf("no violation at %s; message: %s", field, s.Message())
		}
		delete(got, field)
	}
	for field := range got {
		t.Errorf("a violation at %s; want: %s", field, strings.Join(fields, ", "))
	}
}
