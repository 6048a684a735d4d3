package contract_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func mask(paths string) string { return "?updateMask=" + url.QueryEscape(paths) }

func TestUpdateChangesWhatTheMaskNames(t *testing.T) {
	start := object{
		"description": "old", "labels": object{"a": "1", "b.c": "2"}, "allowedUsers": []any{"x"},
		"options": object{"theme": object{"dark": false, "font": "x"}, "keep": 1},
	}
	for name, test := range map[string]struct {
		mask string
		body object
		want object
	}{
		"no mask: what the body has": {
			"",
			object{"displayName": "N", "description": ""},
			object{"displayName": "N", "description": "", "profile": "assistant", "labels": object{"a": "1", "b.c": "2"}},
		},
		"no mask: an empty list counts":    {"", object{"allowedUsers": []any{}}, object{"allowedUsers": []any{}}},
		"no mask: null is absent":          {"", object{"description": nil}, object{"description": "old"}},
		"no mask: labels whole":            {"", object{"labels": object{"z": "9"}}, object{"labels": object{"z": "9"}}},
		"one field":                        {mask("displayName"), object{"displayName": "N", "description": "no"}, object{"displayName": "N", "description": "old"}},
		"snake_case":                       {mask("display_name"), object{"displayName": "N"}, object{"displayName": "N"}},
		"two fields":                       {mask("displayName,description"), object{"displayName": "N", "description": "D"}, object{"displayName": "N", "description": "D"}},
		"named and absent clears":          {mask("description"), object{}, object{"description": ""}},
		"a path into options":              {mask("options.theme.dark"), object{"options": object{"theme": object{"dark": true, "font": "no"}}}, object{"options": object{"theme": object{"dark": true, "font": "x"}, "keep": 1.0}}},
		"a path into options that removes": {mask("options.theme.font"), object{}, object{"options": object{"theme": object{"dark": false}, "keep": 1.0}}},
		"null below options is stored":     {mask("options.keep"), object{"options": object{"keep": nil}}, object{"options": object{"theme": object{"dark": false, "font": "x"}, "keep": nil}}},
		"missing parents are made":         {mask("options.a.b"), object{"options": object{"a": object{"b": 1}}}, object{"options": object{"theme": object{"dark": false, "font": "x"}, "keep": 1.0, "a": object{"b": 1.0}}}},
		"options whole":                    {mask("options"), object{"options": object{"new": true}}, object{"options": object{"new": true}}},
		"options cleared":                  {mask("options"), object{}, object{"options": nil}},
		"a label":                          {mask("labels.a"), object{"labels": object{"a": "9", "n": "no"}}, object{"labels": object{"a": "9", "b.c": "2"}}},
		"a label that is removed":          {mask("labels.a"), object{}, object{"labels": object{"b.c": "2"}}},
		"a label in backticks":             {mask("labels.`b.c`"), object{"labels": object{"b.c": "9"}}, object{"labels": object{"a": "1", "b.c": "9"}}},
		"everything": {
			mask("*"), draft(object{"profile": "other"}),
			object{"profile": "other", "description": "", "labels": object{}, "allowedUsers": []any{}, "options": nil},
		},
	} {
		t.Run(name, func(t *testing.T) {
			id, _ := create(t, start)
			want(t, patch(t, id, test.mask, test.body).ok(t), test.want)
			want(t, get(t, id).ok(t), test.want)
		})
	}
}

func TestUpdateRefusesBadMasks(t *testing.T) {
	id, _ := create(t, object{"options": object{"list": []any{1}, "text": "t"}})
	for name, paths := range map[string]string{
		"read-only":                  "createTime",
		"read-only in snake_case":    "head_sequence",
		"immutable":                  "name",
		"unknown":                    "colour",
		"below what is not a map":    "profile.x",
		"* with another":             "*,profile",
		"an empty path":              "profile,",
		"an open backtick":           "labels.`a",
		"two levels below labels":    "labels.a.b",
		"a parent that is no object": "options.text.a",
		"an index into an array":     "options.list.0",
	} {
		t.Run(name, func(t *testing.T) {
			patch(t, id, mask(paths), object{"profile": "p", "options": object{"text": object{"a": 1}}}).invalid(t, "updateMask")
		})
	}
}

func TestUpdateRefusesToClearWhatIsRequired(t *testing.T) {
	for _, field := range []string{"profile", "displayName", "sessionType", "owners", "defaultChannels"} {
		t.Run(field, func(t *testing.T) {
			id, _ := create(t)
			patch(t, id, mask(field), object{}).invalid(t, field)
		})
	}
}

