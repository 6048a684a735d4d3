package nodes_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/followtest"
	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/postgres"
)

// TestAStreamGoesOnOnAnotherNode moves each stream from node to node while all of them publish.
func TestAStreamGoesOnOnAnotherNode(t *testing.T) {
	c := startCluster(t)
	c.nodes[0].post(t, "ada", "?sessionId=s", draft(public))
	c.nodes[1].post(t, "ada", "/s/join", document{})
	const messages = 60
	said := make(chan struct{})
	go func() {
		defer close(said)
		for i := range messages {
			c.nodes[i%size].post(t, "ada", "/s/messages", document{"message": document{"text": strconv.Itoa(i)}})
		}
	}()
	for _, over := range followtest.Transports {
		cursor, sequence := "beginning", int64(0)
		for move := 0; sequence < messages+2; move++ {
			s := c.nodes[move%size].listen(t, over, followtest.Request{Session: "s", Cursor: cursor, Header: as("ada")})
			for stop := min(sequence+7, messages+2); sequence < stop; {
				e := s.next(t)
				if e.Sequence != sequence+1 {
					t.Fatalf("over %s, after the event %d and on node %d comes %+v", over, sequence, move%size, e)
				}
				cursor, sequence = e.Cursor, e.Sequence
			}
			s.close()
		}
	}
	<-said
}

func TestEphemeralEventsReachAllNodes(t *testing.T) {
	c := startCluster(t)
	c.nodes[0].post(t, "ada", "?sessionId=s", draft(public, document{
		"defaultChannels": []int{1, 4}, "options": document{"channels": document{"4": document{"history": false}}},
	}))
	c.nodes[0].post(t, "ada", "/s/join", document{})
	var streams []*stream
	for _, n := range c.nodes {
		for _, over := range followtest.Transports {
			streams = append(streams, n.listen(t, over, followtest.Request{Session: "s", Header: as("ada")}))
		}
	}
	for i, n := range c.nodes {
		text := "from " + strconv.Itoa(i)
		n.post(t, "ada", "/s/messages", document{"message": document{"text": text, "channel": 4}})
		for _, s := range streams {
			if e := s.says(t, text); e.Sequence != 0 || e.Channel != 4 {
				t.Errorf("the ephemeral event comes as %+v", e)
			}
		}
	}
}

func TestPresenceIsKnownOnAllNodes(t *testing.T) {
	c := startCluster(t)
	c.nodes[0].post(t, "ada", "?sessionId=s", draft(public))
	c.nodes[1].post(t, "bob", "/s/join", document{})
	online := func(n *node) bool {
		return n.get(t, "ada", "/s/members")["members"].([]any)[0].(document)["online"].(bool)
	}
	onAll := func(want bool) {
		t.Helper()
		for i, n := range c.nodes {
			eventually(t, fmt.Sprintf("node %d says that bob is online: %t", i, want), func() bool { return online(n) == want })
		}
	}
	onAll(false)
	first := c.nodes[0].listen(t, followtest.SSE, followtest.Request{Session: "s", Header: as("bob")})
	onAll(true)
	second := c.nodes[1].listen(t, followtest.WebSocket, followtest.Request{Session: "s", Header: as("bob")})
	first.close()
	eventually(t, "node 0 knows of the stream of node 1", func() bool { return online(c.nodes[0]) })
	onAll(true)
	if member := c.nodes[2].post(t, "bob", "/s/join", document{})["member"].(document); member["online"] != true {
		t.Errorf("the repeated join answers %v, want that bob is online", member)
	}
	second.close()
	onAll(false)

	c.nodes[0].listen(t, followtest.GRPC, followtest.Request{Session: "s", Header: as("bob")})
	onAll(true)
	c.nodes[0].end(t)
	c.nodes = c.nodes[1:]
	onAll(false)
}

