package session

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parleyhq/parley/internal/fault"
)

func TestDecodeJoin(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		want JoinRequest
	}{
		"nothing":     {``, JoinRequest{}},
		"white space": {" \t\r\n", JoinRequest{}},
		"empty":       {`{}`, JoinRequest{}},
		"all": {
			`{"name":"u","secretKey":"s","channels":[1,"2",3.0],"uid":"i","requestId":"r"}`,
			JoinRequest{Name: "u", SecretKey: "s", Channels: []int32{1, 2, 3}, UID: "i", RequestID: "r"},
		},
		"snake_case":     {`{"secret_key":"s","request_id":"r"}`, JoinRequest{SecretKey: "s", RequestID: "r"}},
		"null is absent": {`{"name":null,"secretKey":null,"channels":null,"uid":null,"requestId":null}`, JoinRequest{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := DecodeJoin([]byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, *got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeLeave(t *testing.T) {
	for body, want := range map[string]LeaveRequest{
		``: {}, `{}`: {}, `{"name":"u","requestId":"r"}`: {Name: "u", RequestID: "r"}, `{"request_id":"r","name":null}`: {RequestID: "r"},
	} {
		got, err := DecodeLeave([]byte(body))
		if err != nil || *got != want {
			t.Errorf("DecodeLeave(%s) = %v, %v; want %v", body, got, err, want)
		}
	}
}

func TestDecodePublish(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		want PublishRequest
	}{
		"empty":      {`{}`, PublishRequest{}},
		"no message": {`{"message":null}`, PublishRequest{}},
		"no content": {`{"message":{}}`, PublishRequest{Message: &Message{}}},
		"text": {
			`{"name":"u","message":{"text":"a\nb","messageId":"m","channel":"4","contentType":"text/plain","replyTo":"r"},"uid":"i","requestId":"q"}`,
			PublishRequest{
				Name: "u", UID: "i", RequestID: "q",
				Message: &Message{ID: "m", Channel: 4, Kind: ContentText, Text: "a\nb", ContentType: "text/plain", ReplyTo: "r", Contents: 1},
			},
		},
		"snake_case": {
			`{"message":{"text":"a","message_id":"m","content_type":"c","reply_to":"r"},"request_id":"q"}`,
			PublishRequest{RequestID: "q", Message: &Message{ID: "m", Kind: ContentText, Text: "a", ContentType: "c", ReplyTo: "r", Contents: 1}},
		},
		"data and metadata": {
			`{"message":{"data": [ 1.0, 1e20, "\u0041", {"a" : null} ],"metadata": { "b" : 1 }}}`,
			PublishRequest{Message: &Message{Kind: ContentData, Data: []byte(`[1,1e+20,"A",{"a":null}]`), Metadata: []byte(`{"b":1}`), Contents: 1}},
		},
		"data of one word": {`{"message":{"data":false}}`, PublishRequest{Message: &Message{Kind: ContentData, Data: []byte(`false`), Contents: 1}}},
		"data that is null": {
			`{"message":{"data":null,"text":"a","blob":null,"metadata":null}}`,
			PublishRequest{Message: &Message{Kind: ContentText, Text: "a", Contents: 1}},
		},
		"an empty text": {`{"message":{"text":""}}`, PublishRequest{Message: &Message{Kind: ContentText, Contents: 1}}},
		"two contents": {
			`{"message":{"text":"a","blob":"AAA="}}`,
			PublishRequest{Message: &Message{Kind: ContentBlob, Text: "a", Blob: []byte{0, 0}, Contents: 2}},
		},
		"read-only": {
			`{"message":{"text":"a","name":1,"sender":[],"sequence":{},"createTime":false}}`,
			PublishRequest{Message: &Message{Kind: ContentText, Text: "a", Contents: 1}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := DecodePublish([]byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, *got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
			frame, err := DecodeClientFrame([]byte(`{"publish":` + test.body + `}`))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, frame); diff != "" {
				t.Errorf("request of a frame (-body +frame):\n%s", diff)
			}
		})
	}
}

func TestABlobInEveryAlphabet(t *testing.T) {
	want := []byte{0xfb, 0xff, 0xfe, 1}
	for _, text := range []string{"+//+AQ==", "+//+AQ", "-__-AQ==", "-__-AQ"} {
		got, err := DecodePublish([]byte(`{"message":{"blob":"` + text + `"}}`))
		if err != nil || !bytes.Equal(got.Message.Blob, want) {
			t.Errorf("blob %s = %v, %v; want %v", text, got, err, want)
		}
	}
}

func violationsOf(err error) (fields []string) {
	for _, violation := range fault.From(err).Violations {
		fields = append(fields, violation.Field)
	}
	slices.Sort(fields)
	return fields
}

func TestDecodersOfRequestsReportEverythingWrong(t *testing.T) {
	deep := strings.Repeat("[", 101) + strings.Repeat("]", 101)
	join := func(body []byte) error { _, err := DecodeJoin(body); return err }
	leave := func(body []byte) error { _, err := DecodeLeave(body); return err }
	publish := func(body []byte) error { _, err := DecodePublish(body); return err }
	for name, test := range map[string]struct {
		decode func([]byte) error
		body   string
		want   []string
	}{
		"a join's types": {
			join, `{"name":1,"secretKey":[],"channels":[1,"x",{}],"uid":true,"requestId":{},"session":"sessions/s"}`,
			[]string{"channels[1]", "channels[2]", "name", "requestId", "secretKey", "session", "uid"},
		},
		"a leave's types":   {leave, `{"name":1,"requestId":1,"uid":"u"}`, []string{"name", "requestId", "uid"}},
		"a publish's types": {publish, `{"name":[],"message":"x","uid":0,"requestId":1,"colour":1}`, []string{"colour", "message", "name", "requestId", "uid"}},
		"a message's types": {
			publish, `{"message":{"text":1,"blob":"*","contentType":1,"metadata":[],"replyTo":1,"messageId":1,"channel":1.5,"colour":1}}`,
			[]string{
				"message.blob", "message.channel", "message.colour", "message.contentType", "message.messageId", "message.metadata",
				"message.replyTo", "message.text",
			},
		},
		"a blob that is no text": {publish, `{"message":{"blob":[]}}`, []string{"message.blob"}},
		"values": {
			publish, `{"message":{"text":"\u0000","data":{"a":[0,1,9007199254740992],"b":"\u0000"},"metadata":{"c":1e400}}}`,
			[]string{"message.data.a[2]", "message.data.b", "message.metadata.c", "message.text"},
		},
		"too deep":     {publish, `{"message":{"data":` + deep + `}}`, []string{"message.data" + strings.Repeat("[0]", 14) + "..."}},
		"too long":     {publish, `{"message":{"data":"` + strings.Repeat("x", MaxMessageBytes) + `"}}`, []string{"message.data"}},
		"two keys":     {publish, `{"message":{"reply_to":"a","replyTo":"b"}}`, []string{"message.replyTo"}},
		"duplicate":    {publish, `{"message":{"text":"a","text":"b"}}`, []string{"message.text"}},
		"no body":      {publish, ``, []string{"body"}},
		"no object":    {publish, `[]`, []string{"body"}},
		"more data":    {publish, `{} {}`, []string{"body"}},
		"null to join": {join, `null`, []string{"body"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, violationsOf(test.decode([]byte(test.body)))); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeClientFrameRefuses(t *testing.T) {
	for frame, want := range map[string][]string{
		``:                              {"body"},
		`[]`:                            {"body"},
		`{}`:                            {"publish"},
		`{"publish":null}`:              {"publish"},
		`{"publish":1}`:                 {"publish"},
		`{"publish":{},"subscribe":{}}`: {"subscribe"},
		`{"publish":{"session":"s"}}`:   {"session"},
		`{"publish":{"message":{"data":{"publish":[1e400]},"text":1}}}`: {"message.data.publish[0]", "message.text"},
		`{"publish":{"message":{}}}{}`:                                  {"body"},
	} {
		t.Run(frame, func(t *testing.T) {
			_, err := DecodeClientFrame([]byte(frame))
			if diff := cmp.Diff(want, violationsOf(err)); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestARequestHoldsNothingOfItsBody(t *testing.T) {
	body := []byte(`{"name":"user","message":{"data":{"a":"text"},"metadata":{"b":"more"},"messageId":"m1"},"requestId":"r1"}`)
	got, err := DecodePublish(body)
	if err != nil {
		t.Fatal(err)
	}
	for i := range body {
		body[i] = 'X'
	}
	want := PublishRequest{Name: "user", RequestID: "r1", Message: &Message{
		ID: "m1", Kind: ContentData, Data: []byte(`{"a":"text"}`), Metadata: []byte(`{"b":"more"}`), Contents: 1,
	}}
	if diff := cmp.Diff(want, *got); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

// Draft.Given is made of the places of the fields.
func TestTheMutableFieldsOfADraftComeFirst(t *testing.T) {
	for i, name := range []string{
		"profile", "displayName", "sessionType", "owners", "defaultChannels", "description", "allowedUsers", "blockedUsers", "options",
		"labels", "secretKey",
	} {
		draft, err := DecodeDraft([]byte(`{"` + name + `":null}`))
		if err != nil || draft.Given != 0 || draftFields.list[i].name != name {
			t.Errorf("field %d is %s, want %s; given = %b, %v", i, draftFields.list[i].name, name, draft.Given, err)
		}
	}
}
