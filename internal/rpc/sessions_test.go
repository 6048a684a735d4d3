package rpc_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
)

func TestASessionFromItsCreationToItsEnd(t *testing.T) {
	s, ctx := start(t), t.Context()
	created, err := s.CreateSession(ctx, &conversationv1.CreateSessionRequest{Session: draft(), SessionId: "room"})
	if err != nil {
		t.Fatal(err)
	}
	name := created.GetName()
	got, err := s.GetSession(ctx, &conversationv1.GetSessionRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(created, got, protocmp.Transform()); diff != "" {
		t.Errorf("get (-created +got):\n%s", diff)
	}
	updated, err := s.UpdateSession(ctx, &conversationv1.UpdateSessionRequest{
		Session:    &conversationv1.Session{Name: name, DisplayName: "Back office", Etag: created.GetEtag()},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"display_name"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.ListSessions(ctx, &conversationv1.ListSessionsRequest{Filter: `display_name = "Back*"`})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]*conversationv1.Session{updated}, list.GetSessions(), protocmp.Transform()); diff != "" {
		t.Errorf("list (-updated +got):\n%s", diff)
	}
	_, err = s.DeleteSession(ctx, &conversationv1.DeleteSessionRequest{Name: name, Etag: created.GetEtag()})
	refused(t, err, codes.Aborted, "ETAG_MISMATCH")
	if _, err := s.DeleteSession(ctx, &conversationv1.DeleteSessionRequest{Name: name, Etag: updated.GetEtag()}); err != nil {
		t.Fatal(err)
	}
	_, err = s.GetSession(ctx, &conversationv1.GetSessionRequest{Name: name})
	refused(t, err, codes.NotFound, "SESSION_NOT_FOUND")
}

func TestErrorsOfSessions(t *testing.T) {
	s, ctx := start(t), t.Context()
	private := draft()
	private.SessionType = conversationv1.SessionType_SESSION_TYPE_PRIVATE
	hidden := s.create(t, private)
	public := s.create(t, draft())
	other := as(ctx, "other")

	_, err := s.CreateSession(ctx, &conversationv1.CreateSessionRequest{})
	refused(t, err, codes.InvalidArgument, "INVALID_FIELDS", "session")
	_, err = s.CreateSession(ctx, &conversationv1.CreateSessionRequest{Session: &conversationv1.Session{}, SessionId: "-"})
	refused(t, err, codes.InvalidArgument, "INVALID_FIELDS",
		"sessionId", "profile", "displayName", "sessionType", "owners", "defaultChannels")
	_, err = s.CreateSession(ctx, &conversationv1.CreateSessionRequest{Session: draft(), SessionId: public.GetSessionId()})
	refused(t, err, codes.AlreadyExists, "SESSION_EXISTS")
	_, err = s.CreateSession(other, &conversationv1.CreateSessionRequest{Session: draft()})
	refused(t, err, codes.PermissionDenied, "NOT_AN_OWNER")
	_, err = s.GetSession(other, &conversationv1.GetSessionRequest{Name: hidden.GetName()})
	refused(t, err, codes.NotFound, "SESSION_NOT_FOUND")
	_, err = s.GetSession(ctx, &conversationv1.GetSessionRequest{Name: "room"})
	refused(t, err, codes.InvalidArgument, "INVALID_FIELDS", "name")
	_, err = s.DeleteSession(other, &conversationv1.DeleteSessionRequest{Name: public.GetName()})
	refused(t, err, codes.PermissionDenied, "NOT_AN_OWNER")
	_, err = s.UpdateSession(ctx, &conversationv1.UpdateSessionRequest{Session: public, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"uid", "colour"}}})
	refused(t, err, codes.InvalidArgument, "INVALID_FIELDS", "updateMask")
	_, err = s.ListSessions(ctx, &conversationv1.ListSessionsRequest{PageSize: -1, Filter: "x", OrderBy: "y"})
	refused(t, err, codes.InvalidArgument, "INVALID_FIELDS", "pageSize", "filter", "orderBy")
	_, err = s.ListSessions(ctx, &conversationv1.ListSessionsRequest{PageToken: "x"})
	refused(t, err, codes.InvalidArgument, "INVALID_FIELDS", "pageToken")
}

func TestAHiddenSessionIsLikeNone(t *testing.T) {
	s := start(t)
	private := draft()
	private.SessionType = conversationv1.SessionType_SESSION_TYPE_PRIVATE
	hidden := s.create(t, private)
	ask := func(name string) (*status.Status, metadata.MD, metadata.MD) {
		var header, trailer metadata.MD
		_, err := s.GetSession(as(t.Context(), "other"), &conversationv1.GetSessionRequest{Name: name},
			grpc.Header(&header), grpc.Trailer(&trailer))
		header.Delete("x-request-id") // which is never the same twice
		return status.Convert(err), header, trailer
	}
	wantStatus, wantHeader, wantTrailer := ask("sessions/unused")
	gotStatus, gotHeader, gotTrailer := ask(hidden.GetName())
	if diff := cmp.Diff(wantStatus.Proto(), gotStatus.Proto(), protocmp.Transform()); diff != "" {
		t.Errorf("status (-unused +hidden):\n%s", diff)
	}
	if diff := cmp.Diff([]metadata.MD{wantHeader, wantTrailer}, []metadata.MD{gotHeader, gotTrailer}); diff != "" {
		t.Errorf("metadata (-unused +hidden):\n%s", diff)
	}
}

