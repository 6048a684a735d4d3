package access_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"pgregory.net/rapid"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
)

// tb is a test, or one run of a property.
type tb interface {
	rapid.TB
	Cleanup(f func())
	Context() context.Context
}

// newID is an id that no other test has.
func newID() string { return "a-" + strings.ToLower(rand.Text()) }

// outcome is what came of a call, whatever the transport.
type outcome struct {
	code   codes.Code
	reason string
	answer proto.Message // if it was not refused
	said   said
}

// said is the answer as its transport has it, less what is never the same twice.
type said struct {
	Status int
	Header map[string][]string
	Body   string
}

// String is the outcome in a word.
func (o outcome) String() string {
	if o.code == codes.OK {
		return "OK"
	}
	return fmt.Sprintf("%s %s", o.code, o.reason)
}

// ok is the answer of a call that must succeed.
func (o outcome) ok(t tb) proto.Message {
	t.Helper()
	if o.code != codes.OK {
		t.Fatalf("%v, want success; answer: %+v", o, o.said)
	}
	return o.answer
}

// refused fails unless the call was, so.
func (o outcome) refused(t tb, code codes.Code, reason string) {
	t.Helper()
	if o.code != code || o.reason != reason {
		t.Fatalf("%v, want %s %s; answer: %+v", o, code, reason, o.said)
	}
}

// transport carries calls.
type transport struct {
	name string
	call func(t tb, w who, request proto.Message) outcome
}

var (
	overREST   = transport{"REST", callREST}
	overGRPC   = transport{"gRPC", callGRPC}
	transports = []transport{overREST, overGRPC}
)

const servicePath = "/parley.conversation.v1.SessionService/"

// callGRPC makes a call over gRPC. The method is the request's: that of XRequest is X.
func callGRPC(t tb, w who, request proto.Message) outcome {
	t.Helper()
	method := strings.TrimSuffix(string(request.ProtoReflect().Descriptor().Name()), "Request")
	ctx := metadata.NewOutgoingContext(t.Context(), metadata.New(w.headers(t)))
	answer := answerTo(request)
	var header, trailer metadata.MD
	err := server.rpc.Invoke(ctx, servicePath+method, request, answer, grpc.Header(&header), grpc.Trailer(&trailer))
	return outcomeOfGRPC(t, answer, err, header, trailer)
}

func outcomeOfGRPC(t tb, answer proto.Message, err error, header, trailer metadata.MD) outcome {
	t.Helper()
	s := status.Convert(err)
	o := outcome{code: s.Code(), said: said{Status: int(s.Code()), Header: sameAlways(metadata.Join(header, trailer))}}
	if err == nil {
		o.answer = answer
		return o
	}
	delete(o.said.Header, "grpc-status-details-bin") // it is the body
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			o.reason = info.GetReason()
		}
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(s.Proto())
	if err != nil {
		t.Fatal(err)
	}
	o.said.Body = string(body)
	return o
}

// sameAlways are headers less those that differ from answer to answer.
func sameAlways(headers map[string][]string) map[string][]string {
	headers = maps.Clone(headers)
	for name := range headers {
		if strings.EqualFold(name, "Date") || strings.EqualFold(name, "X-Request-Id") {
			delete(headers, name)
		}
	}
	return headers
}

// answerTo is an empty answer to the request.
func answerTo(request proto.Message) proto.Message {
	switch request.(type) {
	case *conversationv1.CreateSessionRequest, *conversationv1.GetSessionRequest, *conversationv1.UpdateSessionRequest:
		return new(conversationv1.Session)
	case *conversationv1.ListSessionsRequest:
		return new(conversationv1.ListSessionsResponse)
	case *conversationv1.JoinSessionRequest:
		return new(conversationv1.JoinSessionResponse)
	case *conversationv1.LeaveSessionRequest:
		return new(conversationv1.LeaveSessionResponse)
	case *conversationv1.PublishMessageRequest:
		return new(conversationv1.PublishMessageResponse)
	case *conversationv1.ListMessagesRequest:
		return new(conversationv1.ListMessagesResponse)
	case *conversationv1.GetMessageRequest:
		return new(conversationv1.Message)
	case *conversationv1.ListMembersRequest:
		return new(conversationv1.ListMembersResponse)
	case *conversationv1.CreateTicketRequest:
		return new(conversationv1.CreateTicketResponse)
	default:
		return new(emptypb.Empty)
	}
}

