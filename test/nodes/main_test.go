// Package nodes_test holds several nodes on one PostgreSQL and one NATS to what one node promises: any of them serves any
// request, and what holds on one holds on all.
package nodes_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"github.com/parleyhq/parley/internal/app"
	"github.com/parleyhq/parley/internal/config"
	"github.com/parleyhq/parley/internal/followtest"
	"github.com/parleyhq/parley/internal/store/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Tests(m)) }

// patience is how long a test waits for what must come.
const patience = time.Minute

// cluster is several nodes on one database and one NATS server.
type cluster struct {
	database string // the URL
	nats     *server.Server
	nodes    []*node
}

// node is one of them.
type node struct {
	*app.App

	base   string // of the sessions' paths
	client *http.Client
	log    *watchedLog
	stop   context.CancelFunc // begins to stop it
	ended  chan struct{}      // closed when it has
	failed error              // what Run returned; only then
}

func (n *node) server() followtest.Server { return followtest.Server{Base: n.base, GRPC: n.GRPCAddr()} }

const size = 3

// startCluster starts the nodes, with the development's authentication unless the settings are changed. When the test
// ends they must stop in order, and must have had nothing to warn of.
func startCluster(t *testing.T, change ...func(*config.Config)) *cluster {
	t.Helper()
	c := &cluster{database: pgtest.Database(t), nats: startNATS(t)}
	c.nodes = make([]*node, size)
	var starting sync.WaitGroup
	for i := range c.nodes {
		starting.Go(func() { c.nodes[i] = c.start(t, change...) })
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return c
}

func startNATS(t *testing.T) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(patience) {
		t.Fatal("NATS did not start")
	}
	return s
}

// start starts a node; nil: it does not start, and the test has failed.
func (c *cluster) start(t *testing.T, change ...func(*config.Config)) *node {
	settings := config.Config{
		Listen: "127.0.0.1:0", GRPCListen: "127.0.0.1:0", DatabaseURL: c.database, Auth: "dev",
		NATS: config.NATS{URL: c.nats.ClientURL()},
	}
	for _, f := range change {
		f(&settings)
	}
	n := &node{
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}, Timeout: patience},
		log:    &watchedLog{}, ended: make(chan struct{}),
	}
	var ctx context.Context
	ctx, n.stop = context.WithCancel(context.Background())
	var err error
	if n.App, err = app.New(ctx, settings, slog.New(n.log)); err != nil {
		n.stop()
		t.Errorf("a node does not start: %v", err)
		return nil
	}
	n.base = "http://" + n.Addr() + "/v1/conversation/sessions"
	go func() {
		defer close(n.ended)
		n.failed = n.Run(ctx)
	}()
	t.Cleanup(func() {
		n.end(t)
		n.log.check(t)
	})
	return n
}

// end stops a node, which must do so in order.
func (n *node) end(t *testing.T) {
	t.Helper()
	n.client.CloseIdleConnections()
	n.stop()
	select {
	case <-n.ended:
	case <-time.After(patience):
		t.Error("a node does not stop")
		return
	}
	if n.failed != nil {
		t.Errorf("a node ended with %v", n.failed)
	}
}

// watchedLog keeps what a node warns of.
type watchedLog struct {
	mu       sync.Mutex // guards the fields below
	warnings []string
	expected []string
}

// expect lets pass what has one of the texts in it.
func (l *watchedLog) expect(texts ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expected = append(l.expected, texts...)
}

// Enabled implements slog.Handler.
func (*watchedLog) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle implements slog.Handler.
func (l *watchedLog) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.warnings = append(l.warnings, text)
	return nil
}

// WithAttrs implements slog.Handler.
func (l *watchedLog) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements slog.Handler.
func (l *watchedLog) WithGroup(string) slog.Handler { return l }

// check fails the test if there was something to warn of that was not expected.
func (l *watchedLog) check(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
next:
	for _, warning := range l.warnings {
		if strings.Contains(warning, "fsync is off") { // as it is for tests
			continue
		}
		for _, text := range l.expected {
			if strings.Contains(warning, text) {
				continue next
			}
		}
		t.Errorf("a node warns: %s", warning)
	}
}

// document is a JSON object.
type document = map[string]any

// request is one to a node.
type request struct {
	method, path string
	body         document // nil: none
	user         string   // empty: the operator
	token        string   // empty: none
}

// answer is what came of it.
type answer struct {
	status int
	reason string // of an error
	body   document
}

// try sends a request; the error is the transport's.
func (n *node) try(ctx context.Context, r request) (answer, error) {
	var content io.Reader = http.NoBody
	if r.body != nil {
		encoded, err := json.Marshal(r.body)
		if err != nil {
			return answer{}, err
		}
		content = bytes.NewReader(encoded)
	}
	sent, err := http.NewRequestWithContext(ctx, r.method, n.base+r.path, content)
	if err != nil {
		return answer{}, err
	}
	sent.Header.Set("Content-Type", "application/json")
	if r.user != "" {
		maps.Copy(sent.Header, as(r.user))
	}
	if r.token != "" {
		maps.Copy(sent.Header, bearer(r.token))
	}
	response, err := n.client.Do(sent)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	a := answer{status: response.StatusCode}
	if err := json.NewDecoder(response.Body).Decode(&a.body); err != nil {
		return answer{}, err
	}
	a.reason = reasonIn(a.body)
	return a, nil
}

// as and bearer are the headers that say who asks.
func as(user string) http.Header { return http.Header{"Parley-User": {user}} }

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func reasonIn(body document) string {
	failure, _ := body["error"].(document)
	details, _ := failure["details"].([]any)
	for _, detail := range details {
		if reason, ok := detail.(document)["reason"].(string); ok {
			return reason
		}
	}
	return ""
}

// call sends a request that must be answered.
func (n *node) call(t *testing.T, r request) answer {
	t.Helper()
	a, err := n.try(t.Context(), r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	return a
}

// must sends a request that must succeed.
func (n *node) must(t *testing.T, r request) document {
	t.Helper()
	a := n.call(t, r)
	if a.status != http.StatusOK {
		t.Fatalf("%s %s: %d %v", r.method, r.path, a.status, a.body)
	}
	return a.body
}

func (n *node) post(t *testing.T, user, path string, body document) document {
	t.Helper()
	return n.must(t, request{method: http.MethodPost, path: path, body: body, user: user})
}

func (n *node) get(t *testing.T, user, path string) document {
	t.Helper()
	return n.must(t, request{method: http.MethodGet, path: path, user: user})
}

// probe is the status of a path that balancers ask for.
func (n *node) probe(t *testing.T, path string) int {
	t.Helper()
	sent, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.Addr()+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := n.client.Do(sent)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

const (
	public    = 1
	private   = 2
	temporary = 3
)

// draft is the smallest session, of ada.
func draft(kind int, changes ...document) document {
	spec := document{
		"profile": "p", "displayName": "d", "sessionType": kind, "owners": []string{"ada"}, "defaultChannels": []int{1},
	}
	for _, change := range changes {
		maps.Copy(spec, change)
	}
	return spec
}

// eventually waits until what happens by itself has happened.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); !happened(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

// onAll does something on all nodes at the same time, so often on each.
func (c *cluster) onAll(times int, do func(i int, n *node)) {
	var group sync.WaitGroup
	for k := range times {
		for i, n := range c.nodes {
			group.Go(func() { do(k*len(c.nodes)+i, n) })
		}
	}
	group.Wait()
}

// writeFile writes a file in the place of an earlier one.
func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}
