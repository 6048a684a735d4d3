package natsapi_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/natsapi"
)

// command is the nats command line, which make builds. Without it its test is skipped; if the environment variable is
// "require" then it fails.
const (
	command         = "../../.bin/nats"
	requireVariable = "TEST_PARLEY_NATS_CLI"
)

// natsCommand is the command with the arguments, as a user.
func (r *rig) natsCommand(t *testing.T, user string, arguments ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), command, append([]string{
		"--server", r.bus.ClientURL(), "--token", user, "--inbox-prefix", natsapi.InboxPrefix(user), "--no-context", "--timeout", "20s",
	}, arguments...)...)
	c.Env = append(os.Environ(), "HOME="+t.TempDir(), "NO_COLOR=1")
	c.Stderr = os.Stderr
	return c
}

// natsRequest is the answer to a request by the command.
func (r *rig) natsRequest(t *testing.T, user, subject, body string) map[string]any {
	t.Helper()
	output, err := r.natsCommand(t, user, "request", "--raw", "--no-templates", "-H", "Authorization: Bearer "+user, sessions+subject, body).Output()
	if err != nil {
		t.Fatalf("nats request %s: %v: %s", subject, err, output)
	}
	var answer map[string]any
	if err := json.Unmarshal(output, &answer); err != nil {
		t.Fatalf("nats request %s: %v: %s", subject, err, output)
	}
	return answer
}

func TestTheNATSCommandLine(t *testing.T) {
	if _, err := os.Stat(command); errors.Is(err, fs.ErrNotExist) {
		if os.Getenv(requireVariable) == "require" {
			t.Fatal("the nats command line is missing: make .bin/nats")
		}
		t.Skip("the nats command line is missing: make .bin/nats")
	}
	r := start(t)
	if made := r.natsRequest(t, "ada", "desk-7.create", `{"session":`+draft(1, "ada")+`}`); made["name"] != "sessions/desk-7" {
		t.Fatalf("create = %v", made)
	}
	if joined := r.natsRequest(t, "ada", "desk-7.join", "{}"); joined["cursor"] == nil {
		t.Fatalf("join = %v", joined)
	}

	subscriber := r.natsCommand(t, "ada", "subscribe", "--raw", "--count", "1", sessions+"desk-7.events.1")
	output, err := subscriber.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := subscriber.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(output).ReadString('\n')
		lines <- line
		io.Copy(io.Discard, output)
	}()
	published := map[string]bool{} // their acknowledgments; it is not known when the subscriber is there
	line := ""
	for deadline := time.Now().Add(time.Minute); line == ""; {
		if time.Now().After(deadline) {
			subscriber.Process.Kill()
			t.Fatal("the subscriber got nothing")
		}
		answer := r.natsRequest(t, "ada", "desk-7.publish", `{"message":{"text":"hello from the shell"}}`)
		published[answer["acknowledgment"].(string)] = true
		select {
		case line = <-lines:
		default:
		}
	}
	var event struct {
		Cursor  string
		Message struct{ Text string }
	}
	if err := json.Unmarshal([]byte(line), &event); err != nil || event.Message.Text != "hello from the shell" || !published[event.Cursor] {
		t.Errorf("the subscriber got %q, %v; published was %v", line, err, published)
	}
	if err := subscriber.Wait(); err != nil {
		t.Error(err)
	}
	micro, err := r.natsCommand(t, "ada", "micro", "list").Output()
	if err != nil || !strings.Contains(string(micro), "parley") {
		t.Errorf("nats micro list = %v: %s", err, micro)
	}
}