// wire is a request as REST has it.
type wire struct {
	method, path string // the path from the API's root on
	query        url.Values
	body         proto.Message // nil: none
}

// wireOf puts a request into the terms of REST.
func wireOf(request proto.Message) wire {
	switch r := request.(type) {
	case *conversationv1.CreateSessionRequest:
		return wire{http.MethodPost, "sessions", queryOf("sessionId", r.GetSessionId()), r.GetSession()}
	case *conversationv1.GetSessionRequest:
		return wire{http.MethodGet, r.GetName(), nil, nil}
	case *conversationv1.ListSessionsRequest:
		return wire{http.MethodGet, "sessions", queryOf("filter", r.GetFilter(), "pageToken", r.GetPageToken()), nil}
	case *conversationv1.UpdateSessionRequest:
		mask := strings.Join(r.GetUpdateMask().GetPaths(), ",")
		return wire{http.MethodPatch, r.GetSession().GetName(), queryOf("updateMask", mask), r.GetSession()}
	case *conversationv1.DeleteSessionRequest:
		return wire{http.MethodDelete, r.GetName(), nil, nil}
	case *conversationv1.JoinSessionRequest:
		body := proto.CloneOf(r)
		body.Session = ""
		return wire{http.MethodPost, r.GetSession() + "/join", nil, body}
	case *conversationv1.LeaveSessionRequest:
		body := proto.CloneOf(r)
		body.Session = ""
		return wire{http.MethodPost, r.GetSession() + "/leave", nil, body}
	case *conversationv1.PublishMessageRequest:
		body := proto.CloneOf(r)
		body.Session = ""
		return wire{http.MethodPost, r.GetSession() + "/messages", nil, body}
	case *conversationv1.ListMessagesRequest:
		return wire{http.MethodGet, r.GetSession() + "/messages", nil, nil}
	case *conversationv1.GetMessageRequest:
		return wire{http.MethodGet, r.GetName(), nil, nil}
	case *conversationv1.ListMembersRequest:
		return wire{http.MethodGet, r.GetSession() + "/members", nil, nil}
	case *conversationv1.CreateTicketRequest:
		return wire{http.MethodPost, r.GetSession() + "/tickets", nil, nil}
	default:
		panic(fmt.Sprintf("%T has no form in REST", r))
	}
}

// queryOf is a query of names and values, those that are empty left out.
func queryOf(pairs ...string) url.Values {
	query := url.Values{}
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] != "" {
			query.Set(pair[0], pair[1])
		}
	}
	return query
}

const root = "/v1/conversation/"

// callREST makes a call over HTTP/JSON.
func callREST(t tb, w who, request proto.Message) outcome {
	t.Helper()
	wire := wireOf(request)
	var body io.Reader
	if wire.body != nil {
		encoded, err := protojson.Marshal(wire.body)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(encoded)
	}
	sent, err := http.NewRequestWithContext(t.Context(), wire.method, server.url+root+wire.path+"?"+wire.query.Encode(), body)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		sent.Header.Set("Content-Type", "application/json")
	}
	o := send(t, w, sent)
	if o.code != codes.OK {
		return o
	}
	o.answer = answerTo(request)
	if err := protojson.Unmarshal([]byte(o.said.Body), o.answer); err != nil {
		t.Fatalf("%v; body: %s", err, o.said.Body)
	}
	return o
}

