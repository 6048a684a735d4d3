package session

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
	"github.com/parleyhq/parley/internal/fault"
)

// calls are the messages of the calls, and what decodes them, for the session s and its message m.
var calls = map[proto.Message]func(body []byte) error{
	new(conversationv1.CreateSessionRequest):  func(b []byte) error { _, err := DecodeCreateCall(b, "s"); return err },
	new(conversationv1.GetSessionRequest):     func(b []byte) error { return DecodeGetCall(b, "s") },
	new(conversationv1.ListSessionsRequest):   func(b []byte) error { _, err := DecodeListCall(b); return err },
	new(conversationv1.UpdateSessionRequest):  func(b []byte) error { _, err := DecodeUpdateCall(b, "s"); return err },
	new(conversationv1.DeleteSessionRequest):  func(b []byte) error { _, err := DecodeDeleteCall(b, "s"); return err },
	new(conversationv1.JoinSessionRequest):    func(b []byte) error { _, err := DecodeJoinCall(b, "s"); return err },
	new(conversationv1.LeaveSessionRequest):   func(b []byte) error { _, err := DecodeLeaveCall(b, "s"); return err },
	new(conversationv1.PublishMessageRequest): func(b []byte) error { _, err := DecodePublishCall(b, "s"); return err },
	new(conversationv1.ListMessagesRequest):   func(b []byte) error { _, err := DecodeListMessagesCall(b, "s"); return err },
	new(conversationv1.GetMessageRequest):     func(b []byte) error { return DecodeGetMessageCall(b, "s", "m") },
	new(conversationv1.ListMembersRequest):    func(b []byte) error { _, err := DecodeListMembersCall(b, "s"); return err },
}

func TestACallKnowsEveryFieldOfItsMessage(t *testing.T) {
	for message, decode := range calls {
		fields := message.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			for _, name := range []string{fields.Get(i).JSONName(), string(fields.Get(i).Name())} {
				body := `{"` + name + `":true,"unknown":1}`
				got := violated(decode([]byte(body)))
				want := map[string]string{fields.Get(i).JSONName(): "", "unknown": ""}
				for field := range want {
					if _, ok := got[field]; !ok {
						t.Errorf("%s: %s: violations = %v, want one at %s", fullName(message), body, got, field)
					}
				}
				if strings.Contains(got[fields.Get(i).JSONName()], "unknown") {
					t.Errorf("%s: the field %s is not known", fullName(message), name)
				}
			}
		}
	}
}

func fullName(message proto.Message) protoreflect.FullName {
	return message.ProtoReflect().Descriptor().FullName()
}

// violated are the violations of a fault, by their fields.
func violated(err error) map[string]string {
	fields := map[string]string{}
	if f := fault.From(err); f != nil {
		for _, v := range f.Violations {
			fields[v.Field] = v.Description
		}
	}
	return fields
}

func TestAnEmptyCallIsAMessageWithoutFields(t *testing.T) {
	for message, decode := range calls {
		for _, body := range []string{"", " \n", "{}"} {
			err := decode([]byte(body))
			_, needsSession := violated(err)["session"]
			switch message.(type) {
			case *conversationv1.CreateSessionRequest, *conversationv1.UpdateSessionRequest:
				if !needsSession {
					t.Errorf("%s: %q: %v, want that the session is required", fullName(message), body, err)
				}
			default:
				if err != nil {
					t.Errorf("%s: %q: %v", fullName(message), body, err)
				}
			}
		}
	}
}

func TestACallsUpdateCountsWhatItsSessionHas(t *testing.T) {
	for name, test := range map[string]struct {
		body  string
		given Fields
		mask  string
	}{
		"empty fields":    {`{"session":{"description":"","labels":{}}}`, FieldDescription | FieldLabels, ""},
		"nothing":         {`{"session":{}}`, 0, ""},
		"null is nothing": {`{"session":{"description":null,"etag":"e"}}`, 0, ""},
		"a mask":          {`{"update_mask":"displayName,labels.a","session":{"description":"d"}}`, FieldDescription, "displayName,labels.`a`"},
	} {
		got, err := DecodeUpdateCall([]byte(test.body), "s")
		if err != nil || got.ID != "s" || got.Draft.Given != test.given || got.Mask.String() != test.mask {
			t.Errorf("%s: %+v, %v, want %b and the mask %q", name, got, err, test.given, test.mask)
		}
	}
	_, err := DecodeUpdateCall([]byte(`{"updateMask":"uid","session":{}}`), "s")
	if _, ok := violated(err)["updateMask"]; !ok {
		t.Errorf("a bad mask: %v", err)
	}
}

func TestPathsOfACallLeaveOutTheSession(t *testing.T) {
	_, err := DecodeCreateCall([]byte(`{"session":{"owners":[1],"options":{"a":[1e999]},"labels":{"x":2},"nope":3},"session_id":4}`), "s")
	want := map[string]bool{"owners[0]": true, "options.a[0]": true, "labels.x": true, "nope": true, "sessionId": true}
	got := map[string]bool{}
	for field := range violated(err) {
		got[field] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}
