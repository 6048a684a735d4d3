package access_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
)

// everyCall is one call of each method, about the session; and what may be named in its body.
func everyCall(id string) map[string]proto.Message {
	return map[string]proto.Message{
		"create":   &conversationv1.CreateSessionRequest{Session: draft(public, "user")},
		"get":      &conversationv1.GetSessionRequest{Name: name(id)},
		"list":     &conversationv1.ListSessionsRequest{},
		"update":   &conversationv1.UpdateSessionRequest{Session: &conversationv1.Session{Name: name(id), Profile: "p"}},
		"delete":   &conversationv1.DeleteSessionRequest{Name: name(id)},
		"join":     &conversationv1.JoinSessionRequest{Session: name(id)},
		"leave":    &conversationv1.LeaveSessionRequest{Session: name(id)},
		"publish":  &conversationv1.PublishMessageRequest{Session: name(id), Message: text("hello")},
		"messages": &conversationv1.ListMessagesRequest{Session: name(id)},
		"message":  &conversationv1.GetMessageRequest{Name: name(id) + "/messages/m"},
		"members":  &conversationv1.ListMembersRequest{Session: name(id)},
		"ticket":   &conversationv1.CreateTicketRequest{Session: name(id)},
	}
}

// everywhere asks for something by each method over each transport, streams too, and checks each refusal.
func everywhere(t *testing.T, w who, id string, check func(t *testing.T, rest bool, o outcome)) {
	t.Helper()
	for method, request := range everyCall(id) {
		for _, over := range transports {
			t.Run(method+" over "+over.name, func(t *testing.T) { check(t, over.name == overREST.name, over.call(t, w, request)) })
		}
	}
	for _, format := range formats {
		t.Run(format, func(t *testing.T) {
			_, refusal := open(t, format, w, id, "", "")
			check(t, format != rpc, refusal)
		})
	}
}

func TestWithoutAGoodCredentialNothingIsAnswered(t *testing.T) {
	id := create(t, draft(public, "user"))
	forged := tokenUntil(t, "user", plain, time.Now().Add(time.Hour))
	cut := strings.LastIndexByte(forged, '.')
	forged = forged[:cut+1] + strings.Repeat("A", len(forged)-cut-1)
	for name, test := range map[string]struct {
		who    who
		reason string
	}{
		"none":               {who{nobody: true}, "CREDENTIALS_MISSING"},
		"none, and a name":   {who{nobody: true, names: "user"}, "CREDENTIALS_MISSING"},
		"not a token":        {who{credential: "token"}, "TOKEN_MALFORMED"},
		"a forged token":     {who{credential: forged}, "TOKEN_INVALID"},
		"a token that ended": {who{credential: tokenUntil(t, "user", plain, time.Now().Add(-time.Minute))}, "TOKEN_EXPIRED"},
		"an unknown API key": {who{credential: "pk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}, "KEY_INVALID"},
	} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, test.who, id, func(t *testing.T, rest bool, o outcome) {
				o.refused(t, codes.Unauthenticated, test.reason)
				if challenge := http.Header(o.said.Header).Get("WWW-Authenticate"); rest && !strings.HasPrefix(challenge, "Bearer") {
					t.Errorf("WWW-Authenticate = %q, want Bearer", challenge)
				}
			})
		})
	}
}

func TestATokenInAURLIsRefused(t *testing.T) {
	id := create(t, draft(public, "user"))
	token := as("user").bearer(t)
	for _, path := range []string{"sessions", name(id), name(id) + "/messages", name(id) + "/members", name(id) + "/events"} {
		for _, parameter := range []string{"access_token", "token", "jwt", "key"} {
			for caller, w := range map[string]who{"nobody else": {nobody: true}, "a good token": as("user")} {
				t.Run(path+"?"+parameter+" from "+caller, func(t *testing.T) {
					request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.url+root+path+"?"+parameter+"="+token, http.NoBody)
					if err != nil {
						t.Fatal(err)
					}
					o := send(t, w, request)
					o.refused(t, codes.Unauthenticated, "TOKEN_IN_URL")
					if strings.Contains(o.said.Body, token) {
						t.Error("the answer has the token in it")
					}
				})
			}
		}
	}
}

func TestAUserActsAsNobodyElse(t *testing.T) {
	id := create(t, draft(public, "owner"))
	everywhere(t, who{user: "user", names: "owner"}, id, func(t *testing.T, _ bool, o outcome) {
		o.refused(t, codes.PermissionDenied, "ACTING_AS_ANOTHER")
	})
	for _, over := range transports {
		over.call(t, who{user: "user", names: "user"}, &conversationv1.GetSessionRequest{Name: name(id)}).ok(t)
	}
}

