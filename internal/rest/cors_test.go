package rest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/gate"
)

// corsOf are the fields of CORS.
func corsOf(header http.Header) map[string]string {
	fields := map[string]string{}
	for name := range header {
		if strings.HasPrefix(name, "Access-Control-") || name == "Vary" {
			fields[name] = header.Get(name)
		}
	}
	return fields
}

const (
	appOrigin     = "Origin: https://app.example.com"
	foreignOrigin = "Origin: https://evil.example.com"
)

func TestPagesOfAConfiguredOriginMayReadAnswers(t *testing.T) {
	exposed := "X-Request-Id, Retry-After, WWW-Authenticate"
	own := map[string]string{"Access-Control-Allow-Origin": "https://app.example.com", "Vary": "Origin", "Access-Control-Expose-Headers": exposed}
	all := map[string]string{"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": exposed}
	for name, test := range map[string]struct {
		configured []string
		headers    []string
		want       map[string]string
	}{
		"configured":     {[]string{"https://x.example.com", "https://app.example.com"}, []string{appOrigin}, own},
		"another":        {[]string{"https://app.example.com"}, []string{foreignOrigin}, nil},
		"none":           {nil, []string{appOrigin}, nil},
		"all":            {[]string{"*"}, []string{foreignOrigin}, all},
		"no page":        {[]string{"https://app.example.com"}, nil, nil},
		"no page of all": {[]string{"*"}, nil, nil},
		"two":            {[]string{"https://app.example.com"}, []string{appOrigin, appOrigin}, nil},
		"null":           {[]string{"https://app.example.com"}, []string{"Origin: null"}, nil},
		"a prefix of it": {[]string{"https://app.example.com"}, []string{"Origin: https://app.example.com.evil.com"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			handler := handlerOf(errFromTheStore, Config{Origins: test.configured})
			want := test.want
			if want == nil {
				want = map[string]string{}
			}
			for _, path := range []string{"/s", "/s/events", "/s/nothing"} {
				header := ask(handler, http.MethodGet, sessionsPath+path, "", append(test.headers, asAda)...).Header()
				if diff := cmp.Diff(want, corsOf(header)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", path, diff)
				}
			}
			header := ask(handler, http.MethodGet, sessionsPath+"/s", "", test.headers...).Header() // 401
			if diff := cmp.Diff(want, corsOf(header)); diff != "" {
				t.Errorf("without a token (-want +got):\n%s", diff)
			}
		})
	}
}

func TestABrowserMayAskWhatAPageMaySend(t *testing.T) {
	handler := handlerOf(errFromTheStore, Config{Origins: []string{"https://app.example.com"}})
	for path, methods := range map[string]string{
		"":                       "GET, HEAD, POST",
		"/s":                     "DELETE, GET, HEAD, PATCH",
		"/s:join":                "POST",
		"/s:leave":               "POST",
		"/s/join":                "POST",
		"/s/messages":            "GET, HEAD, POST",
		"/s/messages/m":          "GET, HEAD",
		"/s/members":             "GET, HEAD",
		"/s/tickets":             "POST",
		"/s/events":              "GET, HEAD",
		"/s/events?ticket=x&y=z": "GET, HEAD",
	} {
		t.Run(path, func(t *testing.T) {
			answer := ask(handler, http.MethodOptions, sessionsPath+path, "", appOrigin,
				"Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization, x-other")
			if answer.Code != http.StatusNoContent || answer.Body.Len() > 0 {
				t.Errorf("answer = %d %s, want 204 and nothing", answer.Code, answer.Body)
			}
			want := map[string]string{
				"Access-Control-Allow-Origin": "https://app.example.com", "Vary": "Origin",
				"Access-Control-Allow-Methods":  methods,
				"Access-Control-Allow-Headers":  "Authorization, Content-Type, Accept, Last-Event-ID, Parley-User, X-Request-Id",
				"Access-Control-Max-Age":        "600",
				"Access-Control-Expose-Headers": "X-Request-Id, Retry-After, WWW-Authenticate",
			}
			if diff := cmp.Diff(want, corsOf(answer.Header())); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOtherOptionsAreNoMethod(t *testing.T) {
	handler := handlerOf(errFromTheStore, Config{Origins: []string{"https://app.example.com"}})
	const method = "Access-Control-Request-Method: POST"
	for name, headers := range map[string][]string{
		"no page":         {method, asAda},
		"another origin":  {method, foreignOrigin, "Access-Control-Request-Headers: x"},
		"no method asked": {appOrigin},
	} {
		t.Run(name, func(t *testing.T) {
			answer := ask(handler, http.MethodOptions, sessionsPath+"/s", "", headers...)
			if answer.Code == http.StatusNoContent || answer.Header().Get("Access-Control-Allow-Methods") != "" {
				t.Errorf("answer = %d, %v", answer.Code, answer.Header())
			}
		})
	}
	answer := ask(handler, http.MethodOptions, sessionsPath+"/s", "", asAda)
	if got := answer.Header().Get("Allow"); answer.Code != http.StatusMethodNotAllowed || got != "DELETE, GET, HEAD, PATCH" {
		t.Errorf("answer = %d, Allow %q; want 405", answer.Code, got)
	}
}

func TestInDevelopmentAPreflightMustComeFromThisMachine(t *testing.T) {
	handler := handlerOf(errFromTheStore, Config{Origins: []string{"https://app.example.com"}, Gate: gate.New(gate.Config{Auth: auth.Dev{}})})
	answer := ask(handler, http.MethodOptions, sessionsPath, "", appOrigin, "Access-Control-Request-Method: POST", "Via: 1.1 proxy")
	wantRefused(t, answer, http.StatusForbidden, "PROXIED")
}

func TestWhenAllOriginsAreConfiguredPagesOfAllMayChangeThings(t *testing.T) {
	handler := handlerOf(errFromTheStore, Config{Origins: []string{"*"}})
	wantRefused(t, ask(handler, http.MethodDelete, sessionsPath+"/s", "", asAda, foreignOrigin), http.StatusConflict, "FROM_THE_STORE")
	handler = handlerOf(errFromTheStore, Config{})
	wantRefused(t, ask(handler, http.MethodDelete, sessionsPath+"/s", "", asAda, foreignOrigin), http.StatusForbidden, "FOREIGN_ORIGIN")
}
