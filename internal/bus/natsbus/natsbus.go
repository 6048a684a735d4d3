// Package natsbus carries announcements between nodes over NATS: by a server inside of this process, alone or in a cluster
// of such, or by one or a cluster elsewhere. The server inside can let clients in, apart from the nodes.
package natsbus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/parleyhq/parley/internal/session"
)

const (
	// InternalSubjects are what only nodes may use.
	InternalSubjects = "parley.internal.>"

	subjectPrefix = "parley.internal.v1.events."
	readyTime     = 10 * time.Second // for the embedded server to start
	connectTime   = 5 * time.Second
	confirmTime   = time.Second     // for a server to confirm a subscription
	flushTime     = 5 * time.Second // for a server to take what was announced before the end
	writeTime     = 2 * time.Second // for a server to take what is sent
	reconnectTime = time.Second
	pingTime      = 10 * time.Second
	warnTime      = 30 * time.Second // between warnings that the server is not there

	// What may wait to be received of one session; what comes beyond it is lost, and found in the log.
	maxPending      = 1024
	maxPendingBytes = 4 << 20
)

// Config says which NATS to use.
type Config struct {
	// URL of a server, or several with commas between, with a token or a user and password if need be. Empty: a server
	// inside of this process.
	URL string

	// Of the server at the URL: files with credentials (a JWT and its key), the authorities of its certificate, and a
	// certificate of ours. Each may be empty.
	Creds, CA, Cert, Key string

	// ExternalAPI says that there is an API for clients of the server at the URL.
	ExternalAPI bool

	// Name of this node on NATS, unlike any other node's. Empty: a random one.
	Name string

	// Listen is where the embedded server accepts clients, and Leaf where it accepts leaf nodes: a host and a port, which
	// may be 0. Nobody gets in before Admit says who. Empty: nobody does.
	Listen, Leaf string

	// TLS is of Listen and Leaf. Nil: there is none.
	TLS *tls.Config

	// Cluster is where the embedded server accepts those of other nodes, and Routes are where theirs do, hosts and ports;
	// this node's own among them does no harm. Servers tell one another of the rest, but only once: after a failure it is sure
	// only of two of whom one is named to the other that they find each other again. So name all. All nodes have the same
	// RouteSecret. ClusterTLS is both sides' configuration, with RootCAs to know the others by; nil: the secret and all
	// else goes in plain text.
	Cluster     string
	Routes      []string
	RouteSecret string
	ClusterTLS  *tls.Config

	// Log is told of connections that come and go. Nil: nobody is.
	Log *slog.Logger
}

// Bus implements tail.Bus. Any number of goroutines may use it.
type Bus struct {
	embedded *embedded // nil: the server is elsewhere
	conn     *nats.Conn
	clients  *nats.Conn      // nil: there is no API
	closed   []chan struct{} // closed when a connection is; of each one
	spread   bool
	log      *slog.Logger

	mu          sync.Mutex // guards the fields below
	reconnected func()
	warned      time.Time
}

// Open starts the embedded server or connects to the one at the URL. If that does not answer, Open succeeds nevertheless:
// the connection comes when the server does.
func Open(ctx context.Context, config Config) (*Bus, error) {
	b := &Bus{log: config.Log, spread: config.URL != "" || config.Cluster != ""}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if err := b.open(ctx, config); err != nil {
		b.disconnect()
		return nil, err
	}
	return b, nil
}

func (b *Bus) open(ctx context.Context, config Config) (err error) {
	if config.URL != "" {
		return b.openExternal(ctx, config)
	}
	if b.embedded, err = startServer(ctx, config, b.log); err != nil {
		return err
	}
	if b.conn, err = b.join(ctx); err != nil {
		return err
	}
	if config.Listen != "" || config.Leaf != "" {
		b.clients, err = b.connect("", b.embedded.dialOptions(ctx, b.embedded.secrets.api, b.log)...)
	}
	return err
}

// join connects to the embedded server as a node.
func (b *Bus) join(ctx context.Context) (*nats.Conn, error) {
	return b.connect("", append(b.embedded.dialOptions(ctx, b.embedded.secrets.node, b.log), b.nodeOptions()...)...)
}

// nodeOptions are of the connection that carries announcements. A node does not need its own.
func (b *Bus) nodeOptions() []nats.Option {
	return []nats.Option{nats.NoEcho(), nats.ConnectHandler(b.arrived), nats.ReconnectHandler(b.arrived)}
}

func (b *Bus) openExternal(ctx context.Context, config Config) (err error) {
	if err := checkURL(config.URL); err != nil {
		return err
	}
	if b.conn, err = b.connect(config.URL, append(b.externalOptions(ctx, config), b.nodeOptions()...)...); err != nil {
		return err
	}
	if config.ExternalAPI {
		if b.clients, err = b.connect(config.URL, b.externalOptions(ctx, config)...); err != nil {
			return err
		}
	}
	if !b.conn.IsConnected() {
		b.log.Warn("NATS is not there: until it comes, what other nodes do is found in the database")
	}
	return nil
}

// checkURL looks at the URLs, because whoever parses them later quotes them in the error, with passwords.
func checkURL(urls string) error {
	for one := range strings.SplitSeq(urls, ",") {
		one = strings.TrimSpace(one)
		if !strings.Contains(one, "://") {
			one = "nats://" + one
		}
		if parsed, err := url.Parse(one); err != nil || parsed.Host == "" {
			return errors.New("natsbus: a NATS URL is malformed; it is not shown because it may hold a password")
		}
	}
	return nil
}

