package natsbus

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	nodesAccount   = "PARLEY_NODES"
	clientsAccount = "PARLEY_CLIENTS"
	clusterName    = "parley"
	routeUser      = "parley"

	maxPayload     = 1 << 20
	maxConnections = 16 << 10
	maxClosed      = 1 << 10  // connections of which the server still knows what they sent
	maxLineBytes   = 16 << 10 // of what a client says, such as its token, of which HTTP takes 8 KiB
	maxOutBytes    = 16 << 20 // that wait to be sent to one client, who is cut beyond
	startTime      = 100 * time.Millisecond
	slowTime       = 10 * time.Second
	authSeconds    = 5.0 // for a connection to say who it is, and to be judged

	// accounts are those of the embedded server, with limits of each connection of the clients.
	accounts = `accounts {
	` + nodesAccount + ` {}
	` + clientsAccount + ` { limits { max_subscriptions: 4096, max_leafnodes: 1024 } }
}`
)

// embedded is a server inside of this process. Nodes and clients are in accounts of their own, so that no permission of a
// client reaches what is the nodes'.
type embedded struct {
	server  *server.Server
	options *server.Options // the server writes into them where it listens
	door    *door
	nodes   *server.Account
	secrets secrets
}

// secrets are known in this process alone: by them its own connections are known.
type secrets struct{ node, api string }

// startServer starts a server that keeps nothing, and that listens only where it is told to.
func startServer(ctx context.Context, config Config, log *slog.Logger) (*embedded, error) {
	e := &embedded{secrets: secrets{node: secret(), api: secret()}}
	e.door = newDoor(config.Listen != "", e.secrets, log)
	var err error
	if e.options, err = serverOptions(config, e.door); err != nil {
		return nil, err
	}
	if e.server, err = server.NewServer(e.options); err != nil {
		return nil, fmt.Errorf("natsbus: cannot make the embedded server: %w", err)
	}
	if e.nodes, err = e.server.LookupAccount(nodesAccount); err != nil {
		return nil, fmt.Errorf("natsbus: the embedded server has no account of nodes: %w", err)
	}
	clients, err := e.server.LookupAccount(clientsAccount)
	if err != nil {
		return nil, fmt.Errorf("natsbus: the embedded server has no account of clients: %w", err)
	}
	logger := &serverLog{warnings: warnings{log: log}, fatal: make(chan string, 1)}
	e.server.SetLoggerV2(logger, false, false, false)
	e.door.open(e.server, e.nodes, clients)
	e.server.Start()
	if err := e.await(timeLeft(ctx, readyTime), logger.fatal); err != nil {
		e.stop()
		return nil, err
	}
	return e, nil
}

func secret() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails: the runtime ends the process instead
	return base64.RawURLEncoding.EncodeToString(b)
}

// await returns when the server listens, or has failed to.
func (e *embedded) await(limit time.Duration, fatal <-chan string) error {
	for end := time.Now().Add(limit); time.Now().Before(end); {
		if e.server.ReadyForConnections(startTime) {
			return nil
		}
		select {
		case cause := <-fatal:
			return errors.New("natsbus: the embedded server cannot start: " + cause)
		default:
		}
	}
	return errors.New("natsbus: the embedded server did not start in time")
}

func (e *embedded) stop() {
	e.server.Shutdown()
	e.server.WaitForShutdown()
	e.door.close()
}

// dialOptions are those of a connection inside of the process.
func (e *embedded) dialOptions(ctx context.Context, token string, log *slog.Logger) []nats.Option {
	return append(commonOptions(ctx, log), nats.Name("parley"), nats.InProcessServer(e.server), nats.Token(token))
}

