package session

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/fault"
)

func TestSplitMask(t *testing.T) {
	cases := map[string][]string{
		"":                               nil,
		"*":                              {"*"},
		"owners":                         {"owners"},
		"owners,display_name":            {"owners", "display_name"},
		"a,":                             {"a", ""},
		",":                              {"", ""},
		"options.`a,b`,owners":           {"options.`a,b`", "owners"},
		"options.`a``,b`,owners":         {"options.`a``,b`", "owners"},
		"options.`a,b":                   {"options.`a,b"},
		strings.Repeat(",", 999):         make([]string, 1000),
		strings.Repeat(",", 1000):        make([]string, 1001),
		strings.Repeat(",", 1000) + ",,": append(make([]string, 1000), ",,"),
	}
	for text, want := range cases {
		if diff := cmp.Diff(want, SplitMask(text)); diff != "" {
			t.Errorf("%.40q: %s", text, diff)
		}
	}
}

func TestParseMask(t *testing.T) {
	deepest := "options" + strings.Repeat(".a", 100)
	cases := map[string]string{ // mask: as String has it
		"":                                      "",
		"*":                                     "*",
		"owners":                                "owners",
		"displayName,display_name":              "displayName",
		"secret_key,profile":                    "profile,secretKey",
		"`owners`":                              "owners",
		"options":                               "options",
		"options.theme.dark":                    "options.`theme`.`dark`",
		"options.display_name":                  "options.`display_name`",
		"options.`a.b`.c":                       "options.`a.b`.`c`",
		"options.`a,b`":                         "options.`a,b`",
		"options.`a``b`":                        "options.`a``b`",
		"options.``":                            "options.``",
		"options.*":                             "options.`*`",
		"options.0":                             "options.`0`",
		"options.b,options.a,options.b":         "options.`a`,options.`b`",
		"options,options.a":                     "options",
		"options.a.b,options,profile":           "profile,options",
		"options.a,options.a.b,options.ab":      "options.`a`,options.`ab`",
		"options.a.b.c,options.a.d,options.a.b": "options.`a`.`b`,options.`a`.`d`",
		"labels.tenant":                         "labels.`tenant`",
		"labels.`app.kubernetes.io/name`":       "labels.`app.kubernetes.io/name`",
		"labels.b,labels.a,labels.b":            "labels.`a`,labels.`b`",
		"labels.a,labels":                       "labels",
		deepest:                                 strings.ReplaceAll(deepest, ".a", ".`a`"),
		strings.Repeat("owners,", 999) + "owners": "owners",
	}
	for text, want := range cases {
		mask, err := ParseMask(SplitMask(text))
		if err != nil {
			t.Errorf("%.80q: %v %v", text, err, fault.From(err).Violations)
			continue
		}
		if got := mask.String(); got != want {
			t.Errorf("%.80q: %q, want %q", text, got, want)
		}
	}
}

func TestParseMaskNamesEveryField(t *testing.T) {
	fields := map[string]Fields{
		"profile": FieldProfile, "displayName": FieldDisplayName, "display_name": FieldDisplayName,
		"sessionType": FieldType, "session_type": FieldType, "owners": FieldOwners,
		"defaultChannels": FieldDefaultChannels, "default_channels": FieldDefaultChannels, "description": FieldDescription,
		"allowedUsers": FieldAllowedUsers, "allowed_users": FieldAllowedUsers, "blockedUsers": FieldBlockedUsers,
		"blocked_users": FieldBlockedUsers, "options": FieldOptions, "labels": FieldLabels,
		"secretKey": FieldSecretKey, "secret_key": FieldSecretKey,
	}
	for name, want := range fields {
		mask, err := ParseMask([]string{name})
		if err != nil || mask.fields != want {
			t.Errorf("%s: %v, %v", name, mask, err)
		}
	}
}

