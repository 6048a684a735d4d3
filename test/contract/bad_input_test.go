package contract_test

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// raw is the smallest session as text, with more fields.
func raw(more string) string {
	return `{"profile":"p","displayName":"d","sessionType":1,"owners":["u"],"defaultChannels":[1]` + more + `}`
}

const maxBody = 1 << 20

func TestABodyOfExactlyOneMebibyte(t *testing.T) {
	do(t, http.MethodPost, sessions, raw("")+strings.Repeat(" ", maxBody-len(raw("")))).ok(t)
}

func TestABodyBeyondOneMebibyte(t *testing.T) {
	body := raw("") + strings.Repeat(" ", maxBody+1-len(raw("")))
	chunked := func(r *http.Request) { r.ContentLength = -1 }
	for name, options := range map[string][]option{"with its length": nil, "chunked": {chunked}} {
		t.Run(name, func(t *testing.T) {
			do(t, http.MethodPost, sessions, body, options...).
				refused(t, http.StatusRequestEntityTooLarge, "INVALID_ARGUMENT", "BODY_TOO_LARGE")
		})
	}
}

func TestMalformedJSON(t *testing.T) {
	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	for name, test := range map[string]struct{ body, place string }{
		"empty":                       {"", ""},
		"a list":                      {"[]", "object"},
		"null":                        {"null", "object"},
		"text":                        {`"x"`, "object"},
		"cut":                         {`{"profile":"p"`, "byte"},
		"a duplicate key":             {raw(`,"profile":"q"`), "profile"},
		"a duplicate key in options":  {raw(`,"options":{"a":{"b":1,"b":2}}`), "options"},
		"a duplicate label":           {raw(`,"labels":{"k":"1","k":"2"}`), "labels"},
		"one field in two spellings":  {raw(`,"display_name":"e"`), "displayName"},
		"an escaped duplicate":        {raw(`,"\u0070rofile":"q"`), "profile"},
		"trailing garbage":            {raw("") + "x", "byte"},
		"a second object":             {raw("") + raw(""), "byte"},
		"a trailing comma":            {`{"profile":"p",}`, "byte"},
		"a comment":                   {`{/* */}`, "byte"},
		"single quotes":               {`{'profile':'p'}`, "byte"},
		"NaN":                         {raw(`,"options":{"n":NaN}`), "byte"},
		"a leading zero":              {raw(`,"options":{"n":01}`), "byte"},
		"a raw control character":     {"{\"profile\":\"a\nb\"}", "byte"},
		"a raw NUL":                   {"{\"profile\":\"a\x00b\"}", "byte"},
		"a byte order mark":           {"\xef\xbb\xbf" + raw(""), "byte"},
		"invalid UTF-8 in a value":    {"{\"profile\":\"\xff\"}", "UTF-8"},
		"invalid UTF-8 in a key":      {"{\"\xff\":1}", "UTF-8"},
		"invalid UTF-8 in options":    {raw(",\"options\":{\"a\":\"\xc3\"}"), "UTF-8"},
		"overlong UTF-8":              {"{\"profile\":\"\xc0\x80\"}", "UTF-8"},
		"a surrogate in UTF-8":        {"{\"profile\":\"\xed\xa0\x80\"}", "UTF-8"},
		"a lone high surrogate":       {`{"profile":"\ud800"}`, "byte"},
		"a lone low surrogate":        {`{"profile":"\udc00x"}`, "byte"},
		"a lone surrogate in a label": {raw(`,"labels":{"\ud800":"v"}`), "byte"},
		"9000 levels cut":             {strings.Repeat("[", 9000), "byte"},
		"9000 levels at the top":      {deep, "object"},
	} {
		t.Run(name, func(t *testing.T) {
			f := do(t, http.MethodPost, sessions, test.body).
				refused(t, http.StatusBadRequest, "INVALID_ARGUMENT", "MALFORMED_JSON")
			if !strings.Contains(f.Message, test.place) {
				t.Errorf("message = %q, want one that names %q", f.Message, test.place)
			}
		})
	}
}

