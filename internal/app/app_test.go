package app_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleyhq/parley/internal/app"
	"github.com/parleyhq/parley/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func settings(dir string) config.Config {
	return config.Config{Listen: "127.0.0.1:0", GRPCListen: "127.0.0.1:0", DataDir: dir, Auth: "dev"}
}

// start runs a server; stop ends it and waits for it.
func start(t *testing.T, c config.Config) (*app.App, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.New(ctx, c, slog.New(slog.DiscardHandler))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return a, func() {
		t.Helper()
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v, want nil after an orderly end", err)
		}
	}
}

func ask(t *testing.T, a *app.App, method, path, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+a.Addr()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

const sessions = "/v1/conversation/sessions"

const draft = `{"profile":"p","displayName":"d","sessionType":2,"owners":["u"],"defaultChannels":[1],"secretKey":"open-sesame"}`

func TestASessionSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	a, stop := start(t, settings(dir))
	if status, body := ask(t, a, http.MethodPost, sessions+"?sessionId=room&requestId=r1", draft); status != http.StatusOK {
		t.Fatalf("create = %d %s", status, body)
	}
	_, before := ask(t, a, http.MethodGet, sessions+"/room", "")
	stop()

	a, stop = start(t, settings(dir))
	defer stop()
	if _, after := ask(t, a, http.MethodGet, sessions+"/room", ""); after != before {
		t.Errorf("session = %s, want %s", after, before)
	}
	status, body := ask(t, a, http.MethodPost, sessions+"?sessionId=room&requestId=r1", draft)
	if status != http.StatusOK || !strings.Contains(body, `"secretKey":"open-sesame"`) {
		t.Errorf("repeat after the restart = %d %s, want the session with its secretKey", status, body)
	}
}

func TestTheSecretKeyIsNotOnDisk(t *testing.T) {
	dir := t.TempDir()
	a, stop := start(t, settings(dir))
	if status, body := ask(t, a, http.MethodPost, sessions+"?requestId=r1", draft); status != http.StatusOK {
		t.Fatalf("create = %d %s", status, body)
	}
	stop()
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if strings.Contains(string(content), "open-sesame") {
			t.Errorf("%s holds the secretKey", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestHealthAndReadiness(t *testing.T) {
	a, stop := start(t, settings(t.TempDir()))
	defer stop()
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, body := ask(t, a, http.MethodGet, path, ""); status != http.StatusOK {
			t.Errorf("%s = %d %s, want 200", path, status, body)
		}
	}
}

// TestWhoDoesNotSendARequestToItsEnd does not make a server's end a failure.
func TestWhoDoesNotSendARequestToItsEnd(t *testing.T) {
	a, stop := start(t, settings(t.TempDir()))
	a.SetServersDeadline(50 * time.Millisecond)
	conn, err := net.Dial("tcp", a.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	half := "POST " + sessions + " HTTP/1.1\r\nHost: " + a.Addr() + "\r\nContent-Type: application/json\r\n" +
		"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n"
	if _, err := io.WriteString(conn, half); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("the server says %q, %v, want that the request is awaited", line, err)
	}
	stop()
}

func TestTheKeyAndTheDirectoryAreTheOwnersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "the", "server")
	_, stop := start(t, settings(dir))
	stop()
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "server.key"): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
	}
}

func TestASecondServerOnOneDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	_, stop := start(t, settings(dir))
	defer stop()
	if _, err := app.New(t.Context(), settings(dir), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("New() = nil, want an error")
	}
}

func TestWhatCannotStartSaysWhy(t *testing.T) {
	const secret = "c2VjcmV0"
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("1 "+secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*config.Config)
		names  string
	}{
		"an address that is none":    {func(c *config.Config) { c.Listen = "127.0.0.1:none" }, "none"},
		"gRPC's likewise":            {func(c *config.Config) { c.GRPCListen = "127.0.0.1:none" }, "none"},
		"a directory that is a file": {func(c *config.Config) { c.DataDir = file }, file},
		"a key file that is missing": {func(c *config.Config) { c.KeyFile = filepath.Join(dir, "missing") }, "missing"},
		"a key file with a bad key":  {func(c *config.Config) { c.KeyFile = file }, "line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			c := settings(t.TempDir())
			test.change(&c)
			_, err := app.New(t.Context(), c, slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), test.names) {
				t.Fatalf("New() = %v, want an error that names %q", err, test.names)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("New() = %v, and shows the key", err)
			}
		})
	}
}

func TestAnotherServersKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	_, stop := start(t, settings(dir))
	stop()
	if err := os.Remove(filepath.Join(dir, "server.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := app.New(t.Context(), settings(dir), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("New() = nil, want an error: what the lost key has sealed cannot be read")
	}
}

func TestAClusterInTheClearIsWarnedOf(t *testing.T) {
	// An address of this machine that does not look like one.
	for address, want := range map[string]bool{"127.0.0.1:0": false, "[::ffff:127.0.0.1]:0": true} {
		c := settings(t.TempDir())
		c.NATS.Cluster = address
		var log bytes.Buffer
		a, err := app.New(t.Context(), c, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := a.Run(ctx); err != nil {
			t.Error(err)
		}
		if got := strings.Contains(log.String(), "speak in the clear"); got != want {
			t.Errorf("%s: warned: %t, want %t, in\n%s", address, got, want, log.String())
		}
	}
}
