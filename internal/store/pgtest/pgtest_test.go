//go:build unix

package pgtest

import (
	"bufio"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(Tests(m)) }

func TestEachTestGetsAnEmptyDatabase(t *testing.T) {
	for range 2 {
		t.Run("", func(t *testing.T) {
			if err := execute(t, Database(t), "CREATE TABLE t (n integer)"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWhatWasCommittedOutlivesTheServer(t *testing.T) {
	server := Start(t, "max_connections=17")
	database := server.Database(t)
	if err := execute(t, database, "CREATE TABLE t (n integer)"); err != nil {
		t.Fatal(err)
	}
	again := func(end func()) func() error {
		return func() error {
			end()
			if conn, err := pgx.Connect(t.Context(), TCP(database)); err == nil {
				_ = conn.Close(t.Context())
				return errors.New("the server goes on")
			}
			return server.Start()
		}
	}
	for name, restart := range map[string]func() error{
		"Restart": server.Restart, "Kill": again(server.Kill), "Stop": again(server.Stop),
	} {
		if err := restart(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, address := range []string{database, TCP(database)} { // the same as before
			if err := execute(t, address, "INSERT INTO t VALUES (current_setting('max_connections')::integer)"); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	const check = "DO $$ BEGIN ASSERT (SELECT count(*) = 6 AND min(n) = 17 AND max(n) = 17 FROM t); END $$"
	if err := execute(t, database, check); err != nil {
		t.Errorf("rows are lost, or the settings are: %v", err)
	}
}

// TestNobodyElseOnTheMachineGetsIn: the port is open to all of its users.
func TestNobodyElseOnTheMachineGetsIn(t *testing.T) {
	parsed, err := url.Parse(TCP(Database(t)))
	if err != nil {
		t.Fatal(err)
	}
	parsed.User = url.UserPassword(userName, "guess")
	if conn, err := pgx.Connect(t.Context(), parsed.String()); err == nil {
		_ = conn.Close(t.Context())
		t.Error("a connection with another password is let in")
	}
}

// hangs says, in a second process of this test, that it is to start a server and wait for its death.
const hangs = "TEST_PARLEY_HANGS"

// TestAKilledTestLeavesNoServer kills a test process that has a server.
func TestAKilledTestLeavesNoServer(t *testing.T) {
	if os.Getenv(hangs) != "" {
		fmt.Fprintln(os.Stdout, Database(t))
		select {}
	}
	if runtime.GOOS != "linux" {
		t.Skip("only Linux kills a program with its parent")
	}
	Database(t) // is skipped where there is no PostgreSQL
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	command.Env = append(os.Environ(), hangs+"=yes")
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	database := TCP(strings.TrimSpace(line))
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(Socket(strings.TrimSpace(line)))) }) // what the process leaves behind
	if err := execute(t, database, "CREATE TABLE t (n integer)"); err != nil {
		t.Fatal(err)
	}
	if err := command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = command.Wait() // it was killed
	tick, late := time.NewTicker(10*time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(t.Context(), database)
		if err != nil && strings.Contains(err.Error(), "connection refused") {
			return
		}
		if err == nil {
			_ = conn.Close(t.Context())
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("the server goes on")
		}
	}
}

func TestWithoutPostgreSQLATestSaysWhatToInstall(t *testing.T) {
	for _, required := range []bool{false, true} {
		t.Setenv(RequireVariable, map[bool]string{true: "require"}[required])
		got := &outcome{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			check(got, nil, errMissing)
		}()
		<-done
		if got.failed != required || !strings.Contains(got.said, "apt-get install postgresql") {
			t.Errorf("required %t: failed is %t, and it says %q", required, got.failed, got.said)
		}
	}
}

// outcome is a test that notes how it ends.
type outcome struct {
	testing.TB

	failed bool
	said   string
}

func (o *outcome) Skip(args ...any) {
	o.said = fmt.Sprint(args...)
	runtime.Goexit()
}

func (o *outcome) Fatal(args ...any) {
	o.failed = true
	o.Skip(args...)
}

func execute(t *testing.T, database, statement string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	_, err = conn.Exec(t.Context(), statement)
	return err
}
