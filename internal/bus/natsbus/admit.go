package natsbus

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	admitTime   = 4 * time.Second // for one client; less than authSeconds
	maxAdmitted = 64              // clients who are judged at once
	goneTime    = time.Second     // how often it is looked who has gone
	settleTime  = 10 * time.Second

	// How much a user may send a second, on all connections. Who sends more would leave no room for the others, and is kept
	// out for a while.
	floodMessages = 10_000
	floodBytes    = 64 << 20
	floodTime     = 10 * time.Second
)

// Client is who wants to connect to the embedded server. Whatever they have not given is empty.
type Client struct {
	ID                          uint64 // of the connection
	Token, User, Password, Name string
	Address                     netip.Addr
	Leaf                        bool // it is a server, whose clients all have its rights
}

// Grant is what a connection may do: what is allowed and not denied. Subjects may have wildcards. Answers to requests that
// it has received are not allowed by themselves.
type Grant struct {
	Name                       string // for logs
	Publish, Subscribe         []string
	DenyPublish, DenySubscribe []string
	Expire                     time.Time // when the connection is cut; zero: never
	Unlimited                  bool      // it may send as much as it likes
}

// Admit has the function judge who wants to connect to the embedded server from now on; before, nobody gets in. An error
// refuses the client. The function is called on many goroutines, for a client again if they say anew who they are, and has
// a few seconds.
func (b *Bus) Admit(admit func(ctx context.Context, c Client) (Grant, error)) error {
	if b.embedded == nil || b.clients == nil {
		return errors.New("natsbus: no clients are accepted")
	}
	d := b.embedded.door
	d.mu.Lock()
	defer d.mu.Unlock()
	d.admit = admit
	return nil
}

// Disconnect ends a client's connection. They come back, and are judged anew. It does nothing if the client has gone.
func (b *Bus) Disconnect(id uint64) {
	if b.embedded != nil {
		b.embedded.door.cut(id)
	}
}

// Gone has the function called when a client's connection has ended, within about a second (10 s for a leaf node that
// left as it came), or its grant turned out to be of no use. One function is called, that of the last call, on any goroutine.
func (b *Bus) Gone(gone func(id uint64)) {
	if b.embedded == nil {
		return
	}
	d := b.embedded.door
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone = gone
}

// door lets connections into the embedded server: those of this process by their secrets, and others as Admit's function
// says. It implements server.Authentication.
type door struct {
	clients bool // are accepted, and not only leaf nodes
	secrets secrets
	log     *slog.Logger
	slots   chan struct{} // one is held for each client who is judged

	ctx    context.Context //nolint:containedctx // of clients who are judged; ends with the server
	cancel context.CancelFunc
	ended  chan struct{} // closed when the goroutine that looks who has gone is

	server            *server.Server
	nodes, forClients *server.Account

	mu      sync.Mutex // guards the fields below
	admit   func(context.Context, Client) (Grant, error)
	gone    func(id uint64)
	present map[uint64]*visit
	floods  map[string]time.Time // until when users are kept out
}

// visit is a client's connection.
type visit struct {
	user     string // empty: one who may send as much as they like
	sent     sent   // when that was last looked at
	since    time.Time
	admitted bool
	seen     bool // the server has had it among its connections
	cut      bool // it is to be ended
}

// sent is how much a client, or all of a user's, have sent.
type sent struct{ messages, bytes int64 }