func TestParseMaskRefuses(t *testing.T) {
	const (
		unknown   = " is not a field of a session"
		immutable = " cannot be changed"
		readOnly  = " is read-only"
		whole     = " goes into a field that can only be named whole"
		backticks = " must have its backticks around whole keys, and commas and dots of keys within them"
	)
	cases := map[string]string{ // path: the violation
		"dispalyName":                         `"dispalyName"` + unknown,
		"session.owners":                      `"session.owners"` + unknown,
		"DisplayName":                         `"DisplayName"` + unknown,
		"display_Name":                        `"display_Name"` + unknown,
		"owners_":                             `"owners_"` + unknown,
		"own ers":                             `"own ers"` + unknown,
		"name":                                `"name"` + immutable,
		"sessionId":                           `"sessionId"` + immutable,
		"session_id":                          `"session_id"` + immutable,
		"uid":                                 `"uid"` + immutable,
		"etag":                                `"etag"` + readOnly,
		"creator":                             `"creator"` + readOnly,
		"hasSecretKey":                        `"hasSecretKey"` + readOnly,
		"has_secret_key":                      `"has_secret_key"` + readOnly,
		"headSequence":                        `"headSequence"` + readOnly,
		"memberCount":                         `"memberCount"` + readOnly,
		"lastMessageTime":                     `"lastMessageTime"` + readOnly,
		"expireTime":                          `"expireTime"` + readOnly,
		"createTime":                          `"createTime"` + readOnly,
		"create_time":                         `"create_time"` + readOnly,
		"create_time.seconds":                 `"create_time.seconds"` + readOnly,
		"updateTime":                          `"updateTime"` + readOnly,
		"displayName.x":                       `"displayName.x"` + whole,
		"owners.0":                            `"owners.0"` + whole,
		"default_channels.`1`":                "\"default_channels.`1`\"" + whole,
		"secretKey.x":                         `"secretKey.x"` + whole,
		"labels.a.b":                          `"labels.a.b" goes into a label: a key with dots in it stands in backticks`,
		"options" + strings.Repeat(".a", 101): `"options` + strings.Repeat(".a", 28) + `...." is too deep`,
		"":                                    `"" must not have an empty name`,
		"options.":                            `"options." must not have an empty name`,
		"options..a":                          `"options..a" must not have an empty name`,
		".options":                            `".options" must not have an empty name`,
		"options.`a":                          "\"options.`a\" must close its backticks",
		"options.`a``":                        "\"options.`a``\" must close its backticks",
		"options.`a`b":                        "\"options.`a`b\"" + backticks,
		"options.a`b`":                        "\"options.a`b`\"" + backticks,
		"options.a,owners":                    `"options.a,owners"` + backticks,
		"options.a\x00":                       "\"options.a\ufffd\" must not have NUL characters",
		"options.\xff":                        "\"options.\ufffd\" must be valid UTF-8",
		"a\nb\u202e":                          "\"a\ufffdb\ufffd\"" + unknown,
		strings.Repeat("ü", 64):               `"` + strings.Repeat("ü", 64) + `"` + unknown,
		strings.Repeat("ü", 65):               `"` + strings.Repeat("ü", 64) + `..."` + unknown,
	}
	for path, want := range cases {
		mask, err := ParseMask([]string{path})
		if mask != nil {
			t.Errorf("%.80q: a mask", path)
		}
		if diff := cmp.Diff([]fault.Violation{{Field: "updateMask", Description: want}}, fault.From(err).Violations); diff != "" {
			t.Errorf("%.80q: %s", path, diff)
		}
	}
}

func TestParseMaskReportsEveryPath(t *testing.T) {
	_, err := ParseMask([]string{"owners", "name", "*", "x"})
	want := []string{
		`updateMask: "name" cannot be changed`, `updateMask: "*" must be the only path`,
		`updateMask: "x" is not a field of a session`,
	}
	if diff := cmp.Diff(want, lines(fault.From(err).Violations)); diff != "" {
		t.Error(diff)
	}
}

func TestParseMaskIsBounded(t *testing.T) {
	_, err := ParseMask(make([]string, 1001))
	if diff := cmp.Diff([]string{"updateMask: must be at most 1000 paths"}, lines(fault.From(err).Violations)); diff != "" {
		t.Error(diff)
	}
	paths := manyUsers(1000)
	_, err = ParseMask(paths)
	if got := len(fault.From(err).Violations); got != 100 {
		t.Errorf("%d violations, want 100", got)
	}
	if _, err := ParseMask([]string{strings.Repeat("options.", 1<<20)}); !fault.Is(err, fault.InvalidArgument) {
		t.Errorf("a path of 8 MiB: %v", err)
	}
}

// mustMask is the mask of the text.
func mustMask(t *testing.T, text string) *Mask {
	t.Helper()
	mask, err := ParseMask(SplitMask(text))
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return mask
}

