// Package app puts the server together. It is the only package that knows all the others.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/bus/natsbus"
	"github.com/parleyhq/parley/internal/certs"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/limit"
	"github.com/parleyhq/parley/internal/natsapi"
	"github.com/parleyhq/parley/internal/rest"
	"github.com/parleyhq/parley/internal/rpc"
	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/tail"
)

// How long each part may take to stop, in the order in which they stop.
const (
	streamsDeadline = 5 * time.Second
	serversDeadline = 20 * time.Second
	storeDeadline   = 10 * time.Second
)

// databaseVeil is the gate's veil where looking for a session takes several exchanges with a database elsewhere.
const databaseVeil = 10 * time.Millisecond

// Limits of a connection. There is no write timeout for the whole server: it would cut streams.
const (
	headerTimeout  = 10 * time.Second
	requestTimeout = time.Minute // for headers and body together
	idleTimeout    = 3 * time.Minute
	maxHeader      = 64 << 10
)

// App is a server.
type App struct {
	log     *slog.Logger
	store   store
	tokens  *auth.JWT  // nil: none are taken
	keys    *auth.Keys // likewise
	bus     *natsbus.Bus
	tail    *tail.Hub
	api     atomic.Pointer[natsapi.API] // nil: nobody reaches it over NATS
	streams *rest.Handler
	rest    *http.Server
	grpc    *grpc.Server
	restAt  net.Listener
	grpcAt  net.Listener

	certificate *certs.Certificate // of the listeners; nil: they speak in the clear

	readiness       *readiness
	drainDelay      time.Duration
	serversDeadline time.Duration // the constant, but in a test
	draining        atomic.Bool   // streams are being told to leave
}

