package app

import (
	"context"
	"fmt"

	"github.com/parleyhq/parley/internal/bus/natsbus"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/natsapi"
	"github.com/parleyhq/parley/internal/session"
)

// openNATS makes the API over NATS, if there are to be clients there. Of our own server it also says who gets in.
func (a *App) openNATS(c config.Config, service *session.Service, entry *gate.Gate) error {
	conn := a.bus.Clients()
	if conn == nil {
		return nil
	}
	own := c.NATS.URL == ""
	settings := natsapi.Config{
		Conn: conn, Service: service, Gate: entry, Log: a.log, Mirror: own || c.NATS.Mirror, Dev: c.Auth == "dev",
	}
	if own {
		settings.Disconnect = a.bus.Disconnect
	}
	api, err := natsapi.New(settings)
	if err != nil {
		return fmt.Errorf("the API over NATS: %w", err)
	}
	a.api.Store(api)
	if !own {
		return nil
	}
	a.bus.Gone(api.Gone)
	return a.bus.Admit(func(ctx context.Context, client natsbus.Client) (natsbus.Grant, error) {
		grant, err := api.Admit(ctx, natsapi.Client(client))
		return natsbus.Grant(grant), err
	})
}

// startNATS has the API over NATS answer, if there is one.
func (a *App) startNATS(ctx context.Context) error {
	api := a.api.Load()
	if api == nil {
		return nil
	}
	if err := api.Start(ctx); err != nil {
		return fmt.Errorf("the API over NATS: %w", err)
	}
	return nil
}

// natsAddress is where NATS clients connect to this node, for the log; nil: nowhere.
func (a *App) natsAddress() []any {
	if url := a.bus.ClientURL(); url != "" {
		return []any{"nats", url}
	}
	return nil
}

// committed takes what has just become durable to those who listen.
func (a *App) committed(events []*session.Event) {
	a.tail.Committed(events)
	if api := a.api.Load(); api != nil {
		api.Committed(events)
	}
}

// reached takes what some node has committed to those who listen, in case that they have missed it.
func (a *App) reached(uid session.UID, sequence int64) {
	a.tail.Head(uid, sequence)
	if api := a.api.Load(); api != nil {
		api.Reached(uid, sequence)
	}
}

// revoke ends what a key has opened.
func (a *App) revoke(service *session.Service) func(key string) {
	return func(key string) {
		service.RevokeKey(key)
		if api := a.api.Load(); api != nil {
			api.RevokeKey(key)
		}
	}
}
