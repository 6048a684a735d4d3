package contract_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func join(t *testing.T, id string, body any, options ...option) answer {
	t.Helper()
	return do(t, http.MethodPost, sessions+"/"+id+"/join", body, options...)
}

func leave(t *testing.T, id string, body any, options ...option) answer {
	t.Helper()
	return do(t, http.MethodPost, sessions+"/"+id+"/leave", body, options...)
}

// gather makes a session that has user-1 as its owner, and the users as its members.
func gather(t *testing.T, changes object, users ...string) string {
	t.Helper()
	id, _ := create(t, changes)
	for _, user := range users {
		join(t, id, object{"name": user}).ok(t)
	}
	return id
}

func TestJoinAnswersTheSessionTheMemberAndACursor(t *testing.T) {
	id, created := create(t, object{"defaultChannels": []any{1, 4}})
	got := join(t, id, object{}, as("user-2")).ok(t)
	session, member := got["session"].(object), got["member"].(object)
	want(t, session, object{"uid": created["uid"], "etag": created["etag"], "updateTime": created["updateTime"], "memberCount": 1.0, "headSequence": "2"})
	want(t, member, object{"user": "user-2", "role": "member", "channels": []any{1.0, 4.0}, "online": false})
	if time, _ := member["joinTime"].(string); len(time) != len("2006-01-02T15:04:05.000000Z") {
		t.Errorf("joinTime = %q, want a time with six fractional digits", time)
	}
	cursor, _ := got["cursor"].(string)
	if cursor == "" || strings.Trim(cursor, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:~-") != "" {
		t.Errorf("cursor = %q, want one of the characters that tokens use", cursor)
	}
	if len(got) != 3 {
		t.Errorf("answer = %v, want nothing but session, member and cursor", got)
	}
	want(t, join(t, id, object{}, as("user-1")).ok(t)["member"].(object), object{"role": "owner"})
}

func TestTheBodyOfAJoinAndALeaveMayBeLeftOut(t *testing.T) {
	for _, form := range []string{"/join", ":join"} {
		id, _ := create(t)
		want(t, do(t, http.MethodPost, sessions+"/"+id+form, nil, as("user-2")).ok(t)["member"].(object), object{"user": "user-2"})
		leaving := strings.Replace(form, "join", "leave", 1)
		want(t, do(t, http.MethodPost, sessions+"/"+id+leaving, nil, as("user-2")).ok(t)["session"].(object), object{"memberCount": 0.0})
		do(t, http.MethodPost, sessions+"/"+id+form, "{}", as("user-2"), withHeader("Content-Type", "text/plain")).
			refused(t, http.StatusUnsupportedMediaType, "INVALID_ARGUMENT", "UNSUPPORTED_MEDIA_TYPE")
	}
}

func TestJoiningTwiceIsJoiningOnce(t *testing.T) {
	id, _ := create(t)
	first := join(t, id, object{}, as("user-2")).ok(t)
	if diff := cmp.Diff(first, join(t, id, object{}, as("user-2")).ok(t)); diff != "" {
		t.Errorf("answer (-first +second):\n%s", diff)
	}
	third := join(t, id, object{"channels": []any{4, 2}}, as("user-2")).ok(t)
	want(t, third["session"].(object), object{"memberCount": 1.0, "headSequence": "3"})
	want(t, third["member"].(object), object{"channels": []any{4.0, 2.0}, "joinTime": first["member"].(object)["joinTime"]})
}

func TestJoinAndLeaveMoveNeitherETagNorUpdateTime(t *testing.T) {
	id, created := create(t)
	join(t, id, object{}, as("user-2")).ok(t)
	leave(t, id, object{}, as("user-2")).ok(t)
	want(t, get(t, id).ok(t), object{"etag": created["etag"], "updateTime": created["updateTime"], "headSequence": "3", "memberCount": 0.0})
}

