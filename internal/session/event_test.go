package session

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
)

// The envelope is written by hand: what it says must be what protobuf's JSON of an Event means.
func TestAnEventIsTheJSONOfItsMessage(t *testing.T) {
	at := Time(1_767_225_600_123_456)
	uid := NewUID(at, 7)
	spec := Spec{Profile: "p", DisplayName: "d", Type: Public, Owners: []string{"ada"}, DefaultChannels: []int32{1}}
	record := &Record{
		UID: uid, ID: "s", Type: Public, DisplayName: "d", Creator: "ada", CreateTime: at, UpdateTime: at,
		Document: spec.AppendJSON(nil), Head: Head{Sequence: 4, Members: 1, LastMessageTime: at},
	}
	member := &Member{User: `"ada"`, Channels: []int32{1, 4}, JoinTime: at}
	message := &Message{Kind: ContentData, Data: []byte(`{"a":[1,"x"]}`), ContentType: "application/x", Metadata: []byte(`{"m":1}`), ReplyTo: "r"}
	timestamp := timestamppb.New(at.Std())
	wantMember := &conversationv1.Member{User: `"ada"`, Role: "owner", Channels: []int32{1, 4}, JoinTime: timestamp}

	for name, test := range map[string]struct {
		event *Event
		want  *conversationv1.Event
	}{
		"created": {record.Created(), &conversationv1.Event{Event: "session.created", Cursor: uid.String() + ":1", Sequence: 1, Actor: "ada"}},
		"deleted": {record.Ended(SessionDeleted, "ada", at), &conversationv1.Event{Event: "session.deleted", Cursor: uid.String() + ":5", Sequence: 5, Actor: "ada"}},
		"gap": {
			&Event{UID: uid, ID: "s", Kind: SessionExpired, Sequence: 9, Time: at, Gap: true},
			&conversationv1.Event{Event: "session.expired", Cursor: uid.String() + ":9", Sequence: 9, Gap: true},
		},
		"member": {
			memberEvent(record, MemberJoined, "ada", at, member, RoleOwner),
			&conversationv1.Event{
				Event: "member.joined", Cursor: uid.String() + ":4", Sequence: 4, Actor: "ada",
				Payload: &conversationv1.Event_Member{Member: wantMember},
			},
		},
		"ephemeral": {
			&Event{UID: uid, ID: "s", Kind: MessagePublished, Time: at, Actor: "ada", Channel: 4, MessageID: "m", Document: message.AppendJSON(nil)},
			&conversationv1.Event{
				Event: "message", Channel: 4, Actor: "ada",
				Payload: &conversationv1.Event_Message{Message: &conversationv1.Message{
					Name: "sessions/s/messages/m", MessageId: "m", Sender: "ada", Channel: 4, CreateTime: timestamp,
					Content: &conversationv1.Message_Data{Data: mustValue(t, `{"a":[1,"x"]}`)}, ContentType: "application/x",
					Metadata: mustValue(t, `{"m":1}`).GetStructValue(), ReplyTo: "r",
				}},
			},
		},
		"ready": {
			&Event{UID: uid, ID: "s", Kind: StreamReady, Time: at, At: &Cursor{uid, 4}, Document: record.AppendJSON(nil, "")},
			&conversationv1.Event{
				Event: "ready", Cursor: uid.String() + ":4",
				Payload: &conversationv1.Event_Snapshot{Snapshot: &conversationv1.Session{
					Name: "sessions/s", SessionId: "s", Uid: uid.String(), Etag: record.ETag(), Creator: "ada", HeadSequence: 4, MemberCount: 1,
					LastMessageTime: timestamp, CreateTime: timestamp, UpdateTime: timestamp, Profile: "p", DisplayName: "d",
					SessionType: conversationv1.SessionType_SESSION_TYPE_PUBLIC, Owners: []string{"ada"}, DefaultChannels: []int32{1},
				}},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.want.Session, test.want.CreateTime = "sessions/s", timestamp
			got := new(conversationv1.Event)
			if err := protojson.Unmarshal(test.event.JSON(), got); err != nil {
				t.Fatalf("%v: %s", err, test.event.JSON())
			}
			if diff := cmp.Diff(test.want, got, protocmp.Transform()); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}
			checkFrames(t, test.event, got.GetEvent(), got.GetCursor())
		})
	}
}

func checkFrames(t *testing.T, e *Event, name, cursor string) {
	t.Helper()
	want := "event: " + name + "\nid: " + cursor + "\ndata: " + string(e.JSON()) + "\n\n"
	if cursor == "" {
		want = strings.Replace(want, "\nid: ", "", 1)
	}
	if got := string(e.SSE()); got != want {
		t.Errorf("SSE = %q, want %q", got, want)
	}
	if got := string(e.NDJSON()); got != string(e.JSON())+"\n" || strings.Count(got, "\n") != 1 {
		t.Errorf("NDJSON = %q, want one line", got)
	}
}

// Text with line ends must not end a line of a stream.
func TestAnEventIsOneLine(t *testing.T) {
	message := &Message{Kind: ContentText, Text: "a\nb\r\nc\u2028d"}
	e := &Event{ID: "s", Kind: MessagePublished, Actor: "u\n", Document: message.AppendJSON(nil)}
	if bytes.ContainsAny(e.JSON(), "\r\n") {
		t.Errorf("JSON = %q, want it on one line", e.JSON())
	}
}

func mustValue(t *testing.T, text string) *structpb.Value {
	t.Helper()
	v := new(structpb.Value)
	if err := protojson.Unmarshal([]byte(text), v); err != nil {
		t.Fatal(err)
	}
	return v
}
