package natsapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
	"github.com/parleyhq/parley/internal/limit"
	"github.com/parleyhq/parley/internal/session"
)

const sessions = "parley.v1.sessions."

func TestACreateMakesTheSessionOfItsSubject(t *testing.T) {
	ada := start(t).connect(t, "ada")
	for name, test := range map[string]struct {
		subject, body string
		id            string // empty: one of the server's
		code          int
		reason        string
		fields        []string
	}{
		"the subject":                 {"desk-7.create", `{"session":` + draft(1, "ada") + `}`, "desk-7", 200, "", nil},
		"the same sessionId":          {"desk-8.create", `{"sessionId":"desk-8","session":` + draft(1, "ada") + `}`, "desk-8", 200, "", nil},
		"the same name":               {"desk-9.create", `{"session":{"name":"sessions/desk-9",` + draft(1, "ada")[1:] + `}`, "desk-9", 200, "", nil},
		"no subject":                  {"create", `{"session":` + draft(1, "ada") + `}`, "", 200, "", nil},
		"no subject, a sessionId":     {"create", `{"session_id":"a1","session":` + draft(1, "ada") + `}`, "a1", 200, "", nil},
		"no subject, a name":          {"create", `{"session":{"name":"sessions/a2",` + draft(1, "ada")[1:] + `}`, "a2", 200, "", nil},
		"another sessionId":           {"d1.create", `{"sessionId":"d2","session":` + draft(1, "ada") + `}`, "", 400, "INVALID_FIELDS", []string{"sessionId"}},
		"another name":                {"d1.create", `{"session":{"name":"sessions/d2",` + draft(1, "ada")[1:] + `}`, "", 400, "INVALID_FIELDS", []string{"name"}},
		"an id that none can have":    {"-d.create", `{"session":` + draft(1, "ada") + `}`, "", 400, "INVALID_FIELDS", []string{"sessionId"}},
		"a session called create":     {"create.create", `{"session":` + draft(1, "ada") + `}`, "create", 200, "", nil},
		"nothing":                     {"d3.create", ``, "", 400, "INVALID_FIELDS", []string{"session"}},
		"an empty message":            {"d3.create", `{}`, "", 400, "INVALID_FIELDS", []string{"session"}},
		"unknown fields":              {"d3.create", `{"x":1,"session":{"y":1}}`, "", 400, "INVALID_FIELDS", []string{"x", "y"}},
		"a field of the session":      {"d3.create", `{"session":{"options":{"a":1e999}}}`, "", 400, "INVALID_FIELDS", []string{"options.a"}},
		"a session that is no object": {"d3.create", `{"session":7}`, "", 400, "INVALID_FIELDS", []string{"session"}},
		"malformed":                   {"d3.create", `{"session":`, "", 400, "MALFORMED_JSON", []string{"session"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := ada.ask(t, sessions+test.subject, test.body)
			if got.code != test.code || got.reason != test.reason || cmp.Diff(test.fields, got.fields) != "" {
				t.Fatalf("answer = %d %s %q, want %d %s %q: %s", got.code, got.reason, got.fields, test.code, test.reason, test.fields, got.body)
			}
			var made struct{ SessionID, Name, UID string }
			if err := json.Unmarshal([]byte(got.body), &made); err != nil {
				t.Fatal(err)
			}
			if test.code == 200 && test.id == "" && made.SessionID != made.UID {
				t.Errorf("sessionId = %q, want the uid", made.SessionID)
			}
			if test.code == 200 && test.id != "" && (made.SessionID != test.id || made.Name != "sessions/"+test.id) {
				t.Errorf("the session is %q, want %q", made.Name, test.id)
			}
		})
	}
	if got := ada.must(t, sessions+"create.get", ""); got["name"] != "sessions/create" {
		t.Errorf("get = %v, want the session that is called create", got)
	}
}

// both is a call in the form of either edge.
type both struct {
	user, method, path, body string
	subject, message         string
}

