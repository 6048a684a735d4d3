package contract_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func users(n int) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = fmt.Sprintf("user-%d", i+1)
	}
	return list
}

func channels(n int) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = i + 1
	}
	return list
}

func labels(n int) object {
	all := object{}
	for i := range n {
		all[fmt.Sprintf("k%d", i)] = "v"
	}
	return all
}

func TestCreateAcceptsEachFieldUpToItsLimit(t *testing.T) {
	for name, change := range map[string]object{
		"profile of 1 byte":                    {"profile": "p"},
		"profile of 255 bytes":                 {"profile": strings.Repeat("p", 255)},
		"displayName of 255 characters":        {"displayName": strings.Repeat("ü", 255)},
		"description empty":                    {"description": ""},
		"description of 4096 characters":       {"description": strings.Repeat("ü", 4096)},
		"description with lines":               {"description": "a\r\n\tb"},
		"100 owners":                           {"owners": users(100)},
		"owner of 128 bytes":                   {"owners": []any{strings.Repeat("o", 128)}},
		"64 channels":                          {"defaultChannels": channels(64)},
		"channel 2147483647":                   {"defaultChannels": []any{2147483647}},
		"1000 allowedUsers":                    {"allowedUsers": users(1000)},
		"1000 blockedUsers":                    {"blockedUsers": users(1000)},
		"64 labels":                            {"labels": labels(64)},
		"secretKey of 8 bytes":                 {"secretKey": "12345678"},
		"secretKey of 256 bytes":               {"secretKey": strings.Repeat("s", 256)},
		"options with a key of their own":      {"options": object{"mine": []any{1.0, nil, object{}}}},
		"options with the largest safe number": {"options": object{"n": 9007199254740991}},
		"type PRIVATE":                         {"sessionType": 2},
		"type TEMPORARY":                       {"sessionType": 3},
	} {
		t.Run(name, func(t *testing.T) {
			do(t, http.MethodPost, sessions, draft(change)).ok(t)
		})
	}
}

func TestCreateRefusesEachFieldBeyondItsLimit(t *testing.T) {
	for name, test := range map[string]struct {
		change object
		field  string
	}{
		"no profile":                     {object{"profile": remove}, "profile"},
		"empty profile":                  {object{"profile": ""}, "profile"},
		"profile of 256 bytes":           {object{"profile": strings.Repeat("p", 256)}, "profile"},
		"profile of 128 umlauts":         {object{"profile": strings.Repeat("ü", 128)}, "profile"},
		"profile with a line feed":       {object{"profile": "a\nb"}, "profile"},
		"no displayName":                 {object{"displayName": remove}, "displayName"},
		"displayName of 256 characters":  {object{"displayName": strings.Repeat("d", 256)}, "displayName"},
		"displayName with a C1 control":  {object{"displayName": "a\u0085b"}, "displayName"},
		"no sessionType":                 {object{"sessionType": remove}, "sessionType"},
		"sessionType 0":                  {object{"sessionType": 0}, "sessionType"},
		"sessionType 4":                  {object{"sessionType": 4}, "sessionType"},
		"sessionType -1":                 {object{"sessionType": -1}, "sessionType"},
		"no owners":                      {object{"owners": remove}, "owners"},
		"empty owners":                   {object{"owners": []any{}}, "owners"},
		"101 owners":                     {object{"owners": users(101)}, "owners"},
		"an owner twice":                 {object{"owners": []any{"a", "b", "a"}}, "owners[2]"},
		"an empty owner":                 {object{"owners": []any{"a", ""}}, "owners[1]"},
		"owner of 129 bytes":             {object{"owners": []any{strings.Repeat("o", 129)}}, "owners[0]"},
		"owner with a control character": {object{"owners": []any{"a\tb"}}, "owners[0]"},
		"no defaultChannels":             {object{"defaultChannels": remove}, "defaultChannels"},
		"empty defaultChannels":          {object{"defaultChannels": []any{}}, "defaultChannels"},
		"65 defaultChannels":             {object{"defaultChannels": channels(65)}, "defaultChannels"},
		"channel 0":                      {object{"defaultChannels": []any{0}}, "defaultChannels[0]"},
		"channel -1":                     {object{"defaultChannels": []any{1, -1}}, "defaultChannels[1]"},
		"channel twice":                  {object{"defaultChannels": []any{4, 4}}, "defaultChannels[1]"},
		"channel 2147483648":             {object{"defaultChannels": []any{2147483648}}, "defaultChannels[0]"},
		"description of 4097 characters": {object{"description": strings.Repeat("ü", 4097)}, "description"},
		"description with NUL":           {object{"description": "a\x00b"}, "description"},
		"1001 allowedUsers":              {object{"allowedUsers": users(1001)}, "allowedUsers"},
		"an allowed user twice":          {object{"allowedUsers": []any{"a", "a"}}, "allowedUsers[1]"},
		"1001 blockedUsers":              {object{"blockedUsers": users(1001)}, "blockedUsers"},
		"an empty blocked user":          {object{"blockedUsers": []any{""}}, "blockedUsers[0]"},
		"65 labels":                      {object{"labels": labels(65)}, "labels"},
		"label with NUL":                 {object{"labels": object{"k": "\x00"}}, "labels.k"},
		"label that is a number":         {object{"labels": object{"k": 1}}, "labels.k"},
		"secretKey of 7 bytes":           {object{"secretKey": "1234567"}, "secretKey"},
		"secretKey of 257 bytes":         {object{"secretKey": strings.Repeat("s", 257)}, "secretKey"},
		"options with 2^53":              {object{"options": object{"a": object{"n": 9007199254740992}}}, "options.a.n"},
		"options with a bad ttl":         {object{"options": object{"ttl": "soon"}}, "options.ttl"},
		"options with a bad maxMembers":  {object{"options": object{"maxMembers": "ten"}}, "options.maxMembers"},
		"options that are a list":        {object{"options": []any{}}, "options"},
		"options with NUL":               {object{"options": object{"a": "\x00"}}, "options.a"},
		"an unknown field":               {object{"colour": "red"}, "colour"},
		"a name that is not one":         {object{"name": "rooms/x"}, "name"},
		"owners that are text":           {object{"owners": "user-1"}, "owners"},
		"profile that is a number":       {object{"profile": 7}, "profile"},
	} {
		t.Run(name, func(t *testing.T) {
			do(t, http.MethodPost, sessions, draft(test.change)).invalid(t, test.field)
		})
	}
}

