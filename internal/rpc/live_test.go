package rpc_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
)

// gather makes a session of user-1 that the users have joined, and returns its name.
func (s *server) gather(t *testing.T, session *conversationv1.Session, users ...string) string {
	t.Helper()
	name := s.create(t, session).GetName()
	for _, user := range users {
		if _, err := s.JoinSession(as(t.Context(), user), &conversationv1.JoinSessionRequest{Session: name}); err != nil {
			t.Fatal(err)
		}
	}
	return name
}

func textOf(text string) *conversationv1.Message {
	return &conversationv1.Message{Content: &conversationv1.Message_Text{Text: text}}
}

// publish publishes as guest.
func (s *server) publish(t *testing.T, name string, message *conversationv1.Message) *conversationv1.PublishMessageResponse {
	t.Helper()
	published, err := s.PublishMessage(as(t.Context(), "guest"), &conversationv1.PublishMessageRequest{Session: name, Message: message})
	if err != nil {
		t.Fatal(err)
	}
	return published
}

func TestAMembershipFromJoinToLeave(t *testing.T) {
	s := start(t)
	name := s.create(t, draft()).GetName()
	guest := as(t.Context(), "guest")
	joined, err := s.JoinSession(guest, &conversationv1.JoinSessionRequest{Session: name, Channels: []int32{4, 1}})
	if err != nil {
		t.Fatal(err)
	}
	if m := joined.GetMember(); m.GetUser() != "guest" || m.GetRole() != "member" || m.GetJoinTime() == nil || m.GetOnline() ||
		!cmp.Equal(m.GetChannels(), []int32{4, 1}) || joined.GetCursor() == "" || joined.GetSession().GetMemberCount() != 1 {
		t.Errorf("answer = %v", joined)
	}
	members, err := s.ListMembers(guest, &conversationv1.ListMembersRequest{Session: name, Filter: "role = member"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]*conversationv1.Member{joined.GetMember()}, members.GetMembers(), protocmp.Transform()); diff != "" {
		t.Errorf("members (-joined +listed):\n%s", diff)
	}
	left, err := s.LeaveSession(as(t.Context(), "user-1"), &conversationv1.LeaveSessionRequest{Session: name, Name: "guest"})
	if err != nil || left.GetSession().GetMemberCount() != 0 {
		t.Errorf("leave = %v, %v; want no members", left, err)
	}
}

func TestEveryContentComesBack(t *testing.T) {
	s := start(t)
	name := s.gather(t, draft(), "guest")
	value, err := structpb.NewValue(map[string]any{"a": []any{1.0, 1e20, -1 << 60, nil, "ü\u2028<", false, map[string]any{"": 1e-7}}})
	if err != nil {
		t.Fatal(err)
	}
	for kind, message := range map[string]*conversationv1.Message{
		"text":            textOf("a\n\"ü🙂<"),
		"data":            {Content: &conversationv1.Message_Data{Data: value}},
		"a number":        {Content: &conversationv1.Message_Data{Data: structpb.NewNumberValue(1e20)}},
		"an empty object": {Content: &conversationv1.Message_Data{Data: structpb.NewStructValue(&structpb.Struct{})}},
		"a blob":          {Content: &conversationv1.Message_Blob{Blob: []byte{0xfb, 0xff, 0}}, ContentType: "image/png"},
	} {
		t.Run(kind, func(t *testing.T) {
			message.Channel, message.Metadata = 7, &structpb.Struct{Fields: map[string]*structpb.Value{"n": structpb.NewNumberValue(1e20)}}
			published := s.publish(t, name, message)
			got := published.GetMessage()
			if got.GetSequence() == 0 || got.GetCreateTime() == nil || got.GetSender() != "guest" || published.GetAcknowledgment() == "" {
				t.Errorf("answer = %v", published)
			}
			message.Name, message.MessageId, message.Sender = got.GetName(), got.GetMessageId(), got.GetSender()
			message.Sequence, message.CreateTime = got.GetSequence(), got.GetCreateTime()
			if diff := cmp.Diff(message, got, protocmp.Transform()); diff != "" {
				t.Errorf("message (-sent +published):\n%s", diff)
			}
			read, err := s.GetMessage(as(t.Context(), "guest"), &conversationv1.GetMessageRequest{Name: got.GetName()})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, read, protocmp.Transform()); diff != "" {
				t.Errorf("message (-published +read):\n%s", diff)
			}
			encoded, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			var want map[string]any
			if err := json.Unmarshal(encoded, &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(withTimes(t, want), withTimes(t, s.restJSON(t, "/v1/conversation/"+got.GetName()))); diff != "" {
				t.Errorf("message (-gRPC +REST):\n%s", diff)
			}
		})
	}
}