func TestBadJoins(t *testing.T) {
	id, _ := create(t)
	many := make([]any, 65)
	for i := range many {
		many[i] = i + 1
	}
	for name, test := range map[string]struct {
		body  any
		field string
	}{
		"a negative channel":   {object{"channels": []any{1, -4}}, "channels[1]"},
		"channel 0":            {object{"channels": []any{0}}, "channels[0]"},
		"a channel twice":      {object{"channels": []any{1, 2, 1}}, "channels[2]"},
		"a channel too large":  {object{"channels": []any{2147483648}}, "channels[0]"},
		"65 channels":          {object{"channels": many}, "channels"},
		"channels of no list":  {object{"channels": 1}, "channels"},
		"a long name":          {object{"name": strings.Repeat("u", 129)}, "name"},
		"a control in a name":  {object{"name": "a\nb"}, "name"},
		"NUL in a secret":      {`{"secretKey":"\u0000"}`, "secretKey"},
		"a long secret":        {object{"secretKey": strings.Repeat("s", 257)}, "secretKey"},
		"a bad requestId":      {object{"requestId": "a b"}, "requestId"},
		"the session":          {object{"session": "sessions/" + id}, "session"},
		"an unknown field":     {object{"colour": "red"}, "colour"},
		"a name that is none":  {object{"name": 1}, "name"},
		"an id that is a name": {object{"uid": 1}, "uid"},
	} {
		t.Run(name, func(t *testing.T) {
			join(t, id, test.body, as("user-2")).invalid(t, test.field)
		})
	}
	do(t, http.MethodPost, sessions+"/"+id+"/join?uid=x", object{}).invalid(t, "uid")
	do(t, http.MethodPost, sessions+"/"+id+"/leave", object{"uid": "x"}).invalid(t, "uid")
	do(t, http.MethodPost, sessions+"/a.b/join", object{}).invalid(t, "session")
	do(t, http.MethodPost, sessions+"/a.b/leave", object{}).invalid(t, "session")
	join(t, id, `{"name":"a","name":"b"}`).refused(t, http.StatusBadRequest, "INVALID_ARGUMENT", "MALFORMED_JSON")
	join(t, id, `{"secret_key":"12345678","secretKey":"12345678"}`).refused(t, http.StatusBadRequest, "INVALID_ARGUMENT", "MALFORMED_JSON")
	join(t, id, `{}{}`).refused(t, http.StatusBadRequest, "INVALID_ARGUMENT", "MALFORMED_JSON")
	leave(t, id, `[]`).refused(t, http.StatusBadRequest, "INVALID_ARGUMENT", "MALFORMED_JSON")
}

