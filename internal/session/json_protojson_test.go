package session

import (
	"encoding/json"
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

// The decoder is a quicker protojson for one message. It deviates on purpose, and these tests leave out, where
//   - a session type may be given by its short name ("PUBLIC"), and not as the text of a number;
//   - read-only fields are ignored whatever they hold;
//   - NUL is refused, and so are, in options, integers beyond 2^53-1 and more than 100 levels;
//   - the exponent of a number needs a digit (protojson takes 1e), and it may be such that the digits stand more than 20
//     places behind the point (0.0000000000000000000001e22 is 1).

// values draws JSON for a field, of the right type as a rule.
var values = map[string]func(t *rapid.T) string{
	"text": func(t *rapid.T) string {
		return rapid.SampledFrom([]string{`""`, `"a"`, `"\u00fc\ud83d\ude42"`, `"\n\"\\\/"`, `null`, `"\ud800"`, `"\udc00\ud800"`, `1`, `true`, `[]`, `{}`, `"\x"`, "\"\t\"", "\"\xff\""}).Draw(t, "text")
	},
	"type": func(t *rapid.T) string {
		return rapid.SampledFrom([]string{`0`, `1`, `2`, `3`, `4`, `-1`, `1.0`, `1e0`, `10e-1`, `1.5`, `2147483647`, `2147483648`, `"SESSION_TYPE_PRIVATE"`, `"NONE"`, `""`, `null`, `true`, `[]`}).Draw(t, "type")
	},
	"texts": func(t *rapid.T) string {
		return rapid.SampledFrom([]string{`[]`, `["a"]`, `["a","b","a"]`, `["a",""]`, `["a",null]`, `[1]`, `[["a"]]`, `"a"`, `{}`, `null`, `["a",]`}).Draw(t, "texts")
	},
	"numbers": func(t *rapid.T) string {
		element := rapid.SampledFrom([]string{`1`, `-1`, `0`, `-0`, `"1"`, `1.0`, `"1.0"`, `1e1`, `"1e1"`, `"10e-1"`, `1.5`, `"1.5"`, `2147483647`, `-2147483648`, `2147483648`, `-2147483649`, `" 1"`, `"1 "`, `""`, `"+1"`, `"0x1"`, `"01"`, `"Infinity"`, `"1_0"`, `".5e1"`, `"5."`, `1e400`, `null`, `true`})
		return "[" + strings.Join(rapid.SliceOfN(element, 0, 2).Draw(t, "numbers"), ",") + "]"
	},
	"labels": func(t *rapid.T) string {
		return rapid.SampledFrom([]string{`{}`, `{"k":"v"}`, `{"":""}`, `{"k":"v","l":"w"}`, `{"k":"v","k":"w"}`, `{"k":1}`, `{"k":null}`, `[]`, `null`, `"k"`}).Draw(t, "labels")
	},
	"options": func(t *rapid.T) string {
		return rapid.SampledFrom([]string{`{}`, `{"a":[1,-0.5,1e20,1e-7,null,true,"\u2028",{"":[]}]}`, `{"a":1,"a":2}`, `{"a":{"b":1,"b":1}}`, `{"n":1e400}`, `{"n":01}`, `{"s":"\ud800"}`, `[]`, `1`, `"x"`, `null`}).Draw(t, "options")
	},
}

var fieldKinds = map[string]string{
	"profile": "text", "displayName": "text", "display_name": "text", "sessionType": "type", "session_type": "type", "owners": "texts",
	"defaultChannels": "numbers", "default_channels": "numbers", "description": "text", "allowedUsers": "texts", "blocked_users": "texts",
	"options": "options", "labels": "labels", "secretKey": "text", "secret_key": "text", "name": "text", "etag": "text", "colour": "text",
}

func body(t *rapid.T) string {
	names := slices.Sorted(maps.Keys(fieldKinds))
	var members []string
	for _, name := range rapid.SliceOfN(rapid.SampledFrom(names), 0, 4).Draw(t, "names") {
		members = append(members, `"`+name+`":`+values[fieldKinds[name]](t))
	}
	end := rapid.SampledFrom([]string{"}", "}", "}", "} ", "", "}x", "}{}"}).Draw(t, "end")
	return "{" + strings.Join(members, ",") + end
}

func jsonValue(t rapid.TB, text []byte) any {
	t.Helper()
	var value any
	if len(text) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	return value
}

// draftOf is what protojson understood, as a draft; options apart.
func draftOf(s *conversationv1.Session) Draft {
	return Draft{
		Spec: Spec{
			Profile: s.GetProfile(), DisplayName: s.GetDisplayName(), Type: Type(s.GetSessionType()), Owners: s.GetOwners(),
			DefaultChannels: s.GetDefaultChannels(), Description: s.GetDescription(), AllowedUsers: s.GetAllowedUsers(),
			BlockedUsers: s.GetBlockedUsers(), Labels: s.GetLabels(),
		},
		Name: s.GetName(), ETag: s.GetEtag(), SecretKey: s.GetSecretKey(),
	}
}

// checkAsProtojson holds that both take the body, as the same, or that neither does.
func checkAsProtojson(t rapid.TB, body string) {
	t.Helper()
	var want conversationv1.Session
	wantErr := protojson.Unmarshal([]byte(body), &want)
	got, err := DecodeDraft([]byte(body))
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%s\nDecodeDraft: %v\nprotojson: %v", body, err, wantErr)
	}
	if err != nil {
		return
	}
	if diff := cmp.Diff(draftOf(&want), *got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(Draft{}, "Given", "Options")); diff != "" {
		t.Fatalf("%s\ndraft (-protojson +got):\n%s", body, diff)
	}
	if (want.GetOptions() != nil) != (got.Options != nil) {
		t.Fatalf("%s\noptions = %s, protojson has %v", body, got.Options, want.GetOptions())
	}
	if want.GetOptions() == nil {
		return
	}
	options, err := protojson.Marshal(want.GetOptions())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(jsonValue(t, options), jsonValue(t, got.Options)); diff != "" {
		t.Fatalf("options (-protojson +got):\n%s", diff)
	}
}