func TestListMessagesInPages(t *testing.T) {
	s := start(t)
	name := s.gather(t, draft(), "guest")
	var want, got []string
	for _, text := range []string{"a", "b", "c"} {
		s.publish(t, name, textOf(text))
		want = append(want, text)
	}
	request := &conversationv1.ListMessagesRequest{Session: name, PageSize: 2, Filter: `sender = "g*"`, OrderBy: "sequence"}
	for more := true; more; more = request.GetPageToken() != "" {
		page, err := s.ListMessages(as(t.Context(), "guest"), request)
		if err != nil {
			t.Fatal(err)
		}
		for _, message := range page.GetMessages() {
			got = append(got, message.GetText())
		}
		request.PageToken = page.GetNextPageToken()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("texts (-want +got):\n%s", diff)
	}
}

func TestAMessageOf512KiB(t *testing.T) {
	s := start(t)
	body := draft()
	body.Options = &structpb.Struct{Fields: map[string]*structpb.Value{"maxMessageBytes": structpb.NewNumberValue(512 << 10)}}
	name := s.gather(t, body, "guest")
	text := strings.Repeat("x", 512<<10)
	if got := s.publish(t, name, textOf(text)).GetMessage().GetText(); got != text {
		t.Errorf("text = %d bytes, want %d", len(got), len(text))
	}
	_, err := s.PublishMessage(as(t.Context(), "guest"), &conversationv1.PublishMessageRequest{Session: name, Message: textOf(text + "x")})
	refused(t, err, codes.InvalidArgument, "INVALID_FIELDS", "message")
}

func TestARepeatedPublishIsOneMessage(t *testing.T) {
	s := start(t)
	name := s.gather(t, draft(), "guest")
	guest := as(t.Context(), "guest")
	fields := map[string]*structpb.Value{}
	for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		fields[key] = structpb.NewStringValue(key)
	}
	request := &conversationv1.PublishMessageRequest{Session: name, Message: textOf("x"), RequestId: "r"}
	request.Message.Metadata = &structpb.Struct{Fields: fields} // a map, which has no order
	first, err := s.PublishMessage(guest, request)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		again, err := s.PublishMessage(guest, request)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, again, protocmp.Transform()); diff != "" {
			t.Fatalf("repeat (-first +repeat):\n%s", diff)
		}
	}
	request.Message.Content = &conversationv1.Message_Text{Text: "y"}
	_, err = s.PublishMessage(guest, request)
	refused(t, err, codes.InvalidArgument, "REQUEST_ID_REUSED")
}

func TestErrorsOfMembersAndMessages(t *testing.T) {
	s, ctx := start(t), t.Context()
	private, locked, full := draft(), draft(), draft()
	private.SessionType = conversationv1.SessionType_SESSION_TYPE_PRIVATE
	locked.SecretKey = "open-sesame"
	full.Options = &structpb.Struct{Fields: map[string]*structpb.Value{"maxMembers": structpb.NewNumberValue(1)}}
	full.BlockedUsers = []string{"blocked"}
	hidden, secret, crowd := s.gather(t, private), s.gather(t, locked), s.gather(t, full, "guest")
	guest, other := as(ctx, "guest"), as(ctx, "other")
	message := textOf("x")
	message.MessageId = "m1"
	s.publish(t, crowd, message)

	join := func(r *conversationv1.JoinSessionRequest) error { _, err := s.JoinSession(other, r); return err }
	refused(t, join(&conversationv1.JoinSessionRequest{}), codes.InvalidArgument, "INVALID_FIELDS", "session")
	refused(t, join(&conversationv1.JoinSessionRequest{Session: hidden}), codes.NotFound, "SESSION_NOT_FOUND")
	refused(t, join(&conversationv1.JoinSessionRequest{Session: secret}), codes.PermissionDenied, "SECRET_KEY_REQUIRED")
	refused(t, join(&conversationv1.JoinSessionRequest{Session: secret, SecretKey: "wrong-secret"}), codes.PermissionDenied, "SECRET_KEY_REQUIRED")
	refused(t, join(&conversationv1.JoinSessionRequest{Session: secret, Uid: "x"}), codes.Aborted, "UID_MISMATCH")
	refused(t, join(&conversationv1.JoinSessionRequest{Session: crowd}), codes.FailedPrecondition, "SESSION_FULL")
	refused(t, join(&conversationv1.JoinSessionRequest{Session: crowd, Name: "guest"}), codes.PermissionDenied, "ACTING_AS_ANOTHER")
	refused(t, join(&conversationv1.JoinSessionRequest{Session: crowd, Name: "a\n", Channels: []int32{-1}, RequestId: "*"}),
		codes.InvalidArgument, "INVALID_FIELDS", "name", "channels[0]", "requestId")

	_, err := s.JoinSession(as(ctx, "blocked"), &conversationv1.JoinSessionRequest{Session: crowd})
	refused(t, err, codes.PermissionDenied, "BLOCKED")
	_, err = s.LeaveSession(other, &conversationv1.LeaveSessionRequest{Session: crowd, Name: "guest"})
	refused(t, err, codes.PermissionDenied, "NOT_AN_OWNER")
	_, err = s.LeaveSession(other, &conversationv1.LeaveSessionRequest{Session: hidden})
	refused(t, err, codes.NotFound, "SESSION_NOT_FOUND")
	_, err = s.LeaveSession(other, &conversationv1.LeaveSessionRequest{Session: "room"})
	refused(t, err, codes.InvalidArgument, "INVALID_FIELDS", "session")
	_, err = s.PublishMessage(other, &conversationv1.PublishMessageRequest{Session: crowd, Message: textOf("x")})
	refused(t, err, codes.PermissionDenied, "NOT_A_MEMBER")
	_, err = s.PublishMessage(guest, &conversationv1.PublishMessageRequest{Session: crowd, Message: message})
	refused(t, err, codes.AlreadyExists, "MESSAGE_EXISTS")
	_, err = s.PublishMessage(guest, &conversationv1.PublishMessageRequest{Session: crowd, Message: textOf("x"), Uid: "x"})
	refused(t, err, codes.Aborted, "UID_MISMATCH")
	_, err = s.GetMessage(guest, &conversationv1.GetMessageRequest{Name: crowd + "/messages/none"})
	refused(t, err, codes.NotFound, "MESSAGE_NOT_FOUND")
	_, err = s.GetMessage(other, &conversationv1.GetMessageRequest{Name: hidden + "/messages/none"})
	refused(t, err, codes.NotFound, "SESSION_NOT_FOUND")
	_, err = s.ListMessages(guest, &conversationv1.ListMessagesRequest{Session: secret})
	refused(t, err, codes.PermissionDenied, "NOT_A_MEMBER")
	_, err = s.ListMessages(guest, &conversationv1.ListMessagesRequest{Session: crowd, PageSize: -1, Filter: "x", OrderBy: "y"})
	refused(t, err, codes.InvalidArgument, "INVALID_FIELDS", "pageSize", "filter", "orderBy")
	_, err = s.ListMembers(guest, &conversationv1.ListMembersRequest{Session: crowd, PageToken: "x"})
	refused(t, err, codes.InvalidArgument, "INVALID_FIELDS", "pageToken")
	for _, name := range []string{"", crowd, crowd + "/messages/", crowd + "/messages/a/b", "sessions//messages/a", crowd + "/members/a"} {
		_, err = s.GetMessage(guest, &conversationv1.GetMessageRequest{Name: name})
		refused(t, err, codes.InvalidArgument, "INVALID_FIELDS", "name")
	}
}

