package contract_test

import (
	"encoding/base64"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func publish(t *testing.T, id string, body any, options ...option) answer {
	t.Helper()
	return do(t, http.MethodPost, sessions+"/"+id+"/messages", body, options...)
}

// text is a message of a text, with changes.
func text(content string, changes ...object) object {
	message := object{"text": content}
	for _, change := range changes {
		maps.Copy(message, change)
	}
	return message
}

// speak publishes as the user, and returns the answer's message.
func speak(t *testing.T, id, user string, message object) object {
	t.Helper()
	return publish(t, id, object{"message": message}, as(user)).ok(t)["message"].(object)
}

func TestPublishAnswersTheMessageAndItsCursor(t *testing.T) {
	id := gather(t, object{"defaultChannels": []any{4, 1}}, "user-2")
	got := publish(t, id, object{"message": text("hello", object{
		"messageId": "m1", "contentType": "text/plain", "metadata": object{"a": []any{1, nil}},
	})}, as("user-2")).ok(t)
	message := got["message"].(object)
	want(t, message, object{
		"name": "sessions/" + id + "/messages/m1", "messageId": "m1", "sender": "user-2", "channel": 4.0, "text": "hello",
		"contentType": "text/plain", "metadata": object{"a": []any{1.0, nil}}, "replyTo": "", "sequence": "3",
	})
	if time, _ := message["createTime"].(string); len(time) != len("2006-01-02T15:04:05.000000Z") {
		t.Errorf("createTime = %q, want a time with six fractional digits", time)
	}
	cursor, _ := got["acknowledgment"].(string)
	if cursor == "" || strings.Trim(cursor, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:~-") != "" {
		t.Errorf("acknowledgment = %q, want one of the characters that tokens use", cursor)
	}
	if len(got) != 2 {
		t.Errorf("answer = %v, want nothing but acknowledgment and message", got)
	}
	want(t, get(t, id).ok(t), object{"headSequence": "3", "lastMessageTime": message["createTime"]})
}

func TestAMessageWithoutAnIDGetsOne(t *testing.T) {
	id := gather(t, nil, "user-2")
	one, other := speak(t, id, "user-2", text("a")), speak(t, id, "user-2", text("b"))
	if one["messageId"] == other["messageId"] || len(one["messageId"].(string)) != 36 {
		t.Errorf("messageIds = %v, %v; want two UUIDs", one["messageId"], other["messageId"])
	}
	want(t, one, object{"name": "sessions/" + id + "/messages/" + one["messageId"].(string)})
}

func TestEveryContentComesBack(t *testing.T) {
	id := gather(t, nil, "user-2")
	blob := base64.StdEncoding.EncodeToString([]byte{0xfb, 0xff, 0, 1})
	for name, test := range map[string]struct{ raw, field, want string }{
		"text":                {`{"text":"a\u00fc\n\ud83d\ude42\u2028<"}`, "text", "\"aü\\n🙂\u2028<\""},
		"an object":           {`{"data":{ "b" : [1.0, 1e20, -0, null], "a": {} }}`, "data", `{"b":[1,1e+20,0,null],"a":{}}`},
		"a list":              {`{"data":[]}`, "data", `[]`},
		"a number":            {`{"data":9007199254740991}`, "data", `9007199254740991`},
		"a large double":      {`{"data":1e300}`, "data", `1e+300`},
		"false":               {`{"data":false}`, "data", `false`},
		"an empty text of it": {`{"data":""}`, "data", `""`},
		"a blob":              {`{"blob":"` + blob + `","contentType":"image/png"}`, "blob", `"` + blob + `"`},
		"a blob for URLs":     {`{"blob":"-_8AAQ","content_type":"image/png"}`, "blob", `"` + blob + `"`},
	} {
		t.Run(name, func(t *testing.T) {
			answer := publish(t, id, `{"message":`+test.raw+`}`, as("user-2"))
			answer.ok(t)
			if !strings.Contains(string(answer.body), `"`+test.field+`":`+test.want+`,"contentType"`) {
				t.Errorf("answer = %s, want %s in it", answer.body, test.want)
			}
			name := answer.json(t)["message"].(object)["name"].(string)
			got := do(t, http.MethodGet, "/v1/conversation/"+name, nil, as("user-2"))
			if diff := cmp.Diff(answer.json(t)["message"], any(got.ok(t))); diff != "" {
				t.Errorf("message (-published +got):\n%s", diff)
			}
		})
	}
}

func TestBadMessages(t *testing.T) {
	id := gather(t, nil, "user-2")
	deep := strings.Repeat("[", 101) + strings.Repeat("]", 101)
	for name, test := range map[string]struct {
		body   any
		fields []string
	}{
		"no message":                {object{}, []string{"message"}},
		"null":                      {object{"message": nil}, []string{"message"}},
		"no content":                {object{"message": object{}}, []string{"message"}},
		"data that is null":         {object{"message": object{"data": nil}}, []string{"message"}},
		"two contents":              {object{"message": object{"text": "a", "data": 1}}, []string{"message"}},
		"three contents":            {`{"message":{"text":"a","data":1,"blob":"AA==","contentType":"x"}}`, []string{"message"}},
		"an empty text":             {object{"message": text("")}, []string{"message.text"}},
		"an empty blob":             {object{"message": object{"blob": "", "contentType": "x"}}, []string{"message.blob"}},
		"a blob of no type":         {object{"message": object{"blob": "AA=="}}, []string{"message.contentType"}},
		"no base64":                 {object{"message": object{"blob": "*", "contentType": "x"}}, []string{"message.blob"}},
		"a negative channel":        {object{"message": text("a", object{"channel": -1})}, []string{"message.channel"}},
		"a channel that is none":    {object{"message": text("a", object{"channel": "x"})}, []string{"message.channel"}},
		"NUL in a text":             {`{"message":{"text":"\u0000"}}`, []string{"message.text"}},
		"NUL in data":               {`{"message":{"data":{"a":["\u0000"]}}}`, []string{"message.data.a[0]"}},
		"NUL in a key":              {`{"message":{"text":"a","metadata":{"\u0000":1}}}`, []string{`message.metadata["\x00"]`}},
		"an integer beyond 2^53":    {`{"message":{"data":{"a":[0,1,9007199254740992]}}}`, []string{"message.data.a[2]"}},
		"an overflow":               {`{"message":{"text":"a","metadata":{"n":1e400}}}`, []string{"message.metadata.n"}},
		"metadata of no object":     {`{"message":{"text":"a","metadata":[]}}`, []string{"message.metadata"}},
		"large metadata":            {object{"message": text("a", object{"metadata": object{"a": strings.Repeat("x", 64<<10)}})}, []string{"message.metadata"}},
		"data 101 levels deep":      {`{"message":{"data":` + deep + `}}`, []string{"message.data" + strings.Repeat("[0]", 14) + "..."}},
		"a bad messageId":           {object{"message": text("a", object{"messageId": "a b"})}, []string{"message.messageId"}},
		"a bad replyTo":             {object{"message": text("a", object{"replyTo": "-"})}, []string{"message.replyTo"}},
		"a reply to nothing":        {object{"message": text("a", object{"replyTo": "none"})}, []string{"message.replyTo"}},
		"a control in contentType":  {object{"message": text("a", object{"contentType": "a\nb"})}, []string{"message.contentType"}},
		"a long contentType":        {object{"message": text("a", object{"contentType": strings.Repeat("x", 256)})}, []string{"message.contentType"}},
		"a message that is no one":  {object{"message": "a"}, []string{"message"}},
		"the session":               {object{"session": "sessions/" + id, "message": text("a")}, []string{"session"}},
		"an unknown field":          {object{"message": text("a", object{"colour": 1}), "shape": 1}, []string{"message.colour", "shape"}},
		"a bad requestId and name":  {object{"requestId": "*", "name": "a\nb", "message": text("")}, []string{"name", "requestId", "message.text"}},
		"several things at once":    {`{"message":{"text":1,"channel":1.5,"replyTo":[]},"uid":2}`, []string{"message.channel", "message.replyTo", "message.text", "uid"}},
		"a message of another type": {object{"message": []any{}}, []string{"message"}},
	} {
		t.Run(name, func(t *testing.T) {
			publish(t, id, test.body, as("user-2")).invalid(t, test.fields...)
		})
	}
	for name, body := range map[string]string{
		"empty": "", "a list": "[]", "a duplicate key": `{"message":{"text":"a","text":"b"}}`,
		"two spellings": `{"message":{"text":"a","reply_to":"b","replyTo":"b"}}`, "trailing data": `{"message":{"text":"a"}}x`,
		"a duplicate in data": `{"message":{"data":{"a":{"b":1,"b":2}}}}`, "half a surrogate": `{"message":{"text":"\ud800"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			publish(t, id, body, as("user-2")).refused(t, http.StatusBadRequest, "INVALID_ARGUMENT", "MALFORMED_JSON")
		})
	}
	want(t, get(t, id).ok(t), object{"headSequence": "2"})
}

func TestReadOnlyFieldsOfAMessageAreIgnored(t *testing.T) {
	id := gather(t, nil, "user-2")
	got := speak(t, id, "user-2", text("a", object{"name": "x", "sender": "user-1", "sequence": "99", "createTime": "then"}))
	want(t, got, object{"sender": "user-2", "sequence": "3"})
}

func TestWhoMayPublish(t *testing.T) {
	id := gather(t, object{"blockedUsers": []any{"blocked"}, "allowedUsers": []any{"allowed"}}, "user-2")
	message := object{"message": text("x")}
	publish(t, id, message, as("user-2")).ok(t)
	for _, user := range []string{"other", "allowed", "user-1"} {
		publish(t, id, message, as(user)).refused(t, http.StatusForbidden, "PERMISSION_DENIED", "NOT_A_MEMBER")
	}
	publish(t, id, message).refused(t, http.StatusForbidden, "PERMISSION_DENIED", "NOT_A_MEMBER") // not even the operator
	publish(t, id, message, as("blocked")).refused(t, http.StatusForbidden, "PERMISSION_DENIED", "BLOCKED")
	want(t, publish(t, id, object{"name": "user-2", "message": text("x")}).ok(t)["message"].(object), object{"sender": "user-2"})
	publish(t, newID(), message, as("user-2")).hidden(t)
	leave(t, id, object{}, as("user-2")).ok(t)
	publish(t, id, message, as("user-2")).refused(t, http.StatusForbidden, "PERMISSION_DENIED", "NOT_A_MEMBER")
}

func TestPublishToASessionThatIsGone(t *testing.T) {
	id := gather(t, nil, "user-2")
	uid := get(t, id).ok(t)["uid"]
	do(t, http.MethodDelete, sessions+"/"+id, nil).ok(t)
	publish(t, id, object{"message": text("x")}, as("user-2")).hidden(t)
	do(t, http.MethodPost, sessions+"?sessionId="+id, draft()).ok(t)
	publish(t, id, object{"message": text("x")}, as("user-2")).refused(t, http.StatusForbidden, "PERMISSION_DENIED", "NOT_A_MEMBER")
	join(t, id, object{}, as("user-2")).ok(t)
	publish(t, id, object{"message": text("x"), "uid": uid}, as("user-2")).refused(t, http.StatusConflict, "ABORTED", "UID_MISMATCH")
	want(t, speak(t, id, "user-2", text("x")), object{"sequence": "3"})
}

func TestTheLimitOfAMessage(t *testing.T) {
	standard := gather(t, nil, "user-2")
	small := gather(t, object{"options": object{"maxMessageBytes": 10}}, "user-2")
	large := gather(t, object{"options": object{"maxMessageBytes": 524288}}, "user-2")
	bytes := func(n int) object {
		return object{"blob": base64.StdEncoding.EncodeToString(make([]byte, n)), "contentType": "application/octet-stream"}
	}
	for name, test := range map[string]struct {
		id      string
		message object
		fits    bool
	}{
		"10 bytes":              {small, text("0123456789"), true},
		"11 bytes":              {small, text("0123456789x"), false},
		"10 bytes, 5 letters":   {small, text("üüüüü"), true},
		"11 bytes, 6 letters":   {small, text("üüüüüx"), false},
		"a blob of 10 bytes":    {small, bytes(10), true},
		"a blob of 11 bytes":    {small, bytes(11), false},
		"data of 10 bytes":      {small, object{"data": []any{1, 2, "ab"}}, true},
		"data of 11 bytes":      {small, object{"data": []any{1, 2, "abc"}}, false},
		"metadata do not count": {small, text("0123456789", object{"metadata": object{"a": strings.Repeat("x", 1000)}}), true},
		"64 KiB":                {standard, text(strings.Repeat("x", 64<<10)), true},
		"64 KiB and 1":          {standard, text(strings.Repeat("x", 64<<10+1)), false},
		"512 KiB":               {large, text(strings.Repeat("x", 512<<10)), true},
		"512 KiB and 1":         {large, text(strings.Repeat("x", 512<<10+1)), false},
		"a blob of 512 KiB":     {large, bytes(512 << 10), true},
		"a blob of more":        {large, bytes(512<<10 + 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			answer := publish(t, test.id, object{"message": test.message}, as("user-2"))
			if test.fits {
				answer.ok(t)
				return
			}
			answer.invalid(t, "message")
		})
	}
	publish(t, large, `{"message":{"text":"x"}}`+strings.Repeat(" ", 851969-len(`{"message":{"text":"x"}}`)), as("user-2")).
		refused(t, http.StatusRequestEntityTooLarge, "INVALID_ARGUMENT", "BODY_TOO_LARGE")
	publish(t, large, `{"message":{"text":"x"}}`+strings.Repeat(" ", 851968-len(`{"message":{"text":"x"}}`)), as("user-2")).ok(t)
}

func TestAMessageIDIsTakenOnce(t *testing.T) {
	id := gather(t, nil, "user-2", "user-3")
	speak(t, id, "user-2", text("a", object{"messageId": "m1"}))
	for _, user := range []string{"user-2", "user-3"} {
		publish(t, id, object{"message": text("b", object{"messageId": "m1"})}, as(user)).
			refused(t, http.StatusConflict, "ALREADY_EXISTS", "MESSAGE_EXISTS")
	}
	made := speak(t, id, "user-2", text("a"))["messageId"]
	publish(t, id, object{"message": text("b", object{"messageId": made})}, as("user-2")).
		refused(t, http.StatusConflict, "ALREADY_EXISTS", "MESSAGE_EXISTS")
	another := gather(t, nil, "user-2")
	speak(t, another, "user-2", text("a", object{"messageId": "m1"}))
}

func TestAReplyIsToAMessageOfTheSameSession(t *testing.T) {
	id, another := gather(t, nil, "user-2"), gather(t, nil, "user-2")
	chosen := speak(t, id, "user-2", text("a", object{"messageId": "m1"}))
	made := speak(t, id, "user-2", text("b"))
	for _, to := range []any{chosen["messageId"], made["messageId"]} {
		want(t, speak(t, id, "user-2", text("reply", object{"replyTo": to})), object{"replyTo": to})
		publish(t, another, object{"message": text("reply", object{"replyTo": to})}, as("user-2")).invalid(t, "message.replyTo")
	}
}

func TestARepeatedPublishIsOneMessage(t *testing.T) {
	id := gather(t, object{"options": object{"channels": object{"9": object{"history": false}}}}, "user-2", "user-3")
	for name, channel := range map[string]int{"stored": 1, "ephemeral": 9} {
		t.Run(name, func(t *testing.T) {
			requestID := newID()
			body := object{"requestId": requestID, "message": text("x", object{"channel": channel, "metadata": object{"a": 1}})}
			first := publish(t, id, body, as("user-2")).ok(t)
			head := get(t, id).ok(t)["headSequence"]
			if diff := cmp.Diff(first, publish(t, id, body, as("user-2")).ok(t)); diff != "" {
				t.Errorf("repeat (-first +repeat):\n%s", diff)
			}
			respelled := `{"request_id":"` + requestID + `","message":{"metadata":{ "a": 1.0 },"channel":"` + strconv.Itoa(channel) + `","text":"\u0078"}}`
			if diff := cmp.Diff(first, publish(t, id, respelled, as("user-2")).ok(t)); diff != "" {
				t.Errorf("repeat in another spelling (-first +repeat):\n%s", diff)
			}
			want(t, get(t, id).ok(t), object{"headSequence": head})
			for name, message := range map[string]object{
				"another text":    text("y", object{"channel": channel, "metadata": object{"a": 1}}),
				"another channel": text("x", object{"channel": 2, "metadata": object{"a": 1}}),
				"an id":           text("x", object{"channel": channel, "metadata": object{"a": 1}, "messageId": "m"}),
			} {
				answer := publish(t, id, object{"requestId": requestID, "message": message}, as("user-2"))
				if f := answer.fault(t); f.Code != http.StatusBadRequest || f.Reason != "REQUEST_ID_REUSED" {
					t.Errorf("%s: %d %s, want 400 REQUEST_ID_REUSED", name, f.Code, f.Reason)
				}
			}
			other := publish(t, id, body, as("user-3")).ok(t) // another caller, so another scope
			want(t, other["message"].(object), object{"sender": "user-3"})
		})
	}
}

func TestARepeatedPublishWithAnIDIsNoConflict(t *testing.T) {
	id := gather(t, nil, "user-2")
	body := object{"requestId": newID(), "message": text("x", object{"messageId": "m1"})}
	first := publish(t, id, body, as("user-2")).ok(t)
	if diff := cmp.Diff(first, publish(t, id, body, as("user-2")).ok(t)); diff != "" {
		t.Errorf("repeat (-first +repeat):\n%s", diff)
	}
	leave(t, id, object{}, as("user-2")).ok(t)
	publish(t, id, body, as("user-2")).refused(t, http.StatusForbidden, "PERMISSION_DENIED", "NOT_A_MEMBER")
}

func TestAnEphemeralMessageIsNotStored(t *testing.T) {
	id := gather(t, object{"options": object{"channels": object{"9": object{"history": false}}}}, "user-2")
	got := publish(t, id, object{"message": text("x", object{"channel": 9, "messageId": "m1"})}, as("user-2")).ok(t)
	want(t, got, object{"acknowledgment": ""})
	want(t, got["message"].(object), object{"sequence": "0", "channel": 9.0, "messageId": "m1"})
	do(t, http.MethodGet, sessions+"/"+id+"/messages/m1", nil).refused(t, http.StatusNotFound, "NOT_FOUND", "MESSAGE_NOT_FOUND")
	if texts, _ := messageTexts(t, id, "user-2"); len(texts) != 0 {
		t.Errorf("messages = %v, want none", texts)
	}
	want(t, get(t, id).ok(t), object{"headSequence": "2"})
}
