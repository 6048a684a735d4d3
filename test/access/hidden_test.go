package access_test

import (
	"io"
	"maps"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
)

const secretKey = "open-sesame"

// hiddenSessions are of all the ways in which a session is hidden from "other".
func hiddenSessions(t tb) map[string]string {
	t.Helper()
	ids := map[string]string{}
	for name, session := range map[string]*conversationv1.Session{
		"PRIVATE":   draft(private, "owner"),
		"TEMPORARY": draft(temporary, "owner"),
		"with a secretKey": draft(private, "owner", func(s *conversationv1.Session) {
			s.SecretKey = secretKey
		}),
		"with members and a log": draft(private, "owner", func(s *conversationv1.Session) { s.AllowedUsers = []string{"friend"} }),
		"that blocks": draft(temporary, "owner", func(s *conversationv1.Session) {
			s.SecretKey, s.BlockedUsers = secretKey, []string{"other"}
		}),
		"deleted":        draft(public, "owner"),
		"turned PRIVATE": draft(public, "owner"),
		"that was left":  draft(private, "owner", func(s *conversationv1.Session) { s.AllowedUsers = []string{"other"} }),
	} {
		ids[name] = create(t, session)
	}
	join(t, ids["with members and a log"], "owner", "friend")
	publish(t, ids["with members and a log"], "friend", "hello")
	overREST.call(t, as("owner"), &conversationv1.DeleteSessionRequest{Name: name(ids["deleted"])}).ok(t)
	join(t, ids["turned PRIVATE"], "owner")
	change(t, "session_type", &conversationv1.Session{Name: name(ids["turned PRIVATE"]), SessionType: private})
	join(t, ids["that was left"], "other")
	change(t, "allowed_users", &conversationv1.Session{Name: name(ids["that was left"])})
	overREST.call(t, as("other"), &conversationv1.LeaveSessionRequest{Session: name(ids["that was left"])}).ok(t)
	return ids
}

// prying are calls about a session by someone who may not know of it.
func prying(id string) map[string]proto.Message {
	calls := everyCall(id)
	delete(calls, "create") // says that an id is taken: the one exception
	delete(calls, "list")
	maps.Copy(calls, map[string]proto.Message{
		"update to a flaw": &conversationv1.UpdateSessionRequest{
			Session: &conversationv1.Session{Name: name(id)}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"profile"}},
		},
		"update by etag":           &conversationv1.UpdateSessionRequest{Session: &conversationv1.Session{Name: name(id), Profile: "p", Etag: "x"}},
		"delete by etag":           &conversationv1.DeleteSessionRequest{Name: name(id), Etag: "x"},
		"join with a wrong secret": &conversationv1.JoinSessionRequest{Session: name(id), SecretKey: "wrong-sesame"},
		"join as another":          &conversationv1.JoinSessionRequest{Session: name(id), Name: "owner"},
		"join by uid":              &conversationv1.JoinSessionRequest{Session: name(id), Uid: "x"},
		"join by uid with the secret": &conversationv1.JoinSessionRequest{
			Session: name(id), Uid: "01890a5d-ac96-774b-bcce-b302099a8057", SecretKey: secretKey,
		},
		"leave as another":   &conversationv1.LeaveSessionRequest{Session: name(id), Name: "owner"},
		"publish as another": &conversationv1.PublishMessageRequest{Session: name(id), Name: "owner", Message: text("hello")},
		"publish by uid":     &conversationv1.PublishMessageRequest{Session: name(id), Uid: "x", Message: text("hello")},
		"messages by token":  &conversationv1.ListMessagesRequest{Session: name(id), PageToken: "x"},
		"members by token":   &conversationv1.ListMembersRequest{Session: name(id), PageToken: "x"},
	})
	return calls
}

// A hidden session must answer as an id that was never used, to the last byte and header, over every transport.
func TestAHiddenSessionAnswersAsNone(t *testing.T) {
	for kind, id := range hiddenSessions(t) {
		for caller, w := range map[string]who{
			"a user": as("other"), "a user twice": {user: "other", names: "other"}, "a backend": backend("other"),
		} {
			t.Run(kind+" to "+caller, func(t *testing.T) { comparePrying(t, w, id, caller == "a user") })
		}
	}
}