func TestDecodeDraftIsAsProtojson(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkAsProtojson(t, body(t)) })
}

// The forms of an integer are many, and the generator above seldom comes to a given one.
func TestDecodeDraftReadsIntegersAsProtojson(t *testing.T) {
	for _, number := range []string{
		`0`, `7`, `10`, `2147483647`, `2147483648`, `-2147483648`, `-2147483649`, `99999999999`, `-0`, `-1`, `01`, `-01`, `+1`,
		`1.0`, `-1.0`, `1.5`, `0.5`, `1.`, `.5`, `1.50e1`, `1.5e0`, `15e-1`, `150e-1`, `0.1e1`, `0.01e1`, `12e+1`, `1E2`, `1e9`, `3e9`, `1e10`,
		`0e0`, `0.0e-5`, `0e99999999999`, `-0.0`, `1e400`, `1e-400`, `1e99999999999`, `1e-99999999999`, `1e2147483647`, `1e-2147483648`,
		`1.00000000000000000001`, `0.99999999999999999999`, `2147483647.0000000001`, `2147483646.9999999999`, `2147483647.0`, `2147483648.0`,
		`100000000000000000000e-20`, `100000000000000000001e-20`, `0.00000000000000000001e20`, `1_0`, `0x1`, `0b1`, `1e+`, `e1`, `-`, `--1`,
		`1 1`, `Infinity`, `NaN`, `null`, `true`, `[1]`, `{}`,
	} {
		t.Run(number, func(t *testing.T) {
			checkAsProtojson(t, `{"defaultChannels":[`+number+`]}`)
			checkAsProtojson(t, `{"sessionType":`+number+`}`)
			for _, text := range []string{number, " " + number, number + " ", number + `\n`} {
				checkAsProtojson(t, `{"defaultChannels":["`+text+`"]}`)
			}
		})
	}
}

func TestRecordAppendJSONIsReadByProtojson(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-z"\\<&ü🙂\x01\x7f ]{0,8}`)
		moment := rapid.Int64Range(0, 253402300799999999)
		spec := Spec{
			Profile: text.Draw(t, "profile"), DisplayName: text.Draw(t, "displayName"), Type: Type(rapid.Int32Range(0, 3).Draw(t, "type")),
			Owners: rapid.SliceOf(text).Draw(t, "owners"), DefaultChannels: rapid.SliceOf(rapid.Int32()).Draw(t, "channels"),
			Description: text.Draw(t, "description"), AllowedUsers: rapid.SliceOf(text).Draw(t, "allowed"),
			BlockedUsers: rapid.SliceOf(text).Draw(t, "blocked"), Labels: rapid.MapOf(text, text).Draw(t, "labels"),
		}
		created := Time(moment.Draw(t, "created"))
		record := &Record{
			UID: NewUID(created, rapid.Uint64().Draw(t, "random")), ID: rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9_-]{0,62}`).Draw(t, "id"),
			Creator: text.Draw(t, "creator"), CreateTime: created, UpdateTime: Time(moment.Draw(t, "updated")),
			ExpireTime: Time(moment.Draw(t, "expires")), Document: spec.AppendJSON(nil),
			Head: Head{Sequence: rapid.Int64().Draw(t, "sequence"), Members: rapid.Int32().Draw(t, "members")},
		}
		secret := text.Draw(t, "secret")

		var got conversationv1.Session
		answer := record.AppendJSON(nil, secret)
		if err := protojson.Unmarshal(answer, &got); err != nil {
			t.Fatalf("%v\n%s", err, answer)
		}
		want := Draft{Spec: spec, Name: record.Name(), ETag: record.ETag(), SecretKey: secret}
		if diff := cmp.Diff(want, draftOf(&got), cmpopts.EquateEmpty(), cmpopts.IgnoreFields(Draft{}, "Given", "Options")); diff != "" {
			t.Fatalf("session (-want +got):\n%s\n%s", diff, answer)
		}
		server := Record{
			ID: got.GetSessionId(), Creator: got.GetCreator(), Head: Head{Sequence: got.GetHeadSequence(), Members: got.GetMemberCount()},
		}
		if got.GetCreateTime() != nil {
			server.CreateTime = TimeOf(got.GetCreateTime().AsTime())
		}
		if got.GetUpdateTime() != nil {
			server.UpdateTime = TimeOf(got.GetUpdateTime().AsTime())
		}
		if got.GetExpireTime() != nil {
			server.ExpireTime = TimeOf(got.GetExpireTime().AsTime())
		}
		if diff := cmp.Diff(*record, server, cmpopts.IgnoreFields(Record{}, "UID", "Document")); diff != "" {
			t.Fatalf("record (-want +got):\n%s\n%s", diff, answer)
		}
		if got.GetUid() != record.UID.String() {
			t.Fatalf("uid = %s, want %s", got.GetUid(), record.UID)
		}
	})
}
