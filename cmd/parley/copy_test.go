package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/keyfile"
	"github.com/parleyhq/parley/internal/store/pgtest"
	"github.com/parleyhq/parley/internal/store/postgres"
)

// asUser sends requests for a user.
type asUser string

// RoundTrip implements http.RoundTripper.
func (user asUser) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Parley-User", string(user))
	return http.DefaultTransport.RoundTrip(r)
}

// as is the server as a user sees it.
func (s *server) as(user string) *server {
	return &server{t: s.t, client: &http.Client{Timeout: time.Minute, Transport: asUser(user)}, base: s.base}
}

// mustGet asks for what is there.
func (s *server) mustGet(path string) document {
	s.t.Helper()
	status, answer, err := s.call(http.MethodGet, path, nil)
	if err != nil || status != http.StatusOK {
		s.t.Fatalf("GET %s: %d %v %v", path, status, answer, err)
	}
	return answer
}

// wantStatus sends a request that is answered with a status.
func (s *server) wantStatus(want int, method, path string, body document) {
	s.t.Helper()
	status, answer, err := s.call(method, path, body)
	if err != nil || status != want {
		s.t.Errorf("%s %s: %d %v %v, want %d", method, path, status, answer, err, want)
	}
}

// stream reads the events of a session from a cursor, but for what says ready, until one that is the last to be wanted.
func (s *server) stream(session, cursor string, last func(document) bool) (events []document) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/"+session+"/events?cursor="+url.QueryEscape(cursor), http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Accept", "application/x-ndjson")
	response, err := s.client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		var e document
		if json.Unmarshal(lines.Bytes(), &e) != nil || e["event"] == nil || e["event"] == "ready" {
			continue
		}
		events = append(events, e)
		if last(e) {
			return events
		}
	}
	s.t.Fatalf("the stream of %s from %s ended after %v", session, cursor, events)
	return nil
}

// pages are all pages of a list.
func (s *server) pages(path string) (all []document) {
	token := ""
	for {
		page := s.mustGet(path + "?pageSize=2&pageToken=" + url.QueryEscape(token))
		token, _ = page["nextPageToken"].(string)
		delete(page, "nextPageToken") // it is sealed anew each time
		if all = append(all, page); token == "" {
			return all
		}
	}
}

// everything is what clients can see of a server's sessions.
func (s *server) everything() document {
	all := document{}
	for id, each := range s.list() {
		all[id] = document{
			"session": each, "messages": s.pages("/" + id + "/messages"), "members": s.pages("/" + id + "/members"),
			"events": s.log(id),
		}
	}
	return all
}

// log are the events of a session's log that are kept.
func (s *server) log(id string) []document {
	head := s.mustGet("/" + id)["headSequence"]
	return s.stream(id, "beginning", func(e document) bool {
		return e["sequence"] == head || e["event"] == "reset" // it is being trimmed
	})
}

