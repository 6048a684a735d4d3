package natsbus

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// everything is a grant of all subjects.
func everything() Grant { return Grant{Name: "all", Publish: []string{">"}, Subscribe: []string{">"}} }

var errStranger = errors.New("a stranger")

// byToken admits those whose token has a grant.
func byToken(grants map[string]Grant) func(context.Context, Client) (Grant, error) {
	return func(_ context.Context, c Client) (Grant, error) {
		grant, known := grants[c.Token]
		if !known {
			return Grant{}, errStranger
		}
		return grant, nil
	}
}

func admit(t *testing.T, b *Bus, judge func(context.Context, Client) (Grant, error)) {
	if err := b.Admit(judge); err != nil {
		t.Fatal(err)
	}
}

// dial connects as a client.
func dial(t *testing.T, b *Bus, options ...nats.Option) *nats.Conn {
	t.Helper()
	c, err := nats.Connect(b.ClientURL(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// refused is an option that gathers what a connection was refused.
func refused() (nats.Option, <-chan error) {
	c := make(chan error, 100)
	return nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c <- err }), c
}

func wantRefused(t *testing.T, errs <-chan error, what string) {
	t.Helper()
	select {
	case err := <-errs:
		if !strings.Contains(err.Error(), what) {
			t.Errorf("refused with %v, want it to name %s", err, what)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("%s is not refused", what)
	}
}

func TestNobodyGetsInWithoutAdmit(t *testing.T) {
	var log logged
	b := open(t, Config{Listen: "127.0.0.1:0", Leaf: "127.0.0.1:0", Log: log.logger()})
	for name, given := range map[string]nats.Option{
		"nothing":             nats.Name("x"),
		"a token":             nats.Token("s3cret"),
		"a user":              nats.UserInfo("s3cret", "s3cret"),
		"the nodes' name":     nats.UserInfo("node", ""),
		"an empty token":      nats.Token(""),
		"a token as the user": nats.UserInfo(b.embedded.secrets.node, ""),
	} {
		c, err := nats.Connect(b.ClientURL(), given)
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: Connect = %v, %v; want an authorization error", name, c, err)
		}
	}
	if log.has("s3cret") {
		t.Errorf("the log has what a client said: %s", &log)
	}
}

func TestAClosedServerHasNoClients(t *testing.T) {
	for name, config := range map[string]Config{
		"alone":        {},
		"in a cluster": {Cluster: "127.0.0.1:0", RouteSecret: "x"},
	} {
		b := open(t, config)
		if b.ClientURL() != "" || b.Clients() != nil {
			t.Errorf("%s: ClientURL = %q, Clients = %v; want none", name, b.ClientURL(), b.Clients())
		}
		if err := b.Admit(byToken(nil)); err == nil {
			t.Errorf("%s: Admit succeeded", name)
		}
		if config.Cluster == "" {
			continue
		}
		b.embedded.door.admit = func(context.Context, Client) (Grant, error) { return everything(), nil }
		if c, err := nats.Connect(b.embedded.server.ClientURL()); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: Connect = %v, %v; want an authorization error", name, c, err)
		}
	}
}

func TestWhoConnectsIsTold(t *testing.T) {
	b := open(t, Config{Listen: "127.0.0.1:0"})
	told := make(chan Client, 1)
	admit(t, b, func(_ context.Context, c Client) (Grant, error) {
		told <- c
		return everything(), nil
	})
	for _, test := range []struct {
		given nats.Option
		want  Client
	}{
		{nats.Token("t"), Client{Token: "t", Name: "robot"}},
		{nats.UserInfo("ada", "p"), Client{User: "ada", Password: "p", Name: "robot"}},
		{nats.UserInfo("ada", ""), Client{User: "ada", Name: "robot"}},
	} {
		dial(t, b, test.given, nats.Name("robot"))
		got := <-told
		if got.ID == 0 {
			t.Error("no ID")
		}
		got.ID, test.want.Address = 0, netip.MustParseAddr("127.0.0.1")
		if diff := cmp.Diff(test.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("the client (-want +got):\n%s", diff)
		}
	}
}

