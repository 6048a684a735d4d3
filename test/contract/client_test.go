package contract_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sessions = "/v1/conversation/sessions"

// object is a JSON object.
type object = map[string]any

// answer is what the server said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// option changes a request before it is sent.
type option func(*http.Request)

func as(user string) option {
	if user == "" {
		return func(*http.Request) {} // the operator
	}
	return withHeader("Parley-User", user)
}

func withHeader(name, value string) option {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// do sends a request. A body is a string or bytes as they are, or anything else as JSON; nil: none.
func do(t *testing.T, method, path string, body any, options ...option) answer {
	t.Helper()
	var reader io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(body)
	case []byte:
		reader = bytes.NewReader(body)
	default:
		encoded, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		reader = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, baseURL+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for _, option := range options {
		option(request)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{status: response.StatusCode, header: response.Header, body: content}
}

// ok is the JSON object of an answer that must be 200.
func (a answer) ok(t *testing.T) object {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("status = %d, want 200; body: %s", a.status, a.body)
	}
	return a.json(t)
}

func (a answer) json(t *testing.T) object {
	t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Fatalf("Content-Type = %q, want application/json; body: %s", got, a.body)
	}
	var content object
	if err := json.Unmarshal(a.body, &content); err != nil {
		t.Fatalf("the answer is not a JSON object: %v; body: %s", err, a.body)
	}
	return content
}

// fault is an error as AIP-193 has it.
type fault struct {
	Code    int
	Status  string
	Message string
	Reason  string
	Fields  []string          // of the violations, sorted, each once
	Rules   map[string]string // by field
}

// fault reads an error answer, and fails unless it has the form that all errors have.
func (a answer) fault(t *testing.T) fault {
	t.Helper()
	a.json(t)
	var content struct {
		Error struct {
			Code    int
			Status  string
			Message string
			Details []struct {
				Type            string `json:"@type"`
				Reason, Domain  string
				FieldViolations []struct{ Field, Description string }
			}
		}
	}
	if err := json.Unmarshal(a.body, &content); err != nil {
		t.Fatal(err)
	}
	f := fault{Code: content.Error.Code, Status: content.Error.Status, Message: content.Error.Message, Rules: map[string]string{}}
	infos := 0
	for _, detail := range content.Error.Details {
		switch detail.Type {
		case "type.googleapis.com/google.rpc.ErrorInfo":
			infos++
			f.Reason = detail.Reason
			if detail.Domain != "parley" {
				t.Errorf("ErrorInfo.domain = %q, want parley", detail.Domain)
			}
		case "type.googleapis.com/google.rpc.BadRequest":
			for _, violation := range detail.FieldViolations {
				f.Rules[violation.Field] = violation.Description
			}
		}
	}
	f.Fields = slices.Sorted(maps.Keys(f.Rules))
	if f.Code != a.status || f.Message == "" || infos != 1 {
		t.Fatalf("want the code %d, a message and one ErrorInfo; body: %s", a.status, a.body)
	}
	return f
}

// refused fails unless the answer is the error.
func (a answer) refused(t *testing.T, code int, status, reason string) fault {
	t.Helper()
	f := a.fault(t)
	if f.Code != code || f.Status != status || f.Reason != reason {
		t.Fatalf("answer = %d %s %s, want %d %s %s; message: %s", f.Code, f.Status, f.Reason, code, status, reason, f.Message)
	}
	return f
}

// invalid fails unless the answer says that exactly these fields are wrong.
func (a answer) invalid(t *testing.T, fields ...string) {
	t.Helper()
	f := a.refused(t, http.StatusBadRequest, "INVALID_ARGUMENT", "INVALID_FIELDS")
	slices.Sort(fields)
	if diff := cmp.Diff(fields, f.Fields); diff != "" {
		t.Fatalf("violations (-want +got):\n%s", diff)
	}
}

// hidden fails unless the answer is that of a session which does not exist.
func (a answer) hidden(t *testing.T) {
	t.Helper()
	a.refused(t, http.StatusNotFound, "NOT_FOUND", "SESSION_NOT_FOUND")
}

// newID is an id that no other test has.
func newID() string { return "t-" + strings.ToLower(rand.Text()) }

// draft is the smallest session, with changes; a value of remove takes the field away.
func draft(changes ...object) object {
	body := object{
		"profile": "assistant", "displayName": "Front desk", "sessionType": 1,
		"owners": []any{"user-1"}, "defaultChannels": []any{1},
	}
	for _, change := range changes {
		maps.Copy(body, change)
	}
	maps.DeleteFunc(body, func(_ string, value any) bool { return value == remove })
	return body
}

// remove is no value that JSON has.
const remove = "\x00remove"

// create makes a session with a fresh id, and returns the id and the answer's session.
func create(t *testing.T, changes ...object) (string, object) {
	t.Helper()
	id := newID()
	return id, do(t, http.MethodPost, sessions+"?sessionId="+id, draft(changes...)).ok(t)
}

func get(t *testing.T, id string, options ...option) answer {
	t.Helper()
	return do(t, http.MethodGet, sessions+"/"+id, nil, options...)
}

func patch(t *testing.T, id, query string, body any, options ...option) answer {
	t.Helper()
	return do(t, http.MethodPatch, sessions+"/"+id+query, body, options...)
}

// want fails unless the fields of a session have the values.
func want(t *testing.T, got, fields object) {
	t.Helper()
	for name, value := range fields {
		if diff := cmp.Diff(value, got[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
