package nodes_test

import (
	"context"
	"log/slog"
	"net/http"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/app"
	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/followtest"
	"github.com/parleyhq/parley/internal/session"
)

// TestAnyNodeServesAnyRequest has each step of a conversation on another node, at once after the one before was answered.
func TestAnyNodeServesAnyRequest(t *testing.T) {
	c := startCluster(t)
	for round := range 3 * size {
		turn := round
		next := func() *node {
			turn++
			return c.nodes[turn%size]
		}
		at := "/talk-" + strconv.Itoa(round)
		uid := next().post(t, "ada", "?sessionId="+at[1:], draft(public))["uid"]
		if got := next().get(t, "bob", at)["uid"]; got != uid {
			t.Fatalf("the session's uid is %v, want %v", got, uid)
		}
		next().post(t, "bob", at+"/join", document{})
		if got := next().get(t, "ada", at+"/members")["members"].([]any); len(got) != 1 {
			t.Fatalf("the members are %v, want bob", got)
		}
		next().post(t, "bob", at+"/messages", document{"message": document{"text": "hello", "messageId": "m1"}})
		if got := next().get(t, "ada", at+"/messages")["messages"].([]any); len(got) != 1 {
			t.Fatalf("the messages are %v, want one", got)
		}
		if got := next().get(t, "bob", at+"/messages/m1")["text"]; got != "hello" {
			t.Fatalf("the message is %v, want hello", got)
		}
		next().must(t, request{method: http.MethodPatch, path: at + "?updateMask=displayName", body: document{"displayName": "new"}, user: "ada"})
		if got := next().get(t, "bob", at)["displayName"]; got != "new" {
			t.Fatalf("the displayName is %v, want the new one", got)
		}
		next().post(t, "bob", at+"/leave", document{})
		if got := next().call(t, request{
			method: http.MethodPost, path: at + "/messages", body: document{"message": document{"text": "x"}}, user: "bob",
		}); got.reason != "NOT_A_MEMBER" {
			t.Fatalf("publishing after leaving is answered %+v, want NOT_A_MEMBER", got)
		}
		next().must(t, request{method: http.MethodDelete, path: at, user: "ada"})
		if got := next().call(t, request{method: http.MethodGet, path: at, user: "ada"}); got.status != http.StatusNotFound {
			t.Fatalf("get after delete is answered %+v, want 404", got)
		}
	}
}

func TestARequestIDIsOfOneRequestOnAllNodes(t *testing.T) {
	c := startCluster(t)
	for round := range 5 {
		n := strconv.Itoa(round)
		var mu sync.Mutex
		var uids, cursors []string
		note := func(list *[]string, what any) {
			mu.Lock()
			defer mu.Unlock()
			*list = append(*list, what.(string))
		}
		c.onAll(3, func(_ int, node *node) {
			note(&uids, node.post(t, "ada", "?requestId=create-"+n, draft(public))["uid"])
		})
		id := c.nodes[0].post(t, "ada", "?requestId=create-"+n, draft(public))["sessionId"].(string)
		c.onAll(1, func(_ int, node *node) { node.post(t, "bob", "/"+id+"/join", document{"requestId": "join"}) })
		c.onAll(3, func(_ int, node *node) {
			note(&cursors, node.post(t, "bob", "/"+id+"/messages",
				document{"requestId": "publish", "message": document{"text": "once"}})["acknowledgment"])
		})
		if got := slices.Compact(uids); len(got) != 1 || len(uids) != 3*size {
			t.Errorf("one request made the sessions %v", uids)
		}
		if got := slices.Compact(cursors); len(got) != 1 || len(cursors) != 3*size {
			t.Errorf("one request made the messages %v", cursors)
		}
	}
}

func TestOneOfManyCreatesOfAnIDSucceeds(t *testing.T) {
	c := startCluster(t)
	for round := range 5 {
		var made, refused atomic.Int32
		c.onAll(5, func(i int, n *node) {
			a := n.call(t, request{method: http.MethodPost, path: "?sessionId=s-" + strconv.Itoa(round), body: draft(public, document{
				"description": strconv.Itoa(i), // else it would be the same request
			}), user: "ada"})
			switch {
			case a.status == http.StatusOK:
				made.Add(1)
			case a.status == http.StatusConflict && a.reason == "SESSION_EXISTS":
				refused.Add(1)
			default:
				t.Errorf("create = %+v", a)
			}
		})
		if made.Load() != 1 || refused.Load() != 5*size-1 {
			t.Errorf("%d creates succeeded and %d were refused, want 1 and %d", made.Load(), refused.Load(), 5*size-1)
		}
	}
}

func TestASessionDoesNotTakeMoreThanMaxMembers(t *testing.T) {
	c := startCluster(t)
	const most = 7
	c.nodes[0].post(t, "ada", "?sessionId=s", draft(public, document{"options": document{"maxMembers": most}}))
	var joined atomic.Int32
	c.onAll(10, func(i int, n *node) {
		switch a := n.call(t, request{method: http.MethodPost, path: "/s/join", body: document{}, user: "u" + strconv.Itoa(i)}); {
		case a.status == http.StatusOK:
			joined.Add(1)
		case a.reason != "SESSION_FULL":
			t.Errorf("join = %+v", a)
		}
	})
	if joined.Load() != most {
		t.Errorf("%d users joined, want %d", joined.Load(), most)
	}
	for _, n := range c.nodes {
		if got := n.get(t, "ada", "/s")["memberCount"]; got != float64(most) {
			t.Errorf("memberCount = %v, want %d", got, most)
		}
	}
}