func TestALongTokenIsTaken(t *testing.T) {
	b := open(t, Config{Listen: "127.0.0.1:0"})
	token := strings.Repeat("x", 8<<10) // as HTTP takes it
	admit(t, b, byToken(map[string]Grant{token: everything()}))
	dial(t, b, nats.Token(token), nats.Name(strings.Repeat("n", 1000)))
}

func TestClientsMayWhatIsGranted(t *testing.T) {
	b := open(t, Config{Listen: "127.0.0.1:0"})
	admit(t, b, byToken(map[string]Grant{
		"some":    {Publish: []string{"in.>"}, DenyPublish: []string{"in.secret"}, Subscribe: []string{"out.*"}, DenySubscribe: []string{"out.secret"}},
		"nothing": {},
		"deny":    {DenyPublish: []string{"x"}, DenySubscribe: []string{"x"}},
		"all":     everything(),
	}))
	api := b.Clients()
	heard, _ := api.SubscribeSync("in.>")
	api.Flush()

	handler, errs := refused()
	some := dial(t, b, nats.Token("some"), handler)
	out, _ := some.SubscribeSync("out.one")
	some.Publish("in.one", []byte("hello"))
	some.Flush()
	if m, err := heard.NextMsg(10 * time.Second); err != nil || m.Subject != "in.one" {
		t.Errorf("the API hears %v, %v", m, err)
	}
	api.Publish("out.one", []byte("hello"))
	if m, err := out.NextMsg(10 * time.Second); err != nil || string(m.Data) != "hello" {
		t.Errorf("the client hears %v, %v", m, err)
	}
	for _, name := range []string{"some", "nothing", "deny"} {
		c := some
		if name != "some" {
			handler, errs = refused()
			c = dial(t, b, nats.Token(name), handler)
		}
		for _, subject := range []string{"in.secret", "elsewhere", "$SYS.REQ.USER.AUTH"} {
			c.Publish(subject, nil)
			wantRefused(t, errs, subject)
		}
		for _, subject := range []string{"out.secret", ">", "$SYS.>", "elsewhere"} {
			c.SubscribeSync(subject)
			wantRefused(t, errs, subject)
		}
	}
	all := dial(t, b, nats.Token("all"))
	all.Publish("in.secret", []byte("x"))
	all.Flush()
	if m, err := heard.NextMsg(10 * time.Second); err != nil || m.Subject != "in.secret" {
		t.Errorf("the API hears %v, %v; want only what was allowed", m, err)
	}
}

func TestGrantsThatMeanNothingAreRefused(t *testing.T) {
	b := open(t, Config{Listen: "127.0.0.1:0"})
	var r registry
	b.Gone(r.gone)
	admit(t, b, byToken(map[string]Grant{
		"expired": {Publish: []string{">"}, Subscribe: []string{">"}, Expire: time.Now().Add(-time.Second)},
		"subject": {Publish: []string{">"}, Subscribe: []string{">"}, DenySubscribe: []string{"a..b"}},
	}))
	for _, token := range []string{"expired", "subject", "stranger"} {
		if c, err := nats.Connect(b.ClientURL(), nats.Token(token)); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: Connect = %v, %v; want an authorization error", token, c, err)
		}
	}
	d := b.embedded.door
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.present); n != 0 {
		t.Errorf("%d clients are remembered, who never got in", n)
	}
	if _, went := r.state(); len(went) != 2 {
		t.Errorf("gone are %v, want the two who had a grant", went)
	}
}

func TestClientsCanNotReachWhatIsTheNodes(t *testing.T) {
	b := open(t, Config{Listen: "127.0.0.1:0", Leaf: "127.0.0.1:0"})
	there := join(t, b)
	admit(t, b, func(context.Context, Client) (Grant, error) { return everything(), nil })
	c := dial(t, b)
	eavesdropped, _ := c.SubscribeSync(">")
	c.Flush()
	received, _ := listen(t, b, one)
	c.Publish(subject(one), []byte("forged"))
	c.Flush()
	b.Clients().Publish(subject(one), []byte("forged by the API"))
	b.Clients().Flush()
	there.Announce(one, []byte("true"))
	wantReceived(t, received, "true")
	for _, want := range []string{"forged", "forged by the API"} { // its own, and the API's: they share an account
		if m, err := eavesdropped.NextMsg(10 * time.Second); err != nil || string(m.Data) != want {
			t.Errorf("a client hears %v, %v; want %q", m, err, want)
		}
	}
	c.Flush()
	if n, _, _ := eavesdropped.Pending(); n != 0 {
		t.Errorf("a client hears %d announcements", n)
	}
	if b.Alone() {
		t.Error("the bus is alone although there is another node")
	}
}