func TestApplyFields(t *testing.T) {
	other := Spec{
		Profile: "p", DisplayName: "d", Type: Temporary, Owners: []string{"o"}, DefaultChannels: []int32{9},
		Description: "e", AllowedUsers: []string{"a"}, BlockedUsers: []string{"b"}, Options: []byte(`{"x":1}`),
		Labels: map[string]string{"l": "v"},
	}
	cases := []struct {
		about, mask string
		draft       Draft
		change      func(want *Spec)
		secret      bool
	}{
		{about: "no mask, nothing given", draft: Draft{Spec: other, SecretKey: "s"}, change: func(*Spec) {}},
		{
			about: "no mask, some given", draft: Draft{Spec: other, Given: FieldProfile | FieldOwners},
			change: func(s *Spec) { s.Profile, s.Owners = other.Profile, other.Owners },
		},
		{
			about: "no mask, given empty", draft: Draft{Given: FieldDescription | FieldAllowedUsers | FieldOptions | FieldLabels},
			change: func(s *Spec) { s.Description, s.AllowedUsers, s.Options, s.Labels = "", nil, nil, nil },
		},
		{
			about: "no mask: options and labels are replaced whole", draft: Draft{Spec: other, Given: FieldOptions | FieldLabels},
			change: func(s *Spec) { s.Options, s.Labels = other.Options, other.Labels },
		},
		{about: "no mask, secretKey given", draft: Draft{SecretKey: "s", Given: FieldSecretKey}, change: func(*Spec) {}, secret: true},
		{about: "no mask, secretKey given empty", draft: Draft{Given: FieldSecretKey}, change: func(*Spec) {}, secret: true},
		{about: "all", mask: "*", draft: Draft{Spec: other}, change: func(s *Spec) { *s = other }},
		{
			about: "all, with a secretKey", mask: "*", draft: Draft{Spec: other, SecretKey: "s", Given: FieldSecretKey},
			change: func(s *Spec) { *s = other }, secret: true,
		},
		{about: "all, with nothing", mask: "*", change: func(s *Spec) { *s = Spec{} }},
		{
			about: "the mask, not what is given", mask: "profile", draft: Draft{Spec: other, SecretKey: "s", Given: AllFields | FieldSecretKey},
			change: func(s *Spec) { s.Profile = other.Profile },
		},
		{about: "a required field is cleared", mask: "owners", change: func(s *Spec) { s.Owners = nil }},
		{about: "the secretKey", mask: "secretKey", draft: Draft{SecretKey: "s"}, change: func(*Spec) {}, secret: true},
		{about: "the secretKey is removed", mask: "secret_key", change: func(*Spec) {}, secret: true},
		{
			about: "options and labels whole", mask: "options,labels", draft: Draft{Spec: other},
			change: func(s *Spec) { s.Options, s.Labels = other.Options, other.Labels },
		},
		{about: "every field", mask: "profile,display_name,session_type,owners,default_channels,description,allowed_users," +
			"blocked_users,options,labels", draft: Draft{Spec: other}, change: func(s *Spec) { *s = other }},
		{
			about: "a label is set", mask: "labels.l", draft: Draft{Spec: other},
			change: func(s *Spec) { s.Labels = map[string]string{"tenant": "acme", "floor": "2", "l": "v"} },
		},
		{
			about: "a label is replaced, another removed, a third never was", mask: "labels.tenant,labels.floor,labels.x",
			draft:  Draft{Spec: Spec{Labels: map[string]string{"tenant": "new", "other": "x"}}},
			change: func(s *Spec) { s.Labels = map[string]string{"tenant": "new"} },
		},
	}
	for _, c := range cases {
		t.Run(c.about, func(t *testing.T) {
			current, want := fullSpec(), fullSpec()
			c.change(&want)
			got, secret, err := mustMask(t, c.mask).Apply(&current, &c.draft)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if secret != c.secret {
				t.Errorf("secret changes: %t", secret)
			}
			if diff := cmp.Diff(fullSpec(), current); diff != "" {
				t.Errorf("the current Spec was changed: %s", diff)
			}
		})
	}
}

