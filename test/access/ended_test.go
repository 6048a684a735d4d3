package access_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/postgres"
	"github.com/parleyhq/parley/internal/store/sqlite"
)

// hearing is streams in every format, of one caller.
type hearing map[string]*stream

func hear(t tb, id string, w who) hearing {
	t.Helper()
	h := hearing{}
	for _, format := range formats {
		h[format] = listen(t, format, w, id, "")
	}
	return h
}

// ended fails unless each of the streams ends with access.revoked, and without what was said after the end of the right;
// and unless whoever comes back with the cursor is refused.
func (h hearing) ended(t *testing.T, id, cursor string, w who, code codes.Code, reason string) {
	t.Helper()
	for _, format := range formats {
		last := ""
		for e := h[format].next(t); e != nil; e = h[format].next(t) {
			if last = e.GetEvent(); says(e, "afterwards") {
				t.Errorf("%s: a message came after the end of the right to read it", format)
			}
		}
		if last != "access.revoked" {
			t.Errorf("%s: the last event is %q, want access.revoked", format, last)
		}
		if _, refusal := open(t, format, w, id, cursor, ""); refusal.code != code || refusal.reason != reason {
			t.Errorf("%s: coming back: %v, want %s %s", format, refusal, code, reason)
		}
	}
}

func TestStreamsEndWithTheRightToRead(t *testing.T) {
	const secret = "open-sesame"
	anyone := func(tb, string) {}
	member := func(t tb, id string) {
		overREST.call(t, as("user"), &conversationv1.JoinSessionRequest{Session: name(id), SecretKey: secret}).ok(t)
	}
	remove := func(t tb, id string) {
		overREST.call(t, as("owner"), &conversationv1.LeaveSessionRequest{Session: name(id), Name: "user"}).ok(t)
	}
	block := func(t tb, id string) {
		change(t, "blocked_users", &conversationv1.Session{Name: name(id), BlockedUsers: []string{"user"}})
	}
	hide := func(t tb, id string) {
		change(t, "session_type", &conversationv1.Session{Name: name(id), SessionType: private})
	}
	lock := func(t tb, id string) {
		change(t, "secret_key", &conversationv1.Session{Name: name(id), SecretKey: secret})
	}
	disown := func(t tb, id string) {
		change(t, "owners", &conversationv1.Session{Name: name(id), Owners: []string{"owner"}})
	}
	for name, test := range map[string]struct {
		kind   conversationv1.SessionType
		change func(*conversationv1.Session) // of the session
		begin  func(t tb, id string)         // makes the user what they are
		end    func(t tb, id string)
		code   codes.Code
		reason string
	}{
		"an allowed member removed": {
			private, func(s *conversationv1.Session) { s.AllowedUsers = []string{"user"} }, member, remove, codes.PermissionDenied, "NOT_A_MEMBER",
		},
		"a member by the secretKey removed": {
			private, func(s *conversationv1.Session) { s.SecretKey = secret }, member, remove, codes.NotFound, "SESSION_NOT_FOUND",
		},
		"a member of a locked session removed": {
			public, func(s *conversationv1.Session) { s.SecretKey = secret }, member, remove, codes.PermissionDenied, "NOT_A_MEMBER",
		},
		"an allowed member blocked": {
			private, func(s *conversationv1.Session) { s.AllowedUsers = []string{"user"} }, member, block, codes.PermissionDenied, "BLOCKED",
		},
		"a member by the secretKey blocked": {
			temporary, func(s *conversationv1.Session) { s.SecretKey = secret }, member, block, codes.NotFound, "SESSION_NOT_FOUND",
		},
		"a reader blocked":            {public, nil, anyone, block, codes.PermissionDenied, "BLOCKED"},
		"a reader when it is PRIVATE": {public, nil, anyone, hide, codes.NotFound, "SESSION_NOT_FOUND"},
		"a reader when it is locked":  {public, nil, anyone, lock, codes.PermissionDenied, "NOT_A_MEMBER"},
		"an owner no more": {
			private, func(s *conversationv1.Session) { s.Owners = append(s.Owners, "user") }, anyone, disown, codes.NotFound, "SESSION_NOT_FOUND",
		},
	} {
		t.Run(name, func(t *testing.T) {
			begin := draft(test.kind, "owner")
			if test.change != nil {
				test.change(begin)
			}
			id := create(t, begin)
			join(t, id, "owner")
			test.begin(t, id)
			h, others := hear(t, id, as("user")), hear(t, id, as("owner"))
			cursor := publish(t, id, "owner", "before")
			test.end(t, id)
			publish(t, id, "owner", "afterwards")
			h.ended(t, id, cursor, as("user"), test.code, test.reason)
			for _, format := range formats {
				others[format].until(t, func(e *conversationv1.Event) bool { return says(e, "afterwards") })
			}
		})
	}
}