func TestClientsDoNotEndBeingAlone(t *testing.T) {
	b := open(t, Config{Listen: "127.0.0.1:0"})
	admit(t, b, func(context.Context, Client) (Grant, error) { return everything(), nil })
	dial(t, b)
	if !b.Alone() || b.Spread() {
		t.Errorf("Alone = %t, Spread = %t; a client is no node", b.Alone(), b.Spread())
	}
}

// registry notes who came and who went.
type registry struct {
	mu   sync.Mutex // guards the fields below
	came []uint64
	went []uint64
}

func (r *registry) admit(_ context.Context, c Client) (Grant, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.came = append(r.came, c.ID)
	return everything(), nil
}

func (r *registry) gone(id uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.went = append(r.went, id)
}

func (r *registry) state() (came, went []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.came), slices.Clone(r.went)
}

func TestAClientIsDisconnectedAndComesBack(t *testing.T) {
	b := open(t, Config{Listen: "127.0.0.1:0"})
	var r registry
	b.Gone(r.gone)
	admit(t, b, r.admit)
	back := make(chan struct{})
	dial(t, b, nats.ReconnectWait(time.Millisecond), nats.ReconnectHandler(func(*nats.Conn) { close(back) }))
	stays := dial(t, b)
	came, _ := r.state()
	b.Disconnect(came[0])
	b.Disconnect(12345)
	b.Disconnect(1) // one of ours
	<-back
	wait(t, "who went", func() bool { _, went := r.state(); return len(went) > 0 })
	came, went := r.state()
	if len(came) != 3 || !slices.Equal(went, came[:1]) {
		t.Errorf("came %v, went %v; want three who came, of whom the first went", came, went)
	}
	if stays.Stats().Reconnects != 0 || !b.Connected() {
		t.Error("another connection was ended")
	}
	stays.Close()
	wait(t, "who went by themselves", func() bool { _, went := r.state(); return slices.Equal(went, came[:2]) })
}

func TestAGrantEnds(t *testing.T) {
	b := open(t, Config{Listen: "127.0.0.1:0"})
	admit(t, b, func(_ context.Context, c Client) (Grant, error) {
		if c.Token != "first" {
			return Grant{}, errStranger
		}
		grant := everything()
		grant.Expire = time.Now().Add(300 * time.Millisecond)
		return grant, nil
	})
	ended := make(chan error, 1)
	dial(t, b, nats.Token("first"), nats.NoReconnect(), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { ended <- err }))
	select {
	case err := <-ended:
		if !errors.Is(err, nats.ErrAuthExpired) {
			t.Errorf("the connection ended with %v, want %v", err, nats.ErrAuthExpired)
		}
	case <-time.After(10 * time.Second):
		t.Error("the connection did not end")
	}
}

func TestManyWhoAreJudgedSlowlyHoldUpNobodyForLong(t *testing.T) {
	b := open(t, Config{Listen: "127.0.0.1:0"})
	var judged, most int
	var mu sync.Mutex
	resume := make(chan struct{})
	admit(t, b, func(ctx context.Context, _ Client) (Grant, error) {
		mu.Lock()
		judged++
		most = max(most, judged)
		mu.Unlock()
		select {
		case <-resume:
		case <-ctx.Done():
		}
		mu.Lock()
		judged--
		mu.Unlock()
		return Grant{}, errStranger
	})
	var clients sync.WaitGroup
	for range 3 * maxAdmitted {
		clients.Go(func() {
			c, err := nats.Connect(b.ClientURL(), nats.Timeout(20*time.Second))
			if err == nil {
				t.Error("a stranger got in")
				c.Close()
			}
		})
	}
	wait(t, "many", func() bool { mu.Lock(); defer mu.Unlock(); return judged == maxAdmitted })
	close(resume)
	clients.Wait()
	mu.Lock()
	defer mu.Unlock()
	if most != maxAdmitted {
		t.Errorf("%d were judged at once, want %d", most, maxAdmitted)
	}
}