func TestWellFormedJSONThatIsWrong(t *testing.T) {
	nest := func(levels int) string {
		return strings.Repeat(`{"a":`, levels-1) + "{}" + strings.Repeat("}", levels-1)
	}
	// The path of what is too deep is long, and may be cut: it must begin right.
	for name, test := range map[string]struct{ body, field string }{
		"options 9000 levels deep":    {raw(`,"options":{"x":` + strings.Repeat("[", 8990) + strings.Repeat("]", 8990) + `}`), "options.x"},
		"options 101 levels deep":     {raw(`,"options":` + nest(101)), "options.a"},
		"an unknown field, deep":      {raw(`,"x":` + strings.Repeat("[", 8990) + strings.Repeat("]", 8990)), "x"},
		"an escaped NUL":              {raw(`,"description":"\u0000"`), "description"},
		"NUL in a key of options":     {raw(`,"options":{"\u0000":1}`), "options"},
		"NUL in a key of labels":      {raw(`,"labels":{"\u0000":"v"}`), "labels"},
		"an escaped control":          {raw(`,"allowedUsers":["a\u0007"]`), "allowedUsers[0]"},
		"a channel beyond int32":      {strings.Replace(raw(""), "[1]", "[1,2147483648]", 1), "defaultChannels[1]"},
		"an overflow in options":      {raw(`,"options":{"n":1e400}`), "options.n"},
		"an integer beyond 2^53":      {raw(`,"options":{"n":[0,-9007199254740992]}`), "options.n[1]"},
		"an unknown field":            {raw(`,"colour":"red"`), "colour"},
		"an unknown field, not ASCII": {raw(`,"fürbe":"red"`), "fürbe"},
	} {
		t.Run(name, func(t *testing.T) {
			f := do(t, http.MethodPost, sessions, test.body).
				refused(t, http.StatusBadRequest, "INVALID_ARGUMENT", "INVALID_FIELDS")
			if len(f.Fields) != 1 || !strings.HasPrefix(f.Fields[0], test.field) {
				t.Errorf("violations = %q, want one at %s", f.Fields, test.field)
			}
		})
	}
}

func TestWrongEnumNumbers(t *testing.T) {
	for _, value := range []string{"1.5", "2147483648", "-1", `"1.5"`, `"public"`, `"NONE"`, "true", "[1]", "{}", "1e99", `""`} {
		t.Run(value, func(t *testing.T) {
			body := strings.Replace(raw(""), `"sessionType":1`, `"sessionType":`+value, 1)
			do(t, http.MethodPost, sessions, body).invalid(t, "sessionType")
		})
	}
}

func TestOptionsOf100Levels(t *testing.T) {
	do(t, http.MethodPost, sessions, raw(`,"options":`+strings.Repeat(`{"a":`, 99)+"{}"+strings.Repeat("}", 99))).ok(t)
}

func TestOptionsAtTheirLimit(t *testing.T) {
	const limit = 64 << 10
	sized := func(n int) string { return `{"a":"` + strings.Repeat("x", n-len(`{"a":""}`)) + `"}` }
	for name, options := range map[string]string{
		"64 KiB":                      sized(limit),
		"64 KiB as compact JSON":      strings.Replace(sized(limit), `:`, "  :  ", 1),
		"64 KiB with escapes removed": strings.Replace(sized(limit), "x", `\u0078`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			do(t, http.MethodPost, sessions, raw(`,"options":`+options)).ok(t)
		})
	}
	for name, options := range map[string]string{"one byte more": sized(limit + 1), "ten times": sized(10 * limit)} {
		t.Run(name, func(t *testing.T) {
			do(t, http.MethodPost, sessions, raw(`,"options":`+options)).invalid(t, "options")
		})
	}
}

