package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/keyfile"
	"github.com/parleyhq/parley/internal/store/pgtest"
	"github.com/parleyhq/parley/internal/store/postgres"
	"github.com/parleyhq/parley/internal/store/sqlite"
)

// parley runs a command, and returns what it printed.
func parley(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errOut bytes.Buffer
	err = run(t.Context(), args, &out, &errOut)
	return out.String(), errOut.String(), err
}

func mustParley(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	stdout, stderr, err := parley(t, args...)
	if err != nil {
		t.Fatalf("parley %s: %v", strings.Join(args, " "), err)
	}
	return stdout, stderr
}

// listed is what "parley key list --json" prints of each key.
func listed(t *testing.T, place ...string) (keys []keyJSON) {
	t.Helper()
	stdout, _ := mustParley(t, append([]string{"key", "list", "--json"}, place...)...)
	for line := range strings.Lines(stdout) {
		var key keyJSON
		if err := json.Unmarshal([]byte(line), &key); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		keys = append(keys, key)
	}
	return keys
}

// wantKeyLifecycle makes two keys, and revokes them, by name and by id.
func wantKeyLifecycle(t *testing.T, place ...string) {
	t.Helper()
	key := func(args ...string) (stdout, stderr string) {
		return mustParley(t, append(append([]string{"key"}, args...), place...)...)
	}
	text, note := key("create", "--role", "service", "--name", "billing")
	if lines := strings.Count(text, "\n"); lines != 1 || len(text) < 40 {
		t.Errorf("it prints %q, want the key and nothing else", text)
	}
	if !strings.Contains(note, "billing") || !strings.Contains(note, "once") || strings.Contains(note, strings.TrimSpace(text)) {
		t.Errorf("it says %q, want which key it is, that it is shown once, and not the key", note)
	}
	key("create", "--role", "admin", "--name", `the "boss"`)
	keys := listed(t, place...)
	if len(keys) != 2 || keys[0].Name != "billing" || keys[0].Role != "service" || keys[1].Name != `the "boss"` || keys[1].Role != "admin" {
		t.Fatalf("the keys are %+v", keys)
	}
	for _, by := range []string{"billing", keys[1].ID} {
		key("revoke", by)
	}
	for _, key := range listed(t, place...) {
		if key.RevokeTime == "" || len(key.ID) != keyIDLength || key.CreateTime == "" {
			t.Errorf("the key is %+v, want it revoked", key)
		}
	}
	table, _ := key("list")
	words := strings.Join(strings.Fields(table), " ")
	if strings.Count(table, "\n") != 3 || !strings.Contains(words, " billing service ") || !strings.Contains(words, ` "the \"boss\"" admin `) {
		t.Errorf("the table is\n%s", table)
	}
	if strings.Contains(table, strings.TrimSpace(text)) {
		t.Error("the table has the key")
	}
}

func TestKeysWithoutAServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	wantKeyLifecycle(t, "--data-dir", dir)
	s := startServer(t, dir) // which takes over what the command has made
	if status, _, err := s.call(http.MethodGet, "", nil); err != nil || status != http.StatusOK {
		t.Errorf("the server: %d %v", status, err)
	}
	if keys := listed(t, "--data-dir", dir); len(keys) != 2 {
		t.Errorf("the keys are %+v", keys)
	}
}

func TestKeysBesideAServer(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir)
	wantKeyLifecycle(t, "--data-dir", dir)
	s.mustPost("?sessionId=s", draft("s"))
}

func TestKeysInPostgreSQL(t *testing.T) {
	wantKeyLifecycle(t, "--database-url", pgtest.Database(t))
}