// TestWhoMayReadNoMoreIsCutOnAllNodes changes on one node what streams on others depend on.
func TestWhoMayReadNoMoreIsCutOnAllNodes(t *testing.T) {
	c := startCluster(t)
	for name, change := range map[string]struct {
		kind   int
		member bool
		how    request
	}{
		"removed": {private, true, request{method: http.MethodPost, path: "/leave", body: document{"name": "bob"}}},
		"blocked": {private, true, request{
			method: http.MethodPatch, path: "?updateMask=blockedUsers", body: document{"blockedUsers": []string{"bob"}},
		}},
		"left": {private, true, request{method: http.MethodPost, path: "/leave", body: document{}, user: "bob"}},
		"no longer public": {public, false, request{
			method: http.MethodPatch, path: "?updateMask=sessionType", body: document{"sessionType": private},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			id := c.nodes[0].post(t, "ada", "", draft(change.kind, document{"allowedUsers": []string{"bob"}}))["sessionId"].(string)
			if change.kind == public {
				c.nodes[0].must(t, request{method: http.MethodPatch, path: "/" + id + "?updateMask=allowedUsers", body: document{}, user: "ada"})
			}
			if change.member {
				c.nodes[1].post(t, "bob", "/"+id+"/join", document{})
			}
			var streams []*stream
			for _, n := range c.nodes {
				for _, over := range followtest.Transports {
					streams = append(streams, n.listen(t, over, followtest.Request{Session: id, Header: as("bob")}))
				}
			}
			how := change.how
			how.path = "/" + id + how.path
			if how.user == "" {
				how.user = "ada"
			}
			c.nodes[2].must(t, how)
			for _, s := range streams {
				s.revoked(t)
			}
		})
	}
}

func TestAnAPIKeyIsGoodOnAllNodesUntilItIsRevoked(t *testing.T) {
	settings, _ := withSecret(t)
	c := startCluster(t, settings)
	keys, err := postgres.OpenKeys(t.Context(), c.database)
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	text, hash := auth.NewAPIKey()
	key := session.APIKey{ID: "key-1", Name: "ada", Role: session.RoleService, Hash: hash, CreateTime: session.Now()}
	if err := keys.Create(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	c.nodes[0].must(t, request{method: http.MethodPost, path: "?sessionId=s", body: draft(private), token: text})
	var streams []*stream
	for _, n := range c.nodes {
		for _, over := range followtest.Transports {
			streams = append(streams, n.listen(t, over, followtest.Request{Session: "s", Header: bearer(text)}))
		}
	}
	ticket := c.nodes[0].must(t, request{method: http.MethodPost, path: "/s/tickets", body: document{}, token: text})["ticket"].(string)
	if _, err := keys.Revoke(t.Context(), key.ID, session.Now()); err != nil {
		t.Fatal(err)
	}
	for _, s := range streams {
		s.revoked(t)
	}
	for i, n := range c.nodes {
		for _, r := range []request{
			{method: http.MethodGet, path: "/s", token: text}, {method: http.MethodGet, path: "/s/events?ticket=" + ticket},
		} {
			if got := n.call(t, r); got.status != http.StatusUnauthorized {
				t.Errorf("node %d answers %s with the revoked key %+v, want 401", i, r.path, got)
			}
		}
	}
}

// signer makes tokens of ada with a key that is in a set as kid.
type signer struct {
	kid string
	key ed25519.PrivateKey
}

func newSigner(t *testing.T, kid string) signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{kid, key}
}

func (s signer) token(t *testing.T) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"sub": "ada", "exp": time.Now().Add(time.Hour).Unix()})
	token.Header["kid"] = s.kid
	text, err := token.SignedString(s.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// set is a key set of this key alone.
func (s signer) set() []byte {
	x := base64.RawURLEncoding.EncodeToString(s.key.Public().(ed25519.PublicKey))
	return fmt.Appendf(nil, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}]}`, s.kid, x)
}

func TestAKeyThatLeavesItsSetIsRefusedOnAllNodes(t *testing.T) {
	old, next := newSigner(t, "k1"), newSigner(t, "k2")
	file := filepath.Join(t.TempDir(), "keys.json")
	writeFile(t, file, old.set())
	c := startCluster(t, func(c *config.Config) { c.Auth, c.JWT.JWKSFile = "jwt", file })
	c.nodes[0].must(t, request{method: http.MethodPost, path: "?sessionId=s", body: draft(private), token: old.token(t)})
	var streams []*stream
	for _, n := range c.nodes {
		for _, over := range followtest.Transports {
			streams = append(streams, n.listen(t, over, followtest.Request{Session: "s", Header: bearer(old.token(t))}))
		}
	}
	writeFile(t, file, next.set())
	for _, n := range c.nodes {
		n.must(t, request{method: http.MethodGet, path: "/s", token: next.token(t)})
	}
	for _, s := range streams {
		s.revoked(t)
	}
	for i, n := range c.nodes {
		if got := n.call(t, request{method: http.MethodGet, path: "/s", token: old.token(t)}); got.status != http.StatusUnauthorized {
			t.Errorf("node %d answers a token of the key %+v, want 401", i, got)
		}
	}
}