func TestAPageTokenIsGoodOnAllNodes(t *testing.T) {
	c := startCluster(t)
	for i := range 7 {
		c.nodes[i%size].post(t, "ada", "?sessionId=s-"+strconv.Itoa(i), draft(public))
	}
	c.nodes[0].post(t, "bob", "/s-0/join", document{})
	for i := range 7 {
		c.nodes[i%size].post(t, "bob", "/s-0/messages", document{"message": document{"text": strconv.Itoa(i), "messageId": "s-" + strconv.Itoa(i)}})
	}
	want := []string{"s-0", "s-1", "s-2", "s-3", "s-4", "s-5", "s-6"}
	for field, list := range map[string]string{"sessions": "?orderBy=createTime", "messages": "/s-0/messages?orderBy=sequence"} {
		var got []string
		for page, token := 0, ""; page == 0 || token != ""; page++ {
			answer := c.nodes[page%size].get(t, "bob", list+"&pageSize=2&pageToken="+token)
			for _, item := range answer[field].([]any) {
				got = append(got, path.Base(item.(document)["name"].(string)))
			}
			token = answer["nextPageToken"].(string)
		}
		if !slices.Equal(got, want) {
			t.Errorf("the %s of all pages are %v, want %v", field, got, want)
		}
	}
}

func TestATicketIsUsedOnOneNodeOnce(t *testing.T) {
	c := startCluster(t)
	c.nodes[0].post(t, "ada", "?sessionId=s", draft(public))
	for round := range 5 {
		ticket := c.nodes[round%size].post(t, "ada", "/s/tickets", document{})["ticket"].(string)
		var opened atomic.Int32
		c.onAll(2, func(i int, n *node) {
			over := []followtest.Transport{followtest.NDJSON, followtest.GRPC}[i%2]
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_ = over.Listen(ctx, n.server(), followtest.Request{Session: "s", Ticket: ticket}, func(followtest.Event) {
				opened.Add(1)
				cancel()
			})
		})
		if opened.Load() != 1 {
			t.Errorf("one ticket opened %d streams", opened.Load())
		}
	}
}

func TestWrongSecretKeysCountOnAllNodes(t *testing.T) {
	c := startCluster(t)
	c.nodes[0].post(t, "ada", "?sessionId=s", draft(private, document{"secretKey": "open-sesame"}))
	join := func(n *node, user, secret string) answer {
		return n.call(t, request{method: http.MethodPost, path: "/s/join", body: document{"secretKey": secret}, user: user})
	}
	for i := range session.GuessesCaller {
		if got := join(c.nodes[i%size], "mallory", "wrong-"+strconv.Itoa(i)); got.status != http.StatusNotFound {
			t.Errorf("guess %d is answered %+v, want 404", i+1, got)
		}
	}
	for i, n := range c.nodes {
		if got := join(n, "mallory", "open-sesame"); got.status != http.StatusTooManyRequests || got.reason != "TOO_MANY_GUESSES" {
			t.Errorf("on node %d the guess after the last is answered %+v, want 429", i, got)
		}
		if got := join(n, "bob-"+strconv.Itoa(i), "open-sesame"); got.status != http.StatusOK {
			t.Errorf("on node %d another's right secretKey is answered %+v", i, got)
		}
	}

	var compared atomic.Int32
	c.onAll(5, func(_ int, n *node) {
		if got := join(n, "trudy", "wrong-one"); got.status == http.StatusNotFound {
			compared.Add(1)
		}
	})
	if compared.Load() != session.GuessesCaller {
		t.Errorf("of guesses at the same time %d are compared, want %d", compared.Load(), session.GuessesCaller)
	}
}

// withSecret are settings for tokens, which mint makes.
func withSecret(t *testing.T) (change func(*config.Config), mint func(user string) string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "jwt.secret")
	writeFile(t, file, []byte(strings.Repeat("open sesame ", 3)))
	return func(c *config.Config) { c.Auth, c.JWT.SecretFile = "jwt", file }, func(user string) string {
		t.Helper()
		token, err := auth.Mint(file, auth.TokenSpec{User: user, TTL: time.Hour, Now: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
}

func TestTheQuotaOfSessionsIsOfAllNodes(t *testing.T) {
	jwt, mint := withSecret(t)
	const quota = 7
	c := startCluster(t, jwt, func(c *config.Config) { c.Limits.Sessions = quota })
	token := mint("ada")
	var made atomic.Int32
	c.onAll(10, func(_ int, n *node) {
		switch a := n.call(t, request{method: http.MethodPost, body: draft(public), token: token}); {
		case a.status == http.StatusOK:
			made.Add(1)
		case a.reason != "QUOTA_SESSIONS":
			t.Errorf("create = %+v", a)
		}
	})
	if made.Load() != quota {
		t.Errorf("%d sessions were made, want %d", made.Load(), quota)
	}
}

func TestANodeWithAForeignKeyDoesNotStart(t *testing.T) {
	c := startCluster(t)
	file := filepath.Join(t.TempDir(), "server.key")
	writeFile(t, file, session.NewKeyRing().Encode())
	_, err := app.New(t.Context(), config.Config{
		Listen: "127.0.0.1:0", GRPCListen: "127.0.0.1:0", DatabaseURL: c.database, Auth: "dev", KeyFile: file,
		NATS: config.NATS{URL: c.nats.ClientURL()},
	}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "another server key") {
		t.Errorf("New() = %v, want an error that says why", err)
	}
}
