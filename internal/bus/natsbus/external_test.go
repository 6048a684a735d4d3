package natsbus

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// startElsewhere starts a server apart from any bus, on any port unless the options name one.
func startElsewhere(t *testing.T, options *server.Options) *server.Server {
	t.Helper()
	options.Host, options.NoSigs, options.NoLog = "127.0.0.1", true, true
	if options.Port == 0 {
		options.Port = server.RANDOM_PORT
	}
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { stopServer(s) })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server did not start")
	}
	return s
}

func stopServer(s *server.Server) { s.Shutdown(); s.WaitForShutdown() }

func address(s *server.Server) string { return s.Addr().String() }

// authority makes certificates for 127.0.0.1, for servers and clients.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	var der []byte
	der, a.key = a.sign(template, template, nil)
	a.cert, _ = x509.ParseCertificate(der)
	a.file = a.write("CERTIFICATE", der)
	return a
}

func (a *authority) sign(template, parent *x509.Certificate, by *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	return der, key
}

func (a *authority) write(kind string, der []byte) string {
	file := filepath.Join(a.t.TempDir(), "pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return file
}

// pair writes a certificate and its key.
func (a *authority) pair() (cert, key string) {
	der, private := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "node"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, a.key)
	encoded, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.write("CERTIFICATE", der), a.write("EC PRIVATE KEY", encoded)
}

// config is for both sides of a connection, whose certificates the authority has made.
func (a *authority) config() *tls.Config {
	cert, err := tls.LoadX509KeyPair(a.pair())
	if err != nil {
		a.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS13,
	}
}

// startWithAccounts starts a server that knows users by their credentials, and returns a file with some.
func startWithAccounts(t *testing.T) (s *server.Server, creds string) {
	operator, _ := nkeys.CreateOperator()
	account, _ := nkeys.CreateAccount()
	user, _ := nkeys.CreateUser()
	name := func(k nkeys.KeyPair) string { public, _ := k.PublicKey(); return public }
	token, err := jwt.NewAccountClaims(name(account)).Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(name(account), token); err != nil {
		t.Fatal(err)
	}
	if token, err = jwt.NewUserClaims(name(user)).Encode(account); err != nil {
		t.Fatal(err)
	}
	seed, _ := user.Seed()
	text, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		t.Fatal(err)
	}
	creds = filepath.Join(t.TempDir(), "creds")
	if err := os.WriteFile(creds, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s = startElsewhere(t, &server.Options{TrustedKeys: []string{name(operator)}, AccountResolver: resolver})
	return s, creds
}

func TestAServerElsewhere(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.pair()
	for name, start := range map[string]func(t *testing.T) Config{
		"open to all": func(t *testing.T) Config {
			return Config{URL: startElsewhere(t, &server.Options{}).ClientURL()}
		},
		"with the first of two addresses wrong": func(t *testing.T) Config {
			return Config{URL: "nats://127.0.0.1:1, " + address(startElsewhere(t, &server.Options{}))}
		},
		"with a user": func(t *testing.T) Config {
			return Config{URL: "nats://ada:s3cret@" + address(startElsewhere(t, &server.Options{Username: "ada", Password: "s3cret"}))}
		},
		"with a token": func(t *testing.T) Config {
			return Config{URL: "nats://s3cret@" + address(startElsewhere(t, &server.Options{Authorization: "s3cret"}))}
		},
		"with credentials": func(t *testing.T) Config {
			s, creds := startWithAccounts(t)
			return Config{URL: s.ClientURL(), Creds: creds}
		},
		"with TLS": func(t *testing.T) Config {
			s := startElsewhere(t, &server.Options{TLS: true, TLSVerify: true, TLSConfig: a.config()})
			return Config{URL: "tls://" + address(s), CA: a.file, Cert: cert, Key: key}
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := start(t)
			here, there := open(t, config), open(t, config)
			if !here.Connected() || !here.Spread() || here.Alone() || here.Clients() != nil {
				t.Errorf("connected %t, spread %t, alone %t, clients %v; want a bus with others and without an API",
					here.Connected(), here.Spread(), here.Alone(), here.Clients())
			}
			received, _ := listen(t, there, one)
			here.Announce(one, []byte("hello"))
			wantReceived(t, received, "hello")
		})
	}
}

func TestAnAPIAtAServerElsewhere(t *testing.T) {
	s := startElsewhere(t, &server.Options{})
	api := open(t, Config{URL: s.ClientURL(), ExternalAPI: true}).Clients()
	if _, err := api.Subscribe("echo", func(m *nats.Msg) { m.Respond(m.Data) }); err != nil {
		t.Fatal(err)
	}
	got, err := api.Request("echo", []byte("hello"), 10*time.Second) // on its own connection: it hears itself
	if err != nil || string(got.Data) != "hello" {
		t.Errorf("Request = %v, %v", got, err)
	}
}

