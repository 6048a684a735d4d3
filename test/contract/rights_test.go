package contract_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhoMaySeeAndChange(t *testing.T) {
	const seen, changed, denied, absent = "seen", "changed", "denied", "absent"
	for _, test := range []struct {
		kind        int
		user        string
		read, write string
	}{
		{1, "owner", seen, changed},
		{1, "allowed", seen, denied},
		{1, "other", seen, denied},
		{1, "blocked", seen, denied},
		{1, "", seen, changed},
		{2, "owner", seen, changed},
		{2, "allowed", seen, denied},
		{2, "other", absent, absent},
		{2, "", seen, changed},
		{3, "owner", seen, changed},
		{3, "allowed", seen, denied},
		{3, "other", absent, absent},
		{3, "", seen, changed},
	} {
		id, _ := create(t, object{
			"sessionType": test.kind, "owners": []any{"owner"}, "allowedUsers": []any{"allowed"}, "blockedUsers": []any{"blocked"},
		})
		outcome := func(answer answer, success string) string {
			switch {
			case answer.status == http.StatusOK:
				return success
			case answer.status == http.StatusForbidden && answer.fault(t).Reason == "NOT_AN_OWNER":
				return denied
			case answer.status == http.StatusNotFound && answer.fault(t).Reason == "SESSION_NOT_FOUND":
				return absent
			}
			return string(answer.body)
		}
		got := map[string]string{
			"get":    outcome(get(t, id, as(test.user)), seen),
			"update": outcome(patch(t, id, "", object{"description": "d"}, as(test.user)), changed),
			"delete": outcome(do(t, http.MethodDelete, sessions+"/"+id, nil, as(test.user)), changed),
		}
		if diff := cmp.Diff(map[string]string{"get": test.read, "update": test.write, "delete": test.write}, got); diff != "" {
			t.Errorf("type %d, caller %q (-want +got):\n%s", test.kind, test.user, diff)
		}
	}
}

func TestWhoFindsASessionInTheList(t *testing.T) {
	mark := newID()
	for _, kind := range []int{1, 2, 3} {
		create(t, object{
			"sessionType": kind, "owners": []any{"owner"}, "allowedUsers": []any{"allowed", "owner"},
			"labels": object{"mark": mark}, "displayName": []string{"", "public", "private", "temporary"}[kind],
		})
	}
	for user, want := range map[string][]string{
		"owner": {"public", "private", "temporary"}, "allowed": {"public", "private", "temporary"},
		"other": {"public"}, "": {"public", "private", "temporary"},
	} {
		t.Run(user, func(t *testing.T) {
			got := listAll(t, user, "filter", `labels.mark = "`+mark+`"`, "orderBy", "createTime")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("displayNames (-want +got):\n%s", diff)
			}
		})
	}
}

// A hidden session must answer as an id that was never used, to the last byte and header.
func TestAHiddenSessionIsLikeNone(t *testing.T) {
	hidden, _ := create(t, object{"sessionType": 2})
	unused := newID()
	for name, ask := range map[string]func(id string) answer{
		"get":               func(id string) answer { return get(t, id, as("other")) },
		"update":            func(id string) answer { return patch(t, id, "", object{"profile": "p"}, as("other")) },
		"update to a flaw":  func(id string) answer { return patch(t, id, mask("profile"), object{}, as("other")) },
		"update by etag":    func(id string) answer { return patch(t, id, "", object{"profile": "p", "etag": "x"}, as("other")) },
		"update by request": func(id string) answer { return patch(t, id, "?requestId="+id, object{"profile": "p"}, as("other")) },
		"delete":            func(id string) answer { return do(t, http.MethodDelete, sessions+"/"+id, nil, as("other")) },
		"delete by etag":    func(id string) answer { return do(t, http.MethodDelete, sessions+"/"+id+"?etag=x", nil, as("other")) },
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

func TestOnlyOneOfTheOwnersCreates(t *testing.T) {
	id := newID()
	do(t, http.MethodPost, sessions+"?sessionId="+id, draft(), as("other")).
		refused(t, http.StatusForbidden, "PERMISSION_DENIED", "NOT_AN_OWNER")
	get(t, id).hidden(t)
	got := do(t, http.MethodPost, sessions+"?sessionId="+id, draft(), as("user-1")).ok(t)
	want(t, got, object{"creator": "user-1"})
}

func TestATakenIDIsTakenForEveryone(t *testing.T) {
	id, _ := create(t, object{"sessionType": 2})
	do(t, http.MethodPost, sessions+"?sessionId="+id, draft(object{"owners": []any{"other"}}), as("other")).
		refused(t, http.StatusConflict, "ALREADY_EXISTS", "SESSION_EXISTS")
}

func TestAnOwnerMayGiveTheSessionAway(t *testing.T) {
	id, _ := create(t, object{"sessionType": 2})
	patch(t, id, "", object{"owners": []any{"user-2"}}, as("user-1")).ok(t)
	get(t, id, as("user-1")).hidden(t)
	get(t, id, as("user-2")).ok(t)
}

func TestASessionThatTurnsPrivateLeavesTheListOfOthers(t *testing.T) {
	mark := newID()
	id, _ := create(t, object{"labels": object{"mark": mark}, "displayName": mark})
	filter := `labels.mark = "` + mark + `"`
	if !slices.Contains(listAll(t, "other", "filter", filter), mark) {
		t.Fatal("a PUBLIC session is not in the list")
	}
	patch(t, id, "", object{"sessionType": 2}).ok(t)
	if slices.Contains(listAll(t, "other", "filter", filter), mark) {
		t.Error("a PRIVATE session is in the list of a stranger")
	}
}

func TestTheCallersNameIsChecked(t *testing.T) {
	for name, user := range map[string]string{"129 bytes": strings.Repeat("u", 129), "a C1 control": "a\u0085b"} {
		t.Run(name, func(t *testing.T) {
			do(t, http.MethodGet, sessions, nil, as(user)).invalid(t, "Parley-User")
		})
	}
}

// Syntax comes before visibility, visibility before rights, and rights before state.
func TestTheOrderOfChecks(t *testing.T) {
	visible, _ := create(t)
	hidden, _ := create(t, object{"sessionType": 2})
	patch(t, hidden, "", object{"colour": 1}, as("other")).invalid(t, "colour")
	patch(t, hidden, mask("uid"), object{}, as("other")).invalid(t, "updateMask")
	patch(t, visible, "", object{"etag": "stale"}, as("other")).refused(t, http.StatusForbidden, "PERMISSION_DENIED", "NOT_AN_OWNER")
	do(t, http.MethodPost, sessions+"?sessionId="+visible, draft(), as("other")).refused(t, http.StatusForbidden, "PERMISSION_DENIED", "NOT_AN_OWNER")
	do(t, http.MethodPost, sessions+"?sessionId="+visible, draft(object{"profile": ""}), as("other")).invalid(t, "profile")
}
