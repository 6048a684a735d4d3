package contract_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestARepeatedCreateAnswersTheSameSession(t *testing.T) {
	path := sessions + "?requestId=" + newID()
	first := do(t, http.MethodPost, path, draft()).ok(t)
	if diff := cmp.Diff(first, do(t, http.MethodPost, path, draft()).ok(t)); diff != "" {
		t.Errorf("repeat (-first +repeat):\n%s", diff)
	}
}

func TestARepeatedCreateWithAnIDIsNotAlreadyExists(t *testing.T) {
	path := sessions + "?sessionId=" + newID() + "&requestId=" + newID()
	first := do(t, http.MethodPost, path, draft()).ok(t)
	want(t, do(t, http.MethodPost, path, draft()).ok(t), object{"uid": first["uid"]})
}

func TestARepeatIsComparedAsItWasUnderstood(t *testing.T) {
	path := sessions + "?requestId=" + newID()
	first := do(t, http.MethodPost, path, draft()).ok(t)
	repeat := do(t, http.MethodPost, path, `{ "default_channels": ["1"], "owners": ["user-1"], "description": null,
		"session_type": "PUBLIC", "display_name": "Front desk", "profile": "assistant" }`).ok(t)
	want(t, repeat, object{"uid": first["uid"]})
}

func TestAnotherRequestUnderTheSameRequestID(t *testing.T) {
	requestID := newID()
	do(t, http.MethodPost, sessions+"?requestId="+requestID, draft()).ok(t)
	for name, answer := range map[string]answer{
		"another body":      do(t, http.MethodPost, sessions+"?requestId="+requestID, draft(object{"profile": "p"})),
		"another secretKey": do(t, http.MethodPost, sessions+"?requestId="+requestID, draft(object{"secretKey": "12345678"})),
		"another sessionId": do(t, http.MethodPost, sessions+"?sessionId="+newID()+"&requestId="+requestID, draft()),
	} {
		t.Run(name, func(t *testing.T) {
			answer.refused(t, http.StatusBadRequest, "INVALID_ARGUMENT", "REQUEST_ID_REUSED")
		})
	}
}

func TestTheScopeOfARequestIDHasTheCallerAndTheMethod(t *testing.T) {
	requestID := newID()
	both := object{"owners": []any{"a", "b"}}
	first := do(t, http.MethodPost, sessions+"?requestId="+requestID, draft(both), as("a")).ok(t)
	second := do(t, http.MethodPost, sessions+"?requestId="+requestID, draft(both), as("b")).ok(t)
	if first["uid"] == second["uid"] {
		t.Error("another caller got the same session")
	}
	patch(t, first["sessionId"].(string), "?requestId="+requestID, object{"profile": "p"}, as("a")).ok(t)
}

func TestAFailureIsNotRemembered(t *testing.T) {
	path := sessions + "?requestId=" + newID()
	do(t, http.MethodPost, path, draft(object{"profile": ""})).invalid(t, "profile")
	do(t, http.MethodPost, path, draft()).ok(t)
}

func TestARepeatedCreateAnswersThePresentState(t *testing.T) {
	id := newID()
	path := sessions + "?sessionId=" + id + "&requestId=" + newID()
	do(t, http.MethodPost, path, draft()).ok(t)
	after := patch(t, id, "", object{"description": "new"}).ok(t)
	if diff := cmp.Diff(after, do(t, http.MethodPost, path, draft()).ok(t)); diff != "" {
		t.Errorf("repeat (-present +repeat):\n%s", diff)
	}
}

func TestARepeatAnswersTheSecretKeyOnlyWhileItIsCurrent(t *testing.T) {
	id, body := newID(), draft(object{"secretKey": "first-secret"})
	path := sessions + "?sessionId=" + id + "&requestId=" + newID()
	do(t, http.MethodPost, path, body).ok(t)
	want(t, do(t, http.MethodPost, path, body).ok(t), object{"secretKey": "first-secret"})
	patch(t, id, "", object{"secretKey": "second-secret"}).ok(t)
	want(t, do(t, http.MethodPost, path, body).ok(t), object{"secretKey": nil, "hasSecretKey": true})
}

func TestARepeatedCreateOfADeletedSessionIsNotFound(t *testing.T) {
	id := newID()
	path := sessions + "?sessionId=" + id + "&requestId=" + newID()
	do(t, http.MethodPost, path, draft()).ok(t)
	do(t, http.MethodDelete, sessions+"/"+id, nil).ok(t)
	do(t, http.MethodPost, path, draft()).hidden(t)
}