func TestWhoMayJoin(t *testing.T) {
	const joined, hidden, blocked, locked = "joined", "SESSION_NOT_FOUND", "BLOCKED", "SECRET_KEY_REQUIRED"
	const secret = "open-sesame"
	for _, test := range []struct {
		kind      int
		hasSecret bool
		user      string
		brings    string
		want      string
	}{
		{1, false, "other", "", joined},
		{1, false, "blocked", "", blocked},
		{1, true, "other", "", locked},
		{1, true, "other", "wrong-secret", locked},
		{1, true, "other", secret, joined},
		{1, true, "blocked", secret, blocked},
		{1, true, "allowed", "", joined},
		{1, true, "owner", "", joined},
		{1, true, "owner", "wrong-secret", joined},
		{2, false, "other", "", hidden},
		{2, false, "other", secret, hidden},
		{2, false, "blocked", "", hidden},
		{2, false, "allowed", "", joined},
		{2, false, "owner", "", joined},
		{2, true, "other", "", hidden},
		{2, true, "other", "wrong-secret", hidden},
		{2, true, "other", secret, joined},
		{2, true, "allowed", "", joined},
		{3, true, "other", secret, joined},
		{3, false, "other", "", hidden},
		{2, true, "", "", joined}, // the operator
	} {
		changes := object{
			"sessionType": test.kind, "owners": []any{"owner"}, "allowedUsers": []any{"allowed"}, "blockedUsers": []any{"blocked"},
		}
		if test.hasSecret {
			changes["secretKey"] = secret
		}
		id, _ := create(t, changes)
		body := object{}
		if test.brings != "" {
			body["secretKey"] = test.brings
		}
		if test.user == "" {
			body["name"] = "anyone"
		}
		got := joined
		if answer := join(t, id, body, as(test.user)); answer.status != http.StatusOK {
			got = answer.fault(t).Reason
		}
		if got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}

func TestAWrongSecretAnswersAsNoneWould(t *testing.T) {
	public, _ := create(t, object{"secretKey": "open-sesame"})
	private, _ := create(t, object{"sessionType": 2, "secretKey": "open-sesame"})
	for name, pair := range map[string][2]answer{
		"visible": {join(t, public, object{}, as("other")), join(t, public, object{"secretKey": "wrong-secret"}, as("other"))},
		"hidden":  {join(t, private, object{}, as("other")), join(t, private, object{"secretKey": "wrong-secret"}, as("other"))},
		"unused":  {join(t, private, object{}, as("other")), join(t, newID(), object{"secretKey": "wrong-secret"}, as("other"))},
		"no uid":  {join(t, private, object{}, as("other")), join(t, private, object{"secretKey": "open-sesame", "uid": "x"}, as("other"))},
	} {
		t.Run(name, func(t *testing.T) {
			pair[0].header.Del("Date")
			pair[0].header.Del("X-Request-ID") // every answer has its own
			pair[1].header.Del("Date")
			pair[1].header.Del("X-Request-ID") // every answer has its own
			if diff := cmp.Diff(pair[0], pair[1], cmp.AllowUnexported(answer{})); diff != "" {
				t.Errorf("answer (-without +with a wrong secret):\n%s", diff)
			}
		})
	}
}

func TestTooManyGuesses(t *testing.T) {
	const secret = "open-sesame"
	private, _ := create(t, object{"sessionType": 2, "secretKey": secret})
	public, _ := create(t, object{"secretKey": secret})
	open, _ := create(t)
	for name, test := range map[string]struct {
		id, reason string
		code       int
	}{
		"hidden":    {private, "SESSION_NOT_FOUND", http.StatusNotFound},
		"visible":   {public, "SECRET_KEY_REQUIRED", http.StatusForbidden},
		"unused":    {newID(), "SESSION_NOT_FOUND", http.StatusNotFound},
		"no secret": {open, "", http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			guesser := newID()
			for i := range 5 {
				answer := join(t, test.id, object{"secretKey": fmt.Sprintf("wrong-secret-%d", i)}, as(guesser))
				if answer.status != test.code {
					t.Fatalf("guess %d: %d, want %d; body: %s", i, answer.status, test.code, answer.body)
				}
			}
			sixth := join(t, test.id, object{"secretKey": secret}, as(guesser))
			sixth.refused(t, http.StatusTooManyRequests, "RESOURCE_EXHAUSTED", "TOO_MANY_GUESSES")
			if sixth.header.Get("Retry-After") == "" || !strings.Contains(string(sixth.body), "RetryInfo") {
				t.Errorf("Retry-After = %q, want one, and RetryInfo in %s", sixth.header.Get("Retry-After"), sixth.body)
			}
		})
	}
	join(t, private, object{"secretKey": secret}, as("honest")).ok(t)
}

func TestAGuessWithAnotherUIDIsCountedToo(t *testing.T) {
	private, _ := create(t, object{"sessionType": 2, "secretKey": "open-sesame"})
	guesser := newID()
	for range 5 {
		join(t, private, object{"secretKey": "open-sesame", "uid": "x"}, as(guesser)).hidden(t)
	}
	join(t, private, object{"secretKey": "open-sesame"}, as(guesser)).
		refused(t, http.StatusTooManyRequests, "RESOURCE_EXHAUSTED", "TOO_MANY_GUESSES")
}