// logged is a log for many goroutines.
type logged struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logged) has(text string) bool { return strings.Contains(l.String(), text) }

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestAServerThatIsNotTrustedIsNotTalkedTo(t *testing.T) {
	a, another := newAuthority(t), newAuthority(t)
	config := a.config()
	config.ClientAuth = tls.NoClientCert
	tlsServer := startElsewhere(t, &server.Options{TLS: true, TLSConfig: config})
	closed := startElsewhere(t, &server.Options{Username: "ada", Password: "s3cret"})
	for name, test := range map[string]struct {
		config Config
		logs   string
	}{
		"another authority":  {Config{URL: "tls://" + address(tlsServer), CA: another.file}, "certificate"},
		"no TLS there":       {Config{URL: "nats://ada:s3cret@" + address(closed), CA: a.file}, "secure"},
		"another's password": {Config{URL: "nats://ada:hunter2@" + address(closed)}, "Authorization"},
	} {
		t.Run(name, func(t *testing.T) {
			var log logged
			test.config.Log = log.logger()
			b := open(t, test.config)
			wait(t, "the cause in the log", func() bool { return log.has(test.logs) })
			if b.Connected() {
				t.Error("the bus is connected")
			}
			if log.has("s3cret") || log.has("hunter2") {
				t.Errorf("a password in the log: %s", &log)
			}
		})
	}
}

func TestWhatCanNotBeReadIsAnErrorWithoutSecrets(t *testing.T) {
	for name, config := range map[string]Config{
		"a URL":                         {URL: "nats://ada:s3cret word@host"},
		"a port":                        {URL: "nats://ada:s3cret@host:port"},
		"no host":                       {URL: "nats://127.0.0.1,nats://"},
		"no credentials":                {URL: "nats://127.0.0.1:1", Creds: "/nowhere"},
		"no authority":                  {URL: "nats://127.0.0.1:1", CA: "/nowhere"},
		"no certificate":                {URL: "nats://127.0.0.1:1", Cert: "/nowhere", Key: "/nowhere"},
		"an address":                    {Listen: "127.0.0.1"},
		"a port to listen on":           {Leaf: "127.0.0.1:x"},
		"a route":                       {Cluster: "127.0.0.1:0", RouteSecret: "x", Routes: []string{"nats://ada:s3cret word@host"}},
		"routes without a cluster":      {Routes: []string{"127.0.0.1:1"}, RouteSecret: "x"},
		"a cluster without a secret":    {Cluster: "127.0.0.1:0"},
		"an address that is not ours":   {Listen: "192.0.2.1:0"},
		"a cluster address not of ours": {Cluster: "192.0.2.1:0", RouteSecret: "s3cret"},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := Open(t.Context(), config)
			if err == nil {
				closeBus(t, b)
				t.Fatal("Open succeeded")
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("Open: %v; it shows a password", err)
			}
		})
	}
}

// freePort is one that nobody listens on.
func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestAServerThatComesLaterAndGoesAndComesBack(t *testing.T) {
	options := server.Options{Port: freePort(t)}
	url := "nats://127.0.0.1:" + portText(options.Port)
	var returns atomic.Int32
	here, there := open(t, Config{URL: url}), open(t, Config{URL: url})
	here.Reconnected(func() { returns.Add(1) })
	if here.Connected() {
		t.Fatal("connected to nothing")
	}
	received, _ := listen(t, there, one) // neither waits nor fails
	here.Announce(one, []byte("lost"))

	for round := range int32(2) {
		o := options
		s := startElsewhere(t, &o)
		wait(t, "connected", func() bool { return here.Connected() && there.Connected() })
		wait(t, "the hook", func() bool { return returns.Load() == round+1 })
		wait(t, "an announcement", func() bool { // the server may hear of the listener after the connection is there
			here.Announce(one, []byte("heard"))
			select {
			case got := <-received:
				if got != "heard" {
					t.Errorf("received %q, which was announced to nobody", got)
				}
				return true
			default:
				return false
			}
		})
		stopServer(s)
		wait(t, "disconnected", func() bool { return !here.Connected() && !there.Connected() })
		for range 1000 {
			here.Announce(one, []byte("lost"))
		}
	}
	for len(received) > 0 {
		wantReceived(t, received, "heard")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := here.flush(ctx); err != nil {
		t.Errorf("a server that is away holds up the end: %v", err)
	}
}

func portText(port int) string {
	_, p, _ := net.SplitHostPort((&net.TCPAddr{Port: port}).String())
	return p
}

func TestOneSlowListenerHoldsLittle(t *testing.T) {
	here := open(t, Config{})
	there := join(t, here)
	resume := make(chan struct{})
	var count atomic.Int32
	stop, err := here.Listen(one, func([]byte) {
		<-resume
		count.Add(1)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	other, _ := listen(t, here, two)
	for range 2 * maxPending {
		there.Announce(one, []byte("x"))
	}
	there.Announce(two, []byte("after them"))
	wantReceived(t, other, "after them")
	close(resume)
	there.Announce(two, []byte("once more"))
	wantReceived(t, other, "once more")
	wait(t, "what was held", func() bool { return count.Load() >= maxPending })
	if n := count.Load(); n > maxPending+2 {
		t.Errorf("%d of %d announcements were held, want about %d", n, 2*maxPending, maxPending)
	}
}