func TestAnUpdateWithoutAMaskTakesWhatIsNotDefault(t *testing.T) {
	s := start(t)
	body := draft()
	body.Description = "old"
	created := s.create(t, body)
	updated, err := s.UpdateSession(t.Context(), &conversationv1.UpdateSessionRequest{
		Session: &conversationv1.Session{Name: created.GetName(), DisplayName: "N"},
	})
	if err != nil {
		t.Fatal(err)
	}
	created.DisplayName, created.Etag, created.UpdateTime, created.HeadSequence = "N", updated.GetEtag(), updated.GetUpdateTime(), 2
	if diff := cmp.Diff(created, updated, protocmp.Transform()); diff != "" {
		t.Errorf("session (-want +got):\n%s", diff)
	}
}

func TestOptionsThatJSONCannotHold(t *testing.T) {
	s := start(t)
	for name, test := range map[string]struct {
		value *structpb.Value
		field string
	}{
		"NaN":       {structpb.NewNumberValue(math.NaN()), "options"},
		"infinity":  {structpb.NewNumberValue(math.Inf(1)), "options"},
		"no kind":   {&structpb.Value{}, "options"},
		"a bad ttl": {structpb.NewStringValue("soon"), "options.ttl"},
		"NUL":       {structpb.NewStringValue("\x00"), "options.x"},
	} {
		t.Run(name, func(t *testing.T) {
			key := "x"
			if test.field == "options.ttl" {
				key = "ttl"
			}
			body := draft()
			body.Options = &structpb.Struct{Fields: map[string]*structpb.Value{key: test.value}}
			_, err := s.CreateSession(t.Context(), &conversationv1.CreateSessionRequest{Session: body})
			refused(t, err, codes.InvalidArgument, "INVALID_FIELDS", test.field)
		})
	}
}

// What a create has taken, every later call must be able to read.
func TestWhatWasTakenCanBeRead(t *testing.T) {
	s := start(t)
	for _, number := range []float64{0, -1.5, 1<<53 - 1, 1 << 53, -1 << 60, 1e16, 1e20, 1e21, -1.5e19, math.MaxFloat64, math.SmallestNonzeroFloat64} {
		body := draft()
		body.SessionType = conversationv1.SessionType_SESSION_TYPE_PRIVATE
		body.Options = &structpb.Struct{Fields: map[string]*structpb.Value{"n": structpb.NewNumberValue(number)}}
		created, err := s.CreateSession(t.Context(), &conversationv1.CreateSessionRequest{Session: body})
		if err != nil {
			t.Errorf("create with %g: %v", number, err)
			continue
		}
		got, err := s.GetSession(as(t.Context(), "user-1"), &conversationv1.GetSessionRequest{Name: created.GetName()})
		if err != nil || got.GetOptions().GetFields()["n"].GetNumberValue() != number {
			t.Errorf("get of %g: %v, %v", number, got.GetOptions(), err)
		}
	}
}

// jsonValues is a session as REST has it, made of what gRPC answered: what is equal but written in another way is
// made the same.
func jsonValues(t *testing.T, session *conversationv1.Session) map[string]any {
	t.Helper()
	text, err := protojson.MarshalOptions{UseEnumNumbers: true, EmitDefaultValues: true}.Marshal(session)
	if err != nil {
		t.Fatal(err)
	}
	var content map[string]any
	if err := json.Unmarshal(text, &content); err != nil {
		t.Fatal(err)
	}
	if content["secretKey"] == "" {
		delete(content, "secretKey") // REST leaves it out
	}
	return withTimes(t, content)
}

// withTimes makes times of the texts that are times: protojson writes fewer digits where they are zeros.
func withTimes(t *testing.T, content map[string]any) map[string]any {
	t.Helper()
	for _, name := range []string{"createTime", "updateTime", "expireTime", "lastMessageTime"} {
		text, ok := content[name].(string)
		if !ok {
			continue
		}
		parsed, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		content[name] = parsed.UTC()
	}
	return content
}

func TestBothEdgesShowTheSameSession(t *testing.T) {
	s := start(t)
	options, err := structpb.NewStruct(map[string]any{"ttl": "3600s", "a": []any{nil, 1.5, "ü\u2028<", map[string]any{"": false}}, "n": 1e-7})
	if err != nil {
		t.Fatal(err)
	}
	full := draft()
	full.Description, full.AllowedUsers, full.BlockedUsers = "d\n\"🙂\"", []string{"a"}, []string{"b"}
	full.Labels, full.Options, full.SecretKey = map[string]string{"k": "v", "a b": ""}, options, "12345678"
	for name, body := range map[string]*conversationv1.Session{"the smallest": draft(), "a full one": full} {
		t.Run(name, func(t *testing.T) {
			created := s.create(t, body)
			created.SecretKey = ""
			got := withTimes(t, s.restJSON(t, "/v1/conversation/"+created.GetName()))
			if diff := cmp.Diff(jsonValues(t, created), got); diff != "" {
				t.Errorf("session (-gRPC +REST):\n%s", diff)
			}
		})
	}
}