// comparePrying asks about the session and about none. Only so many wrong secretKeys of a user are compared.
func comparePrying(t *testing.T, w who, id string, guesses bool) {
	t.Helper()
	for method, request := range prying(id) {
		if join, ok := request.(*conversationv1.JoinSessionRequest); ok && join.GetSecretKey() != "" && !guesses {
			continue
		}
		want := hidden
		if w.names != "" && (method == "join as another" || method == "publish as another") {
			want = contradiction // syntax comes before visibility
		}
		for _, over := range transports {
			unused := prying(newID())[method]
			alike(t, method+" over "+over.name, want, over.call(t, w, request), over.call(t, w, unused))
		}
	}
	for _, format := range formats {
		for _, cursor := range []string{"", "beginning", "01890a5d-ac96-774b-bcce-b302099a8057:1"} {
			_, one := open(t, format, w, id, cursor, "")
			_, other := open(t, format, w, newID(), cursor, "")
			alike(t, format+" from "+cursor, hidden, one, other)
		}
	}
}

// alike fails unless the answers of a hidden session and of none are the same, and the ones that are wanted.
func alike(t *testing.T, what string, want verdict, one, other outcome) {
	t.Helper()
	if one.code != want.code() || one.reason != string(want) {
		t.Errorf("%s: %v, want %s %s", what, one, want.code(), want)
	}
	if diff := cmp.Diff(other.said, one.said); diff != "" {
		t.Errorf("%s (-unused +hidden):\n%s", what, diff)
	}
}

// A ticket of another session must not tell either.
func TestATicketDoesNotTellOfAHiddenSession(t *testing.T) {
	mine := create(t, draft(private, "other"))
	for kind, id := range hiddenSessions(t) {
		for _, format := range formats {
			t.Run(kind+" over "+format, func(t *testing.T) {
				_, one := open(t, format, who{nobody: true}, id, "", newTicket(t, overREST, as("other"), mine))
				_, other := open(t, format, who{nobody: true}, newID(), "", newTicket(t, overREST, as("other"), mine))
				one.refused(t, codes.Unauthenticated, "TICKET_INVALID")
				if diff := cmp.Diff(other.said, one.said); diff != "" {
					t.Errorf("answer (-unused +hidden):\n%s", diff)
				}
			})
		}
	}
}

// Methods of HTTP that no call has, and HEAD, must not tell either.
func TestHTTPDoesNotTellOfAHiddenSession(t *testing.T) {
	for kind, id := range hiddenSessions(t) {
		for _, method := range []string{http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodPost} {
			for _, path := range []string{"", "/messages", "/members", "/events", "/join", ":join"} {
				if method == http.MethodPost && path != "" {
					continue // calls of their own
				}
				t.Run(kind+": "+method+" "+path, func(t *testing.T) {
					one, other := rawAnswer(t, method, name(id)+path), rawAnswer(t, method, name(newID())+path)
					if diff := cmp.Diff(other, one); diff != "" {
						t.Errorf("answer (-unused +hidden):\n%s", diff)
					}
				})
			}
		}
	}
}

// rawAnswer is an answer of whatever form.
func rawAnswer(t *testing.T, method, path string) said {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, server.url+root+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range as("other").headers(t) {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return said{response.StatusCode, sameAlways(response.Header), string(body)}
}

// Too many wrong secretKeys are refused for a hidden session after as many as for an id never used.
func TestGuessesDoNotTellOfAHiddenSession(t *testing.T) {
	id := create(t, draft(private, "owner", func(s *conversationv1.Session) { s.SecretKey = secretKey }))
	plainID := create(t, draft(private, "owner"))
	for _, over := range transports {
		guesser := as(newID())
		for i := range 7 {
			guess := func(id string) outcome {
				return over.call(t, guesser, &conversationv1.JoinSessionRequest{Session: name(id), SecretKey: "wrong-sesame"})
			}
			unused := "never-used-" + over.name
			one, without, other := guess(id), guess(plainID), guess(unused)
			want := codes.NotFound
			if i >= 5 {
				want = codes.ResourceExhausted
			}
			if one.code != want {
				t.Errorf("%s: guess %d: %v, want %s", over.name, i+1, one, want)
			}
			for kind, got := range map[string]outcome{"with a secretKey": one, "without one": without} {
				if diff := cmp.Diff(other.said, got.said); diff != "" {
					t.Errorf("%s: guess %d, hidden %s (-unused +hidden):\n%s", over.name, i+1, kind, diff)
				}
			}
		}
	}
}