func TestTheRingInPostgreSQLIsRotated(t *testing.T) {
	url := pgtest.Database(t)
	if _, _, err := parley(t, "key", "rotate-server", "--database-url", url); err == nil {
		t.Error("a ring that is not there yet is rotated")
	}
	before, err := postgres.LoadKeys(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	mustParley(t, "key", "rotate-server", "--database-url", url)
	after, err := postgres.LoadKeys(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(before.Newest(), after.Newest()) || !bytes.Equal(before.Fingerprint(), after.Fingerprint()) {
		t.Error("the ring has no key more, or is another one")
	}
}

func TestKeyCommandsRefuse(t *testing.T) {
	dir := t.TempDir()
	mustParley(t, "key", "create", "--role", "service", "--name", "billing", "--data-dir", dir)
	empty := t.TempDir()
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no role":             {[]string{"create", "--name", "n", "--data-dir", dir}, "--role"},
		"an unknown role":     {[]string{"create", "--name", "n", "--role", "root", "--data-dir", dir}, "--role"},
		"no name":             {[]string{"create", "--role", "admin", "--data-dir", dir}, "--name"},
		"a long name":         {[]string{"create", "--role", "admin", "--name", strings.Repeat("n", 129), "--data-dir", dir}, "--name"},
		"a name that is used": {[]string{"create", "--role", "admin", "--name", "billing", "--data-dir", dir}, "billing"},
		"an unknown key":      {[]string{"revoke", "nobody", "--data-dir", dir}, "nobody"},
		"no key":              {[]string{"revoke", "--data-dir", dir}, "arg"},
		"a list of nothing":   {[]string{"list", "--data-dir", empty}, "no key was made"},
		"revoking in nothing": {[]string{"revoke", "billing", "--data-dir", empty}, "no key was made"},
		"no ring":             {[]string{"rotate-server", "--data-dir", empty}, "server.key"},
		"a bad setting":       {[]string{"list", "--data-dir", dir, "--log-level", "loud"}, "--log-level"},
	} {
		t.Run(name, func(t *testing.T) {
			if stdout, _, err := parley(t, append([]string{"key"}, c.args...)...); err == nil || !strings.Contains(err.Error(), c.want) || stdout != "" {
				t.Errorf("it prints %q and fails with %v, want an error that says %q", stdout, err, c.want)
			}
		})
	}
	if files, err := os.ReadDir(empty); err != nil || len(files) > 0 {
		t.Errorf("%v, %v: a command that was refused made something", files, err)
	}
	if keys := listed(t, "--data-dir", dir); len(keys) != 1 || keys[0].RevokeTime != "" {
		t.Errorf("the keys are %+v, want the first as it was", keys)
	}
}

// writerFunc is an io.Writer.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

var errFull = errors.New("no space left")

// fullWriter is a writer that takes nothing.
var fullWriter = writerFunc(func([]byte) (int, error) { return 0, errFull })

// TestAKeyThatCannotBePrinted is named, so that it can be revoked.
func TestAKeyThatCannotBePrinted(t *testing.T) {
	dir := t.TempDir()
	var note bytes.Buffer
	err := run(t.Context(), []string{"key", "create", "--role", "service", "--name", "billing", "--data-dir", dir}, fullWriter, &note)
	keys := listed(t, "--data-dir", dir)
	if len(keys) != 1 {
		t.Fatalf("the keys are %+v", keys)
	}
	if !errors.Is(err, errFull) || !strings.Contains(err.Error(), keys[0].ID) || !strings.Contains(err.Error(), "revoke") {
		t.Errorf("it fails with %v, want an error that says which key is to be revoked", err)
	}
	if note.Len() > 0 {
		t.Errorf("it says %q, as if the key had been shown", note.String())
	}
	mustParley(t, "key", "revoke", keys[0].ID, "--data-dir", dir)
}

// TestAKeyIsPrintedOnceItIsDurable: closing the store comes later, and takes its log away.
func TestAKeyIsPrintedOnceItIsDurable(t *testing.T) {
	dir := t.TempDir()
	var printed bytes.Buffer
	stdout := writerFunc(func(p []byte) (int, error) {
		if _, err := os.Stat(filepath.Join(dir, sqlite.FileName+"-wal")); err != nil {
			t.Errorf("the store is closed before the key is printed: %v", err)
		}
		return printed.Write(p)
	})
	err := run(t.Context(), []string{"key", "create", "--role", "service", "--name", "billing", "--data-dir", dir}, stdout, io.Discard)
	if err != nil || printed.Len() == 0 {
		t.Errorf("it prints %d bytes and fails with %v", printed.Len(), err)
	}
	if _, err := os.Stat(filepath.Join(dir, sqlite.FileName+"-wal")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the log after the store is closed: %v", err)
	}
}

// TestANoteSaysWhereAKeyWasMade, and whether there was a store.
func TestANoteSaysWhereAKeyWasMade(t *testing.T) {
	t.Chdir(t.TempDir())
	for i, made := range []bool{true, false} {
		_, note := mustParley(t, "key", "create", "--role", "service", "--name", strconv.Itoa(i), "--data-dir", "data")
		dir, err := filepath.Abs("data")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(note, dir) || strings.Contains(note, "a new one was made") != made {
			t.Errorf("key %d: it says %q, want the directory and whether a store was made: %t", i, note, made)
		}
	}
}

// TestListingKeysMakesNoStore in a database that is another program's, perhaps.
func TestListingKeysMakesNoStore(t *testing.T) {
	database := []string{"--database-url", pgtest.Database(t)}
	for _, args := range [][]string{{"key", "list"}, {"key", "revoke", "billing"}} {
		_, _, err := parley(t, append(args, database...)...)
		if err == nil || !strings.Contains(err.Error(), "no server has used this database") {
			t.Errorf("parley %s: %v", strings.Join(args, " "), err)
		}
	}
	if state, _ := mustParley(t, append([]string{"migrate", "status"}, database...)...); !strings.Contains(state, "There is no store yet") {
		t.Errorf("the database is %s", state)
	}
}

func TestKeySettingsFromTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PARLEY_DATA_DIR", dir)
	mustParley(t, "key", "create", "--role", "service", "--name", "billing")
	if keys := listed(t, "--data-dir", dir); len(keys) != 1 {
		t.Errorf("the keys are %+v", keys)
	}
}

// TestRotatingTheServersKey: the server goes on with the keys that it has, and starts with one more.
func TestRotatingTheServersKey(t *testing.T) {
	for name, file := range map[string]string{"in the data directory": "", "in a file of its own": "ring"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := startServer(t, dir)
			s.mustPost("?sessionId=before", draft("before"))
			s.kill()
			path, args := filepath.Join(dir, keyfile.FileName), []string{"key", "rotate-server", "--data-dir", dir}
			if file != "" {
				moved := filepath.Join(t.TempDir(), file)
				content, err := os.ReadFile(path)
				if err := errors.Join(err, os.WriteFile(moved, content, 0o600)); err != nil {
					t.Fatal(err)
				}
				path, args = moved, []string{"key", "rotate-server", "--data-dir", dir, "--server-key-file", moved}
			}
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, note := mustParley(t, args...); !strings.Contains(note, path) || !strings.Contains(note, "next start") {
				t.Errorf("it says %q, want the file and when it counts", note)
			}
			after, err := os.ReadFile(path)
			if err != nil || !bytes.HasPrefix(after, before) || len(after) <= len(before) {
				t.Errorf("the file has %d bytes after %d, %v, want a key more", len(after), len(before), err)
			}
			if file != "" {
				return
			}
			s = startServer(t, dir)
			if found := s.list(); found["before"] == nil {
				t.Errorf("the server has %v", found)
			}
		})
	}
}
