package natsapi_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/natsapi"
	"github.com/parleyhq/parley/internal/session"
)

// slow is bearers, but waits for a request that acts as the user slow, and panics for one that does as the user panics.
type slow struct {
	bearers

	hold    <-chan struct{}
	entered chan<- struct{}
}

func (s slow) Caller(ctx context.Context, r auth.Request) (session.Caller, error) {
	switch r.Header.Get("Parley-User") {
	case "slow":
		s.entered <- struct{}{}
		<-s.hold
		r.Header.Del("Parley-User")
	case "panics":
		panic("zebra")
	}
	return s.bearers.Caller(ctx, r)
}

// secondAPI is the edge of another node, on the same server.
func secondAPI(t *testing.T, r *rig) *natsapi.API {
	t.Helper()
	api, err := natsapi.New(natsapi.Config{
		Conn: r.bus.Clients(), Service: r.service, Gate: gate.New(gate.Config{Auth: bearers{}}), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := api.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := api.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return api
}
