package contract_test

import (
	"net/http"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func messages(t *testing.T, id string, options ...option) answer {
	t.Helper()
	return do(t, http.MethodGet, sessions+"/"+id+"/messages", nil, options...)
}

// items asks for one page of what is at the path, as the user.
func items(t *testing.T, path, name, user string, parameters ...string) (page []any, next string) {
	t.Helper()
	answer := do(t, http.MethodGet, path+query(parameters...), nil, as(user)).ok(t)
	if len(answer) != 2 {
		t.Errorf("answer = %v, want nothing but %s and nextPageToken", answer, name)
	}
	return answer[name].([]any), answer["nextPageToken"].(string)
}

// messageTexts is one page of the messages' texts.
func messageTexts(t *testing.T, id, user string, parameters ...string) (texts []string, next string) {
	t.Helper()
	page, next := items(t, sessions+"/"+id+"/messages", "messages", user, parameters...)
	for _, item := range page {
		texts = append(texts, item.(object)["text"].(string))
	}
	return texts, next
}

// allTexts follows the pages, which may be short, to the end.
func allTexts(t *testing.T, id, user string, parameters ...string) (texts []string) {
	t.Helper()
	page, next := messageTexts(t, id, user, parameters...)
	for texts = page; next != ""; texts = append(texts, page...) {
		page, next = messageTexts(t, id, user, append(slices.Clip(parameters), "pageToken", next)...)
	}
	return texts
}

// chat is a session in which the users have spoken, by turns and on channels 1 and 2.
func chat(t *testing.T, count int, users ...string) (id string, said []object) {
	t.Helper()
	id = gather(t, nil, users...)
	for i := range count {
		said = append(said, speak(t, id, users[i%len(users)], text(strconv.Itoa(i), object{"channel": i%2 + 1})))
	}
	return id, said
}

func TestListMessages(t *testing.T) {
	id, said := chat(t, 5, "ann", "bob", "cy")
	page, next := items(t, sessions+"/"+id+"/messages", "messages", "ann")
	if next != "" {
		t.Errorf("nextPageToken = %q, want none", next)
	}
	var all []any
	for _, message := range said {
		all = append(all, message)
	}
	if diff := cmp.Diff(all, page); diff != "" {
		t.Errorf("messages (-published +listed):\n%s", diff)
	}
	moment := said[2]["createTime"].(string)
	for name, test := range map[string]struct {
		parameters []string
		want       []string
	}{
		"by sequence":       {[]string{"orderBy", "sequence"}, []string{"0", "1", "2", "3", "4"}},
		"the latest first":  {[]string{"orderBy", "sequence desc"}, []string{"4", "3", "2", "1", "0"}},
		"of a channel":      {[]string{"filter", "channel = 2"}, []string{"1", "3"}},
		"of channels":       {[]string{"filter", "channel >= 2 OR channel < 1", "orderBy", "sequence desc"}, []string{"3", "1"}},
		"of a sender":       {[]string{"filter", `sender = "bob"`}, []string{"1", "4"}},
		"by a prefix":       {[]string{"filter", `sender = "a*"`}, []string{"0", "3"}},
		"of all but one":    {[]string{"filter", `NOT sender = bob AND channel = 1`}, []string{"0", "2"}},
		"since a moment":    {[]string{"filter", `create_time >= "` + moment + `"`}, []string{"2", "3", "4"}},
		"before a moment":   {[]string{"filter", `createTime < timestamp("` + moment + `")`}, []string{"0", "1"}},
		"of nobody":         {[]string{"filter", `sender = "nobody"`}, nil},
		"of no such number": {[]string{"filter", `channel = 77`}, nil},
	} {
		for _, size := range []string{"1", "2", "100", "5000"} {
			if diff := cmp.Diff(test.want, allTexts(t, id, "ann", append(test.parameters, "pageSize", size)...)); diff != "" {
				t.Errorf("%s, by %s (-want +got):\n%s", name, size, diff)
			}
		}
	}
}

func TestNoMessages(t *testing.T) {
	id := gather(t, nil, "user-2")
	if diff := cmp.Diff(object{"messages": []any{}, "nextPageToken": ""}, messages(t, id).ok(t)); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
}

func TestWhatIsSaidWhilePagingHidesNothing(t *testing.T) {
	id, _ := chat(t, 4, "ann")
	older, next := messageTexts(t, id, "ann", "orderBy", "sequence desc", "pageSize", "2")
	speak(t, id, "ann", text("late"))
	rest, _ := messageTexts(t, id, "ann", "orderBy", "sequence desc", "pageSize", "100", "pageToken", next)
	if diff := cmp.Diff([]string{"3", "2", "1", "0"}, append(older, rest...)); diff != "" {
		t.Errorf("texts (-want +got):\n%s", diff)
	}
}

func TestBadLists(t *testing.T) {
	id, _ := chat(t, 2, "ann")
	for name, test := range map[string]struct{ path, field string }{
		"a negative size":      {"/messages?pageSize=-1", "pageSize"},
		"a size that is none":  {"/messages?pageSize=x", "pageSize"},
		"another order":        {"/messages?orderBy=createTime", "orderBy"},
		"a filter on the text": {"/messages" + query("filter", `text = "x"`), "filter"},
		"a broken filter":      {"/messages" + query("filter", `channel = `), "filter"},
		"a token":              {"/messages?pageToken=x", "pageToken"},
		"unknown":              {"/messages?limit=1", "limit"},
		"members' size":        {"/members?pageSize=-1", "pageSize"},
		"members' order":       {"/members?orderBy=user", "orderBy"},
		"members' filter":      {"/members" + query("filter", `user = "x"`), "filter"},
		"members' token":       {"/members?pageToken=x", "pageToken"},
		"members' unknown":     {"/members?view=x", "view"},
		"a message's":          {"/messages/m?view=x", "view"},
		"a message's id":       {"/messages/a.b", "name"},
	} {
		t.Run(name, func(t *testing.T) {
			do(t, http.MethodGet, sessions+"/"+id+test.path, nil).invalid(t, test.field)
		})
	}
	do(t, http.MethodGet, sessions+"/a.b/messages", nil).invalid(t, "session")
	do(t, http.MethodGet, sessions+"/a.b/members", nil).invalid(t, "session")
	do(t, http.MethodGet, sessions+"/a.b/messages/m", nil).invalid(t, "name")
	do(t, http.MethodGet, sessions+"/"+id+"/messages?pageSize=-1&filter=x&orderBy=x", nil).invalid(t, "pageSize", "filter", "orderBy")
}

func TestATokenOfMessagesIsBoundToItsList(t *testing.T) {
	id, _ := chat(t, 3, "ann", "bob")
	another, _ := chat(t, 3, "ann")
	path := sessions + "/" + id
	_, token := messageTexts(t, id, "ann", "pageSize", "1")
	for name, test := range map[string]struct {
		path, user string
		parameters []string
	}{
		"another session": {sessions + "/" + another + "/messages", "ann", nil},
		"another list":    {path + "/members", "ann", nil},
		"sessions":        {sessions, "ann", nil},
		"another caller":  {path + "/messages", "bob", nil},
		"the operator":    {path + "/messages", "", nil},
		"another filter":  {path + "/messages", "ann", []string{"filter", "channel = 1"}},
		"another order":   {path + "/messages", "ann", []string{"orderBy", "sequence desc"}},
	} {
		t.Run(name, func(t *testing.T) {
			do(t, http.MethodGet, test.path+query(append(test.parameters, "pageToken", token)...), nil, as(test.user)).invalid(t, "pageToken")
		})
	}
	if texts, _ := messageTexts(t, id, "ann", "pageToken", token, "pageSize", "10"); len(texts) != 2 {
		t.Errorf("texts = %v, want the two others", texts)
	}
	do(t, http.MethodDelete, path, nil).ok(t)
	do(t, http.MethodPost, sessions+"?sessionId="+id, draft()).ok(t)
	do(t, http.MethodGet, path+"/messages?pageToken="+token, nil, as("ann")).invalid(t, "pageToken")
}

func TestGetMessage(t *testing.T) {
	id, said := chat(t, 2, "ann")
	for _, message := range said {
		got := do(t, http.MethodGet, "/v1/conversation/"+message["name"].(string), nil, as("ann")).ok(t)
		if diff := cmp.Diff(message, got); diff != "" {
			t.Errorf("message (-published +got):\n%s", diff)
		}
	}
	for _, unknown := range []string{"none", newID(), "01890a5d-ac96-774b-bcce-b302099a8057"} {
		do(t, http.MethodGet, sessions+"/"+id+"/messages/"+unknown, nil).refused(t, http.StatusNotFound, "NOT_FOUND", "MESSAGE_NOT_FOUND")
	}
	another := gather(t, nil)
	do(t, http.MethodGet, sessions+"/"+another+"/messages/"+said[0]["messageId"].(string), nil).
		refused(t, http.StatusNotFound, "NOT_FOUND", "MESSAGE_NOT_FOUND")
}

func TestWhoMayReadTheLog(t *testing.T) {
	const read, member, blocked, hidden = "read", "NOT_A_MEMBER", "BLOCKED", "SESSION_NOT_FOUND"
	for _, test := range []struct {
		kind      int
		hasSecret bool
		user      string
		want      string
	}{
		{1, false, "other", read},
		{1, false, "blocked", blocked},
		{1, false, "member", read},
		{1, false, "", read},
		{1, true, "other", member},
		{1, true, "allowed", member},
		{1, true, "owner", read},
		{1, true, "member", read},
		{2, false, "other", hidden},
		{2, false, "allowed", member},
		{2, false, "owner", read},
		{2, false, "member", read},
		{2, false, "blocked", hidden},
		{2, false, "", read},
		{3, false, "allowed", member},
		{3, true, "other", hidden},
	} {
		changes := object{
			"sessionType": test.kind, "owners": []any{"owner"}, "allowedUsers": []any{"allowed"}, "blockedUsers": []any{"blocked"},
		}
		if test.hasSecret {
			changes["secretKey"] = "open-sesame"
		}
		id := gather(t, changes, "member")
		speak(t, id, "member", text("x", object{"messageId": "m"}))
		for _, path := range []string{"/messages", "/messages/m", "/members"} {
			got := read
			if answer := do(t, http.MethodGet, sessions+"/"+id+path, nil, as(test.user)); answer.status != http.StatusOK {
				got = answer.fault(t).Reason
			}
			if got != test.want {
				t.Errorf("%s of %+v: %s", path, test, got)
			}
		}
	}
}

func TestListMembers(t *testing.T) {
	id := gather(t, nil, "ann", "user-1", "bob")
	path := sessions + "/" + id + "/members"
	page, _ := items(t, path, "members", "ann")
	want(t, page[0].(object), object{"user": "ann", "role": "member", "channels": []any{1.0}, "online": false})
	for name, test := range map[string]struct {
		parameters []string
		want       []string
	}{
		"all":             {nil, []string{"ann", "user-1", "bob"}},
		"by joinTime":     {[]string{"orderBy", "join_time"}, []string{"ann", "user-1", "bob"}},
		"the last first":  {[]string{"orderBy", "joinTime desc"}, []string{"bob", "user-1", "ann"}},
		"owners":          {[]string{"filter", `role = "owner"`}, []string{"user-1"}},
		"no owners":       {[]string{"filter", `NOT role = "owner"`, "orderBy", "joinTime desc"}, []string{"bob", "ann"}},
		"who is online":   {[]string{"filter", `online = true`}, nil},
		"who is not":      {[]string{"filter", `online = false AND role = member`}, []string{"ann", "bob"}},
		"either of these": {[]string{"filter", `role = owner OR online = true`}, []string{"user-1"}},
	} {
		for _, size := range []string{"1", "2", "50"} {
			var got []string
			parameters := append(test.parameters, "pageSize", size) //nolint:gocritic // each has its own
			for next, more := "", true; more; more = next != "" {
				var page []any
				page, next = items(t, path, "members", "ann", append(parameters, "pageToken", next)...)
				for _, item := range page {
					got = append(got, item.(object)["user"].(string))
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s, by %s (-want +got):\n%s", name, size, diff)
			}
		}
	}
	leave(t, id, object{}, as("ann")).ok(t)
	if page, _ := items(t, path, "members", "bob"); len(page) != 2 {
		t.Errorf("members = %v, want two", page)
	}
}