func TestWhoFloodsIsKeptOut(t *testing.T) {
	var log logged
	b := open(t, Config{Listen: "127.0.0.1:0", Log: log.logger()})
	var r registry
	b.Gone(r.gone)
	admit(t, b, func(ctx context.Context, c Client) (Grant, error) {
		grant, err := r.admit(ctx, c)
		grant.Name, grant.Unlimited = c.Token, c.Token == "dev"
		return grant, err
	})
	sender := func(user string) net.Conn {
		c, err := net.Dial("tcp", strings.TrimPrefix(b.ClientURL(), "nats://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := c.Write([]byte(`CONNECT {"verbose":false,"auth_token":"` + user + `"}` + "\r\n")); err != nil {
			t.Fatal(err)
		}
		return c
	}
	flood := []byte(strings.Repeat("PUB x 0\r\n\r\n", 1000))
	ended := make(chan struct{})
	good, dev := dial(t, b, nats.Token("good")), sender("dev")
	dial(t, b, nats.Token("eve"), nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { close(ended) }))
	eve := sender("eve")
	for deadline := time.Now().Add(30 * time.Second); ; {
		if _, err := dev.Write(flood); err != nil {
			t.Fatalf("who may send as much as they like: %v", err)
		}
		if _, err := eve.Write(flood); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the flood goes on")
		}
	}
	<-ended // the user's other connection
	if c, err := nats.Connect(b.ClientURL(), nats.Token("eve")); err == nil {
		c.Close()
		t.Error("who floods comes back at once")
	}
	if err := good.FlushTimeout(10 * time.Second); err != nil || good.Reconnects != 0 {
		t.Errorf("another user: %v, %d reconnects", err, good.Reconnects)
	}
	wait(t, "that they went", func() bool { came, went := r.state(); return len(came) == 5 && len(went) == 3 })
	if !log.has("user=eve") || log.has("user=good") || log.has("user=dev") {
		t.Errorf("the log is %s", &log)
	}
}

func TestWhoFloodsAndLeavesIsKeptOut(t *testing.T) {
	b := open(t, Config{Listen: "127.0.0.1:0"})
	admit(t, b, func(context.Context, Client) (Grant, error) { return everything(), nil })
	for deadline := time.Now().Add(30 * time.Second); ; {
		c, err := nats.Connect(b.ClientURL())
		if errors.Is(err, nats.ErrAuthorization) {
			return
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the floods go on, %v", err)
		}
		for range 2000 {
			c.Publish("x", nil)
		}
		c.Flush()
		c.Close()
	}
}

func TestClientsOverTLS(t *testing.T) {
	a := newAuthority(t)
	config := a.config()
	config.ClientAuth = 0
	b := open(t, Config{Listen: "127.0.0.1:0", TLS: config})
	admit(t, b, func(context.Context, Client) (Grant, error) { return everything(), nil })
	c := dial(t, b, nats.RootCAs(a.file))
	if _, err := c.TLSConnectionState(); err != nil {
		t.Errorf("the connection is not over TLS: %v", err)
	}
	if plain, err := nats.Connect("nats://"+b.embedded.server.Addr().String(), nats.RootCAs(newAuthority(t).file)); err == nil {
		plain.Close()
		t.Error("a client trusts whom it does not know")
	}
}

// leaf starts a server that is a leaf of the bus's, with the user in its URL.
func leaf(t *testing.T, b *Bus, user *url.Userinfo) *server.Server {
	return startElsewhere(t, &server.Options{
		ServerName: "robot",
		LeafNode: server.LeafNodeOpts{
			ReconnectInterval: 50 * time.Millisecond,
			Remotes: []*server.RemoteLeafOpts{{
				URLs: []*url.URL{{Scheme: "nats-leaf", User: user, Host: b.LeafAddress()}},
			}},
		},
	})
}