// newKey makes an API key while the server runs, and returns its text and id.
func newKey(t tb, keyName string, role session.Role) (text, id string) {
	t.Helper()
	text, hash := auth.NewAPIKey()
	keys := openKeys(t)
	defer keys.Close()
	key := session.APIKey{ID: newID()[:10], Name: keyName, Role: role, Hash: hash, CreateTime: session.Now()}
	if err := keys.Create(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	return text, key.ID
}

// apiKeys are those of the store, whichever engine it is.
type apiKeys interface {
	Create(ctx context.Context, key session.APIKey) error
	Revoke(ctx context.Context, idOrName string, at session.Time) (session.APIKey, error)
	Close() error
}

func openKeys(t tb) (keys apiKeys) {
	t.Helper()
	var err error
	if server.databaseURL != "" {
		keys, err = postgres.OpenKeys(t.Context(), server.databaseURL)
	} else {
		keys, err = sqlite.OpenKeys(t.Context(), server.dataDir)
	}
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func revokeKey(t tb, id string) {
	t.Helper()
	keys := openKeys(t)
	defer keys.Close()
	if _, err := keys.Revoke(t.Context(), id, session.Now()); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until a call ends so: a key is revoked within a second, and not at once.
func eventually(t *testing.T, call func() outcome, code codes.Code) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		o := call()
		if o.code == code {
			return o
		}
		if ctx.Err() != nil {
			t.Fatalf("%v, want %s in the end", o, code)
		}
	}
}

func TestStreamsEndWithTheAPIKey(t *testing.T) {
	for name, test := range map[string]struct {
		role  session.Role
		names string
	}{
		"of a backend":                    {session.RoleService, ""},
		"of a backend that acts for user": {session.RoleService, "user"},
		"of an administrator":             {session.RoleAdmin, ""},
	} {
		t.Run(name, func(t *testing.T) {
			keyName := newID()
			text, keyID := newKey(t, keyName, test.role)
			w := who{user: keyName, names: test.names, credential: text}
			id := create(t, draft(private, "owner", func(s *conversationv1.Session) { s.Owners = append(s.Owners, "user", keyName) }))
			join(t, id, "owner")
			byKey, byToken := hear(t, id, w), hear(t, id, as("user"))
			cursor := publish(t, id, "owner", "before")
			ticket := newTicket(t, overGRPC, w, id)
			byTicket := hearing{}
			for _, format := range formats {
				s, refusal := open(t, format, who{nobody: true}, id, "", newTicket(t, overREST, w, id))
				refusal.ok(t)
				byTicket[format] = s
			}

			revokeKey(t, keyID)
			byKey.ended(t, id, cursor, w, codes.Unauthenticated, "KEY_INVALID")
			byTicket.ended(t, id, cursor, w, codes.Unauthenticated, "KEY_INVALID")
			_, refusal := open(t, sse, who{nobody: true}, id, "", ticket)
			refusal.refused(t, codes.Unauthenticated, "KEY_REVOKED")
			for _, over := range transports {
				over.call(t, w, &conversationv1.GetSessionRequest{Name: "sessions/" + id}).refused(t, codes.Unauthenticated, "KEY_INVALID")
			}
			publish(t, id, "owner", "afterwards")
			for _, format := range formats {
				byToken[format].until(t, func(e *conversationv1.Event) bool { return says(e, "afterwards") })
			}
		})
	}
}

func TestAKeyThatIsRevokedIsRefused(t *testing.T) {
	keyName := newID()
	text, keyID := newKey(t, keyName, session.RoleService)
	w := who{user: keyName, names: "user", credential: text}
	for _, over := range transports {
		over.call(t, w, new(conversationv1.ListSessionsRequest)).ok(t)
	}
	revokeKey(t, keyID)
	for _, over := range transports {
		eventually(t, func() outcome { return over.call(t, w, new(conversationv1.ListSessionsRequest)) }, codes.Unauthenticated).
			refused(t, codes.Unauthenticated, "KEY_INVALID")
	}
}

// soon is a time at which a token may end: in one to two seconds, because exp has whole ones.
func soon() time.Time { return time.Now().Truncate(time.Second).Add(2 * time.Second) }

func TestStreamsEndWithTheToken(t *testing.T) {
	id := create(t, draft(private, "owner", func(s *conversationv1.Session) { s.Owners = append(s.Owners, "user") }))
	join(t, id, "owner")
	for name, test := range map[string]struct {
		user, names string
		role        role
	}{
		"of a user": {user: "user"}, "of a backend that acts for user": {user: "backend", names: "user", role: service},
		"of an administrator": {user: "root", role: admin},
	} {
		t.Run(name, func(t *testing.T) {
			end := soon()
			w := who{names: test.names, credential: tokenUntil(t, test.user, test.role, end)}
			h := hear(t, id, w)
			cursor := publish(t, id, "owner", "before")
			h.ended(t, id, cursor, w, codes.Unauthenticated, "TOKEN_EXPIRED")
			if early := time.Until(end); early > 0 {
				t.Errorf("the streams ended %v before the token", early)
			}
		})
	}
}

func TestStreamsEndWithTheTokenOfTheirTicket(t *testing.T) {
	id := create(t, draft(private, "user"))
	join(t, id, "user")
	w := who{credential: tokenUntil(t, "user", plain, soon())}
	h := hearing{}
	for _, format := range formats {
		s, refusal := open(t, format, who{nobody: true}, id, "", newTicket(t, overREST, w, id))
		refusal.ok(t)
		h[format] = s
	}
	unused := newTicket(t, overREST, w, id)
	h.ended(t, id, "", w, codes.Unauthenticated, "TOKEN_EXPIRED")
	_, refusal := open(t, ndjson, who{nobody: true}, id, "", unused)
	if refusal.code != codes.Unauthenticated {
		t.Errorf("a ticket of a token that has ended: %v, want it to be refused", refusal)
	}
}

// A socket that a token or a key has opened publishes no longer than that.
func TestASocketPublishesNoLongerThanItsToken(t *testing.T) {
	id := create(t, draft(private, "user"))
	join(t, id, "user")
	w := who{credential: tokenUntil(t, "user", plain, soon())}
	s := listen(t, socket, w, id, "")
	s.publish(t, &conversationv1.PublishMessageRequest{Message: text("in time")}).ok(t)
	s.revoked(t)
	select {
	case frame := <-s.frames:
		t.Errorf("frame = %s, want none", frame)
	default:
	}
}