func TestIDsAtTheirLimits(t *testing.T) {
	letter := func(r rune) bool { return r >= 'a' && r <= 'z' }
	single := strings.Map(func(r rune) rune { // a character that no earlier run on the same server is likely to have
		if letter(r) {
			return r
		}
		return -1
	}, newID()[2:])[:1]
	if answer := do(t, http.MethodPost, sessions+"?sessionId="+single, draft()); answer.status != http.StatusConflict {
		answer.ok(t)
	}
	longest := (newID() + strings.Repeat("x", 63))[:63]
	do(t, http.MethodPost, sessions+"?sessionId="+longest, draft()).ok(t)
	want(t, get(t, longest).ok(t), object{"sessionId": longest})
	for name, id := range map[string]string{
		"64": longest + "x", "a dot": "a.b", "a star": "*", "a hyphen first": "-a", "an underscore first": "_a",
		"a space": "a%20b", "an umlaut": "%C3%BC", "a slash": "a/b", "NUL": "a%00", "a line feed": "a%0A",
	} {
		t.Run(name, func(t *testing.T) {
			do(t, http.MethodPost, sessions+"?sessionId="+id, draft()).invalid(t, "sessionId")
			if !strings.Contains(id, "/") {
				get(t, id).invalid(t, "name")
			}
		})
	}
}