func (b *Bus) externalOptions(ctx context.Context, config Config) []nats.Option {
	options := append(commonOptions(ctx, b.log),
		nats.Name(config.Name),
		nats.RetryOnFailedConnect(true),
		nats.IgnoreAuthErrorAbort(), // credentials may be put right at the server
		nats.ReconnectErrHandler(b.absent),
	)
	if config.Creds != "" {
		options = append(options, nats.UserCredentials(config.Creds))
	}
	if config.CA != "" {
		options = append(options, nats.RootCAs(config.CA))
	}
	if config.Cert != "" {
		options = append(options, nats.ClientCert(config.Cert, config.Key))
	}
	return options
}

// commonOptions are of all connections. What is sent while there is none is lost at once: announcements are of now.
func commonOptions(ctx context.Context, log *slog.Logger) []nats.Option {
	errs := &warnings{log: log}
	return []nats.Option{
		nats.Timeout(timeLeft(ctx, connectTime)),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectTime),
		nats.ReconnectJitter(reconnectTime, reconnectTime),
		nats.ReconnectBufSize(-1),
		nats.FlusherTimeout(writeTime),
		nats.PingInterval(pingTime),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("NATS is disconnected", "error", err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errs.room() {
				log.Warn("NATS reports an error", "error", err)
			}
		}),
	}
}

func (b *Bus) connect(urls string, options ...nats.Option) (*nats.Conn, error) {
	closed := make(chan struct{})
	conn, err := nats.Connect(urls, append(options, nats.ClosedHandler(func(*nats.Conn) { close(closed) }))...)
	if err != nil {
		return nil, fmt.Errorf("natsbus: cannot connect: %w", err)
	}
	b.closed = append(b.closed, closed)
	return conn, nil
}

// arrived is called when the connection is there, for the first time or again.
func (b *Bus) arrived(*nats.Conn) {
	b.mu.Lock()
	hook := b.reconnected
	b.warned = time.Time{}
	b.mu.Unlock()
	if hook != nil {
		b.log.Info("NATS is connected")
		hook()
	}
}

// absent is called whenever the server could not be reached.
func (b *Bus) absent(_ *nats.Conn, err error) {
	b.mu.Lock()
	now := time.Now()
	due := now.Sub(b.warned) >= warnTime
	if due {
		b.warned = now
	}
	b.mu.Unlock()
	if due {
		b.log.Warn("NATS cannot be reached", "error", err)
	}
}

// Reconnected has the function called whenever the connection has come back, or come late; what was announced meanwhile is
// lost. One function is called, that of the last call.
func (b *Bus) Reconnected(hook func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reconnected = hook
}

// Connected tells whether the server is there.
func (b *Bus) Connected() bool { return b.conn.IsConnected() }

// Spread tells that there may be several servers, between which interest in a subject takes its time.
func (b *Bus) Spread() bool { return b.spread }

// Clients is the connection on which to serve clients, who do not share the nodes' subjects. Nil: there are none.
func (b *Bus) Clients() *nats.Conn { return b.clients }

// Announce is tail.Bus's. While the connection is lost, so is what is announced.
func (b *Bus) Announce(uid session.UID, data []byte) {
	if err := b.conn.Publish(subject(uid), data); err != nil {
		b.log.Debug("an announcement is lost", "uid", uid.String(), "error", err)
	}
}

// Alone is tail.Bus's. Who is connected to the embedded server is known, if it is in no cluster.
func (b *Bus) Alone() bool {
	return !b.spread && b.embedded != nil && b.embedded.nodes.NumLocalConnections() <= 1
}

// Listen is tail.Bus's: one subscription. It waits a moment until the server has confirmed it, and fails only after Close:
// a server that is away, or slow, learns of it later.
func (b *Bus) Listen(uid session.UID, receive func(data []byte)) (stop func(), err error) {
	subscription, err := b.conn.Subscribe(subject(uid), func(m *nats.Msg) { receive(m.Data) })
	if err != nil {
		return nil, fmt.Errorf("natsbus: cannot subscribe: %w", err)
	}
	if err := subscription.SetPendingLimits(maxPending, maxPendingBytes); err != nil {
		b.log.Warn("NATS cannot limit a subscription", "error", err)
	}
	if b.conn.IsConnected() {
		if err := b.conn.FlushTimeout(confirmTime); err != nil {
			b.log.Debug("a subscription is not confirmed", "uid", uid.String(), "error", err)
		}
	}
	return func() { b.unsubscribe(subscription) }, nil
}

func (b *Bus) unsubscribe(subscription *nats.Subscription) {
	err := subscription.Unsubscribe()
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		b.log.Warn("NATS cannot unsubscribe", "error", err)
	}
}

// Close sends what was announced, and ends the connections and the embedded server. It returns an error if ctx ended
// before all was sent; everything is closed nevertheless.
func (b *Bus) Close(ctx context.Context) error {
	err := b.flush(ctx)
	b.disconnect()
	if err != nil {
		return fmt.Errorf("natsbus: some announcements may be lost: %w", err)
	}
	return nil
}

func (b *Bus) flush(ctx context.Context) error {
	if !b.conn.IsConnected() {
		return nil // nothing waits
	}
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	return b.conn.FlushWithContext(ctx)
}

// disconnect closes what is open, and returns when it is closed.
func (b *Bus) disconnect() {
	for _, conn := range []*nats.Conn{b.clients, b.conn} {
		if conn != nil {
			conn.Close()
		}
	}
	for _, closed := range b.closed {
		<-closed
	}
	if b.embedded != nil {
		b.embedded.stop()
	}
}

// subject is where a session's announcements go. The zero UID's is that of all sessions.
func subject(uid session.UID) string { return subjectPrefix + uid.String() }

// timeLeft is how long the context still allows, at most limit.
func timeLeft(ctx context.Context, limit time.Duration) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(limit, time.Until(deadline))
	}
	return limit
}

var _ server.Authentication = (*door)(nil)