// New opens the store and both listeners. The server answers once Run is called.
func New(ctx context.Context, c config.Config, log *slog.Logger) (_ *App, err error) {
	a := &App{log: log, readiness: newReadiness(log), drainDelay: c.DrainDelay, serversDeadline: serversDeadline}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.abandon(context.WithoutCancel(ctx)))
		}
	}()
	var listen net.ListenConfig
	if a.restAt, err = listen.Listen(ctx, "tcp", c.Listen); err != nil {
		return nil, err
	}
	if a.grpcAt, err = listen.Listen(ctx, "tcp", c.GRPCListen); err != nil {
		return nil, err
	}
	if c.TLSCert != "" {
		if a.certificate, err = certs.Load(c.TLSCert, c.TLSKey, log); err != nil {
			return nil, err
		}
	}
	keys, err := loadKeys(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := a.openStore(ctx, c, keys); err != nil {
		return nil, err
	}
	service := session.NewService(a.store, a.tail, keys)
	if shared, ok := a.store.(session.Guesses); ok {
		service.ShareGuesses(shared)
	}
	entry, err := a.openGate(ctx, c, service)
	if err != nil {
		return nil, err
	}
	if err := a.openNATS(c, service, entry); err != nil {
		return nil, err
	}
	a.streams = rest.NewHandler(rest.Config{
		Service: service,
		Gate:    entry,
		Log:     log,
		Ready:   a.readiness.ready,
		Origins: c.CORSOrigins,
	})
	a.rest = &http.Server{
		Handler:           a.streams,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		HTTP2:             rest.HTTP2(),
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	var options []grpc.ServerOption
	if a.certificate != nil {
		a.rest.TLSConfig = a.certificate.Config()
		options = append(options, grpc.Creds(credentials.NewTLS(a.certificate.Config())))
	}
	a.grpc = rpc.NewServer(rpc.Config{
		Service: service, Gate: entry, Log: log, Health: a.readiness.health, Draining: a.draining.Load,
	}, options...)
	return a, nil
}

// openGate puts together what finds out who is asking, and holds the limits.
func (a *App) openGate(ctx context.Context, c config.Config, service *session.Service) (*gate.Gate, error) {
	proxies, err := c.TrustedProxies()
	if err != nil {
		return nil, err
	}
	settings := gate.Config{Auth: auth.Dev{}, Tickets: service, Proxies: proxies, Log: a.log}
	if c.DatabaseURL != "" {
		settings.Veil = databaseVeil
	}
	if c.Audited() {
		settings.Audit = a.log
	}
	if c.Auth == "dev" {
		return gate.New(settings), nil
	}
	if a.keys, err = auth.NewKeys(ctx, a.store, auth.KeysOptions{Revoked: a.revoke(service), Log: a.log}); err != nil {
		return nil, fmt.Errorf("API keys: %w", err)
	}
	a.tokens, err = auth.NewJWT(ctx, auth.JWTConfig{
		SecretFile:    c.JWT.SecretFile,
		PublicKeyFile: c.JWT.PublicKeyFile,
		JWKSURL:       c.JWT.JWKSURL,
		JWKSFile:      c.JWT.JWKSFile,
		Issuer:        c.JWT.Issuer,
		Audience:      c.JWT.Audience,
		Keys:          a.keys,
		Revoked:       a.revoke(service),
		Restored:      service.RestoreKey,
		Log:           a.log,
	})
	if err != nil {
		return nil, err
	}
	service.LimitSessions(c.Limits.Sessions)
	settings.Auth = a.tokens
	settings.Limits = limit.New(limit.Config{
		Requests:      c.Limits.Requests,
		Creates:       c.Limits.Creates,
		Publishes:     c.Limits.Publishes,
		Streams:       c.Limits.Streams,
		Address:       c.Limits.Address,
		OpenStreams:   c.Limits.OpenStreams,
		BytesInFlight: c.Limits.BytesInFlight,
	})
	return gate.New(settings), nil
}

// closeGate ends what openGate began.
func (a *App) closeGate() {
	if a.tokens != nil {
		a.tokens.Close()
	}
	if a.keys != nil {
		a.keys.Close()
	}
}

// abandon closes what a failed New has opened.
func (a *App) abandon(ctx context.Context) error {
	var errs []error
	a.closeGate()
	if a.store != nil {
		a.tail.Leave()
		errs = append(errs, a.store.Close(ctx))
	}
	if a.tail != nil {
		a.tail.Close()
	}
	if api := a.api.Load(); api != nil {
		errs = append(errs, api.Close(ctx))
	}
	if a.bus != nil {
		errs = append(errs, a.bus.Close(ctx))
	}
	for _, listener := range []net.Listener{a.restAt, a.grpcAt} {
		if listener != nil {
			errs = append(errs, listener.Close())
		}
	}
	return errors.Join(errs...)
}

// Addr is the address of the REST listener.
func (a *App) Addr() string { return a.restAt.Addr().String() }

// GRPCAddr is the address of the gRPC listener.
func (a *App) GRPCAddr() string { return a.grpcAt.Addr().String() }

// Run serves until the context ends or a part fails; then it drains: readiness is taken back, and for the drain delay
// nothing else happens, so that balancers notice; streams are told to leave, what was accepted is answered, and the store
// is closed. It returns nil after an orderly end.
func (a *App) Run(ctx context.Context) error {
	if err := a.startNATS(ctx); err != nil {
		return errors.Join(err, a.abandon(context.WithoutCancel(ctx)))
	}
	group, groupContext := errgroup.WithContext(ctx)
	scheme, serveREST := "http://", a.rest.Serve
	if a.rest.TLSConfig != nil {
		scheme, serveREST = "https://", func(l net.Listener) error { return a.rest.ServeTLS(l, "", "") }
	}
	group.Go(func() error {
		if err := serveREST(a.restAt); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("rest: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		if err := a.grpc.Serve(a.grpcAt); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("grpc: %w", err)
		}
		return nil
	})
	if store, ok := a.store.(pinger); ok {
		group.Go(func() error {
			a.readiness.watch(groupContext, store)
			return nil
		})
	}
	group.Go(func() error {
		<-groupContext.Done()
		a.readiness.leave()
		if ctx.Err() != nil && a.drainDelay > 0 { // else a part has failed
			a.log.Info("not ready any more", "drainDelay", a.drainDelay)
			<-time.After(a.drainDelay)
		}
		return a.stop(context.WithoutCancel(ctx))
	})
	a.readiness.begin()
	a.log.Info("ready", append([]any{"rest", scheme + a.Addr(), "grpc", a.GRPCAddr()}, a.natsAddress()...)...)
	return group.Wait()
}

// stop ends the parts in their order, each within its deadline.
func (a *App) stop(ctx context.Context) error {
	a.log.Info("draining")
	a.draining.Store(true)
	servers, cancel := context.WithTimeout(ctx, a.serversDeadline)
	defer cancel()
	a.tail.Drain() // streams tell their clients, and end
	streams, cancelStreams := context.WithTimeout(ctx, streamsDeadline)
	defer cancelStreams()
	if err := a.streams.Drain(streams); err != nil {
		a.log.Warn("draining the streams", "error", err)
	}
	api := a.api.Load()
	if api != nil {
		if err := api.Drain(servers); err != nil {
			a.log.Warn("draining the API over NATS", "error", err)
		}
	}
	grpcDone := make(chan struct{})
	go func() {
		defer close(grpcDone)
		a.grpc.GracefulStop()
	}()
	err := a.rest.Shutdown(servers)
	if errors.Is(err, context.DeadlineExceeded) { // a client has not sent its request to the end: that is no failure of ours
		a.log.Warn("requests are broken off that have not come to their end")
		err = a.rest.Close()
	}
	select {
	case <-grpcDone:
	case <-servers.Done():
		a.grpc.Stop()
		<-grpcDone
	}
	store, cancelStore := context.WithTimeout(ctx, storeDeadline)
	defer cancelStore()
	a.closeGate()
	a.tail.Leave() // it reads the store
	err = errors.Join(err, a.store.Close(store))
	a.tail.Close() // it announces what the store has written last
	if api != nil {
		err = errors.Join(err, api.Close(store))
	}
	err = errors.Join(err, a.bus.Close(store))
	a.log.Info("stopped")
	return err
}