func TestUpdateRefusesValuesThatACreateRefuses(t *testing.T) {
	id, before := create(t)
	patch(t, id, "", object{"profile": "", "owners": []any{}, "displayName": strings.Repeat("d", 256)}).
		invalid(t, "profile", "owners", "displayName")
	want(t, get(t, id).ok(t), before)
}

func TestUpdateRefusesTheNameOfAnotherSession(t *testing.T) {
	id, _ := create(t)
	patch(t, id, "", object{"name": "sessions/" + newID(), "profile": "p"}).invalid(t, "name")
}

func TestUpdateTakesTheSessionsOwnName(t *testing.T) {
	id, got := create(t)
	want(t, patch(t, id, mask("*"), got).ok(t), object{"displayName": "Front desk"})
}

func TestUpdateMovesTheETagAndTheTime(t *testing.T) {
	id, before := create(t)
	after := patch(t, id, "", object{"description": "new"}).ok(t)
	if after["etag"] == before["etag"] {
		t.Errorf("etag = %v still", after["etag"])
	}
	if after["updateTime"].(string) <= before["updateTime"].(string) {
		t.Errorf("updateTime = %v, want later than %v", after["updateTime"], before["updateTime"])
	}
	want(t, after, object{"uid": before["uid"], "createTime": before["createTime"], "creator": before["creator"]})
}

func TestAStaleETagAborts(t *testing.T) {
	id, before := create(t)
	stale := before["etag"].(string)
	patch(t, id, "", object{"description": "1", "etag": stale}).ok(t)
	for name, answer := range map[string]answer{
		"update":                      patch(t, id, "", object{"description": "2", "etag": stale}),
		"update with another mask":    patch(t, id, mask("description"), object{"etag": stale}),
		"update with an invented one": patch(t, id, "", object{"description": "2", "etag": "x"}),
		"delete":                      do(t, http.MethodDelete, sessions+"/"+id+"?etag="+stale, nil),
	} {
		t.Run(name, func(t *testing.T) {
			answer.refused(t, http.StatusConflict, "ABORTED", "ETAG_MISMATCH")
		})
	}
	want(t, get(t, id).ok(t), object{"description": "1"})
}

func TestTheETagOfTheDeletedIsStaleForItsSuccessor(t *testing.T) {
	id, before := create(t)
	do(t, http.MethodDelete, sessions+"/"+id+"?etag="+before["etag"].(string), nil).ok(t)
	do(t, http.MethodPost, sessions+"?sessionId="+id, draft()).ok(t)
	do(t, http.MethodDelete, sessions+"/"+id+"?etag="+before["etag"].(string), nil).
		refused(t, http.StatusConflict, "ABORTED", "ETAG_MISMATCH")
}

func TestTheSecretKeyChangesOnlyWhenItIsMeant(t *testing.T) {
	for name, test := range map[string]struct {
		mask string
		body object
		want object
	}{
		"body without it":          {"", object{"description": "d"}, object{"hasSecretKey": true, "secretKey": nil}},
		"* without it":             {mask("*"), draft(), object{"hasSecretKey": true, "secretKey": nil}},
		"* with it":                {mask("*"), draft(object{"secretKey": "new-secret"}), object{"hasSecretKey": true, "secretKey": "new-secret"}},
		"* with an empty one":      {mask("*"), draft(object{"secretKey": ""}), object{"hasSecretKey": false, "secretKey": nil}},
		"body with it":             {"", object{"secretKey": "new-secret"}, object{"hasSecretKey": true, "secretKey": "new-secret"}},
		"mask without it":          {mask("profile"), object{"profile": "p", "secretKey": "new-secret"}, object{"hasSecretKey": true, "secretKey": nil}},
		"named and absent removes": {mask("secretKey"), object{}, object{"hasSecretKey": false, "secretKey": nil}},
		"empty in the body":        {"", object{"secretKey": ""}, object{"hasSecretKey": false, "secretKey": nil}},
	} {
		t.Run(name, func(t *testing.T) {
			id, _ := create(t, object{"secretKey": "old-secret"})
			want(t, patch(t, id, test.mask, test.body).ok(t), test.want)
		})
	}
}

func TestUpdateChecksANewSecretKey(t *testing.T) {
	id, _ := create(t)
	patch(t, id, "", object{"secretKey": "short"}).invalid(t, "secretKey")
}

func TestUpdateOfNothingIsNotFound(t *testing.T) {
	patch(t, newID(), "", object{"profile": "p"}).hidden(t)
}
