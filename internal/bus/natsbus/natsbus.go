// Package natsbus carries announcements between nodes over NATS: by a server inside of this process, or by one or a
// cluster elsewhere.
package natsbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/parleyhq/parley/internal/session"
)

const (
	subjectPrefix = "parley.internal.v1.events."
	flushTime     = 5 * time.Second // for a server to confirm what it is told
	readyTime     = 10 * time.Second
	reconnectTime = time.Second
)

// Config says which NATS to use.
type Config struct {
	// URL of a server, or several with commas between. Empty: a server inside of this process, which nobody else can
	// reach.
	URL string

	// Log is told of connections that come and go. Nil: nobody is.
	Log *slog.Logger
}

// Bus implements tail.Bus. Any number of goroutines may use it.
type Bus struct {
	server *server.Server // nil: it is elsewhere
	conn   *nats.Conn
	closed chan struct{} // closed when conn is
	log    *slog.Logger
}

// Open connects. A server elsewhere must be reachable now; later the connection comes back by itself.
func Open(ctx context.Context, config Config) (*Bus, error) {
	b := newBus(config.Log)
	if err := b.open(ctx, config.URL); err != nil {
		b.stopServer()
		return nil, err
	}
	return b, nil
}

func newBus(log *slog.Logger) *Bus {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Bus{closed: make(chan struct{}), log: log}
}

func (b *Bus) open(ctx context.Context, url string) error {
	if url != "" {
		return b.connect(ctx, url)
	}
	embedded, err := startServer(ctx)
	if err != nil {
		return err
	}
	b.server = embedded
	return b.connect(ctx, "", nats.InProcessServer(embedded))
}

// startServer starts a server that only this process can reach, and that keeps nothing.
func startServer(ctx context.Context) (*server.Server, error) {
	s, err := server.NewServer(&server.Options{
		ServerName: "parley",
		DontListen: true,
		NoSigs:     true,
		NoLog:      true,
	})
	if err != nil {
		return nil, fmt.Errorf("natsbus: cannot make the embedded server: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(timeLeft(ctx, readyTime)) {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, errors.New("natsbus: the embedded server did not start in time")
	}
	return s, nil
}

func (b *Bus) connect(ctx context.Context, url string, options ...nats.Option) error {
	options = append(options,
		nats.Name("parley"),
		nats.NoEcho(), // a node does not need its own announcements
		nats.Timeout(timeLeft(ctx, readyTime)),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectTime),
		nats.ClosedHandler(func(*nats.Conn) { close(b.closed) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				b.log.Warn("NATS is disconnected", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { b.log.Info("NATS is connected again") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			b.log.Warn("NATS reports an error", "error", err)
		}),
	)
	conn, err := nats.Connect(url, options...)
	if err != nil {
		return fmt.Errorf("natsbus: cannot connect: %w", err)
	}
	b.conn = conn
	return nil
}

// Announce is tail.Bus's. While the connection is lost some of it is kept, and the rest is lost.
func (b *Bus) Announce(uid session.UID, data []byte) {
	if err := b.conn.Publish(subject(uid), data); err != nil {
		b.log.Debug("an announcement is lost", "uid", uid.String(), "error", err)
	}
}

// Alone is tail.Bus's: of the embedded server it is known who is connected.
func (b *Bus) Alone() bool {
	return b.server != nil && b.server.NumClients() <= 1 && b.server.NumRoutes() == 0 && b.server.NumLeafNodes() == 0
}

// Listen is tail.Bus's: one subscription. It waits until the server has confirmed it.
func (b *Bus) Listen(uid session.UID, receive func(data []byte)) (stop func(), err error) {
	subscription, err := b.conn.Subscribe(subject(uid), func(m *nats.Msg) { receive(m.Data) })
	if err != nil {
		return nil, fmt.Errorf("natsbus: cannot subscribe: %w", err)
	}
	stop = func() { b.unsubscribe(subscription) }
	if err := b.conn.FlushTimeout(flushTime); err != nil {
		stop()
		return nil, fmt.Errorf("natsbus: the subscription is not confirmed: %w", err)
	}
	return stop, nil
}

func (b *Bus) unsubscribe(subscription *nats.Subscription) {
	err := subscription.Unsubscribe()
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		b.log.Warn("NATS cannot unsubscribe", "error", err)
	}
}

// Close sends what was announced, and ends the connection and the embedded server. It returns an error if ctx ended
// before all was sent; everything is closed nevertheless.
func (b *Bus) Close(ctx context.Context) error {
	err := b.flush(ctx)
	b.conn.Close()
	<-b.closed
	b.stopServer()
	if err != nil {
		return fmt.Errorf("natsbus: some announcements may be lost: %w", err)
	}
	return nil
}

func (b *Bus) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	return b.conn.FlushWithContext(ctx)
}

func (b *Bus) stopServer() {
	if b.server != nil {
		b.server.Shutdown()
		b.server.WaitForShutdown()
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