func TestNilMaskIsNone(t *testing.T) {
	var mask *Mask
	current := fullSpec()
	got, _, err := mask.Apply(&current, &Draft{Spec: Spec{Profile: "new"}, Given: FieldProfile})
	if err != nil || got.Profile != "new" || got.DisplayName != current.DisplayName || mask.String() != "" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestClearingARequiredFieldIsAViolationOfIt(t *testing.T) {
	current := fullSpec()
	merged, _, err := mustMask(t, "displayName,owners").Apply(&current, &Draft{})
	if err != nil {
		t.Fatal(err)
	}
	var got fault.Violations
	merged.validate(&got)
	if diff := cmp.Diff([]string{"displayName: is required", "owners: is required"}, lines(got)); diff != "" {
		t.Error(diff)
	}
}

func TestApplyOptions(t *testing.T) {
	const notObject = " leads through a value that is not an object"
	cases := []struct {
		about, current, mask, draft string
		want                        string // the options, or the violations
	}{
		{"a member is set", `{"a":1}`, "options.b", `{"b":2}`, `{"a":1,"b":2}`},
		{"a member is replaced in its place", `{"z":1,"a":2,"m":3}`, "options.a", `{"a":{"x":1}}`, `{"z":1,"a":{"x":1},"m":3}`},
		{"a member is removed", `{"z":1,"a":2,"m":3}`, "options.a", `{}`, `{"z":1,"m":3}`},
		{"the last member is removed", `{"a":1}`, "options.a", ``, `{}`},
		{"null is stored", `{"a":1}`, "options.a", `{"a":null}`, `{"a":null}`},
		{"null is stored anew", `{}`, "options.a", `{"a":null}`, `{"a":null}`},
		{"what is not named is not taken", `{"a":1}`, "options.b", `{"a":9,"b":2,"c":3}`, `{"a":1,"b":2}`},
		{"a part is replaced", `{"theme":{"dark":true,"accent":"red"}}`, "options.theme.dark", `{"theme":{"dark":false}}`, `{"theme":{"dark":false,"accent":"red"}}`},
		{"a part is removed", `{"theme":{"dark":true,"accent":"red"}}`, "options.theme.dark", `{"theme":{"accent":"blue"}}`, `{"theme":{"accent":"red"}}`},
		{"a part is removed, the parent left out", `{"theme":{"dark":true}}`, "options.theme.dark", `{}`, `{"theme":{}}`},
		{"missing parents are made", `{"z":1}`, "options.a.b.c", `{"a":{"b":{"c":1,"d":2},"e":3}}`, `{"z":1,"a":{"b":{"c":1}}}`},
		{"missing parents are made for null", `{}`, "options.a.b", `{"a":{"b":null}}`, `{"a":{"b":null}}`},
		{"missing parents are not made to remove", `{"z":1}`, "options.a.b.c", `{"a":{"b":{}}}`, `{"z":1}`},
		{"an empty object is a value", `{}`, "options.a.b", `{"a":{"b":{}}}`, `{"a":{"b":{}}}`},
		{"no options before", ``, "options.a", `{"a":1}`, `{"a":1}`},
		{"no options before or after", ``, "options.a,options.b.c", ``, ``},
		{"new members in the draft's order", `{"m":1}`, "options.a,options.b,options.c", `{"c":1,"x":0,"a":2,"b":3}`, `{"m":1,"c":1,"a":2,"b":3}`},
		{"several parts of one object", `{"t":{"a":1,"b":2,"c":3}}`, "options.t.a,options.t.c,options.t.d", `{"t":{"a":9,"d":4}}`, `{"t":{"a":9,"b":2,"d":4}}`},
		{"bytes of others are kept", `{"a":1.50,"b":"\u00e9","c":[{"x":1}]}`, "options.d", `{"d":1e2}`, `{"a":1.50,"b":"\u00e9","c":[{"x":1}],"d":1e2}`},
		{"keys are literal", `{"display_name":1,"displayName":2}`, "options.display_name", `{"display_name":3,"displayName":4}`, `{"display_name":3,"displayName":2}`},
		{"a key with a dot", `{"a":{"b":1},"a.b":2}`, "options.`a.b`", `{"a":{"b":3},"a.b":4}`, `{"a":{"b":1},"a.b":4}`},
		{"a key with a comma and a backtick", `{}`, "options.`a,``b`", "{\"a,`b\":1}", "{\"a,`b\":1}"},
		{"the empty key", `{"":1}`, "options.``", `{"":2}`, `{"":2}`},
		{"an escaped key", `{"\u0061":1}`, "options.a", `{"a":2}`, `{"\u0061":2}`},
		{"a key in another script", `{}`, "options.größe", `{"größe":2}`, `{"größe":2}`},
		{"a star is a key", `{"a":1}`, "options.*", `{"*":2,"a":3}`, `{"a":1,"*":2}`},
		{"the wider path counts", `{"t":{"a":1,"b":2}}`, "options.t,options.t.a", `{"t":{"c":3}}`, `{"t":{"c":3}}`},
		{"the whole counts", `{"t":{"a":1},"u":1}`, "options.t.a,options", `{"v":1}`, `{"v":1}`},
		{"a list is replaced whole", `{"l":[1,2]}`, "options.l", `{"l":[3]}`, `{"l":[3]}`},

		{"through a scalar", `{"a":1}`, "options.a.b", `{"a":{"b":2}}`, `updateMask: "options.a.b"` + notObject},
		{"through null", `{"a":null}`, "options.a.b", `{"a":{"b":2}}`, `updateMask: "options.a.b"` + notObject},
		{"through a list", `{"a":[{"b":1}]}`, "options.a.0.b", `{"a":{"0":{"b":2}}}`, `updateMask: "options.a.0.b"` + notObject},
		{"to an element", `{"a":[1]}`, "options.a.0", `{}`, `updateMask: "options.a.0"` + notObject},
		{"through a scalar, to remove", `{"a":"x"}`, "options.a.b", `{}`, `updateMask: "options.a.b"` + notObject},
		{"through a scalar of the draft", `{"a":{"b":1}}`, "options.a.b", `{"a":2}`, `updateMask: "options.a.b"` + notObject},
		{"through a list of the draft", `{}`, "options.a.0", `{"a":[1]}`, `updateMask: "options.a.0"` + notObject},
		{"through several", `{"a":1,"b":{"c":2}}`, "options.b.c.d,options.x,options.a.z", `{"x":1}`, `updateMask: "options.a.z"` + notObject + `; updateMask: "options.b.c.d"` + notObject},
	}
	for _, c := range cases {
		t.Run(c.about, func(t *testing.T) {
			current := Spec{Options: []byte(c.current)}
			draft := Draft{Spec: Spec{Options: []byte(c.draft)}}
			merged, _, err := mustMask(t, c.mask).Apply(&current, &draft)
			got := string(merged.Options)
			if err != nil {
				got = strings.Join(lines(fault.From(err).Violations), "; ")
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if string(current.Options) != c.current || string(draft.Options) != c.draft {
				t.Error("an argument was changed")
			}
		})
	}
}

func TestApplyToTheDeepest(t *testing.T) {
	current := Spec{Options: nested(100)}
	draft := Draft{Spec: Spec{Options: []byte(strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100))}}
	mask := mustMask(t, "options"+strings.Repeat(".a", 100))
	merged, _, err := mask.Apply(&current, &draft)
	if err != nil || !bytes.Equal(merged.Options, draft.Options) {
		t.Errorf("%s, %v", merged.Options, err)
	}
}

func TestMergedOptionsCanBeTooDeep(t *testing.T) {
	current := soundSpec()
	current.Options = nested(100)
	draft := Draft{Spec: Spec{Options: []byte(`{"a":{"b":` + string(nested(98)) + `}}`)}}
	merged, _, err := mustMask(t, "options.a.b").Apply(&current, &draft)
	if err != nil {
		t.Fatal(err)
	}
	var got fault.Violations
	if merged.validate(&got); len(got) != 0 {
		t.Errorf("100 levels: %v", lines(got))
	}
	draft.Options = []byte(`{"a":{"b":` + string(nested(99)) + `}}`)
	merged, _, _ = mustMask(t, "options.a.b").Apply(&current, &draft)
	if merged.validate(&got); len(got) != 1 {
		t.Errorf("101 levels: %v", lines(got))
	}
}

func TestCamelCase(t *testing.T) {
	for name, want := range map[string]string{
		"": "", "filter": "filter", "pageSize": "pageSize", "page_size": "pageSize", "a_b_c": "aBC",
		"_x": "X", "x_": "x_", "a__b": "a_B", "page_Size": "page_Size", "a_1": "a_1",
	} {
		if got := CamelCase(name); got != want {
			t.Errorf("CamelCase(%q) = %q, want %q", name, got, want)
		}
	}
}