func TestJoinOfAnotherUID(t *testing.T) {
	id, created := create(t, object{"secretKey": "open-sesame"})
	for name, body := range map[string]object{
		"without a secret":   {"uid": "x"},
		"with the secret":    {"uid": "x", "secretKey": "open-sesame"},
		"with another":       {"uid": "x", "secretKey": "wrong-secret"},
		"of another session": {"uid": "01890a5d-ac96-774b-bcce-b302099a8057"},
	} {
		t.Run(name, func(t *testing.T) {
			join(t, id, body, as("other")).refused(t, http.StatusConflict, "ABORTED", "UID_MISMATCH")
		})
	}
	join(t, id, object{"uid": created["uid"], "secretKey": "open-sesame"}, as("other")).ok(t)
}

func TestActingAsAnother(t *testing.T) {
	id := gather(t, nil, "user-2", "user-3")
	join(t, id, object{"name": "user-9"}, as("user-2")).refused(t, http.StatusForbidden, "PERMISSION_DENIED", "ACTING_AS_ANOTHER")
	join(t, id, object{"name": "user-9"}, as("user-1")).refused(t, http.StatusForbidden, "PERMISSION_DENIED", "ACTING_AS_ANOTHER")
	publish(t, id, object{"name": "user-3", "message": text("x")}, as("user-2")).
		refused(t, http.StatusForbidden, "PERMISSION_DENIED", "ACTING_AS_ANOTHER")
	join(t, id, object{"name": "user-2"}, as("user-2")).ok(t)
	want(t, join(t, id, object{"name": "user-9"}).ok(t)["member"].(object), object{"user": "user-9"}) // the operator
	hidden, _ := create(t, object{"sessionType": 2})
	join(t, hidden, object{"name": "user-9"}, as("user-2")).hidden(t)
}

func TestMaxMembers(t *testing.T) {
	id := gather(t, object{"options": object{"maxMembers": 2}}, "a", "b")
	join(t, id, object{}, as("c")).refused(t, http.StatusBadRequest, "FAILED_PRECONDITION", "SESSION_FULL")
	join(t, id, object{}, as("user-1")).refused(t, http.StatusBadRequest, "FAILED_PRECONDITION", "SESSION_FULL")
	join(t, id, object{"channels": []any{7}}, as("a")).ok(t)
	leave(t, id, object{}, as("a")).ok(t)
	join(t, id, object{}, as("c")).ok(t)
}

func TestLeave(t *testing.T) {
	id := gather(t, nil, "user-2", "user-3")
	left := leave(t, id, object{}, as("user-2")).ok(t)
	want(t, left["session"].(object), object{"memberCount": 1.0, "headSequence": "4"})
	if len(left) != 1 {
		t.Errorf("answer = %v, want nothing but the session", left)
	}
	again := leave(t, id, object{}, as("user-2")).ok(t)
	want(t, again["session"].(object), object{"memberCount": 1.0, "headSequence": "4"})
	leave(t, newID(), object{}, as("user-2")).hidden(t)
}

func TestAnOwnerRemovesAMember(t *testing.T) {
	id := gather(t, nil, "user-2", "user-3")
	leave(t, id, object{"name": "user-3"}, as("user-2")).refused(t, http.StatusForbidden, "PERMISSION_DENIED", "NOT_AN_OWNER")
	removed := leave(t, id, object{"name": "user-3"}, as("user-1")).ok(t)
	want(t, removed["session"].(object), object{"memberCount": 1.0})
	publish(t, id, object{"message": text("x")}, as("user-3")).refused(t, http.StatusForbidden, "PERMISSION_DENIED", "NOT_A_MEMBER")
}