func TestALeafNodeHasItsRights(t *testing.T) {
	b := open(t, Config{Leaf: "127.0.0.1:0"})
	var mu sync.Mutex
	var told []Client
	admit(t, b, func(_ context.Context, c Client) (Grant, error) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, c)
		if c.Token != "robot" {
			return Grant{}, errStranger
		}
		return Grant{Publish: []string{"in.>"}, Subscribe: []string{"out.>", "_INBOX.>"}}, nil
	})
	api := b.Clients()
	api.Subscribe("in.echo", func(m *nats.Msg) { m.Respond(m.Data) })
	heard, _ := api.SubscribeSync(">")
	api.Flush()
	there := join(t, b)
	received, _ := listen(t, b, one)

	s := leaf(t, b, url.User("robot"))
	wait(t, "the leaf", func() bool { return s.NumLeafNodes() == 1 && b.embedded.server.NumLeafNodes() == 1 })
	robot, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(robot.Close)
	wait(t, "an answer", func() bool { // interest crosses later than the connection is there
		m, err := robot.Request("in.echo", []byte("hello"), 100*time.Millisecond)
		return err == nil && string(m.Data) == "hello"
	})
	all, _ := robot.SubscribeSync(">")
	out, _ := robot.SubscribeSync("out.one")
	private, _ := robot.SubscribeSync("private.one")
	robot.Publish("elsewhere", []byte("not allowed"))
	robot.Publish(subject(one), []byte("forged"))
	robot.Flush()
	there.Announce(one, []byte("true"))
	wantReceived(t, received, "true")
	wait(t, "a message", func() bool {
		api.Publish("private.one", []byte("not allowed"))
		api.Publish("out.one", []byte("hello"))
		n, _, _ := out.Pending()
		return n > 0
	})
	robot.Request("in.echo", []byte("the last"), time.Second)
	for n, _, _ := all.Pending(); n > 0; n, _, _ = all.Pending() {
		m, err := all.NextMsg(time.Second)
		if err != nil || string(m.Data) == "not allowed" && m.Subject != "elsewhere" || string(m.Data) == "true" {
			t.Errorf("the leaf hears %v, %v", m, err)
		}
	}
	if n, _, _ := private.Pending(); n != 0 {
		t.Errorf("the leaf hears %d messages that it may not", n)
	}
	for n, _, _ := heard.Pending(); n > 0; n, _, _ = heard.Pending() {
		if m, err := heard.NextMsg(time.Second); err != nil || m.Subject == "elsewhere" || m.Subject == subject(one) {
			t.Errorf("the API hears %v, %v", m, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if c := told[0]; !c.Leaf || c.User != "" || !c.Address.IsLoopback() {
		t.Errorf("the client is %+v, want a leaf without a user, on loopback", c)
	}
}

func TestALeafNodeIsRefusedAndCut(t *testing.T) {
	var log logged
	b := open(t, Config{Leaf: "127.0.0.1:0", Log: log.logger()})
	var r registry
	b.Gone(r.gone)
	var mu sync.Mutex
	strangers := 0
	admit(t, b, func(ctx context.Context, c Client) (Grant, error) {
		if c.Token != "robot" {
			mu.Lock()
			defer mu.Unlock()
			strangers++
			return Grant{}, errStranger
		}
		return r.admit(ctx, c)
	})
	leaf(t, b, url.UserPassword("s3cret", "s3cret"))
	leaf(t, b, url.User("s3cret"))
	wait(t, "strangers", func() bool { mu.Lock(); defer mu.Unlock(); return strangers >= 3 })
	if n := b.embedded.server.NumLeafNodes(); n != 0 {
		t.Errorf("%d strangers got in", n)
	}
	if log.has("s3cret") {
		t.Errorf("the log has what a leaf said: %s", &log)
	}
	leaf(t, b, url.User("robot"))
	wait(t, "the leaf", func() bool { came, _ := r.state(); return len(came) == 1 })
	came, _ := r.state()
	d := b.embedded.door
	wait(t, "that it is seen", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.present[came[0]].seen })
	b.Disconnect(came[0])
	wait(t, "that it went and came back", func() bool {
		came, went := r.state()
		return len(came) == 2 && slices.Equal(went, came[:1])
	})
}

func TestClientsAreNotLeafNodes(t *testing.T) {
	b := open(t, Config{Leaf: "127.0.0.1:0"})
	admit(t, b, func(context.Context, Client) (Grant, error) { return everything(), nil })
	c, err := net.Dial("tcp", b.LeafAddress())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if conn, err := nats.Connect("nats://" + b.LeafAddress()); err == nil {
		conn.Close()
		t.Error("a client got in where only leaf nodes may")
	}
}
