package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/session"
)

// brokenStore fails every call.
type brokenStore struct{ err error }

func (s brokenStore) Write(context.Context, *session.Write) error { return s.err }

func (s brokenStore) Get(context.Context, string, string) (*session.Record, *session.Member, error) {
	return nil, nil, s.err
}

func (s brokenStore) List(context.Context, *session.Query) (*session.Page, error) { return nil, s.err }

func (s brokenStore) Log(context.Context, session.UID, int64, int, int) (*session.Log, error) {
	return nil, s.err
}

func (s brokenStore) Messages(context.Context, *session.MessageQuery) (*session.MessagePage, error) {
	return nil, s.err
}

func (s brokenStore) Message(context.Context, session.UID, string) (*session.Event, error) {
	return nil, s.err
}

func (s brokenStore) Members(context.Context, *session.MemberQuery) (*session.MemberPage, error) {
	return nil, s.err
}

// noTail is a tail that nobody watches.
type noTail struct{}

func (noTail) Watch(session.UID, string, func()) (session.Watch, error) {
	return nil, errors.New("nobody watches")
}

func (noTail) Head(session.UID, int64)         {}
func (noTail) Online(session.UID, string) bool { return false }

// devGate is the gate of a development server.
func devGate() *gate.Gate { return gate.New(gate.Config{Auth: auth.Dev{}}) }

// askBroken asks a handler whose store fails, and returns the answer and the log.
func askBroken(t *testing.T, err error, method, path, body string) (*httptest.ResponseRecorder, string) {
	t.Helper()
	var log bytes.Buffer
	handler := NewHandler(Config{
		Service: session.NewService(brokenStore{err}, noTail{}, session.NewKeyRing()), Gate: devGate(),
		Log: slog.New(slog.NewTextHandler(&log, nil)), Ready: func() bool { return false },
	})
	request := httptest.NewRequestWithContext(t.Context(), method, "http://localhost"+path, strings.NewReader(body))
	request.Header.Set("Content-Type", contentJSON)
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	return answer, log.String()
}

type shownError struct {
	Error struct {
		Code            int
		Status, Message string
		Details         []map[string]any
	}
}

func shownIn(t *testing.T, answer *httptest.ResponseRecorder) shownError {
	t.Helper()
	var shown shownError
	if err := json.Unmarshal(answer.Body.Bytes(), &shown); err != nil {
		t.Fatalf("%v; body: %s", err, answer.Body)
	}
	return shown
}

func TestAnUnexpectedErrorIsForTheLogAlone(t *testing.T) {
	answer, log := askBroken(t, errors.New("no such table: zebra"), http.MethodGet, sessionsPath+"/room", "")
	shown := shownIn(t, answer)
	if answer.Code != http.StatusInternalServerError || shown.Error.Status != "INTERNAL" || strings.Contains(answer.Body.String(), "zebra") {
		t.Errorf("answer = %d %s, want 500 INTERNAL without the cause", answer.Code, answer.Body)
	}
	_, id, found := strings.Cut(shown.Error.Message, "request ")
	if !found || !strings.Contains(log, strings.TrimSuffix(id, ")")) || !strings.Contains(log, "zebra") {
		t.Errorf("message = %q, log = %q; want the request's id in both, and the cause in the log", shown.Error.Message, log)
	}
}

func TestTheLogHasNoQueryAndNoBody(t *testing.T) {
	_, log := askBroken(t, errors.New("x"), http.MethodPost, sessionsPath+"?requestId=in-the-query",
		`{"profile":"in-the-body","displayName":"d","sessionType":1,"owners":["u"],"defaultChannels":[1],"secretKey":"in-the-body"}`)
	if log == "" || strings.Contains(log, "in-the-query") || strings.Contains(log, "in-the-body") {
		t.Errorf("log = %q, want an entry without what the client sent", log)
	}
}