func TestACallIsAnsweredAsOverHTTP(t *testing.T) {
	r := start(t)
	conns := map[string]*client{}
	for _, user := range []string{"ada", "bob", "eve", "admin", "wrong"} {
		c := &client{user: user}
		if user == "wrong" { // connected as another, with a request's own credential
			c.Conn = conns["eve"].Conn
		} else {
			c = r.connect(t, user)
		}
		conns[user] = c
	}
	ada := conns["ada"]
	for id, sessionType := range map[string]int{"pub": 1, "priv": 2} {
		ada.create(t, id, sessionType)
		ada.must(t, sessions+id+".join", "")
		ada.must(t, sessions+id+".publish", `{"message":{"text":"hello","messageId":"m1"}}`)
	}
	ada.must(t, sessions+"pub.update", `{"session":{"blockedUsers":["bob"]}}`)
	tests := map[string]both{
		"create, not an owner":         {"eve", "POST", "sessions?sessionId=n1", draft(1, "ada"), "n1.create", `{"session":` + draft(1, "ada") + `}`},
		"create, taken":                {"ada", "POST", "sessions?sessionId=pub", draft(1, "ada"), "pub.create", `{"session":` + draft(1, "ada") + `}`},
		"create, broken rules":         {"ada", "POST", "sessions?sessionId=n1", `{"owners":[""]}`, "n1.create", `{"session":{"owners":[""]}}`},
		"get":                          {"ada", "GET", "sessions/priv", "", "priv.get", ""},
		"get, hidden":                  {"eve", "GET", "sessions/priv", "", "priv.get", ""},
		"get, none":                    {"eve", "GET", "sessions/none", "", "none.get", ""},
		"get, an administrator":        {"admin", "GET", "sessions/priv", "", "priv.get", ""},
		"get, unauthenticated":         {"wrong", "GET", "sessions/pub", "", "pub.get", ""},
		"get, a bad id":                {"ada", "GET", "sessions/_x", "", "_x.get", ""},
		"list":                         {"eve", "GET", "sessions", "", "list", ""},
		"list, by a filter":            {"ada", "GET", `sessions?filter=sessionType=2&orderBy=displayName&pageSize=10`, "", "list", `{"filter":"sessionType=2","order_by":"displayName","pageSize":10}`},
		"list, a bad filter":           {"ada", "GET", `sessions?filter=x%3D1`, "", "list", `{"filter":"x=1"}`},
		"list, a bad size":             {"ada", "GET", `sessions?pageSize=-1`, "", "list", `{"pageSize":-1}`},
		"update, no owner":             {"eve", "PATCH", "sessions/pub", `{"description":"x"}`, "pub.update", `{"session":{"description":"x"}}`},
		"update, hidden":               {"eve", "PATCH", "sessions/priv", `{"description":"x"}`, "priv.update", `{"session":{"description":"x"}}`},
		"update, clears":               {"ada", "PATCH", "sessions/pub", `{"owners":[]}`, "pub.update", `{"session":{"owners":[]}}`},
		"update, a stale etag":         {"ada", "PATCH", "sessions/pub", `{"etag":"x"}`, "pub.update", `{"session":{"etag":"x"}}`},
		"update, a bad mask":           {"ada", "PATCH", "sessions/pub?updateMask=uid", `{}`, "pub.update", `{"session":{},"updateMask":"uid"}`},
		"update, another's name":       {"ada", "PATCH", "sessions/pub", `{"name":"sessions/priv"}`, "pub.update", `{"session":{"name":"sessions/priv"}}`},
		"delete, no owner":             {"eve", "DELETE", "sessions/pub", "", "pub.delete", ""},
		"delete, a stale etag":         {"ada", "DELETE", "sessions/pub?etag=x", "", "pub.delete", `{"etag":"x"}`},
		"join, hidden":                 {"eve", "POST", "sessions/priv/join", `{}`, "priv.join", `{}`},
		"join, blocked":                {"bob", "POST", "sessions/pub/join", `{}`, "pub.join", `{}`},
		"join, as another":             {"eve", "POST", "sessions/pub/join", `{"name":"ada"}`, "pub.join", `{"name":"ada"}`},
		"join, again":                  {"ada", "POST", "sessions/pub/join", `{}`, "pub.join", `{}`},
		"join, a bad secret":           {"eve", "POST", "sessions/priv/join", `{"secretKey":"wrong-key"}`, "priv.join", `{"secretKey":"wrong-key"}`},
		"leave, hidden":                {"eve", "POST", "sessions/priv/leave", `{}`, "priv.leave", ``},
		"publish, no member":           {"eve", "POST", "sessions/pub/messages", `{"message":{"text":"x"}}`, "pub.publish", `{"message":{"text":"x"}}`},
		"publish, taken":               {"ada", "POST", "sessions/pub/messages", `{"message":{"text":"x","messageId":"m1"}}`, "pub.publish", `{"message":{"text":"x","messageId":"m1"}}`},
		"publish, nothing":             {"ada", "POST", "sessions/pub/messages", `{}`, "pub.publish", `{}`},
		"publish, another uid":         {"ada", "POST", "sessions/pub/messages", `{"uid":"x","message":{"text":"x"}}`, "pub.publish", `{"uid":"x","message":{"text":"x"}}`},
		"messages":                     {"ada", "GET", "sessions/priv/messages", "", "priv.messages", ""},
		"messages, by a filter":        {"ada", "GET", "sessions/priv/messages?filter=sender%3D%22eve%22&orderBy=sequence+desc", "", "priv.messages", `{"filter":"sender=\"eve\"","orderBy":"sequence desc"}`},
		"messages, from the beginning": {"ada", "GET", "sessions/priv/messages?cursor=beginning", "", "priv.messages", `{"cursor":"beginning"}`},
		"messages, a bad cursor":       {"ada", "GET", "sessions/priv/messages?cursor=x&pageSize=-1", "", "priv.messages", `{"cursor":"x","pageSize":-1}`},
		"messages, blocked":            {"bob", "GET", "sessions/pub/messages", "", "pub.messages", ""},
		"messages, a bad token":        {"ada", "GET", "sessions/priv/messages?pageToken=x", "", "priv.messages", `{"pageToken":"x"}`},
		"message":                      {"ada", "GET", "sessions/priv/messages/m1", "", "priv.messages.m1", ""},
		"message, none":                {"ada", "GET", "sessions/priv/messages/m2", "", "priv.messages.m2", ""},
		"members":                      {"ada", "GET", "sessions/priv/members", "", "priv.members", ""},
		"members, hidden":              {"eve", "GET", "sessions/priv/members", "", "priv.members", ""},
		"members, a bad order":         {"ada", "GET", "sessions/priv/members?orderBy=user", "", "priv.members", `{"orderBy":"user"}`},
		"members, an unknown field":    {"ada", "GET", "sessions/priv/members?x=1", "", "priv.members", `{"x":1}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			want := r.askREST(t, test.user, test.method, test.path, test.body)
			got := conns[test.user].ask(t, sessions+test.subject, test.message)
			got.header = nil
			if want.code != http.StatusOK { // messages may name the request
				want.body, got.body = "", ""
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(answer{})); diff != "" {
				t.Errorf("over NATS (-HTTP +NATS):\n%s", diff)
			}
		})
	}
}

func TestAllMethodsInJSON(t *testing.T) {
	ada := start(t).connect(t, "ada")
	made := ada.must(t, sessions+"s.create", `{"session":{"secretKey":"open sesame",`+draft(2, "ada")[1:]+`,"requestId":"r1"}`)
	if made["secretKey"] != "open sesame" || made["sessionType"] != 2.0 || made["headSequence"] != "1" {
		t.Errorf("create = %v", made)
	}
	again := ada.must(t, sessions+"s.create", `{"session":{"secretKey":"open sesame",`+draft(2, "ada")[1:]+`,"requestId":"r1"}`)
	if again["uid"] != made["uid"] {
		t.Errorf("a repeated requestId made another session: %v", again)
	}
	if got := ada.must(t, sessions+"s.get", `{"name":"sessions/s"}`); got["uid"] != made["uid"] || got["secretKey"] != nil {
		t.Errorf("get = %v", got)
	}
	updated := ada.must(t, sessions+"s.update", `{"session":{"description":"d","labels":{"a":"b"}}}`)
	if updated["description"] != "d" || updated["etag"] == made["etag"] {
		t.Errorf("update = %v", updated)
	}
	updated = ada.must(t, sessions+"s.update", `{"session":{"name":"sessions/s","description":"e"},"updateMask":"labels.a"}`)
	if diff := cmp.Diff(map[string]any{}, updated["labels"]); diff != "" || updated["description"] != "d" {
		t.Errorf("update by a mask = %v", updated)
	}
	joined := ada.must(t, sessions+"s.join", `{"session":"sessions/s","name":"ada","channels":[1,4]}`)
	if member := joined["member"].(map[string]any); member["user"] != "ada" || joined["cursor"] == "" {
		t.Errorf("join = %v", joined)
	}
	published := ada.must(t, sessions+"s.publish", `{"message":{"data":{"n":1}}}`)
	message := published["message"].(map[string]any)
	if published["acknowledgment"] == "" || message["sender"] != "ada" || message["channel"] != 1.0 {
		t.Errorf("publish = %v", published)
	}
	id := message["messageId"].(string)
	if got := ada.must(t, sessions+"s.messages."+id, ""); got["name"] != "sessions/s/messages/"+id {
		t.Errorf("message = %v", got)
	}
	if got := ada.must(t, sessions+"s.messages", `{"pageSize":5}`); len(got["messages"].([]any)) != 1 {
		t.Errorf("messages = %v", got)
	}
	if got := ada.must(t, sessions+"s.members", ""); len(got["members"].([]any)) != 1 {
		t.Errorf("members = %v", got)
	}
	if got := ada.must(t, sessions+"list", `{"filter":"profile=\"p\""}`); len(got["sessions"].([]any)) != 1 {
		t.Errorf("list = %v", got)
	}
	if got := ada.must(t, sessions+"s.leave", ""); got["session"].(map[string]any)["memberCount"] != 0.0 {
		t.Errorf("leave = %v", got)
	}
	if got := ada.ask(t, sessions+"s.delete", ""); got.body != "{}" {
		t.Errorf("delete = %s", got.body)
	}
	if got := ada.ask(t, sessions+"s.get", ""); got.code != http.StatusNotFound {
		t.Errorf("get of what was deleted = %d %s", got.code, got.body)
	}
}

func TestAnotherNameThanTheSubjectsIsRefused(t *testing.T) {
	ada := start(t).connect(t, "ada")
	ada.create(t, "s", 1)
	for subject, test := range map[string]struct{ body, field string }{
		"s.get":         {`{"name":"sessions/o"}`, "name"},
		"s.delete":      {`{"name":"sessions/o"}`, "name"},
		"s.join":        {`{"session":"sessions/o"}`, "session"},
		"s.leave":       {`{"session":"sessions/o"}`, "session"},
		"s.publish":     {`{"session":"sessions/o","message":{"text":"x"}}`, "session"},
		"s.messages":    {`{"session":"sessions/o"}`, "session"},
		"s.members":     {`{"session":"o"}`, "session"},
		"s.messages.m1": {`{"name":"sessions/s/messages/m2"}`, "name"},
	} {
		got := ada.ask(t, sessions+subject, test.body)
		if got.code != 400 || cmp.Diff([]string{test.field}, got.fields) != "" {
			t.Errorf("%s = %d %s, want a violation at %s", subject, got.code, got.body, test.field)
		}
	}
}

// call asks in protobuf; a fault is returned as its status.
func call(t *testing.T, c *client, subject string, request, response proto.Message) *statuspb.Status {
	t.Helper()
	body, err := proto.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.RequestMsg(c.message(sessions+subject, string(body), "content-type: application/protobuf"), 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Header.Get("Content-Type"); got != "application/protobuf" {
		t.Errorf("%s: Content-Type = %q: %s", subject, got, m.Data)
	}
	if m.Header.Get("Nats-Service-Error-Code") != "" {
		status := new(statuspb.Status)
		if err := proto.Unmarshal(m.Data, status); err != nil {
			t.Fatal(err)
		}
		return status
	}
	if err := proto.Unmarshal(m.Data, response); err != nil {
		t.Fatal(err)
	}
	return nil
}

func TestAllMethodsInProtobuf(t *testing.T) {
	ada := start(t).connect(t, "ada")
	must := func(subject string, request, response proto.Message) {
		t.Helper()
		if status := call(t, ada, subject, request, response); status != nil {
			t.Fatalf("%s = %v", subject, status)
		}
	}
	made := new(conversationv1.Session)
	must("s.create", &conversationv1.CreateSessionRequest{Session: &conversationv1.Session{
		Profile: "p", DisplayName: "d", SessionType: 2, Owners: []string{"ada"}, DefaultChannels: []int32{1},
	}}, made)
	if made.GetSessionId() != "s" {
		t.Errorf("create = %v", made)
	}
	got := new(conversationv1.Session)
	must("s.get", new(conversationv1.GetSessionRequest), got)
	if !proto.Equal(made, got) {
		t.Errorf("get = %v, want %v", got, made)
	}
	must("s.update", &conversationv1.UpdateSessionRequest{Session: &conversationv1.Session{Description: "x"}}, got)
	if got.GetDescription() != "x" || got.GetDisplayName() != "d" {
		t.Errorf("update = %v", got)
	}
	joined := new(conversationv1.JoinSessionResponse)
	must("s.join", new(conversationv1.JoinSessionRequest), joined)
	if joined.GetMember().GetUser() != "ada" {
		t.Errorf("join = %v", joined)
	}
	published := new(conversationv1.PublishMessageResponse)
	must("s.publish", &conversationv1.PublishMessageRequest{Message: &conversationv1.Message{
		MessageId: "m1", Content: &conversationv1.Message_Text{Text: "hi"},
	}}, published)
	message := new(conversationv1.Message)
	must("s.messages.m1", new(conversationv1.GetMessageRequest), message)
	if !proto.Equal(message, published.GetMessage()) || message.GetText() != "hi" {
		t.Errorf("message = %v, want %v", message, published.GetMessage())
	}
	messages := new(conversationv1.ListMessagesResponse)
	must("s.messages", new(conversationv1.ListMessagesRequest), messages)
	members := new(conversationv1.ListMembersResponse)
	must("s.members", new(conversationv1.ListMembersRequest), members)
	list := new(conversationv1.ListSessionsResponse)
	must("list", new(conversationv1.ListSessionsRequest), list)
	if len(messages.GetMessages()) != 1 || len(members.GetMembers()) != 1 || len(list.GetSessions()) != 1 {
		t.Errorf("lists = %v, %v, %v", messages, members, list)
	}
	must("s.leave", new(conversationv1.LeaveSessionRequest), new(conversationv1.LeaveSessionResponse))
	must("s.delete", new(conversationv1.DeleteSessionRequest), new(emptypb.Empty))
}

func TestFaultsInProtobuf(t *testing.T) {
	ada := start(t).connect(t, "ada")
	ada.create(t, "s", 1)
	small := &conversationv1.Session{Profile: "p", DisplayName: "d", SessionType: 1, Owners: []string{"ada"}, DefaultChannels: []int32{1}}
	for name, test := range map[string]struct {
		subject string
		request proto.Message
		code    int32
		reason  string
	}{
		"none":                 {"none.get", new(conversationv1.GetSessionRequest), 5, "SESSION_NOT_FOUND"},
		"another name":         {"s.get", &conversationv1.GetSessionRequest{Name: "sessions/o"}, 3, "INVALID_FIELDS"},
		"another session":      {"s.join", &conversationv1.JoinSessionRequest{Session: "sessions/o"}, 3, "INVALID_FIELDS"},
		"another message":      {"s.messages.m", &conversationv1.GetMessageRequest{Name: "sessions/s/messages/o"}, 3, "INVALID_FIELDS"},
		"another sessionId":    {"n.create", &conversationv1.CreateSessionRequest{SessionId: "o", Session: small}, 3, "INVALID_FIELDS"},
		"an update of nothing": {"s.update", new(conversationv1.UpdateSessionRequest), 3, "INVALID_FIELDS"},
		"no protobuf":          {"s.join", &conversationv1.JoinSessionRequest{Channels: []int32{-1}}, 3, "INVALID_FIELDS"},
	} {
		status := call(t, ada, test.subject, test.request, new(emptypb.Empty))
		info := new(errdetails.ErrorInfo)
		if len(status.GetDetails()) == 0 || status.GetDetails()[0].UnmarshalTo(info) != nil || status.GetCode() != test.code || info.GetReason() != test.reason {
			t.Errorf("%s: status = %v, want %d %s", name, status, test.code, test.reason)
		}
	}
	if got := ada.ask(t, sessions+"s.get", "\xff", "Content-Type: application/json"); got.reason != "MALFORMED_JSON" {
		t.Errorf("malformed JSON = %s", got.body)
	}
	m, err := ada.RequestMsg(ada.message(sessions+"s.get", "\xff", "Content-Type: application/x-protobuf"), 20*time.Second)
	if err != nil || !bytes.Contains(m.Data, []byte("MALFORMED_PROTOBUF")) {
		t.Errorf("malformed protobuf = %v, %v", m, err)
	}
}

func TestTheFormOfAnAnswer(t *testing.T) {
	ada := start(t).connect(t, "ada")
	ada.create(t, "s", 1)
	const isJSON, isProtobuf = "application/json", "application/protobuf"
	for name, test := range map[string]struct {
		headers []string
		form    string
		code    string
	}{
		"nothing is said":             {nil, isJSON, ""},
		"JSON":                        {[]string{"Content-Type: application/json; charset=utf-8"}, isJSON, ""},
		"protobuf":                    {[]string{"CONTENT-TYPE: application/x-protobuf"}, isProtobuf, ""},
		"only accepts protobuf":       {[]string{"Accept: application/protobuf"}, isProtobuf, ""},
		"accepts anything":            {[]string{"accept: text/html, */*;q=0.1"}, isJSON, ""},
		"accepts any application":     {[]string{"Accept: application/*", "Content-Type: application/protobuf"}, isProtobuf, ""},
		"accepts nothing that we say": {[]string{"Accept: text/html"}, isJSON, "406"},
		"accepts the other":           {[]string{"Accept: application/protobuf", "Content-Type: application/json"}, isJSON, "406"},
		"another":                     {[]string{"Content-Type: text/plain"}, isJSON, "415"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := ada.RequestMsg(ada.message(sessions+"s.get", "", test.headers...), 20*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Header.Get("Content-Type"); got != test.form || m.Header.Get("Nats-Service-Error-Code") != test.code {
				t.Errorf("form = %q, code = %q, want %q, %q", got, m.Header.Get("Nats-Service-Error-Code"), test.form, test.code)
			}
		})
	}
}

func TestWhatEveryAnswerHas(t *testing.T) {
	r := start(t)
	ada := r.connect(t, "ada")
	got := ada.ask(t, sessions+"none.delete", "", "x-request-id: my.request-1")
	if got.header.Get("X-Request-Id") != "my.request-1" || got.header.Get("Nats-Service-Error") != "session not found" {
		t.Errorf("header = %v", got.header)
	}
	if ada.ask(t, sessions+"list", "").header.Get("X-Request-Id") == "" {
		t.Error("a request without an id gets none")
	}
	eventually(t, "the record of the denial", func() bool {
		return strings.Contains(r.record.String(), `requestId=my.request-1 transport=nats method=DeleteSession user=ada key="" session=none remote="" allowed=false`)
	})
	ada.create(t, "s", 1)
	eventually(t, "the record of the change", func() bool {
		return strings.Contains(r.record.String(), "transport=nats method=CreateSession user=ada key=\"\" session=s")
	})
}

func TestLimits(t *testing.T) {
	ada := start(t, func(s *settings) { s.limits = limit.Config{BytesInFlight: 1 << 20, Creates: 1} }).connect(t, "ada")
	for range 2 {
		ada.must(t, sessions+"create", `{"session":`+draft(1, "ada")+`}`)
	}
	if got := ada.ask(t, sessions+"create", `{"session":`+draft(1, "ada")+`}`); got.code != 429 || got.reason != "RATE_LIMITED" {
		t.Errorf("a create too many = %d %s", got.code, got.body)
	}
	ada.must(t, sessions+"list", "")
	large := strings.Repeat(" ", session.MaxMessageBytes*3/2+64<<10+1)
	if got := ada.ask(t, sessions+"s.publish", large); got.code != 413 || got.reason != "BODY_TOO_LARGE" {
		t.Errorf("a large publish = %d %s", got.code, got.body)
	}
	if got := ada.ask(t, sessions+"s.get", large); got.code != 404 {
		t.Errorf("a large get = %d %s", got.code, got.body)
	}
}

func TestBytesInFlight(t *testing.T) {
	r := start(t, func(s *settings) { s.limits = limit.Config{BytesInFlight: 1 << 20} })
	ada := r.connect(t, "ada")
	ada.create(t, "s", 1)
	entered, hold := make(chan struct{}, 10), make(chan struct{})
	hook := func(string) {
		entered <- struct{}{}
		<-hold
	}
	r.store.read.Store(&hook)
	body := strings.Repeat(" ", 600<<10)
	waiting := ada.listen(t, ada.NewInbox())
	m := ada.message(sessions+"s.get", body)
	m.Reply = waiting.Subject
	if err := ada.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	<-entered
	if got := ada.ask(t, sessions+"s.get", body); got.code != 429 || got.reason != "QUOTA_BYTES" {
		t.Errorf("the second = %d %s", got.code, got.body)
	}
	close(hold)
	if got := next(t, waiting); got.Header.Get("Nats-Service-Error-Code") != "" {
		t.Errorf("the first = %s", got.Data)
	}
	ada.must(t, sessions+"s.get", body)
}

func TestAPageThatNATSDoesNotCarryIsMadeShorter(t *testing.T) {
	ada := start(t).connect(t, "ada")
	ada.create(t, "s", 1)
	ada.must(t, sessions+"s.join", "")
	text := strings.Repeat("x", 60_000)
	const count = 40
	for i := range count {
		ada.must(t, sessions+"s.publish", fmt.Sprintf(`{"message":{"messageId":"m%d","text":%q}}`, i, text))
	}
	var inJSON, inProtobuf []string
	for token, more := "", true; more; more = token != "" {
		page := ada.must(t, sessions+"s.messages", `{"pageToken":"`+token+`"}`)
		for _, message := range page["messages"].([]any) {
			inJSON = append(inJSON, message.(map[string]any)["messageId"].(string))
		}
		token = page["nextPageToken"].(string)
	}
	for token, more := "", true; more; more = token != "" {
		page := new(conversationv1.ListMessagesResponse)
		if status := call(t, ada, "s.messages", &conversationv1.ListMessagesRequest{PageToken: token}, page); status != nil {
			t.Fatal(status)
		}
		for _, message := range page.GetMessages() {
			inProtobuf = append(inProtobuf, message.GetMessageId())
		}
		token = page.GetNextPageToken()
	}
	if diff := cmp.Diff(inJSON, inProtobuf); diff != "" || len(inJSON) != count {
		t.Errorf("pages have %d messages in JSON (-JSON +protobuf):\n%s", len(inJSON), diff)
	}
}

func TestWhatNobodyWaitsForIsNotDone(t *testing.T) {
	r := start(t)
	admin := r.connect(t, "admin")
	mirrored := admin.listen(t, sessions+"*.events.>")
	for _, reply := range []string{"", "parley.v1.sessions.s.events.1", "$SRV.PING"} {
		m := admin.message(sessions+"no-reply.create", `{"session":`+draft(1, "admin")+`}`)
		m.Reply = reply
		if err := admin.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the requests are dropped", func() bool {
		return strings.Count(r.log.String(), "has no reply subject that can be answered") == 3
	})
	if got := admin.ask(t, sessions+"no-reply.get", ""); got.code != 404 {
		t.Errorf("get = %d %s, want none", got.code, got.body)
	}
	if n, _, err := mirrored.Pending(); n != 0 || err != nil {
		t.Errorf("%d messages in the mirror, %v", n, err)
	}
}

// Answers are sent with the server's rights: a client could have them forge events, or requests.
func TestDiscoveryAnswersOnNoSubjectOfOurs(t *testing.T) {
	r := start(t)
	ada := r.connect(t, "ada")
	ours, err := r.bus.Clients().SubscribeSync("parley.>")
	if err != nil {
		t.Fatal(err)
	}
	var found micro.Ping
	if m, err := ada.Request("$SRV.PING", nil, 20*time.Second); err != nil || json.Unmarshal(m.Data, &found) != nil {
		t.Fatalf("ping = %v, %v", m, err)
	}
	for _, verb := range []string{"PING", "INFO", "STATS"} {
		for _, whom := range []string{"", ".parley", ".parley." + found.ID} {
			for _, reply := range []string{sessions + "s.events.1", sessions + "s.get", "parley.internal.v1.events.x", "$SRV.PING"} {
				if err := ada.PublishRequest("$SRV."+verb+whom, reply, nil); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := ada.Request("$SRV."+verb+whom, nil, 20*time.Second); err != nil { // after which those are done
				t.Errorf("%s%s: %v", verb, whom, err)
			}
		}
	}
	if err := r.bus.Clients().Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := ours.Pending(); n != 0 || err != nil {
		m, _ := ours.NextMsg(time.Second)
		t.Errorf("%d answers are sent where no client may, such as %v, %v", n, m, err)
	}
}

func TestAServiceIsDiscovered(t *testing.T) {
	r := start(t)
	ada := r.connect(t, "ada")
	ada.ask(t, sessions+"none.get", "")
	ada.ask(t, sessions+"list", "")
	find := func(verb string, to any) {
		t.Helper()
		m, err := ada.Request("$SRV."+verb+".parley", nil, 20*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(m.Data, to); err != nil {
			t.Fatal(err)
		}
	}
	var ping micro.Ping
	find("PING", &ping)
	var info micro.Info
	find("INFO", &info)
	if ping.Name != "parley" || ping.Version == "" || len(info.Endpoints) != 12 {
		t.Fatalf("ping = %+v, info = %+v", ping, info)
	}
	byName := map[string]micro.EndpointInfo{}
	for _, endpoint := range info.Endpoints {
		byName[endpoint.Name] = endpoint
	}
	want := map[string]string{
		"subject": "parley.v1.sessions.{session}.publish",
		"request": "parley.conversation.v1.PublishMessageRequest", "response": "parley.conversation.v1.PublishMessageResponse",
		"content-types": "application/json, application/protobuf",
	}
	if diff := cmp.Diff(want, byName["publish"].Metadata); diff != "" || byName["publish"].QueueGroup != "parley" {
		t.Errorf("publish = %+v:\n%s", byName["publish"], diff)
	}
	eventually(t, "the counts", func() bool {
		var found micro.Stats
		find("STATS", &found)
		for _, endpoint := range found.Endpoints {
			if endpoint.Name == "get" && endpoint.NumRequests == 1 && endpoint.NumErrors == 1 &&
				endpoint.LastError == "SESSION_NOT_FOUND" && endpoint.ProcessingTime > 0 {
				return true
			}
		}
		return false
	})
}

func TestOneNodeOfManyAnswers(t *testing.T) {
	r := start(t)
	other := secondAPI(t, r)
	ada := r.connect(t, "ada")
	inbox := ada.listen(t, ada.NewInbox()+".>")
	const count = 40
	for i := range count {
		m := ada.message(sessions+"list", "")
		m.Reply = strings.TrimSuffix(inbox.Subject, ">") + strconv.Itoa(i)
		if err := ada.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	answers := map[string]int{}
	for range count {
		answers[next(t, inbox).Subject]++
	}
	if err := ada.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := inbox.Pending(); len(answers) != count || n != 0 || err != nil {
		t.Errorf("%d requests are answered, and %d answers are too many, %v", len(answers), n, err)
	}
	if err := other.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 10 { // the one that is left
		ada.must(t, sessions+"list", "")
	}
}

func TestADrainAnswersWhatWasTaken(t *testing.T) {
	r := start(t)
	ada := r.connect(t, "ada")
	inbox := ada.listen(t, ada.NewInbox()+".>")
	reply := strings.TrimSuffix(inbox.Subject, ">")
	const count = 200
	var sent sync.WaitGroup
	sent.Go(func() {
		for i := range count {
			m := ada.message(fmt.Sprintf("%sd%d.create", sessions, i), `{"session":`+draft(1, "ada")+`}`)
			m.Reply = reply + strconv.Itoa(i)
			if err := ada.PublishMsg(m); err != nil {
				t.Error(err)
			}
		}
	})
	next(t, inbox)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := r.api.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	sent.Wait()
	if err := ada.Flush(); err != nil {
		t.Fatal(err)
	}
	done := 1
	for {
		m, err := inbox.NextMsg(time.Millisecond)
		if errors.Is(err, nats.ErrNoResponders) { // it came too late, and may be told before others are answered
			continue
		}
		if err != nil {
			break
		}
		if m.Header.Get("Nats-Service-Error-Code") == "" {
			done++
		}
	}
	made := 0
	for i := range count {
		if _, err := r.service.Get(t.Context(), session.Caller{User: "ada"}, fmt.Sprintf("d%d", i)); err == nil {
			made++
		}
	}
	if made != done {
		t.Errorf("%d creates were answered, and %d done", done, made)
	}
}

func TestWhoFindsNoRoomIsToldAtOnce(t *testing.T) {
	hold := make(chan struct{})
	entered := make(chan struct{}, 10)
	r := start(t, func(s *settings) {
		s.api.MaxInFlight = 1
		s.auth = slow{hold: hold, entered: entered}
	})
	ada := r.connect(t, "ada")
	waiting := ada.listen(t, ada.NewInbox())
	m := ada.message(sessions+"list", "", "Parley-User: slow")
	m.Reply = waiting.Subject
	if err := ada.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	<-entered
	got := ada.ask(t, sessions+"list", "")
	if got.code != 503 || got.reason != "SERVER_BUSY" || !strings.Contains(got.body, "RetryInfo") {
		t.Errorf("the second = %d %s", got.code, got.body)
	}
	close(hold)
	if got := next(t, waiting); got.Header.Get("Nats-Service-Error-Code") != "" {
		t.Errorf("the first = %s", got.Data)
	}
}

func TestAPanicIsAnErrorOfOurs(t *testing.T) {
	r := start(t, func(s *settings) { s.auth = slow{} })
	ada := r.connect(t, "ada")
	got := ada.ask(t, sessions+"list", "", "Parley-User: panics", "X-Request-Id: r1")
	if got.code != 500 || !strings.Contains(got.body, "internal error (request r1)") {
		t.Errorf("answer = %d %s", got.code, got.body)
	}
	if !strings.Contains(r.log.String(), "zebra") {
		t.Error("the log does not say why")
	}
	ada.must(t, sessions+"list", "")
}
