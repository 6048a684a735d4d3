package main

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/pgtest"
	"github.com/parleyhq/parley/internal/store/sqlite"
	"github.com/parleyhq/parley/internal/store/transfer"
)

// copyProcess is a copy in a process of its own.
type copyProcess struct {
	cmd    *exec.Cmd
	ended  chan error
	stderr bytes.Buffer
}

func startCopy(t *testing.T, from, to string) *copyProcess {
	t.Helper()
	binary, err := buildBinary()
	if err != nil {
		t.Fatal(err)
	}
	c := &copyProcess{cmd: exec.Command(binary, "copy", "--from", from, "--to", to), ended: make(chan error, 1)}
	c.cmd.Stderr = &c.stderr
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { c.ended <- c.cmd.Wait() }()
	return c
}

// breakOff sends a signal once the copy is half-way, and returns what the copy said.
func (c *copyProcess) breakOff(t *testing.T, signal syscall.Signal, halfway func() bool) string {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !halfway(); {
		select {
		case err := <-c.ended:
			t.Fatalf("the copy has ended: %v, %s", err, &c.stderr)
		default:
		}
		if time.Now().After(deadline) {
			_ = c.cmd.Process.Kill()
			t.Fatal("the copy does not get half-way")
		}
	}
	if err := c.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-c.ended:
		if err == nil {
			t.Fatal("the copy was made before the signal came")
		}
	case <-time.After(time.Minute):
		_ = c.cmd.Process.Kill()
		t.Fatal("the copy does not end")
	}
	return c.stderr.String()
}

const (
	longLog   = 40_000
	textBytes = 1000
)

// longStore makes a data directory that takes long to copy. It returns the directory.
func longStore(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	target, err := sqlite.OpenTarget(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	uid := session.NewUID(session.Now(), math.MaxUint64)
	spec := session.Spec{Type: session.Public, Owners: []string{"ada"}}
	err = target.Write(t.Context(), &transfer.Batch{Sessions: []*transfer.Session{{First: 1, Record: &session.Record{
		UID: uid, ID: "long", Type: spec.Type, CreateTime: uid.Time(), UpdateTime: uid.Time(),
		Document: spec.AppendJSON(nil), Head: session.Head{Sequence: longLog + 1, Members: 1},
	}}}, Members: []transfer.Member{{UID: uid, Member: &session.Member{User: "ada", JoinTime: uid.Time()}}}})
	document := []byte(`{"text":"` + strings.Repeat("x", textBytes) + `","contentType":"","replyTo":""}`)
	for i := int64(0); i < longLog && err == nil; i += 1000 {
		b := &transfer.Batch{}
		for n := i; n < i+1000; n++ {
			b.Events = append(b.Events, &session.Event{
				UID: uid, Kind: session.MessagePublished, Sequence: n + 2, Time: uid.Time() + session.Time(n), Channel: 1, Document: document,
			})
		}
		err = target.Write(t.Context(), b)
	}
	if err := errors.Join(err, target.Commit(t.Context(), transfer.Settings{Latest: session.Now()}), target.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func wantLongLog(t *testing.T, s *server) {
	t.Helper()
	if long := s.mustGet("/long"); sequenceOf(t, document{"sequence": long["headSequence"]}) != longLog+1 {
		t.Errorf("the session is %v", long)
	}
}

// TestACopyIntoADirectoryThatIsKilled leaves a directory in which nothing begins but another copy.
func TestACopyIntoADirectoryThatIsKilled(t *testing.T) {
	from, to := longStore(t), filepath.Join(t.TempDir(), "with space, 50%25?")
	halfway := func() bool {
		info, err := os.Stat(filepath.Join(to, "parley.db.part-wal"))
		return err == nil && info.Size() > 4<<20
	}
	said := startCopy(t, "sqlite://"+from, "sqlite://"+to).breakOff(t, syscall.SIGINT, halfway)
	if !strings.Contains(said, "broken off, and nothing was copied") {
		t.Errorf("the copy that is interrupted says %q", said)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(to), "*", "parley.db*")); err != nil || left != nil {
		t.Errorf("the copy that is interrupted leaves %v (%v)", left, err)
	}
	startCopy(t, "sqlite://"+from, "sqlite://"+to).breakOff(t, syscall.SIGKILL, halfway)

	const refusal = "parley.db.part: a copy into this directory was broken off"
	if s := launch(t, "127.0.0.1:0", to); s.base != "" || !strings.Contains(s.stderr.String(), refusal) {
		t.Errorf("a server was started with what is left, and says %s", &s.stderr)
	}
	for _, args := range [][]string{{"migrate", "up"}, {"key", "create", "--role", "admin", "--name", "a"}} {
		if _, _, err := parley(t, append(args, "--data-dir", to)...); err == nil || !strings.Contains(err.Error(), refusal) {
			t.Errorf("%v: %v", args, err)
		}
	}
	_, err := runCopy(t, "--from", "sqlite://"+filepath.Join(to, "parley.db.part"), "--to", "sqlite://"+t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "it is a part of a store") {
		t.Errorf("the copy of what is left says %v", err)
	}
	if _, err := runCopy(t, "--from", "sqlite://"+from, "--to", "sqlite://"+to); err != nil {
		t.Fatal(err)
	}
	wantLongLog(t, startServer(t, to))
}

// TestACopyIntoADatabaseThatIsKilled leaves nothing there.
func TestACopyIntoADatabaseThatIsKilled(t *testing.T) {
	from, database := longStore(t), pgtest.Database(t)
	mustParley(t, "migrate", "up", "--database-url", database)
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		release, waits := holdMembers(t, database)
		said := startCopy(t, "sqlite://"+from, database).breakOff(t, signal, waits)
		release()
		if signal == syscall.SIGTERM && !strings.Contains(said, "broken off, and nothing was copied") {
			t.Errorf("the copy that is broken off says %q", said)
		}
	}
	if _, err := runCopy(t, "--from", "sqlite://"+from, "--to", database); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PARLEY_DATABASE_URL", database)
	wantLongLog(t, startServer(t, t.TempDir()))
}

// holdMembers lets nobody add members, so that a copy stops, and tells whether somebody waits for that.
func holdMembers(t *testing.T, database string) (release func(), waits func() bool) {
	t.Helper()
	holder, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = holder.Close(context.WithoutCancel(t.Context())) })
	if _, err := holder.Exec(t.Context(), `BEGIN; LOCK TABLE members IN SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	waits = func() (waits bool) {
		err := holder.QueryRow(t.Context(),
			`SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'members'::regclass AND NOT granted)`).Scan(&waits)
		if err != nil {
			t.Fatal(err)
		}
		return waits
	}
	return func() {
		if _, err := holder.Exec(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
	}, waits
}
