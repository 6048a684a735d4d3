package app

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/bus/natsbus"
	"github.com/parleyhq/parley/internal/certs"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/keyfile"
	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/postgres"
	"github.com/parleyhq/parley/internal/store/sqlite"
	"github.com/parleyhq/parley/internal/tail"
)

// store is what the server needs of an engine.
type store interface {
	session.Store
	session.APIKeys

	// Close answers every write that was accepted; what has not begun when ctx ends is answered that nothing was done.
	Close(ctx context.Context) error
}

// loadKeys reads the server's key ring: from the file that was named, which must exist; else from where the sessions are,
// and there it is made if need be.
func loadKeys(ctx context.Context, c config.Config) (*session.KeyRing, error) {
	switch {
	case c.KeyFile != "":
		return keyfile.Load(c.KeyFile, false)
	case c.DatabaseURL != "":
		return postgres.LoadKeys(ctx, c.DatabaseURL)
	default:
		if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
			return nil, fmt.Errorf("data directory: %w", err)
		}
		return keyfile.Load(filepath.Join(c.DataDir, keyfile.FileName), true)
	}
}

// openStore opens the bus, the tail on it, and the store whose commits enter the tail.
func (a *App) openStore(ctx context.Context, c config.Config, keys *session.KeyRing) (err error) {
	if a.bus, err = a.openBus(ctx, c, keys); err != nil {
		return fmt.Errorf("nats: %w", err)
	}
	a.tail = tail.New(tail.Options{
		Log: storeLog{a}, Bus: a.bus, Key: keys.Derive("announcements"), Spread: a.bus.Spread(), Logger: a.log,
	})
	a.bus.Reconnected(a.tail.Reconnected)
	a.store, err = a.openEngine(ctx, c, keys)
	return err
}

// openBus opens the bus. Between the servers of nodes it is TLS if we have a certificate; they know one another by a
// secret that the key ring gives them.
func (a *App) openBus(ctx context.Context, c config.Config, keys *session.KeyRing) (*natsbus.Bus, error) {
	settings := natsbus.Config{
		URL: c.NATS.URL, Creds: c.NATS.Creds, CA: c.NATS.CA, Cert: c.NATS.Cert, Key: c.NATS.Key, ExternalAPI: c.NATS.API,
		Listen: c.NATS.Listen, Leaf: c.NATS.Leaf, Cluster: c.NATS.Cluster, Routes: c.NATS.RouteAddresses(),
		RouteSecret: hex.EncodeToString(keys.Derive("NATS routes")), Log: a.log,
	}
	if a.certificate != nil {
		settings.TLS, settings.ClusterTLS = a.certificate.Config(), a.certificate.Config()
		if c.NATS.CA != "" {
			authorities, err := certs.LoadAuthorities(c.NATS.CA)
			if err != nil {
				return nil, err
			}
			settings.ClusterTLS.RootCAs = authorities
		}
	} else if c.NATS.Cluster != "" && !auth.IsLoopbackListen(c.NATS.Cluster) {
		a.log.Warn("the cluster's servers speak in the clear, secrets too: give them a certificate with --tls-cert and --tls-key")
	}
	return natsbus.Open(ctx, settings)
}

func (a *App) openEngine(ctx context.Context, c config.Config, keys *session.KeyRing) (store, error) {
	if c.DatabaseURL != "" {
		opened, err := postgres.Open(ctx, postgres.Config{
			URL: c.DatabaseURL, Keys: keys, Log: a.log, Committed: a.committed, Reached: a.reached,
		})
		if err != nil {
			return nil, err // not a nil *postgres.Store, which is no nil store
		}
		return opened, nil
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	opened, err := sqlite.Open(ctx, sqlite.Config{
		Dir: c.DataDir, Keys: keys, Log: a.log, Committed: a.committed,
		CountCreators: c.Auth != "dev" && c.Limits.Sessions > 0,
	})
	if err != nil {
		return nil, err
	}
	return opened, nil
}

// storeLog is the log of the App's store, which is opened after what reads it.
type storeLog struct{ *App }

// Log implements tail.Log.
func (s storeLog) Log(ctx context.Context, uid session.UID, after int64, most, maxBytes int) (*session.Log, error) {
	return s.store.Log(ctx, uid, after, most, maxBytes)
}
