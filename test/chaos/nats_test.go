//go:build linux

package chaos_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/logger"
	"github.com/nats-io/nats-server/v2/server"
)

// natsVariable has, for the binary of these tests, the natsConfig of the NATS server that it is to be.
const natsVariable = "TEST_PARLEY_NATS"

type natsConfig struct {
	Name                 string
	ClientPort, PeerPort int
	Peers                []string
}

// natsLimit is how long a server may take to start.
const natsLimit = 30 * time.Second

const natsReady = "NATS is ready"

// serveNATS is a server of a NATS cluster, until it is killed. It tells clients of no other server: they would go round
// their proxy.
func serveNATS(config string) error {
	var c natsConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	options := &server.Options{
		ServerName: c.Name, Host: "127.0.0.1", Port: c.ClientPort, NoSigs: true,
		Cluster: server.ClusterOpts{Name: "chaos", Host: "127.0.0.1", Port: c.PeerPort, NoAdvertise: true},
	}
	for _, peer := range c.Peers {
		options.Routes = append(options.Routes, &url.URL{Scheme: "nats", Host: peer})
	}
	s, err := server.NewServer(options)
	if err != nil {
		return err
	}
	s.SetLogger(logger.NewStdLogger(false, false, false, false, false), false, false)
	s.Start()
	if !s.ReadyForConnections(natsLimit) {
		return errors.New("the NATS server did not start in time")
	}
	fmt.Fprintln(os.Stderr, natsReady)
	select {} // until it is killed
}

// natsServer is a server of the cluster, in a process of its own.
type natsServer struct {
	config natsConfig

	lock    sync.Mutex // is held while it is away
	process *process
}

// startNATS starts a cluster of so many servers.
func startNATS(t *testing.T, size int) []*natsServer {
	t.Helper()
	ports := freePorts(t, 2*size)
	servers := make([]*natsServer, size)
	for i := range servers {
		config := natsConfig{Name: fmt.Sprintf("nats-%d", i), ClientPort: ports[i], PeerPort: ports[size+i]}
		for j, port := range ports[size:] {
			if j != i {
				config.Peers = append(config.Peers, fmt.Sprintf("127.0.0.1:%d", port))
			}
		}
		servers[i] = &natsServer{config: config}
		if err := servers[i].start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(servers[i].kill)
	}
	return servers
}

// freePorts returns ports that nobody listens on. They are not of those that connections get by themselves: such a
// connection would have a server's port while that is away.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	const lowest, highest = 15_000, 30_000
	var ports []int
	for len(ports) < n {
		port := lowest + rand.IntN(highest-lowest)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			ports = append(ports, port)
			err = listener.Close()
		}
		if err != nil && !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
	return ports
}

// start starts the server, and returns when clients may connect.
func (s *natsServer) start() error {
	config, err := json.Marshal(s.config)
	if err != nil {
		return err
	}
	ready := make(chan struct{})
	s.process, err = start(itself(natsVariable+"="+string(config)), func(line string) {
		if strings.TrimSpace(line) == natsReady {
			close(ready)
		}
	})
	if err != nil {
		return err
	}
	select {
	case <-ready:
		return nil
	case <-s.process.ended:
		return fmt.Errorf("NATS ended: %w\n%s", s.process.exit, &s.process.output)
	}
}

func (s *natsServer) kill() { s.process.kill() }

func (s *natsServer) address() string { return fmt.Sprintf("127.0.0.1:%d", s.config.ClientPort) }
