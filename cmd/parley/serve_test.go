package main

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestSecondServer: a data directory has one server.
func TestSecondServer(t *testing.T) {
	dir := t.TempDir()
	first := startServer(t, dir)
	second := launch(t, "127.0.0.1:0", dir)
	if second.base != "" {
		t.Fatal("a second server runs on one data directory")
	}
	if code := second.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit status %d, want 1", code)
	}
	if want := "another server uses this data directory"; !strings.Contains(second.stderr.String(), want) {
		t.Errorf("it says %q, want %q", &second.stderr, want)
	}
	if status, _, err := first.call(http.MethodGet, "", nil); err != nil || status != http.StatusOK {
		t.Errorf("the first server: %d %v", status, err)
	}
}

// TestSyncsBeforeAnswers counts the flushes of the write-ahead log: each create that follows another's answer needs one
// of its own, before its answer.
func TestSyncsBeforeAnswers(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	if output, err := exec.Command(strace, "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		t.Skipf("strace does not work here: %v %s", err, output)
	}
	trace := filepath.Join(t.TempDir(), "trace")
	// -D: strace is the one that is detached, so that the process which we signal is the server.
	s := startServer(t, t.TempDir(), strace, "-D", "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", trace)
	before := countSyncs(t, trace)
	for i := 1; i <= 200; i++ {
		id := "s-" + strconv.Itoa(i)
		if status, answer, err := s.call(http.MethodPost, "?sessionId="+id, draft(id)); err != nil || status != http.StatusOK {
			t.Fatalf("create: %d %v %v", status, answer, err)
		}
		if syncs := countSyncs(t, trace) - before; syncs < i {
			t.Fatalf("%d flushes of the log before the answer of create %d", syncs, i)
		}
	}
}

// countSyncs counts the flushes of the write-ahead log that have succeeded.
func countSyncs(t *testing.T, trace string) int {
	t.Helper()
	content, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	syncs, underway := 0, make(map[string]bool) // by thread
	for line := range bytes.Lines(content) {
		text := strings.TrimSpace(string(line))
		thread, call, _ := strings.Cut(text, " ")
		switch done := strings.HasSuffix(text, "= 0"); {
		case strings.Contains(call, "unfinished"):
			underway[thread] = strings.Contains(call, "parley.db-wal")
		case done && (strings.Contains(call, "parley.db-wal") || strings.Contains(call, "resumed") && underway[thread]):
			syncs++
		}
	}
	return syncs
}