func newDoor(clients bool, known secrets, log *slog.Logger) *door {
	d := &door{
		clients: clients, secrets: known, log: log,
		slots: make(chan struct{}, maxAdmitted), ended: make(chan struct{}), present: make(map[uint64]*visit),
		floods: make(map[string]time.Time),
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

// open is called before the server starts.
func (d *door) open(s *server.Server, nodes, clients *server.Account) {
	d.server, d.nodes, d.forClients = s, nodes, clients
	go d.watch()
}

// close is called when the server has ended.
func (d *door) close() {
	d.cancel()
	<-d.ended
}

// Check implements server.Authentication.
func (d *door) Check(c server.ClientAuthentication) bool {
	token := c.GetOpts().Token
	switch {
	case same(token, d.secrets.node):
		c.RegisterUser(&server.User{Username: "node", Account: d.nodes})
		return true
	case same(token, d.secrets.api):
		c.RegisterUser(&server.User{Username: "api", Account: d.forClients})
		return true
	}
	user, err := d.judge(c)
	if err != nil {
		d.log.Debug("a NATS client is refused", "error", err)
		// The server logs the name of whom it refuses, which may be a token.
		c.RegisterUser(&server.User{Username: "refused", Permissions: permissions(Grant{})})
		return false
	}
	c.RegisterUser(user)
	return !d.isCut(c.GetID())
}

func same(given, want string) bool {
	return subtle.ConstantTimeCompare([]byte(given), []byte(want)) == 1
}

// judge asks what a client may do, and counts them as present if they may come in.
func (d *door) judge(c server.ClientAuthentication) (*server.User, error) {
	leaf := c.Kind() == server.LEAF
	if !leaf && !d.clients {
		return nil, errors.New("only leaf nodes are accepted")
	}
	ctx, cancel := context.WithTimeout(d.ctx, admitTime)
	defer cancel()
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		return nil, errors.New("too many clients connect at once")
	}
	id := c.GetID()
	admit := d.arrive(id, leaf)
	user, unlimited, err := d.ask(ctx, admit, clientOf(c, leaf))
	d.settle(id, user, unlimited)
	return user, err
}

func (d *door) ask(
	ctx context.Context, admit func(context.Context, Client) (Grant, error), c Client,
) (user *server.User, unlimited bool, err error) {
	if admit == nil {
		return nil, false, errors.New("nobody is let in yet")
	}
	grant, err := admit(ctx, c)
	if err != nil {
		return nil, false, err
	}
	if err := check(grant); err != nil {
		d.forget(c.ID)
		return nil, false, err
	}
	name := grant.Name
	if name == "" {
		name = "client"
	}
	return &server.User{
		Username: name, Account: d.forClients, Permissions: permissions(grant), ConnectionDeadline: grant.Expire,
	}, grant.Unlimited, nil
}

func clientOf(c server.ClientAuthentication, leaf bool) Client {
	given := c.GetOpts()
	client := Client{
		ID: c.GetID(), Token: given.Token, User: given.Username, Password: given.Password, Name: given.Name, Leaf: leaf,
	}
	if client.Token == client.User && client.Password == "" {
		client.User = "" // a leaf node says a token twice
	}
	if address, ok := c.RemoteAddress().(*net.TCPAddr); ok {
		client.Address = address.AddrPort().Addr().Unmap()
	}
	return client
}

// check finds what the server would take for something else.
func check(grant Grant) error {
	if !grant.Expire.IsZero() && !time.Now().Before(grant.Expire) {
		return errors.New("the grant has expired")
	}
	for _, subjects := range [...][]string{grant.Publish, grant.Subscribe, grant.DenyPublish, grant.DenySubscribe} {
		for _, s := range subjects {
			if !server.IsValidSubject(s) {
				return fmt.Errorf("the grant has an invalid subject %q", s)
			}
		}
	}
	return nil
}

func permissions(grant Grant) *server.Permissions {
	return &server.Permissions{
		Publish:   permission(grant.Publish, grant.DenyPublish),
		Subscribe: permission(grant.Subscribe, grant.DenySubscribe),
	}
}

// permission is of what is allowed and not denied. The server takes an empty list for everything.
func permission(allow, deny []string) *server.SubjectPermission {
	if len(allow) == 0 {
		return &server.SubjectPermission{Deny: []string{">"}}
	}
	return &server.SubjectPermission{Allow: allow, Deny: deny}
}

// forget says that a client is gone whose grant was of no use.
func (d *door) forget(id uint64) {
	d.mu.Lock()
	gone := d.gone
	d.mu.Unlock()
	if gone != nil {
		gone(id)
	}
}

// arrive notes that a client is judged, and returns by whom. The server already has it among its connections, unless it is
// a leaf node.
func (d *door) arrive(id uint64, leaf bool) func(context.Context, Client) (Grant, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.present[id] == nil {
		d.present[id] = &visit{since: time.Now(), seen: !leaf}
	}
	return d.admit
}

// settle notes how a client was judged: nil is a refusal. Who was in before and now is not will be found gone.
func (d *door) settle(id uint64, user *server.User, unlimited bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.present[id]
	v.since = time.Now()
	if user != nil {
		v.admitted, v.user = true, ""
	}
	if user != nil && !unlimited {
		v.user = user.Username
		v.cut = v.cut || v.since.Before(d.floods[v.user])
	}
	if !v.admitted {
		delete(d.present, id)
	}
}

func (d *door) isCut(id uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.present[id]
	return v != nil && v.cut
}

// cut ends a client's connection. One that is only being let in may not be known to the server yet; so it is tried again.
func (d *door) cut(id uint64) {
	d.mu.Lock()
	v := d.present[id]
	if v != nil {
		v.cut = true
	}
	d.mu.Unlock()
	if v != nil {
		d.end(id)
	}
}

func (d *door) end(id uint64) {
	if err := d.server.DisconnectClientByID(id); err != nil {
		d.log.Debug("a NATS client cannot be disconnected", "error", err)
	}
}

// watch looks who has gone, until close.
func (d *door) watch() {
	defer close(d.ended)
	tick := time.NewTicker(goneTime)
	defer tick.Stop()
	measured := time.Now()
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		d.measure(now, now.Sub(measured))
		measured = now
		gone, cut, tell := d.look()
		for _, id := range cut {
			d.end(id)
		}
		for _, id := range gone {
			if tell != nil {
				tell(id)
			}
		}
	}
}