// send sends an HTTP request, and reads the answer.
func send(t tb, w who, request *http.Request) outcome {
	t.Helper()
	for name, value := range w.headers(t) {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return outcomeOfREST(t, response)
}

// statuses are HTTP's of the codes that tests meet.
var statuses = map[codes.Code]int{
	codes.InvalidArgument: 400, codes.FailedPrecondition: 400, codes.Unauthenticated: 401, codes.PermissionDenied: 403,
	codes.NotFound: 404, codes.AlreadyExists: 409, codes.Aborted: 409, codes.ResourceExhausted: 429, codes.Unimplemented: 501,
}

// outcomeOfREST reads an answer. One that is an error must have the form that all errors have.
func outcomeOfREST(t tb, response *http.Response) outcome {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	o := outcome{said: said{response.StatusCode, sameAlways(response.Header), string(body)}}
	if response.StatusCode == http.StatusOK {
		return o
	}
	var content struct {
		Error struct {
			Code    int
			Status  string
			Details []struct{ Reason string }
		}
	}
	if err := json.Unmarshal(body, &content); err != nil {
		t.Fatalf("status = %d; the body is no error: %s", response.StatusCode, body)
	}
	if err := o.code.UnmarshalJSON([]byte(`"` + content.Error.Status + `"`)); err != nil {
		t.Fatalf("%v; body: %s", err, body)
	}
	if want := statuses[o.code]; response.StatusCode != want || content.Error.Code != want || len(content.Error.Details) == 0 {
		t.Fatalf("status = %d, want %d with details; body: %s", response.StatusCode, want, body)
	}
	for _, detail := range content.Error.Details {
		if detail.Reason != "" {
			o.reason = detail.Reason
		}
	}
	return o
}

// draft is the smallest session, with changes.
func draft(kind conversationv1.SessionType, owner string, changes ...func(*conversationv1.Session)) *conversationv1.Session {
	s := &conversationv1.Session{
		Profile: "assistant", DisplayName: "Front desk", SessionType: kind, Owners: []string{owner}, DefaultChannels: []int32{1},
	}
	for _, change := range changes {
		change(s)
	}
	return s
}

const (
	public    = conversationv1.SessionType_SESSION_TYPE_PUBLIC
	private   = conversationv1.SessionType_SESSION_TYPE_PRIVATE
	temporary = conversationv1.SessionType_SESSION_TYPE_TEMPORARY
)

// create makes a session with a fresh id, as the operator.
func create(t tb, session *conversationv1.Session) (id string) {
	t.Helper()
	id = newID()
	overREST.call(t, operator(), &conversationv1.CreateSessionRequest{SessionId: id, Session: session}).ok(t)
	return id
}

// join makes users members, which must succeed.
func join(t tb, id string, users ...string) {
	t.Helper()
	for _, user := range users {
		overREST.call(t, as(user), &conversationv1.JoinSessionRequest{Session: name(id)}).ok(t)
	}
}

func name(id string) string { return "sessions/" + id }

// says tells whether the event is the message that text makes of the words.
func says(e *conversationv1.Event, words string) bool {
	return e.GetMessage().GetText() == text(words).GetText()
}

// text is a message that says so.
func text(words string) *conversationv1.Message {
	return &conversationv1.Message{Content: &conversationv1.Message_Text{Text: words + ", " + spoken}}
}

// change updates one field of a session, as the operator.
func change(t tb, path string, to *conversationv1.Session) {
	t.Helper()
	mask := &fieldmaskpb.FieldMask{Paths: []string{path}}
	overGRPC.call(t, operator(), &conversationv1.UpdateSessionRequest{Session: to, UpdateMask: mask}).ok(t)
}

// publish has a user say something, which must be stored.
func publish(t tb, id, user, says string) (cursor string) {
	t.Helper()
	answer := overREST.call(t, as(user), &conversationv1.PublishMessageRequest{Session: name(id), Message: text(says)}).ok(t)
	return answer.(*conversationv1.PublishMessageResponse).GetAcknowledgment()
}
