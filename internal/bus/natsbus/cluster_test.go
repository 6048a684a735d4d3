package natsbus

import (
	"context"
	"crypto/tls"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// node is what a node of a cluster is opened with.
func node(name, routeSecret string, config *tls.Config, routes ...string) Config {
	return Config{
		Name: name, Listen: "127.0.0.1:0", Cluster: "127.0.0.1:0", Routes: routes, RouteSecret: routeSecret, ClusterTLS: config,
	}
}

// wantHeard has one node announce until the other hears it: interest takes its time through a cluster.
func wantHeard(t *testing.T, from *Bus, received <-chan string, text string) {
	t.Helper()
	wait(t, "the announcement of "+text, func() bool {
		from.Announce(one, []byte(text))
		for {
			select {
			case got := <-received:
				if got == text {
					return true
				}
			default:
				return false
			}
		}
	})
}

func TestThreeServersAreOneCluster(t *testing.T) {
	for name, config := range map[string]*tls.Config{"plain": nil, "over TLS": newAuthority(t).config()} {
		t.Run(name, func(t *testing.T) {
			first := open(t, node("n1", "s3cret", config))
			second := open(t, node("n2", "s3cret", config, first.ClusterAddress()))
			third, err := Open(t.Context(), node("n3", "s3cret", config, first.ClusterAddress(), second.ClusterAddress()))
			if err != nil {
				t.Fatal(err)
			}
			if first.Alone() || !first.Spread() || !first.Connected() {
				t.Errorf("alone %t, spread %t, connected %t; want a node of a cluster", first.Alone(), first.Spread(), first.Connected())
			}
			one1, _ := listen(t, first, one)
			two1, _ := listen(t, second, one)
			three1, _ := listen(t, third, one)
			wantHeard(t, first, two1, "the first to the second")
			wantHeard(t, first, three1, "the first to the third")
			wantHeard(t, third, one1, "the third to the first")
			wantHeard(t, second, three1, "the second to the third")

			admit(t, second, func(context.Context, Client) (Grant, error) { return everything(), nil })
			first.Clients().Subscribe("echo", func(m *nats.Msg) { m.Respond(m.Data) })
			client := dial(t, second)
			eavesdropped, _ := client.SubscribeSync("parley.>")
			wait(t, "an answer from another node", func() bool {
				m, err := client.Request("echo", []byte("hello"), 100*time.Millisecond)
				return err == nil && string(m.Data) == "hello"
			})

			at := third.ClusterAddress()
			closeBus(t, third)
			wantHeard(t, second, one1, "while the third is gone")
			again := node("n3", "s3cret", config, first.ClusterAddress(), second.ClusterAddress())
			again.Cluster = at
			third = open(t, again)
			three1, _ = listen(t, third, one)
			wantHeard(t, second, three1, "to the third who is back")
			wantHeard(t, third, one1, "from the third who is back")
			if n, _, _ := eavesdropped.Pending(); n != 0 {
				t.Errorf("a client hears %d announcements", n)
			}
		})
	}
}

func TestAnotherSecretOrAuthorityIsKeptOutOfTheCluster(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	for name, test := range map[string]struct {
		here, there *tls.Config
		secret      string
		logs        string
	}{
		"another secret":    {secret: "hunter2", logs: "uthorization"},
		"another authority": {here: ours.config(), there: theirs.config(), secret: "s3cret", logs: "certificate"},
		"no TLS":            {here: ours.config(), secret: "s3cret", logs: "TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			var log logged
			config := node("n1", "s3cret", test.here)
			config.Log = log.logger()
			here := open(t, config)
			stranger := node("n2", test.secret, test.there, here.ClusterAddress())
			stranger.Log = log.logger()
			there := open(t, stranger)
			wait(t, "the refusal in the log", func() bool { return log.has(test.logs) })
			if n, m := here.embedded.server.NumRoutes(), there.embedded.server.NumRoutes(); n+m != 0 {
				t.Errorf("there are %d and %d routes, want none", n, m)
			}
			if log.has("s3cret") || log.has("hunter2") {
				t.Errorf("a secret in the log: %s", &log)
			}
		})
	}
}

func TestARouteToNowhereDoesNoHarm(t *testing.T) {
	first := open(t, node("n1", "x", nil, "127.0.0.1:1"))
	second := open(t, node("n2", "x", nil, "127.0.0.1:1", first.ClusterAddress()))
	received, _ := listen(t, first, one)
	wantHeard(t, second, received, "the other")
}