func TestBadMessages(t *testing.T) {
	s := start(t)
	name := s.gather(t, draft(), "guest")
	data := func(value *structpb.Value) *conversationv1.Message {
		return &conversationv1.Message{Content: &conversationv1.Message_Data{Data: value}}
	}
	deep := structpb.NewNumberValue(1)
	for range 101 {
		deep = structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{deep}})
	}
	changed := textOf("x")
	changed.Channel, changed.ReplyTo, changed.MessageId, changed.ContentType = -1, "*", "*", "a\n"
	changed.Metadata = &structpb.Struct{Fields: map[string]*structpb.Value{"n": structpb.NewNumberValue(math.NaN())}}
	for what, test := range map[string]struct {
		message *conversationv1.Message
		fields  []string
	}{
		"none":             {nil, []string{"message"}},
		"no content":       {&conversationv1.Message{}, []string{"message"}},
		"null":             {data(structpb.NewNullValue()), []string{"message"}},
		"no kind":          {data(&structpb.Value{}), []string{"message.data"}},
		"NaN":              {data(structpb.NewNumberValue(math.NaN())), []string{"message.data"}},
		"infinity":         {data(structpb.NewNumberValue(math.Inf(-1))), []string{"message.data"}},
		"NUL":              {data(structpb.NewStringValue("\x00")), []string{"message.data"}},
		"too deep":         {data(deep), []string{"message.data" + strings.Repeat("[0]", 16) + "..."}},
		"an empty text":    {textOf(""), []string{"message.text"}},
		"NUL in a text":    {textOf("\x00"), []string{"message.text"}},
		"a blob of nobody": {&conversationv1.Message{Content: &conversationv1.Message_Blob{Blob: []byte{1}}}, []string{"message.contentType"}},
		"NaN in metadata":  {changed, []string{"message.metadata"}},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := s.PublishMessage(as(t.Context(), "guest"), &conversationv1.PublishMessageRequest{Session: name, Message: test.message})
			refused(t, err, codes.InvalidArgument, "INVALID_FIELDS", test.fields...)
		})
	}
	changed.Metadata = nil
	_, err := s.PublishMessage(as(t.Context(), "guest"), &conversationv1.PublishMessageRequest{Session: name, Message: changed})
	refused(t, err, codes.InvalidArgument, "INVALID_FIELDS", "message.channel", "message.replyTo", "message.messageId", "message.contentType")
}
