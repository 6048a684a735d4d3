package session

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/encoding/protojson"
	"pgregory.net/rapid"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
)

// The decoders of requests deviate from protojson where that of a session does, and
//   - data that is null is absent; to protojson it is a null;
//   - more than one content is for the rules to refuse; protojson does so by itself;
//   - session, which protojson knows, is in the path.

var requestValues = map[string]func(t *rapid.T) string{
	"text": values["text"], "numbers": values["numbers"],
	"number": func(t *rapid.T) string {
		return rapid.SampledFrom([]string{`0`, `1`, `-1`, `"7"`, `1.0`, `10e-1`, `1.5`, `2147483648`, `"x"`, `""`, `null`, `true`, `[]`}).Draw(t, "number")
	},
	"data": func(t *rapid.T) string {
		return rapid.SampledFrom([]string{`0`, `1e20`, `-0.5`, `"a"`, `"\u0041"`, `true`, `[]`, `[1,[2,{"a":null}]]`, `{}`, `{"a":1,"a":2}`, `1e400`, `01`, `"\ud800"`}).Draw(t, "data")
	},
	"blob": func(t *rapid.T) string {
		return rapid.SampledFrom([]string{`""`, `"AQ=="`, `"AQ"`, `"+//+"`, `"-__-"`, `"+_"`, `"A"`, `"AQ="`, `"*"`, `" AQ=="`, `"AQ==\n"`, `"AQID\r\n"`, `null`, `1`, `[]`}).Draw(t, "blob")
	},
	"metadata": values["options"],
}

var messageKinds = map[string]string{
	"text": "text", "data": "data", "blob": "blob", "contentType": "text", "content_type": "text", "metadata": "metadata",
	"replyTo": "text", "reply_to": "text", "messageId": "text", "message_id": "text", "channel": "number", "colour": "text",
}

var joinKinds = map[string]string{
	"name": "text", "secretKey": "text", "secret_key": "text", "channels": "numbers", "uid": "text", "requestId": "text",
	"request_id": "text", "colour": "text",
}

// anyObject draws an object of up to four of the fields.
func anyObject(t *rapid.T, kinds map[string]string) string {
	names := slices.Sorted(maps.Keys(kinds))
	var members []string
	for _, name := range rapid.SliceOfN(rapid.SampledFrom(names), 0, 4).Draw(t, "names") {
		members = append(members, `"`+name+`":`+requestValues[kinds[name]](t))
	}
	return "{" + strings.Join(members, ",") + "}"
}

func TestDecodePublishIsAsProtojson(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := `{"message":` + anyObject(t, messageKinds) + rapid.SampledFrom([]string{"}", "}", "}", "", "}x"}).Draw(t, "end")
		got, err := DecodePublish([]byte(body))
		if err == nil && got.Message.Contents > 1 {
			return
		}
		var want conversationv1.PublishMessageRequest
		wantErr := protojson.Unmarshal([]byte(body), &want)
		if wantErr != nil && strings.Contains(wantErr.Error(), "oneof") {
			return // and something else is wrong too
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%s\nDecodePublish: %v\nprotojson: %v", body, err, wantErr)
		}
		if err != nil {
			return
		}
		checkMessage(t, body, want.GetMessage(), got.Message)
	})
}

func checkMessage(t *rapid.T, body string, want *conversationv1.Message, got *Message) {
	expected := Message{
		ID: want.GetMessageId(), Channel: want.GetChannel(), Text: want.GetText(), Blob: want.GetBlob(),
		ContentType: want.GetContentType(), ReplyTo: want.GetReplyTo(),
	}
	if diff := cmp.Diff(expected, *got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(Message{}, "Data", "Metadata", "Kind", "Contents")); diff != "" {
		t.Fatalf("%s\nmessage (-protojson +got):\n%s", body, diff)
	}
	for name, pair := range map[string]struct {
		want interface{ MarshalJSON() ([]byte, error) }
		has  bool
		got  []byte
	}{
		"data":     {want.GetData(), want.GetData() != nil, got.Data},
		"metadata": {want.GetMetadata(), want.GetMetadata() != nil, got.Metadata},
	} {
		if pair.has != (pair.got != nil) {
			t.Fatalf("%s\n%s = %s, protojson has %v", body, name, pair.got, pair.want)
		}
		if !pair.has {
			continue
		}
		encoded, err := pair.want.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(jsonValue(t, encoded), jsonValue(t, pair.got)); diff != "" {
			t.Fatalf("%s\n%s (-protojson +got):\n%s", body, name, diff)
		}
	}
}

func TestDecodeJoinIsAsProtojson(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := anyObject(t, joinKinds)
		var want conversationv1.JoinSessionRequest
		wantErr := protojson.Unmarshal([]byte(body), &want)
		got, err := DecodeJoin([]byte(body))
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%s\nDecodeJoin: %v\nprotojson: %v", body, err, wantErr)
		}
		if err != nil {
			return
		}
		expected := JoinRequest{
			Name: want.GetName(), SecretKey: want.GetSecretKey(), Channels: want.GetChannels(), UID: want.GetUid(), RequestID: want.GetRequestId(),
		}
		if diff := cmp.Diff(expected, *got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s\nrequest (-protojson +got):\n%s", body, diff)
		}
	})
}