func TestAMemberOfAPrivateSessionSeesAndListsIt(t *testing.T) {
	mark := newID()
	id, _ := create(t, object{"sessionType": 2, "secretKey": "open-sesame", "displayName": mark, "labels": object{"mark": mark}})
	filter := `labels.mark = "` + mark + `"`
	get(t, id, as("guest")).hidden(t)
	join(t, id, object{"secretKey": "open-sesame"}, as("guest")).ok(t)
	get(t, id, as("guest")).ok(t)
	if !slices.Contains(listAll(t, "guest", "filter", filter), mark) {
		t.Error("a member does not find the session in the list")
	}
	patch(t, id, "", object{"secretKey": "another-secret", "labels": object{"mark": mark}}).ok(t)
	get(t, id, as("guest")).ok(t)
	if !slices.Contains(listAll(t, "guest", "filter", filter), mark) {
		t.Error("after an update, a member does not find the session in the list")
	}
	leave(t, id, object{}, as("guest")).ok(t)
	get(t, id, as("guest")).hidden(t)
	if slices.Contains(listAll(t, "guest", "filter", filter), mark) {
		t.Error("who has left finds the session in the list")
	}
	join(t, id, object{"secretKey": "open-sesame"}, as("guest")).hidden(t)
}

func TestBeingBlockedEndsAMembership(t *testing.T) {
	id := gather(t, object{"sessionType": 2, "allowedUsers": []any{"guest"}}, "guest", "other")
	blocked := patch(t, id, "", object{"blockedUsers": []any{"other", "guest", "nobody"}}).ok(t)
	want(t, blocked, object{"memberCount": 0.0, "headSequence": "6"}) // created, two joins, the update, two removals
	publish(t, id, object{"message": text("x")}, as("guest")).refused(t, http.StatusForbidden, "PERMISSION_DENIED", "BLOCKED")
	messages(t, id, as("guest")).refused(t, http.StatusForbidden, "PERMISSION_DENIED", "BLOCKED")
	join(t, id, object{}, as("guest")).refused(t, http.StatusForbidden, "PERMISSION_DENIED", "BLOCKED")
	get(t, id, as("other")).hidden(t)
	patch(t, id, "", object{"blockedUsers": []any{}}).ok(t)
	join(t, id, object{}, as("guest")).ok(t)
	get(t, id, as("other")).hidden(t)
}

func TestTheIdleTimeoutOfATemporarySessionWaitsForItsMembers(t *testing.T) {
	id, created := create(t, object{"sessionType": 3, "options": object{"ttl": "3600s", "idleTimeout": "60s"}})
	joined := join(t, id, object{}, as("user-1")).ok(t)["session"].(object)
	if joined["expireTime"].(string) <= created["expireTime"].(string) {
		t.Errorf("expireTime = %s with a member, %s without; want a later one", joined["expireTime"], created["expireTime"])
	}
	left := leave(t, id, object{}, as("user-1")).ok(t)["session"].(object)
	if left["expireTime"].(string) >= joined["expireTime"].(string) || left["expireTime"].(string) <= created["expireTime"].(string) {
		t.Errorf("expireTime = %s after the last one left, want one between %s and %s", left["expireTime"], created["expireTime"], joined["expireTime"])
	}
}

func TestRepeatedJoinsAndLeaves(t *testing.T) {
	id, _ := create(t)
	body := object{"requestId": newID(), "channels": []any{3}}
	first := join(t, id, body, as("user-2")).ok(t)
	want(t, first["session"].(object), object{"headSequence": "2"})
	if diff := cmp.Diff(first, join(t, id, body, as("user-2")).ok(t)); diff != "" {
		t.Errorf("repeat (-first +repeat):\n%s", diff)
	}
	join(t, id, object{"requestId": body["requestId"], "channels": []any{4}}, as("user-2")).
		refused(t, http.StatusBadRequest, "INVALID_ARGUMENT", "REQUEST_ID_REUSED")
	want(t, join(t, id, body, as("user-3")).ok(t)["session"].(object), object{"headSequence": "3"})

	gone := object{"requestId": body["requestId"]} // another method, so another scope
	leave(t, id, gone, as("user-2")).ok(t)
	want(t, leave(t, id, gone, as("user-2")).ok(t)["session"].(object), object{"memberCount": 1.0})
	leave(t, id, object{"requestId": body["requestId"], "name": "user-2"}, as("user-2")).
		refused(t, http.StatusBadRequest, "INVALID_ARGUMENT", "REQUEST_ID_REUSED")
	join(t, id, body, as("user-2")).refused(t, http.StatusForbidden, "PERMISSION_DENIED", "NOT_A_MEMBER")
}