func TestWrongMethods(t *testing.T) {
	id, _ := create(t)
	for _, test := range []struct {
		method, path string
		allow        []string
	}{
		{http.MethodPut, sessions, []string{"GET", "POST"}},
		{http.MethodDelete, sessions, []string{"GET", "POST"}},
		{http.MethodPatch, sessions, []string{"GET", "POST"}},
		{http.MethodPut, sessions + "/" + id, []string{"DELETE", "GET", "PATCH"}},
		{http.MethodPost, sessions + "/" + id, []string{"DELETE", "GET", "PATCH"}},
		{http.MethodPost, sessions + "/" + id + ":fly", []string{"DELETE", "GET", "PATCH"}},
	} {
		t.Run(test.method+" "+strings.TrimPrefix(test.path, sessions), func(t *testing.T) {
			answer := do(t, test.method, test.path, draft())
			answer.refused(t, http.StatusMethodNotAllowed, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED")
			allow := strings.Split(answer.header.Get("Allow"), ", ")
			allow = slices.DeleteFunc(allow, func(method string) bool { return method == http.MethodHead })
			slices.Sort(allow)
			if diff := cmp.Diff(test.allow, allow); diff != "" {
				t.Errorf("Allow (-want +got):\n%s", diff)
			}
		})
	}
}

func TestContentTypes(t *testing.T) {
	for kind, accepted := range map[string]bool{
		"application/json": true, "application/json; charset=utf-8": true, "Application/JSON": true,
		"": false, "text/plain": false, "application/x-www-form-urlencoded": false, "application/jsonx": false,
		"multipart/form-data": false, "text/plain; application/json": false, "application/json-patch+json": false,
	} {
		t.Run(kind, func(t *testing.T) {
			answer := do(t, http.MethodPost, sessions, draft(), withHeader("Content-Type", kind))
			if accepted {
				answer.ok(t)
				return
			}
			answer.refused(t, http.StatusUnsupportedMediaType, "INVALID_ARGUMENT", "UNSUPPORTED_MEDIA_TYPE")
		})
	}
}

func TestAccept(t *testing.T) {
	id, _ := create(t)
	for accept, accepted := range map[string]bool{
		"*/*": true, "application/json": true, "application/*": true, "text/html, */*;q=0.1": true,
		"text/html;q=0.9, application/json": true,
		"text/html":                         false, "text/event-stream": false, "image/*": false,
	} {
		t.Run(accept, func(t *testing.T) {
			answer := get(t, id, withHeader("Accept", accept))
			if accepted {
				answer.ok(t)
				return
			}
			answer.refused(t, http.StatusNotAcceptable, "INVALID_ARGUMENT", "NOT_ACCEPTABLE")
		})
	}
}

func TestUnknownPaths(t *testing.T) {
	for _, path := range []string{"/", "/v1", "/v1/conversation", "/v2/conversation/sessions", sessions + "/", sessions + "/a/b", sessions + "/a/b/c/d"} {
		t.Run(path, func(t *testing.T) {
			do(t, http.MethodGet, path, nil).refused(t, http.StatusNotFound, "NOT_FOUND", "UNKNOWN_PATH")
		})
	}
}

func TestQueryParameters(t *testing.T) {
	id, _ := create(t)
	for name, test := range map[string]struct{ method, path, field string }{
		"unknown on create":            {http.MethodPost, sessions + "?colour=red", "colour"},
		"unknown on get":               {http.MethodGet, sessions + "/" + id + "?view=FULL", "view"},
		"unknown on list":              {http.MethodGet, sessions + "?limit=5", "limit"},
		"unknown on update":            {http.MethodPatch, sessions + "/" + id + "?mask=profile", "mask"},
		"unknown on delete":            {http.MethodDelete, sessions + "/" + id + "?force=true", "force"},
		"of another method":            {http.MethodGet, sessions + "?sessionId=x", "sessionId"},
		"repeated":                     {http.MethodPost, sessions + "?sessionId=a&sessionId=b", "sessionId"},
		"repeated in another spelling": {http.MethodPost, sessions + "?sessionId=a&session_id=a", "sessionId"},
		"repeated on list":             {http.MethodGet, sessions + "?filter=&filter=", "filter"},
	} {
		t.Run(name, func(t *testing.T) {
			do(t, test.method, test.path, draft()).invalid(t, test.field)
		})
	}
}

func TestAMalformedQuery(t *testing.T) {
	for _, query := range []string{"?filter=%zz", "?a;b", "?%"} {
		t.Run(query, func(t *testing.T) {
			do(t, http.MethodGet, sessions+query, nil).refused(t, http.StatusBadRequest, "INVALID_ARGUMENT", "MALFORMED_QUERY")
		})
	}
}

// What a client sent may be a secret that it put in the wrong place: no error shows it.
func TestErrorsShowNoValue(t *testing.T) {
	const secret = "hunter2-hunter2"
	id, _ := create(t)
	for name, answer := range map[string]answer{
		"wrong type":       do(t, http.MethodPost, sessions, draft(object{"sessionType": secret})),
		"control":          do(t, http.MethodPost, sessions, draft(object{"profile": secret + "\n"})),
		"duplicate owner":  do(t, http.MethodPost, sessions, draft(object{"owners": []any{secret, secret}})),
		"option":           do(t, http.MethodPost, sessions, draft(object{"options": object{"ttl": secret}})),
		"name":             do(t, http.MethodPost, sessions, draft(object{"name": secret})),
		"secretKey":        do(t, http.MethodPost, sessions, draft(object{"secretKey": secret + strings.Repeat("x", 300)})),
		"cut JSON":         do(t, http.MethodPost, sessions, `{"secretKey":"`+secret),
		"bad escape":       do(t, http.MethodPost, sessions, fmt.Sprintf(`{"secretKey":"%s\x"}`, secret)),
		"unknown field":    do(t, http.MethodPost, sessions, draft(object{"colour": secret})),
		"sessionId":        do(t, http.MethodPost, sessions+"?sessionId="+secret+".", draft()),
		"requestId":        do(t, http.MethodPost, sessions+"?requestId="+secret+"*", draft()),
		"unknown query":    do(t, http.MethodPost, sessions+"?secret="+secret, draft()),
		"pageToken":        do(t, http.MethodGet, sessions+"?pageToken="+secret, nil),
		"filter":           do(t, http.MethodGet, sessions+query("filter", `description = `+secret+` "`), nil),
		"filter on a type": do(t, http.MethodGet, sessions+query("filter", `sessionType = "`+secret+`"`), nil),
		"orderBy":          do(t, http.MethodGet, sessions+query("orderBy", secret), nil),
		"pageSize":         do(t, http.MethodGet, sessions+"?pageSize="+secret, nil),
		"etag":             do(t, http.MethodDelete, sessions+"/"+id+"?etag="+secret, nil),
		"not found":        get(t, secret),
		"path":             get(t, secret+"."),
	} {
		t.Run(name, func(t *testing.T) {
			if answer.fault(t); bytes.Contains(answer.body, []byte(secret)) {
				t.Errorf("the answer shows the value: %s", answer.body)
			}
		})
	}
}