func TestCreateReportsEveryViolation(t *testing.T) {
	do(t, http.MethodPost, sessions+"?sessionId=-&requestId=a%20b", object{
		"displayName": strings.Repeat("d", 256), "owners": []any{"a", "a"}, "defaultChannels": []any{0},
		"secretKey": "short", "options": object{"ttl": 5},
	}).invalid(t, "sessionId", "requestId", "profile", "displayName", "sessionType", "owners[1]", "defaultChannels[0]",
		"secretKey", "options.ttl")
}

func TestCreateTakesTheIDFromWhereItIsGiven(t *testing.T) {
	byQuery, byName, byBoth := newID(), newID(), newID()
	for name, test := range map[string]struct {
		query string
		body  object
		id    string
	}{
		"sessionId":          {"?sessionId=" + byQuery, draft(), byQuery},
		"session_id":         {"?session_id=" + byQuery + "s", draft(), byQuery + "s"},
		"name":               {"", draft(object{"name": "sessions/" + byName}), byName},
		"both, and the same": {"?sessionId=" + byBoth, draft(object{"name": "sessions/" + byBoth}), byBoth},
	} {
		t.Run(name, func(t *testing.T) {
			got := do(t, http.MethodPost, sessions+test.query, test.body).ok(t)
			want(t, got, object{"sessionId": test.id, "name": "sessions/" + test.id})
		})
	}
}

func TestCreateMakesAnIDItself(t *testing.T) {
	got := do(t, http.MethodPost, sessions, draft(object{"sessionId": "ignored"})).ok(t)
	want(t, got, object{"sessionId": got["uid"], "name": "sessions/" + got["uid"].(string)})
	if uid := got["uid"].(string); !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(uid) {
		t.Errorf("uid = %q, want a UUIDv7", uid)
	}
}

func TestCreateRefusesIDsThatContradict(t *testing.T) {
	do(t, http.MethodPost, sessions+"?sessionId="+newID(), draft(object{"name": "sessions/" + newID()})).invalid(t, "name")
}

func TestCreateRefusesATakenID(t *testing.T) {
	id, _ := create(t)
	do(t, http.MethodPost, sessions+"?sessionId="+id, draft()).refused(t, http.StatusConflict, "ALREADY_EXISTS", "SESSION_EXISTS")
}

func TestAnIDIsFreeAfterDeleteAndTheUIDIsNew(t *testing.T) {
	id, first := create(t)
	do(t, http.MethodDelete, sessions+"/"+id, nil).ok(t)
	second := do(t, http.MethodPost, sessions+"?sessionId="+id, draft()).ok(t)
	if first["uid"] == second["uid"] {
		t.Errorf("uid = %v again", second["uid"])
	}
}

func TestDeleteAnswersAnEmptyObject(t *testing.T) {
	id, _ := create(t)
	answer := do(t, http.MethodDelete, sessions+"/"+id, nil)
	if string(answer.body) != "{}" {
		t.Errorf("body = %s, want {}", answer.body)
	}
	get(t, id).hidden(t)
}

func TestDeleteOfNothingIsNotFound(t *testing.T) {
	do(t, http.MethodDelete, sessions+"/"+newID(), nil).hidden(t)
}