// populate makes sessions of all kinds, and what can be in them.
func populate(t *testing.T, s *server) (cursors map[string]string) {
	t.Helper()
	u1, u2 := s.as("user-1"), s.as("user-2")
	for i, id := range []string{"public", "private", "temporary", "trimmed", "ended"} {
		spec := draft(id)
		spec["sessionType"] = float64(i%3 + 1)
		if id == "trimmed" {
			spec["options"] = document{"historySize": 3}
		}
		s.mustPost("?sessionId="+id+"&requestId=create-"+id, spec)
	}
	s.mustPost("", draft("made by the server"))
	u1.mustPost("/public/join", document{"channels": []any{1, 7}})
	u2.mustPost("/public/join", document{})
	s.as("stranger").mustPost("/private/join", document{"secretKey": "secret of private"})
	cursors = map[string]string{"beginning": u1.mustPost("/public/messages", document{"message": document{"text": "first"}})["acknowledgment"].(string)}
	for i := range 200 { // some blocks
		u1.mustPost("/public/messages", document{"message": document{"text": fmt.Sprint("text ", i), "channel": 1 + i%2*6}})
	}
	cursors["middle"] = u1.mustPost("/public/messages", document{"message": document{
		"messageId": "of-the-client", "data": document{"a": []any{1, "é"}}, "metadata": document{"k": "v"},
	}})["acknowledgment"].(string)
	u2.mustPost("/public/messages", document{
		"message": document{"blob": "AAEC/w==", "contentType": "image/x", "replyTo": "of-the-client"}, "requestId": "once",
	})
	u2.mustPost("/public/leave", document{})
	u2.mustPost("/public/join", document{"channels": []any{7}})
	trimmed := ""
	u1.mustPost("/trimmed/join", document{})
	for i := range 10 {
		answer := u1.mustPost("/trimmed/messages", document{"message": document{"text": fmt.Sprint("text ", i)}})
		if i == 0 {
			trimmed = answer["acknowledgment"].(string)
		}
	}
	cursors["trimmed"] = trimmed
	u1.mustPost("/ended/join", document{})
	s.wantStatus(http.StatusOK, http.MethodDelete, "/ended?requestId=delete", nil)
	for deadline := time.Now().Add(time.Minute); len(s.log("trimmed")) > 3; { // it is trimmed within a second
		if time.Now().After(deadline) {
			t.Fatal("the log is not trimmed")
		}
	}
	return cursors
}

func runCopy(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	err = run(t.Context(), append([]string{"copy"}, args...), &out, &errs)
	return out.String(), err
}