func TestARequestIDInTheQueryAndInTheBody(t *testing.T) {
	id := gather(t, nil, "user-2")
	one, other := newID(), newID()
	for _, path := range []string{"/join", ":join", "/leave", ":leave", "/messages"} {
		body := object{"requestId": other}
		if path == "/messages" {
			body["message"] = text("x")
		}
		do(t, http.MethodPost, sessions+"/"+id+path+"?requestId="+one, body, as("user-2")).invalid(t, "requestId")
	}
	body := object{"message": text("x")}
	first := do(t, http.MethodPost, sessions+"/"+id+"/messages?request_id="+one, body, as("user-2")).ok(t)
	body["requestId"] = one
	for _, query := range []string{"", "?requestId=" + one} {
		if diff := cmp.Diff(first, do(t, http.MethodPost, sessions+"/"+id+"/messages"+query, body, as("user-2")).ok(t)); diff != "" {
			t.Errorf("%s (-first +repeat):\n%s", query, diff)
		}
	}
}

// A hidden session must answer as an id that was never used, also to what happens in it.
func TestWhatHappensInAHiddenSessionIsLikeNone(t *testing.T) {
	hidden, _ := create(t, object{"sessionType": 2, "secretKey": "open-sesame"})
	unused := newID()
	for name, ask := range map[string]func(id string) answer{
		"join":            func(id string) answer { return join(t, id, object{}, as("other")) },
		"join as another": func(id string) answer { return join(t, id, object{"name": "user-1"}, as("other")) },
		"join by uid":     func(id string) answer { return join(t, id, object{"uid": "x"}, as("other")) },
		"join by request": func(id string) answer { return join(t, id, object{"requestId": id}, as("other")) },
		"leave":           func(id string) answer { return leave(t, id, object{}, as("other")) },
		"remove":          func(id string) answer { return leave(t, id, object{"name": "user-1"}, as("other")) },
		"publish":         func(id string) answer { return publish(t, id, object{"message": text("x")}, as("other")) },
		"publish as one": func(id string) answer {
			return publish(t, id, object{"name": "user-1", "message": text("x")}, as("other"))
		},
		"publish by uid": func(id string) answer { return publish(t, id, object{"uid": "x", "message": text("x")}, as("other")) },
		"messages":       func(id string) answer { return messages(t, id, as("other")) },
		"a message":      func(id string) answer { return do(t, http.MethodGet, sessions+"/"+id+"/messages/m", nil, as("other")) },
		"members":        func(id string) answer { return do(t, http.MethodGet, sessions+"/"+id+"/members", nil, as("other")) },
		"members by token": func(id string) answer {
			return do(t, http.MethodGet, sessions+"/"+id+"/members?pageToken=x", nil, as("other"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			one, other := ask(hidden), ask(unused)
			one.header.Del("Date")
			one.header.Del("X-Request-ID") // every answer has its own
			other.header.Del("Date")
			other.header.Del("X-Request-ID") // every answer has its own
			if diff := cmp.Diff(other, one, cmp.AllowUnexported(answer{})); diff != "" {
				t.Errorf("answer (-unused +hidden):\n%s", diff)
			}
			one.hidden(t)
		})
	}
}
