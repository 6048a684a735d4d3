package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestEventSourceResumes drives the npm package of browsers' EventSource: when the server is killed and comes back, the
// client does too, by itself and with its last event id, and misses nothing.
func TestEventSourceResumes(t *testing.T) {
	node := installEventSource(t)
	dir := t.TempDir()
	s := startServer(t, dir)
	spec := draft("talk")
	delete(spec, "secretKey")
	s.mustPost("?sessionId=talk", spec)
	s.mustPost("/talk/join", document{})
	lines := node.listen(t, s.base+"/talk/events")
	lines.want(t, "ready")

	uid, next := "", 1
	say := func(n int) {
		for range n {
			answer := s.mustPost("/talk/messages", document{"message": document{"text": fmt.Sprint("text-", next)}})
			uid, _, _ = strings.Cut(answer["acknowledgment"].(string), ":")
			next++
		}
	}
	hears := func(from, to int) {
		for i := from; i <= to; i++ {
			lines.want(t, fmt.Sprintf("message %s:%d text-%d", uid, i+2, i)) // after the creation and the join
		}
	}
	say(3)
	hears(1, 3)
	address := strings.TrimPrefix(s.base, "http://")
	address, _, _ = strings.Cut(address, "/")
	s.kill()
	s = startServerAt(t, address, dir)
	say(3) // perhaps before the client is back
	lines.want(t, "ready")
	hears(4, 6)
}

// eventSource is a folder with the client and what it needs.
type eventSource struct{ dir string }

func installEventSource(t *testing.T) eventSource {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: the npm client is not tested", tool)
		}
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "eventsource"))); err != nil {
		t.Fatal(err)
	}
	install := exec.Command("npm", "ci", "--ignore-scripts")
	install.Dir = dir
	if output, err := install.CombinedOutput(); err != nil {
		t.Skipf("npm ci: %v; the npm client is not tested\n%s", err, output)
	}
	return eventSource{dir: dir}
}

// heardLines are the lines that a client prints.
type heardLines chan string

func (e eventSource) listen(t *testing.T, url string) heardLines {
	t.Helper()
	return e.start(t, exec.Command("node", "client.mjs", url))
}

// start starts a client in the folder.
func (e eventSource) start(t *testing.T, client *exec.Cmd) heardLines {
	t.Helper()
	client.Dir = e.dir
	pipe, err := client.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	client.Stderr = os.Stderr
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(heardLines, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for scanner := bufio.NewScanner(pipe); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		_ = client.Process.Kill()
		<-done
		_ = client.Wait()
	})
	return lines
}

// next is what the client says next.
func (l heardLines) next(t *testing.T) string {
	t.Helper()
	select {
	case line := <-l:
		return line
	case <-time.After(30 * time.Second):
		t.Fatal("the client says nothing more")
		return ""
	}
}

func (l heardLines) want(t *testing.T, want string) {
	t.Helper()
	if got := l.next(t); got != want {
		t.Fatalf("the client says %q, want %q", got, want)
	}
}