// measure finds the users who have sent too much, in the time since it was called before, if only to leave again.
func (d *door) measure(now time.Time, since time.Duration) {
	connections, err := d.server.Connz(&server.ConnzOptions{State: server.ConnAll, Limit: maxConnections + maxClosed})
	if err != nil {
		d.log.Warn("NATS clients cannot be counted", "error", err)
		return
	}
	leaves, err := d.server.Leafz(nil)
	if err != nil {
		d.log.Warn("NATS leaf nodes cannot be counted", "error", err)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	users := make(map[string]sent)
	for _, c := range connections.Conns {
		d.count(users, c.Cid, sent{c.InMsgs, c.InBytes})
	}
	for _, l := range leaves.Leafs {
		d.count(users, l.ID, sent{l.InMsgs, l.InBytes})
	}
	maps.DeleteFunc(d.floods, func(_ string, until time.Time) bool { return !now.Before(until) })
	seconds := max(since.Seconds(), 1)
	for user, s := range users {
		if float64(s.messages) <= floodMessages*seconds && float64(s.bytes) <= floodBytes*seconds {
			continue
		}
		d.log.Warn("a user of NATS sends too much, and is kept out for a while", "user", user, "messages", s.messages, "bytes", s.bytes)
		d.floods[user] = now.Add(floodTime)
		for _, v := range d.present {
			v.cut = v.cut || v.user == user
		}
	}
}

// count adds what a client has sent to what its user has. d.mu is held.
func (d *door) count(users map[string]sent, id uint64, all sent) {
	v := d.present[id]
	if v == nil || !v.admitted || v.user == "" {
		return
	}
	s := users[v.user]
	users[v.user] = sent{s.messages + all.messages - v.sent.messages, s.bytes + all.bytes - v.sent.bytes}
	v.sent = all
}

// look returns which clients are gone, and which are there and should not be.
func (d *door) look() (gone, cut []uint64, tell func(uint64)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, v := range d.present {
		there := d.server.GetClient(id) != nil || d.server.GetLeafNode(id) != nil
		switch {
		case !v.admitted:
		case there:
			v.seen = true
			if v.cut {
				cut = append(cut, id)
			}
		case v.seen || time.Since(v.since) > settleTime:
			delete(d.present, id)
			gone = append(gone, id)
		}
	}
	return gone, cut, d.gone
}