func TestAFaultsHeaders(t *testing.T) {
	for name, test := range map[string]struct {
		fault *fault.Error
		code  int
		want  http.Header
	}{
		"wait 1.5 s":      {fault.New(fault.Unavailable, "R", "m").After(1500 * time.Millisecond), 503, http.Header{"Retry-After": {"2"}}},
		"wait 1 ns":       {fault.New(fault.ResourceExhausted, "R", "m").After(1), 429, http.Header{"Retry-After": {"1"}}},
		"unauthenticated": {fault.New(fault.Unauthenticated, "R", "m"), 401, http.Header{"Www-Authenticate": {`Bearer realm="parley"`}}},
		"aborted":         {fault.New(fault.Aborted, "R", "m"), 409, http.Header{}},
		"too late":        {fault.New(fault.DeadlineExceeded, "R", "m"), 504, http.Header{}},
	} {
		t.Run(name, func(t *testing.T) {
			answer, _ := askBroken(t, test.fault, http.MethodGet, sessionsPath+"/room", "")
			header := answer.Header().Clone()
			for name := range header {
				if name != "Retry-After" && name != "Www-Authenticate" {
					header.Del(name)
				}
			}
			if diff := cmp.Diff(test.want, header); diff != "" || answer.Code != test.code {
				t.Errorf("status = %d, want %d; header (-want +got):\n%s", answer.Code, test.code, diff)
			}
		})
	}
}

func TestAnUnavailableStoreIsLoggedAndKeepsItsMessage(t *testing.T) {
	answer, log := askBroken(t, fault.New(fault.Unavailable, "DISK_FULL", "nothing was done").Because(errors.New("ENOSPC")),
		http.MethodGet, sessionsPath+"/room", "")
	if got := shownIn(t, answer).Error.Message; got != "nothing was done" {
		t.Errorf("message = %q", got)
	}
	if !strings.Contains(log, "ENOSPC") {
		t.Errorf("log = %q, want the cause", log)
	}
}

func TestReadinessIsTakenBack(t *testing.T) {
	answer, _ := askBroken(t, nil, http.MethodGet, "/readyz", "")
	if answer.Code != http.StatusServiceUnavailable {
		t.Errorf("status = %d, want 503", answer.Code)
	}
}

func TestThePathsOfLiveMethodsLeadToTheService(t *testing.T) {
	publish := `{"message":{"text":"x"}}`
	for _, test := range []struct{ method, path, body string }{
		{http.MethodPost, "/room/join", "{}"},
		{http.MethodPost, "/room:join", "{}"},
		{http.MethodPost, "/room/leave", "{}"},
		{http.MethodPost, "/room:leave", "{}"},
		{http.MethodPost, "/room/tickets", ""},
		{http.MethodPost, "/room/tickets", "{}"},
		{http.MethodPost, "/room/messages", publish},
		{http.MethodGet, "/room/messages", ""},
		{http.MethodGet, "/room/messages/m", ""},
		{http.MethodGet, "/room/members", ""},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			answer, _ := askBroken(t, fault.New(fault.Aborted, "FROM_THE_STORE", "m"), test.method, sessionsPath+test.path, test.body)
			if answer.Code != http.StatusConflict || !strings.Contains(answer.Body.String(), "FROM_THE_STORE") {
				t.Errorf("answer = %d %s, want what the store says", answer.Code, answer.Body)
			}
		})
	}
}

func TestWhoMayGetMayHead(t *testing.T) {
	for path, want := range map[string]string{
		"":              "GET, HEAD, POST",
		"/room":         "DELETE, GET, HEAD, PATCH",
		"/room/join":    "POST",
		"/room/events":  "GET, HEAD",
		"/room/members": "GET, HEAD",
	} {
		answer, _ := askBroken(t, nil, http.MethodPut, sessionsPath+path, "{}")
		if got := answer.Header().Get("Allow"); answer.Code != http.StatusMethodNotAllowed || got != want {
			t.Errorf("PUT %s = %d, Allow %q; want 405, %q", path, answer.Code, got, want)
		}
	}
}
