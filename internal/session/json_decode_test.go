package session

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parleyhq/parley/internal/fault"
)

func TestDecodeDraft(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		want Draft
	}{
		"empty": {`{}`, Draft{}},
		"camelCase": {
			`{"profile":"p","displayName":"d","sessionType":2,"owners":["o"],"defaultChannels":[1,4],"description":"x",
			"allowedUsers":["a"],"blockedUsers":["b"],"labels":{"k":"v"},"options":{"a": 1.0},"secretKey":"s","name":"sessions/n","etag":"e"}`,
			Draft{
				Spec: Spec{
					Profile: "p", DisplayName: "d", Type: Private, Owners: []string{"o"}, DefaultChannels: []int32{1, 4}, Description: "x",
					AllowedUsers: []string{"a"}, BlockedUsers: []string{"b"}, Labels: map[string]string{"k": "v"}, Options: []byte(`{"a":1}`),
				},
				Name: "sessions/n", ETag: "e", SecretKey: "s", Given: AllFields | FieldSecretKey,
			},
		},
		"snake_case": {
			`{"display_name":"d","session_type":1,"default_channels":[1],"allowed_users":["a"],"blocked_users":["b"],"secret_key":"s"}`,
			Draft{
				Spec:      Spec{DisplayName: "d", Type: Public, DefaultChannels: []int32{1}, AllowedUsers: []string{"a"}, BlockedUsers: []string{"b"}},
				SecretKey: "s",
				Given:     FieldDisplayName | FieldType | FieldDefaultChannels | FieldAllowedUsers | FieldBlockedUsers | FieldSecretKey,
			},
		},
		"null is absent":   {`{"profile":null,"owners":null,"labels":null,"options":null,"sessionType":null,"etag":null,"uid":null}`, Draft{}},
		"empty is given":   {`{"profile":"","owners":[],"labels":{},"sessionType":0,"secretKey":""}`, Draft{Given: FieldProfile | FieldOwners | FieldLabels | FieldType | FieldSecretKey}},
		"read-only":        {`{"sessionId":1,"uid":[],"creator":{},"has_secret_key":"x","headSequence":"1","memberCount":1,"createTime":false}`, Draft{}},
		"type by name":     {`{"sessionType":"TEMPORARY"}`, Draft{Spec: Spec{Type: Temporary}, Given: FieldType}},
		"type by its enum": {`{"sessionType":"SESSION_TYPE_PUBLIC"}`, Draft{Spec: Spec{Type: Public}, Given: FieldType}},
		"unknown type":     {`{"sessionType":-7}`, Draft{Spec: Spec{Type: -7}, Given: FieldType}},
		"int32 forms":      {`{"defaultChannels":["7",7.0,70e-1,2147483647,-2147483648]}`, Draft{Spec: Spec{DefaultChannels: []int32{7, 7, 7, 2147483647, -2147483648}}, Given: FieldDefaultChannels}},
		"escapes":          {`{"profile":"\u00fc\ud83d\ude42\"\\\/\n"}`, Draft{Spec: Spec{Profile: "ü🙂\"\\/\n"}, Given: FieldProfile}},
		"white space":      {" \t\r\n{ \"profile\" : \"p\" } \n", Draft{Spec: Spec{Profile: "p"}, Given: FieldProfile}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := DecodeDraft([]byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, *got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("draft (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeDraftReportsEverythingWrong(t *testing.T) {
	_, err := DecodeDraft([]byte(`{"profile":1,"displayName":[],"sessionType":1.5,"owners":["a",1,null],"default_channels":["x",2147483648],
		"description":{},"allowedUsers":"a","blockedUsers":{},"options":[],"labels":{"k":1,"a b":null},"secretKey":true,"colour":1,"name":1,"etag":1}`))
	var got []string
	for _, violation := range fault.From(err).Violations {
		got = append(got, violation.Field)
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{
		"allowedUsers", "blockedUsers", "colour", "defaultChannels[0]", "defaultChannels[1]", "description", "displayName", "etag",
		"labels.k", `labels["a b"]`, "name", "options", "owners[1]", "owners[2]", "profile", "secretKey", "sessionType",
	}, got); diff != "" {
		t.Errorf("violations (-want +got):\n%s", diff)
	}
}

func TestDecodeDraftBoundsWhatItReports(t *testing.T) {
	body := `{"owners":[` + strings.Repeat("1,", 5000) + `1]}`
	_, err := DecodeDraft([]byte(body))
	if got := len(fault.From(err).Violations); got != maxViolations {
		t.Errorf("violations = %d, want %d", got, maxViolations)
	}
}

func TestDecodeDraftShowsUnknownNamesSafely(t *testing.T) {
	_, err := DecodeDraft([]byte(`{"` + strings.Repeat("x", 500) + `":1,"a\u0007\u2028b":1}`))
	for _, violation := range fault.From(err).Violations {
		if len(violation.Field) > 70 || strings.ContainsAny(violation.Field, "\x07\u2028") {
			t.Errorf("field = %q, want one that is short and printable", violation.Field)
		}
	}
}

func TestADraftHoldsNothingOfItsBody(t *testing.T) {
	body := []byte(`{"profile":"profile","owners":["owner"],"labels":{"key":"value"},"options":{"a":"text"}}`)
	got, err := DecodeDraft(body)
	if err != nil {
		t.Fatal(err)
	}
	for i := range body {
		body[i] = 'X'
	}
	want := Spec{Profile: "profile", Owners: []string{"owner"}, Labels: map[string]string{"key": "value"}, Options: []byte(`{"a":"text"}`)}
	if diff := cmp.Diff(want, got.Spec, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
}

func TestCompactOptions(t *testing.T) {
	for raw, want := range map[string]string{
		` { "b" : [ 1 , { } , [ ] ] , "a" : null } `:                                                  `{"b":[1,{},[]],"a":null}`, //nolint:gocritic // the spaces are the test
		`{"n":[0,-0,1.0,1.50,1e2,100000000000000000e-3,0.1,1E-7,9007199254740991,-9007199254740991]}`: `{"n":[0,0,1,1.5,100,100000000000000,0.1,1e-7,9007199254740991,-9007199254740991]}`,
		`{"s":"\u0041\/\u2028\u00fc\n\u001f"}`:                                                        "{\"s\":\"A/\u2028ü\\n\\u001f\"}",
		`{"":{"":""}}`:                                                                                `{"":{"":""}}`,
		`{"t":[true,false]}`:                                                                          `{"t":[true,false]}`,
	} {
		t.Run(raw, func(t *testing.T) {
			var violations fault.Violations
			if got := string(CompactOptions([]byte(raw), &violations)); got != want || violations != nil {
				t.Errorf("compact = %s, %v; want %s", got, violations, want)
			}
		})
	}
}

func TestCompactOptionsRefuses(t *testing.T) {
	for raw, want := range map[string]string{
		`[]`: "options", `1`: "options", `{`: "options", `{} x`: "options", `{"a":1,"a":2}`: "options",
		"{\"a\":\"\xff\"}": "options", `{"a":"\ud800"}`: "options",
		`{"a":[0,9007199254740992]}`:    "options.a[1]",
		`{"a":{"b":-9007199254740992}}`: "options.a.b",
		`{"a":1e309}`:                   "options.a",
		`{"a b":"\u0000"}`:              `options["a b"]`,
		`{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`: "options.a" + strings.Repeat("[0]", 15) + "...",
	} {
		t.Run(raw[:min(len(raw), 40)], func(t *testing.T) {
			var violations fault.Violations
			if got := CompactOptions([]byte(raw), &violations); got != nil {
				t.Errorf("compact = %s, want none", got)
			}
			if len(violations) != 1 || violations[0].Field != want {
				t.Errorf("violations = %v, want one at %s", violations, want)
			}
		})
	}
}