func TestANameThatContradictsTheHeaderIsAnError(t *testing.T) {
	id, unused := create(t, draft(public, "owner")), newID()
	for caller, w := range map[string]who{
		"a user": {user: "user", names: "user"}, "a backend": backend("user"), "an administrator": {user: "root", role: admin, names: "user"},
	} {
		for _, id := range []string{id, unused} { // syntax comes before visibility
			for method, request := range map[string]proto.Message{
				"join":    &conversationv1.JoinSessionRequest{Session: name(id), Name: "another"},
				"publish": &conversationv1.PublishMessageRequest{Session: name(id), Name: "another", Message: text("hello")},
			} {
				for _, over := range transports {
					t.Run(method+" by "+caller+" over "+over.name, func(t *testing.T) {
						over.call(t, w, request).refused(t, codes.InvalidArgument, "INVALID_FIELDS")
					})
				}
			}
		}
	}
}

func TestABackendHasTheRightsOfTheUserThatItNames(t *testing.T) {
	id := create(t, draft(private, "owner", func(s *conversationv1.Session) { s.AllowedUsers = []string{"friend"} }))
	for _, over := range transports {
		t.Run(over.name, func(t *testing.T) {
			get := &conversationv1.GetSessionRequest{Name: name(id)}
			over.call(t, backend("owner"), get).ok(t)
			over.call(t, backend("friend"), get).ok(t)
			over.call(t, backend("stranger"), get).refused(t, codes.NotFound, "SESSION_NOT_FOUND")
			over.call(t, backend(""), get).refused(t, codes.NotFound, "SESSION_NOT_FOUND")
			over.call(t, backend("friend"), &conversationv1.DeleteSessionRequest{Name: name(id)}).refused(t, codes.PermissionDenied, "NOT_AN_OWNER")

			by := func(user string) *conversationv1.JoinSessionRequest {
				return &conversationv1.JoinSessionRequest{Session: name(id), Name: user}
			}
			over.call(t, backend(""), by("stranger")).refused(t, codes.NotFound, "SESSION_NOT_FOUND")
			joined := over.call(t, backend(""), by("friend")).ok(t).(*conversationv1.JoinSessionResponse)
			if got := joined.GetMember().GetUser(); got != "friend" {
				t.Errorf("the member is %q, want the user that was named", got)
			}
			said := over.call(t, backend(""), &conversationv1.PublishMessageRequest{Session: name(id), Name: "friend", Message: text("hello")}).
				ok(t).(*conversationv1.PublishMessageResponse)
			if got := said.GetMessage().GetSender(); got != "friend" {
				t.Errorf("the sender is %q, want the user that was named", got)
			}
			over.call(t, backend(""), &conversationv1.LeaveSessionRequest{Session: name(id), Name: "friend"}).ok(t)
			over.call(t, as("friend"), &conversationv1.ListMembersRequest{Session: name(id)}).refused(t, codes.PermissionDenied, "NOT_A_MEMBER")
		})
	}
}

func TestAnAdministratorMayDoEverythingButPublishesAsAMember(t *testing.T) {
	for _, over := range transports {
		t.Run(over.name, func(t *testing.T) {
			id := create(t, draft(private, "owner", func(s *conversationv1.Session) { s.BlockedUsers = []string{"root"} }))
			calls := everyCall(id)
			for method, reason := range map[string]string{"join": "BLOCKED", "publish": "BLOCKED"} {
				over.call(t, operator(), calls[method]).refused(t, codes.PermissionDenied, reason)
			}
			over.call(t, operator(), calls["message"]).refused(t, codes.NotFound, "MESSAGE_NOT_FOUND")
			for _, method := range []string{"create", "get", "list", "update", "leave", "messages", "members", "ticket"} {
				over.call(t, operator(), calls[method]).ok(t)
			}
			change(t, "blocked_users", &conversationv1.Session{Name: name(id)})
			over.call(t, operator(), calls["publish"]).refused(t, codes.PermissionDenied, "NOT_A_MEMBER")
			over.call(t, operator(), &conversationv1.JoinSessionRequest{Session: name(id), Name: "user"}).ok(t)
			over.call(t, operator(), calls["publish"]).refused(t, codes.PermissionDenied, "NOT_A_MEMBER")
			over.call(t, operator(), calls["join"]).ok(t)
			over.call(t, operator(), calls["publish"]).ok(t)
			over.call(t, operator(), calls["delete"]).ok(t)
		})
	}
}

func TestAnAdministratorWhoNamesAUserHasThatUsersRights(t *testing.T) {
	id := create(t, draft(private, "owner"))
	for _, over := range transports {
		over.call(t, who{user: "root", role: admin, names: "stranger"}, &conversationv1.GetSessionRequest{Name: name(id)}).
			refused(t, codes.NotFound, "SESSION_NOT_FOUND")
	}
}

func TestAHeaderThatNamesNobodyIsAnError(t *testing.T) {
	for name, user := range map[string]string{"129 bytes": strings.Repeat("u", 129)} {
		for _, over := range transports {
			t.Run(name+" over "+over.name, func(t *testing.T) {
				over.call(t, backend(user), new(conversationv1.ListSessionsRequest)).refused(t, codes.InvalidArgument, "INVALID_FIELDS")
			})
		}
	}
}
