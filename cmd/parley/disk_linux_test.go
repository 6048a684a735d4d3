package main

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// smallDisk is a directory with room for 8 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("a small disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return disk
}

// TestACopyOntoADiskThatIsTooSmall says so, and leaves nothing there.
func TestACopyOntoADiskThatIsTooSmall(t *testing.T) {
	from, to := longStore(t), filepath.Join(smallDisk(t), "data")
	_, err := runCopy(t, "--from", "sqlite://"+from, "--to", "sqlite://"+to)
	if err == nil || !strings.Contains(err.Error(), filepath.Join(to, "parley.db.part")+": database or disk is full") {
		t.Errorf("it says %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(to, "parley.db*")); err != nil || left != nil {
		t.Errorf("%v is left (%v)", left, err)
	}
}

// TestDiskFull fills the disk under a server, and makes room again.
func TestDiskFull(t *testing.T) {
	disk := smallDisk(t)
	dir, ballast := filepath.Join(disk, "data"), filepath.Join(disk, "ballast")
	s := startServer(t, dir)
	kept := make(map[string]document)
	create := func(id string) (int, document) {
		t.Helper()
		large := draft(id)
		large["options"] = document{"x": strings.Repeat("x", 50<<10)}
		status, answer, err := s.call(http.MethodPost, "?sessionId="+id, large)
		if err != nil {
			t.Fatalf("create: %v\n%s", err, &s.stderr)
		}
		if status == http.StatusOK {
			kept[id] = answer
		}
		return status, answer
	}
	if status, answer := create("first"); status != http.StatusOK {
		t.Fatalf("create: %d %v", status, answer)
	}
	fill(t, ballast)
	refused := 0
	for i := 0; refused < 20 && i < 1000; i++ {
		status, answer := create("s-" + strconv.Itoa(i))
		if status == http.StatusOK {
			continue
		}
		refused++
		if reason := reasonOf(answer); status != http.StatusServiceUnavailable || reason != "DISK_FULL" {
			t.Errorf("create on a full disk: %d %v, want 503 and DISK_FULL", status, answer)
		}
		wantKept(t, s, kept)
	}
	if refused == 0 {
		t.Fatal("the disk did not get full")
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if status, answer := create("after"); status != http.StatusOK {
		t.Errorf("create when there is room again: %d %v", status, answer)
	}
	wantKept(t, s, kept)
	s.kill()
	wantKept(t, startServer(t, dir), kept)
}

// wantKept checks that the server has the sessions, and no others.
func wantKept(t *testing.T, s *server, kept map[string]document) {
	t.Helper()
	l := ledger{kept: kept}
	l.check(t, s.list())
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for err == nil {
		_, err = file.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// reasonOf is the reason in an error's details.
func reasonOf(answer document) string {
	failure, _ := answer["error"].(document)
	details, _ := failure["details"].([]any)
	for _, each := range details {
		detail, _ := each.(document)
		if reason, ok := detail["reason"].(string); ok {
			return reason
		}
	}
	return ""
}