func TestARepeatedUpdateIsDoneOnceAndIgnoresItsETag(t *testing.T) {
	id, before := create(t)
	query, body := "?requestId="+newID(), object{"description": "1", "etag": before["etag"]}
	first := patch(t, id, query, body).ok(t)
	if diff := cmp.Diff(first, patch(t, id, query, body).ok(t)); diff != "" {
		t.Errorf("repeat (-first +repeat):\n%s", diff)
	}
}

func TestARepeatedUpdateAnswersThePresentState(t *testing.T) {
	id, _ := create(t)
	query := "?requestId=" + newID()
	patch(t, id, query, object{"description": "1"}).ok(t)
	patch(t, id, "", object{"description": "2"}).ok(t)
	want(t, patch(t, id, query, object{"description": "1"}).ok(t), object{"description": "2"})
}

func TestAnUpdateUnderAUsedRequestID(t *testing.T) {
	id, _ := create(t)
	query := "requestId=" + newID()
	patch(t, id, "?"+query, object{"description": "1"}).ok(t)
	for name, answer := range map[string]answer{
		"another body": patch(t, id, "?"+query, object{"description": "2"}),
		"another mask": patch(t, id, mask("description")+"&"+query, object{"description": "1"}),
	} {
		t.Run(name, func(t *testing.T) {
			answer.refused(t, http.StatusBadRequest, "INVALID_ARGUMENT", "REQUEST_ID_REUSED")
		})
	}
}

func TestARepeatChecksTheRightsAgain(t *testing.T) {
	id, _ := create(t, object{"owners": []any{"a", "b"}, "sessionType": 2})
	query := "?requestId=" + newID()
	patch(t, id, query, object{"description": "1"}, as("b")).ok(t)
	patch(t, id, "", object{"owners": []any{"a"}}).ok(t)
	patch(t, id, query, object{"description": "1"}, as("b")).hidden(t)
}

func TestARepeatedDeleteSucceeds(t *testing.T) {
	id, _ := create(t)
	path := sessions + "/" + id + "?requestId=" + newID()
	do(t, http.MethodDelete, path, nil).ok(t)
	do(t, http.MethodDelete, path, nil).ok(t)
	do(t, http.MethodDelete, path+"&etag=x", nil).refused(t, http.StatusBadRequest, "INVALID_ARGUMENT", "REQUEST_ID_REUSED")
}

func TestARepeatedDeleteSparesTheSuccessor(t *testing.T) {
	id, _ := create(t)
	path := sessions + "/" + id + "?requestId=" + newID()
	do(t, http.MethodDelete, path, nil).ok(t)
	do(t, http.MethodPost, sessions+"?sessionId="+id, draft()).ok(t)
	do(t, http.MethodDelete, path, nil).ok(t)
	get(t, id).ok(t)
}

func TestTheFormOfARequestID(t *testing.T) {
	do(t, http.MethodPost, sessions+"?requestId="+strings.Repeat("r", 38)+newID()[2:], draft()).ok(t)
	for name, requestID := range map[string]string{
		"65 characters": strings.Repeat("r", 65), "a space": "a%20b", "an umlaut": "%C3%BC", "a slash": "a/b",
	} {
		t.Run(name, func(t *testing.T) {
			do(t, http.MethodPost, sessions+"?requestId="+requestID, draft()).invalid(t, "requestId")
		})
	}
}

// A request that had nothing to do was done all the same: its repeat must not do it later.
func TestARepeatedRequestThatHadNothingToDo(t *testing.T) {
	id, _ := create(t)
	leave := func() answer {
		return do(t, http.MethodPost, sessions+"/"+id+"/leave?requestId=leave-1", object{}, as("user-2"))
	}
	leave().ok(t)
	do(t, http.MethodPost, sessions+"/"+id+"/join", object{}, as("user-2")).ok(t)
	if got := leave().ok(t)["session"].(object)["memberCount"]; got != 1.0 {
		t.Errorf("memberCount = %v after the repeat, want 1", got)
	}
	join := func(body object) answer {
		return do(t, http.MethodPost, sessions+"/"+id+"/join?requestId=join-1", body, as("user-2"))
	}
	join(object{}).ok(t)
	join(object{"channels": []any{7}}).refused(t, http.StatusBadRequest, "INVALID_ARGUMENT", "REQUEST_ID_REUSED")
}

func TestJoiningAgainWithoutChannelsKeepsThem(t *testing.T) {
	id, _ := create(t)
	do(t, http.MethodPost, sessions+"/"+id+"/join", object{"channels": []any{2, 5}}, as("user-2")).ok(t)
	again := do(t, http.MethodPost, sessions+"/"+id+"/join", object{}, as("user-2")).ok(t)
	want(t, again["member"].(object), object{"channels": []any{2.0, 5.0}})
	want(t, again["session"].(object), object{"headSequence": "2"})
}