func serverOptions(config Config, authentication server.Authentication) (*server.Options, error) {
	name := config.Name
	if name == "" {
		name = "parley-" + secret()[:12]
	}
	options := &server.Options{
		ServerName:                 name,
		NoSigs:                     true,
		CustomClientAuthentication: authentication,
		AuthTimeout:                authSeconds,
		MaxPayload:                 maxPayload,
		MaxControlLine:             maxLineBytes,
		MaxConn:                    maxConnections,
		MaxClosedClients:           maxClosed,
		MaxPending:                 maxOutBytes,
		WriteDeadline:              slowTime,
		NoFastProducerStall:        true, // what the API cannot take is lost, rather than its connection
	}
	if err := options.ProcessConfigString(accounts); err != nil {
		return nil, fmt.Errorf("natsbus: the embedded server's accounts: %w", err)
	}
	return options, errors.Join(listenOptions(options, config), leafOptions(options, config), clusterOptions(options, config))
}

func listenOptions(options *server.Options, config Config) (err error) {
	switch {
	case config.Listen != "":
		options.Host, options.Port, err = hostPort(config.Listen)
		options.TLSConfig, options.TLS = config.TLS, config.TLS != nil
	case config.Cluster != "" || len(config.Routes) > 0:
		// The server does not begin a cluster without a listener for clients. This one lets nobody in.
		options.Host, options.Port = "127.0.0.1", server.RANDOM_PORT
	default:
		options.DontListen = true
	}
	return err
}

func leafOptions(options *server.Options, config Config) (err error) {
	if config.Leaf == "" {
		return nil
	}
	leaf := &options.LeafNode
	leaf.Host, leaf.Port, err = hostPort(config.Leaf)
	leaf.TLSConfig = config.TLS
	leaf.AuthTimeout = authSeconds
	return err
}

func clusterOptions(options *server.Options, config Config) (err error) {
	if config.Cluster == "" {
		if len(config.Routes) > 0 {
			return errors.New("natsbus: routes need an address for the cluster to listen on")
		}
		return nil
	}
	if config.RouteSecret == "" {
		return errors.New("natsbus: a cluster needs a secret of its nodes")
	}
	cluster := &options.Cluster
	cluster.Name = clusterName
	cluster.Username, cluster.Password = routeUser, config.RouteSecret
	cluster.TLSConfig = config.ClusterTLS
	cluster.AuthTimeout = authSeconds
	cluster.PoolSize = -1 // one connection: of several, some may not come back after a server did (nats-server 2.15)
	cluster.NoAdvertise = config.Listen == ""
	if cluster.Host, cluster.Port, err = hostPort(config.Cluster); err != nil {
		return err
	}
	for _, route := range config.Routes {
		if _, _, err := net.SplitHostPort(route); err != nil {
			return errors.New("natsbus: a route is no host and port; it is not shown because it may hold a password")
		}
		options.Routes = append(options.Routes, &url.URL{Scheme: "nats", Host: route, User: url.UserPassword(routeUser, config.RouteSecret)})
	}
	return nil
}

// hostPort takes an address apart, and has port 0 as the server wants it.
func hostPort(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("natsbus: the address %q: %w", address, err)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("natsbus: the address %q has no port", address)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}

// ClientURL is where clients connect to the embedded server. Empty: nowhere.
func (b *Bus) ClientURL() string {
	if b.embedded == nil || !b.embedded.door.clients {
		return ""
	}
	return b.embedded.server.ClientURL()
}

// ClusterAddress is where the embedded server listens for those of other nodes. Empty: nowhere.
func (b *Bus) ClusterAddress() string {
	if b.embedded == nil {
		return ""
	}
	if address := b.embedded.server.ClusterAddr(); address != nil {
		return address.String()
	}
	return ""
}

// LeafAddress is where the embedded server accepts leaf nodes. Empty: nowhere.
func (b *Bus) LeafAddress() string {
	if b.embedded == nil || b.embedded.options.LeafNode.Port == 0 {
		return ""
	}
	return net.JoinHostPort(b.embedded.options.LeafNode.Host, strconv.Itoa(b.embedded.options.LeafNode.Port))
}
