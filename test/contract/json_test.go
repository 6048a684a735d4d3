package contract_test

import (
	"bytes"
	"net/http"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestASessionShowsEveryFieldAlsoWhenEmpty(t *testing.T) {
	id, got := create(t)
	for _, name := range []string{"uid", "etag", "createTime", "updateTime"} {
		if text, _ := got[name].(string); text == "" {
			t.Errorf("%s = %v, want text", name, got[name])
		}
		delete(got, name)
	}
	if diff := cmp.Diff(object{
		"name": "sessions/" + id, "sessionId": id, "creator": "operator", "hasSecretKey": false,
		"headSequence": "1", "memberCount": 0.0,
		"profile": "assistant", "displayName": "Front desk", "sessionType": 1.0, "owners": []any{"user-1"},
		"defaultChannels": []any{1.0}, "description": "", "allowedUsers": []any{}, "blockedUsers": []any{},
		"labels": object{},
	}, got); diff != "" {
		t.Errorf("session (-want +got):\n%s", diff)
	}
}

func TestAGetAnswersWhatTheCreateAnswered(t *testing.T) {
	id, created := create(t, object{
		"description": "d", "allowedUsers": []any{"a"}, "blockedUsers": []any{"b"}, "labels": object{"k": "v"},
		"options": object{"theme": object{"dark": true}, "ttl": "3600s"},
	})
	if diff := cmp.Diff(created, get(t, id).ok(t)); diff != "" {
		t.Errorf("session (-created +got):\n%s", diff)
	}
}

func TestTimesHaveSixFractionalDigits(t *testing.T) {
	_, got := create(t, object{"options": object{"ttl": "60s"}})
	form := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`)
	for _, name := range []string{"createTime", "updateTime", "expireTime"} {
		if text, _ := got[name].(string); !form.MatchString(text) {
			t.Errorf("%s = %v, want RFC 3339 in UTC with six fractional digits", name, got[name])
		}
	}
}

func TestCreateTakesTheFormsOfJSON(t *testing.T) {
	for name, test := range map[string]struct{ change, want object }{
		"snake_case": {
			object{"displayName": remove, "display_name": "D", "default_channels": []any{2}, "defaultChannels": remove},
			object{"displayName": "D", "defaultChannels": []any{2.0}},
		},
		"type as a number":            {object{"sessionType": 2}, object{"sessionType": 2.0}},
		"type by its short name":      {object{"sessionType": "PRIVATE"}, object{"sessionType": 2.0}},
		"type by its protobuf name":   {object{"sessionType": "SESSION_TYPE_TEMPORARY"}, object{"sessionType": 3.0}},
		"null is absent":              {object{"description": nil, "options": nil, "labels": nil, "allowedUsers": nil}, object{"description": "", "labels": object{}, "allowedUsers": []any{}}},
		"read-only fields":            {object{"uid": "x", "creator": "x", "headSequence": "9", "memberCount": 9, "hasSecretKey": true}, object{"creator": "operator", "headSequence": "1", "memberCount": 0.0, "hasSecretKey": false}},
		"options are kept":            {object{"options": object{"a": []any{nil, 1.5, "x\u2028<&>", object{"": false}}}}, object{"options": object{"a": []any{nil, 1.5, "x\u2028<&>", object{"": false}}}}},
		"options may be empty":        {object{"options": object{}}, object{"options": object{}}},
		"a label may be empty":        {object{"labels": object{"k": ""}}, object{"labels": object{"k": ""}}},
		"text beyond the basic plane": {object{"displayName": "🙂"}, object{"displayName": "🙂"}},
	} {
		t.Run(name, func(t *testing.T) {
			id, created := create(t, test.change)
			want(t, created, test.want)
			want(t, get(t, id).ok(t), test.want)
		})
	}
}

func TestNullInARequiredFieldIsAbsent(t *testing.T) {
	do(t, http.MethodPost, sessions, draft(object{"profile": nil})).invalid(t, "profile")
}

func TestOptionsKeepTheirOrderAndTheirNumbers(t *testing.T) {
	id := newID()
	do(t, http.MethodPost, sessions+"?sessionId="+id, `{"profile":"p","displayName":"d","sessionType":1,"owners":["u"],
		"defaultChannels":[1],"options":{"z": 1, "a" : 2.50, "m":-0.0}}`).ok(t)
	if body := get(t, id).body; !bytes.Contains(body, []byte(`"options":{"z":1,"a":2.5,"m":0}`)) {
		t.Errorf("body = %s", body)
	}
}

// Numbers that are whole but written with an exponent must come back from the disk as they went in.
func TestOptionsKeepLargeNumbersWithAnExponent(t *testing.T) {
	for _, number := range []string{"1e16", "1e20", "1e21", "123456789e12", "-1.5e19", "1.7976931348623157e308", "5e-324"} {
		t.Run(number, func(t *testing.T) {
			id := newID()
			created := do(t, http.MethodPost, sessions+"?sessionId="+id, `{"profile":"p","displayName":"d","sessionType":2,
				"owners":["u"],"defaultChannels":[1],"options":{"n":`+number+`}}`)
			if created.status == http.StatusBadRequest {
				return // the rule for integers may take it for one
			}
			created.ok(t)
			get(t, id, as("u")).ok(t)
		})
	}
}

func TestTheSecretKeyIsAnsweredOnce(t *testing.T) {
	const secret = "open-sesame"
	id := newID()
	created := do(t, http.MethodPost, sessions+"?sessionId="+id, draft(object{"secretKey": secret}))
	want(t, created.ok(t), object{"secretKey": secret, "hasSecretKey": true})
	if got := created.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control = %q, want no-store", got)
	}
	for name, later := range map[string]answer{
		"get":             get(t, id),
		"list":            do(t, http.MethodGet, sessions+"?pageSize=1000", nil),
		"update of other": patch(t, id, "", object{"description": "d"}),
	} {
		if later.ok(t); bytes.Contains(later.body, []byte(secret)) || bytes.Contains(later.body, []byte(`"secretKey"`)) {
			t.Errorf("%s shows the secretKey", name)
		}
	}
	want(t, get(t, id).ok(t), object{"hasSecretKey": true})
}