// TestEverythingMovesToPostgreSQL has a server make everything in a data directory, and goes on with a server on
// PostgreSQL: clients notice nothing.
func TestEverythingMovesToPostgreSQL(t *testing.T) {
	dir, database := t.TempDir(), pgtest.Start(t).Database(t)
	before := startServer(t, dir)
	cursors := populate(t, before)
	want := before.everything()
	page := before.mustGet("?pageSize=2&orderBy=displayName")
	second := before.mustGet("?pageSize=2&orderBy=displayName&pageToken=" + page["nextPageToken"].(string))
	repeated := before.as("user-2").mustPost("/public/messages", document{
		"message": document{"blob": "AAEC/w==", "contentType": "image/x", "replyTo": "of-the-client"}, "requestId": "once",
	})
	head := before.mustGet("/public")["headSequence"]
	rest := before.as("user-1").stream("public", cursors["middle"], func(e document) bool { return e["sequence"] == head })
	before.signal(syscall.SIGTERM)
	before.wait()
	file, err := os.ReadFile(filepath.Join(dir, "parley.db"))
	if err != nil {
		t.Fatal(err)
	}

	stdout, err := runCopy(t, "--from", "sqlite://"+dir, "--to", database)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^Copied 5 sessions, 4 members, 21\d events, 1 ended sessions, 7 requestIds and 0 API keys in .*; all were counted\.
The key ring is in the database\.\n$`).MatchString(stdout) {
		t.Errorf("it says %q", stdout)
	}
	if after, err := os.ReadFile(filepath.Join(dir, "parley.db")); err != nil || !bytes.Equal(file, after) {
		t.Errorf("the source was changed (%v)", err)
	}

	t.Setenv("PARLEY_DATABASE_URL", database)
	s := startServer(t, t.TempDir())
	if diff := cmp.Diff(want, s.everything()); diff != "" {
		t.Fatalf("before and after (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(second, s.mustGet("?pageSize=2&orderBy=displayName&pageToken="+page["nextPageToken"].(string)),
		cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == `["nextPageToken"]` }, cmp.Ignore())); diff != "" {
		t.Errorf("the second page (-want +got):\n%s", diff)
	}
	u1, u2 := s.as("user-1"), s.as("user-2")
	if again := u2.mustPost("/public/messages", document{
		"message": document{"blob": "AAEC/w==", "contentType": "image/x", "replyTo": "of-the-client"}, "requestId": "once",
	}); !cmp.Equal(again, repeated) {
		t.Errorf("the repeated publish says %v, want %v", again, repeated)
	}
	spec := draft("private")
	if again := s.mustPost("?sessionId=private&requestId=create-private", spec); again["uid"] != s.mustGet("/private")["uid"] {
		t.Errorf("the repeated create says %v", again)
	}
	s.wantStatus(http.StatusOK, http.MethodDelete, "/ended?requestId=delete", nil)
	s.as("other").wantStatus(http.StatusForbidden, http.MethodPost, "/public/join", document{"secretKey": "another secret"})
	s.as("other").mustPost("/public/join", document{"secretKey": "secret of public"})

	heard := u1.stream("public", cursors["middle"], func(e document) bool { return e["event"] == "member.joined" && e["actor"] == "other" })
	if diff := cmp.Diff(rest, heard[:len(heard)-1]); diff != "" {
		t.Errorf("the stream from an old cursor (-want +got):\n%s", diff)
	}
	if head, next := sequenceOf(t, rest[len(rest)-1]), sequenceOf(t, heard[len(heard)-1]); next != head+1 {
		t.Errorf("the next event has the sequence %d, after %d", next, head)
	}
	reset := u1.stream("trimmed", cursors["trimmed"], func(document) bool { return true })
	if event := reset[0]["event"]; event != "reset" {
		t.Errorf("a cursor before what is kept is answered %v", event)
	}
	wantEtag(t, s, want)
	s.signal(syscall.SIGTERM)
	s.wait()
	wantBack(t, database, dir)
}

// wantEtag checks that etags are good, once.
func wantEtag(t *testing.T, s *server, want document) {
	t.Helper()
	etag := want["private"].(document)["session"].(document)["etag"]
	for _, status := range []int{http.StatusOK, http.StatusConflict} { // the second one has an old etag
		s.wantStatus(status, http.MethodPatch, "/private?updateMask=description", document{"etag": etag, "description": "new"})
	}
}

// wantBack copies the database back into another data directory, with the key ring that was in the first one.
func wantBack(t *testing.T, database, first string) {
	t.Helper()
	kept, err := postgres.LoadKeys(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "again")
	if _, err := runCopy(t, "--from", database, "--to", "sqlite://"+again); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{first, again} {
		ring, err := os.ReadFile(filepath.Join(dir, "server.key"))
		if err != nil || !bytes.Equal(ring, kept.Encode()) {
			t.Errorf("%s has another key ring than the database (%v)", dir, err)
		}
	}
	t.Setenv("PARLEY_DATABASE_URL", "")
	s := startServer(t, again)
	if n := len(s.as("other").mustGet("/public/members")["members"].([]any)); n != 3 {
		t.Errorf("the session has %d members", n)
	}
	s.as("another").mustPost("/public/join", document{"secretKey": "secret of public"})
}

// TestACopyChecksTheKeyRing before anything is moved.
func TestACopyChecksTheKeyRing(t *testing.T) {
	dir := t.TempDir()
	from, used := filepath.Join(dir, "from"), filepath.Join(dir, "used")
	s := startServer(t, from)
	s.signal(syscall.SIGTERM)
	s.wait()
	own, other := filepath.Join(from, keyfile.FileName), filepath.Join(used, keyfile.FileName)
	if err := os.Mkdir(used, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := keyfile.Load(other, true); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"another ring":               {[]string{"--to", "sqlite://" + filepath.Join(dir, "to"), "--server-key-file", other}, "made with another server key"},
		"a target with another ring": {[]string{"--to", "sqlite://" + used}, other + " has another key ring"},
	} {
		if _, err := runCopy(t, append(c.args, "--from", "sqlite://"+from)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	elsewhere := filepath.Join(dir, "elsewhere.key")
	if err := os.Rename(own, elsewhere); err != nil {
		t.Fatal(err)
	}
	if _, err := runCopy(t, "--from", "sqlite://"+from, "--to", "sqlite://"+used); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a ring: %v", err)
	}
	stdout, err := runCopy(t, "--from", "sqlite://"+from, "--to", "sqlite://"+used, "--server-key-file", elsewhere)
	if err != nil || !strings.Contains(stdout, "start the servers with --server-key-file "+elsewhere) {
		t.Errorf("with the ring: %q, %v", stdout, err)
	}
	if ring, err := os.ReadFile(other); err != nil || bytes.Contains(ring, mustRead(t, elsewhere)) {
		t.Errorf("the ring was put into the target (%v)", err)
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func sequenceOf(t *testing.T, e document) (n int64) {
	t.Helper()
	if _, err := fmt.Sscan(fmt.Sprint(e["sequence"]), &n); err != nil {
		t.Fatalf("the event %v: %v", e, err)
	}
	return n
}

// TestAStoreThatNoServerUsedMoves with its ring: a server begins with both.
func TestAStoreThatNoServerUsedMoves(t *testing.T) {
	dir, database := t.TempDir(), pgtest.Database(t)
	mustParley(t, "key", "create", "--role", "admin", "--name", "first", "--data-dir", dir)
	ring, err := keyfile.Load(filepath.Join(dir, keyfile.FileName), true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := runCopy(t, "--from", "sqlite://"+dir, "--to", database); err != nil {
		t.Fatal(err)
	}
	kept, err := postgres.LoadKeys(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept.Encode(), ring.Encode()) {
		t.Error("the database has another key ring")
	}
	t.Setenv("PARLEY_DATABASE_URL", database)
	startServer(t, t.TempDir())
}

func TestCopyRefuses(t *testing.T) {
	dir := t.TempDir()
	empty, full := filepath.Join(dir, "empty"), filepath.Join(dir, "full")
	if err := run(t.Context(), []string{"migrate", "up", "--data-dir", full}, &bytes.Buffer{}, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	used, link := t.TempDir(), filepath.Join(dir, "link.db")
	startServer(t, used)
	if err := os.Symlink(filepath.Join(used, "parley.db"), link); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ from, to, want string }{
		"another scheme":             {"mysql://u:hidden@h/n", "sqlite://" + empty, "--from: must be sqlite:///path"},
		"no scheme":                  {full, "sqlite://" + empty, "--from: must be sqlite:///path"},
		"no target":                  {"sqlite://" + full, "", "--to: must be sqlite:///path"},
		"a directory that is not":    {"sqlite://" + filepath.Join(dir, "none"), "sqlite://" + empty, filepath.Join(dir, "none")},
		"a directory without data":   {"sqlite://" + dir, "sqlite://" + empty, filepath.Join(dir, "parley.db")},
		"a target with a store":      {"sqlite://" + full, "sqlite://" + full, "there is a store already"},
		"a server that runs":         {"sqlite://" + used, "sqlite://" + empty, used + ": another server uses this data directory"},
		"a database that is not":     {"sqlite://" + full, "postgres://u:hidden@127.0.0.1:1/n", "--to: PostgreSQL: failed to connect"},
		"a database URL that is not": {"postgres://u:hidden@[", "sqlite://" + empty, "--from: must be a URL such as"},
		"a password with a slash":    {"postgres://u:1/hidden@127.0.0.1:1/n", "sqlite://" + empty, "--from: a user, password or name must"},
		"a password with an at":      {"sqlite://" + full, "postgres://u:a@hidden@127.0.0.1:1/n", "--to: a user, password or name must have %40"},
		"a target that is a file":    {"sqlite://" + full, "sqlite://" + filepath.Join(empty, "parley.db"), "name the data directory"},
		"a link to a server's file":  {"sqlite://" + link, "sqlite://" + empty, used + ": another server uses this data directory"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := runCopy(t, "--from", c.from, "--to", c.to)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("it says %v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "hidden") {
				t.Errorf("it says the password: %v", err)
			}
			if _, err := os.Stat(filepath.Join(empty, "parley.db")); err == nil {
				t.Error("a target was made")
			}
		})
	}
}
