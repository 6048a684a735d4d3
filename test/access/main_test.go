// Package access_test holds who may do what, and who is asking, to the contract: as black-box tests over every transport
// of a server that takes tokens and API keys.
package access_test

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/parleyhq/parley/internal/app"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/store/pgtest"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// server is the one under test.
var server struct {
	url         string // of REST, without a slash at the end
	rpc         *grpc.ClientConn
	dataDir     string // if the engine is SQLite
	databaseURL string // if it is PostgreSQL
	secret      []byte // of the tokens
}

// client never follows redirects: a test sees what the server says.
var client = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 32},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// TestMain makes as many runs the default as half a minute has room for.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given && !testing.Short() {
		if err := flag.Set("rapid.checks", "80"); err != nil {
			panic(err)
		}
	}
	code := pgtest.OnBothEngines(func(databaseURL string) int {
		code, err := run(m, databaseURL)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	})
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// run runs the tests against a server of their own; without a URL it is on SQLite.
func run(m *testing.M, databaseURL string) (code int, err error) {
	dir, err := os.MkdirTemp("", "parley-access-")
	if err != nil {
		return 1, err
	}
	defer func() {
		if removed := os.RemoveAll(dir); err == nil {
			err = removed
		}
	}()
	server.databaseURL = databaseURL
	server.dataDir, server.secret = filepath.Join(dir, "data"), []byte(rand.Text()+rand.Text())
	secretFile := filepath.Join(dir, "jwt.secret")
	if err := os.WriteFile(secretFile, append(server.secret, '\n'), 0o600); err != nil {
		return 1, err
	}
	var log watchedLog
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	a, err := app.New(ctx, config.Config{
		Listen: "127.0.0.1:0", GRPCListen: "127.0.0.1:0", DataDir: server.dataDir, DatabaseURL: databaseURL,
		Auth: "jwt", JWT: config.JWT{SecretFile: secretFile},
	}, log.logger())
	if err != nil {
		return 1, err
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	server.url = "http://" + a.Addr()
	server.rpc, err = grpc.NewClient(a.GRPCAddr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return 1, err
	}

	code = m.Run()

	err = server.rpc.Close()
	client.CloseIdleConnections()
	cancel()
	if ended := <-done; ended != nil {
		return 1, fmt.Errorf("the server did not end in order: %w", ended)
	}
	if err == nil {
		err = log.check()
	}
	return code, err
}

// role is what a token or an API key may do besides what everyone may.
type role string

const (
	plain   role = ""
	service role = "service"
	admin   role = "admin"
)

// tokenUntil makes a token of the user that ends at the time.
func tokenUntil(t tb, user string, role role, end time.Time) string {
	t.Helper()
	claims := jwt.MapClaims{"sub": user, "exp": end.Unix()}
	if role != plain {
		claims["roles"] = []string{string(role)}
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(server.secret)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// who is what a request says of who is asking.
type who struct {
	user  string // whose token or API key it is
	role  role
	names string // Parley-User; empty: not sent

	credential string // instead of a good token
	nobody     bool   // without any
}

func as(user string) who { return who{user: user} }

func operator() who { return who{user: "root", role: admin} }

// backend is a service that acts for the user.
func backend(user string) who { return who{user: "backend", role: service, names: user} }

// bearer is the credential.
func (w who) bearer(t tb) string {
	t.Helper()
	switch {
	case w.nobody:
		return ""
	case w.credential != "":
		return w.credential
	default:
		return tokenUntil(t, w.user, w.role, time.Now().Add(time.Hour))
	}
}

// headers are what the request carries of it, under HTTP's names.
func (w who) headers(t tb) map[string]string {
	t.Helper()
	headers := map[string]string{}
	if bearer := w.bearer(t); bearer != "" {
		headers["Authorization"] = "Bearer " + bearer
	}
	if w.names != "" {
		headers["Parley-User"] = w.names
	}
	return headers
}
