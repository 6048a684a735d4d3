package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parleyhq/parley/internal/fault"
)

// FuzzDecodeDraft holds that nothing breaks the decoder, that what it refuses is refused in the form of the API, and that
// what it takes can be stored and read again without a change.
func FuzzDecodeDraft(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `[]`, `{"profile":"p","displayName":"d","sessionType":1,"owners":["u"],"defaultChannels":[1]}`,
		`{"display_name":"d","displayName":"d"}`, `{"sessionType":"SESSION_TYPE_PUBLIC","options":{"ttl":"1s","n":[1e20,-0,1.5e-7]}}`,
		`{"labels":{"k":"v","":""},"etag":null,"uid":[[]]}`, `{"owners":["a",1],"x\u0000":1}`, `{"profile":"\ud83d\ude42\ud800"}`,
		"{\"profile\":\"\xff\"}", `{"defaultChannels":["1",1.0,2147483648]}`, `{"options":{"a":{"a":1,"a":2}}}`, `{} {}`, "\xef\xbb\xbf{}",
		`{"options":{"n":123456789e12,"m":1.7976931348623157e308}}`, `{"secretKey":"\u0000"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		draft, err := DecodeDraft(body)
		if err != nil {
			checkInvalid(t, err)
			return
		}
		if !json.Valid(body) {
			t.Fatal("what is no JSON was taken")
		}
		document := draft.AppendJSON(nil)
		var stored any
		if err := json.Unmarshal(document, &stored); err != nil || holdsNUL(stored) {
			t.Fatalf("its document is not JSON without NUL: %v\n%s", err, document)
		}
		again, err := DecodeDraft(document)
		if err != nil {
			t.Fatalf("its document cannot be read: %v\n%s", err, document)
		}
		if diff := cmp.Diff(draft.Spec, again.Spec, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("spec (-taken +stored):\n%s", diff)
		}
		if diff := cmp.Diff(string(document), string(again.AppendJSON(nil))); diff != "" {
			t.Fatalf("document (-first +second):\n%s", diff)
		}
	})
}

func holdsNUL(value any) bool {
	switch value := value.(type) {
	case string:
		return strings.Contains(value, "\x00")
	case []any:
		return slices.ContainsFunc(value, holdsNUL)
	case map[string]any:
		for key, member := range value {
			if holdsNUL(key) || holdsNUL(member) {
				return true
			}
		}
	}
	return false
}

func checkInvalid(t *testing.T, err error) {
	t.Helper()
	refused, ok := errors.AsType[*fault.Error](err)
	if !ok || refused.Kind != fault.InvalidArgument || len(refused.Violations) == 0 || len(refused.Violations) > maxViolations {
		t.Fatalf("%v; want an InvalidArgument fault with violations", err)
	}
	for _, violation := range refused.Violations {
		if len(violation.Field) > 1000 || !utf8.ValidString(violation.Field+violation.Description) {
			t.Fatalf("the violation is no short text: %q", violation)
		}
	}
	if !utf8.ValidString(refused.Message) {
		t.Fatalf("the message is no text: %q", refused.Message)
	}
}

// FuzzDecodePublish holds the same of a publish, by itself and in a frame of a stream.
func FuzzDecodePublish(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `{"message":null}`, `{"message":{"text":"a"},"name":"u","uid":"i","requestId":"r"}`,
		`{"message":{"data":[1e20,-0,1.5e-7,{"a":null}],"metadata":{"":""}}}`, `{"message":{"blob":"-__-AQ","content_type":"image/png"}}`,
		`{"message":{"text":"\u0000","data":{"a":1,"a":2}}}`, `{"message":{"reply_to":"a","replyTo":"b"}}`, `{"message":{"channel":"1e0"}}`,
		`{"message":{"blob":"A"}}`, `{"message":{"blob":"AAAA\n"}}`, `{"publish":{}}`, `{"message":{"text":"a"}}{}`,
		`{"message":{"data":9007199254740992,"createTime":[],"colour":1}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		frame, frameErr := DecodeClientFrame(slices.Concat([]byte(`{"publish":`), body, []byte(`}`)))
		request, err := DecodePublish(body)
		if err != nil {
			checkInvalid(t, err)
			return
		}
		if !json.Valid(body) {
			t.Fatal("what is no JSON was taken")
		}
		if diff := cmp.Diff(request, frame); diff != "" || frameErr != nil {
			t.Fatalf("in a frame: %v\n%s", frameErr, diff)
		}
		m := request.Message
		if m == nil || m.Contents != 1 || m.Kind == ContentText && m.Text == "" {
			return
		}
		document := m.AppendJSON(nil)
		again, err := DecodePublish(slices.Concat([]byte(`{"message":`), document, []byte(`}`)))
		if err != nil {
			t.Fatalf("its document cannot be read: %v\n%s", err, document)
		}
		again.Message.ID, again.Message.Channel = m.ID, m.Channel // the document is without them
		if diff := cmp.Diff(m, again.Message, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("message (-taken +stored):\n%s", diff)
		}
	})
}

// FuzzDecodeJoin holds that nothing breaks the decoders of a join and a leave, and that refusals have the form of the API.
func FuzzDecodeJoin(f *testing.F) {
	for _, seed := range []string{
		``, ` `, `{}`, `null`, `{"name":"u","secretKey":"s","channels":[1,"2",3.0],"uid":"i","request_id":"r"}`, `{"channels":[1,`,
		`{"secret_key":"a","secretKey":"b"}`, `{"name":"\u0000"}`, `{"session":"sessions/s"}`, `{}{}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := DecodeJoin(body); err != nil {
			checkInvalid(t, err)
		}
		if _, err := DecodeLeave(body); err != nil {
			checkInvalid(t, err)
		}
	})
}

// FuzzCompactOptions holds that the compact form means the same, is within its limits, and stays as it is.
func FuzzCompactOptions(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` { "a" : [ 1, 1.50, -0, 1e2, 1e20, 1e21, 5e-324, 1e-400 ] } `, `{"a":{"b":{"c":[[],{}]}}}`, `{"n":9007199254740992}`,
		`{"n":1e400}`, `{"s":"\u0041\u2028\ud83d\ude42\/"}`, `{"":""}`, `{"a":1,"a":1}`, `{"\u0061":1,"a":1}`, `{"\u0000":0}`, `[]`, `{`,
		"{\"\x7f\":\"\xc3\"}", `{"n":123456789e12}`, `{"n":0.000001,"m":1e-6,"o":100000000000000000000.5}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var violations fault.Violations
		compact := CompactOptions(raw, &violations)
		if compact == nil {
			checkInvalid(t, violations.Err())
			return
		}
		if violations != nil || len(compact) > MaxOptionsBytes {
			t.Fatalf("%d bytes and %v", len(compact), violations)
		}
		var want, got any
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatalf("what is no JSON was taken: %v", err)
		}
		if err := json.Unmarshal(compact, &got); err != nil {
			t.Fatalf("%s: %v", compact, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("value (-raw +compact):\n%s", diff)
		}
		if again := CompactOptions(compact, &violations); !bytes.Equal(again, compact) {
			t.Fatalf("%s became %s, %v", compact, again, violations)
		}
	})
}
