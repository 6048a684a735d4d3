package keyfile_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/parleyhq/parley/internal/keyfile"
	"github.com/parleyhq/parley/internal/session"
)

func load(t *testing.T, path string, create bool) *session.KeyRing {
	t.Helper()
	keys, err := keyfile.Load(path, create)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// wantAlone checks that the file has the mode, and that nothing is beside it.
func wantAlone(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != mode {
		t.Errorf("Lstat = %v, %v, want a file of the mode %v", info, err, mode)
	}
	beside, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(beside) != 1 {
		t.Errorf("the directory has %v, %v, want the file alone", beside, err)
	}
}

func TestLoadMakesTheFileOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), keyfile.FileName)
	made := load(t, path, true)
	wantAlone(t, path, 0o600)
	for _, create := range []bool{true, false} {
		if !bytes.Equal(load(t, path, create).Encode(), made.Encode()) {
			t.Error("another ring was read than was made")
		}
	}
}

// atOnce does something many times at the same time.
func atOnce(times int, do func()) {
	var group sync.WaitGroup
	start := make(chan struct{})
	for range times {
		group.Go(func() {
			<-start
			do()
		})
	}
	close(start)
	group.Wait()
}

// TestLoadsAtOnceGetOneRing, the one that is on the disk, however many find no file.
func TestLoadsAtOnceGetOneRing(t *testing.T) {
	for range 20 {
		path := filepath.Join(t.TempDir(), keyfile.FileName)
		var rings sync.Map
		atOnce(16, func() {
			keys, err := keyfile.Load(path, true)
			if err != nil {
				t.Error(err)
				return
			}
			rings.Store(string(keys.Encode()), nil)
		})
		onDisk, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for ring := range rings.Range {
			if ring != string(onDisk) {
				t.Error("a ring was given out that is not the one on the disk")
			}
		}
		wantAlone(t, path, 0o600)
	}
}

// TestRotationsAtOnceKeepEachKey, also if some come by a link.
func TestRotationsAtOnceKeepEachKey(t *testing.T) {
	const rotations = 40
	path, link := filepath.Join(t.TempDir(), keyfile.FileName), filepath.Join(t.TempDir(), "link")
	load(t, path, true)
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	var turns atomic.Int32
	atOnce(rotations, func() {
		by := path
		if turns.Add(1)%2 == 0 {
			by = link
		}
		if err := keyfile.Rotate(by); err != nil {
			t.Error(err)
		}
		if _, err := keyfile.Load(by, true); err != nil { // as a server that starts meanwhile
			t.Error(err)
		}
	})
	keys := bytes.Count(load(t, path, false).Encode(), []byte("\n")) - 1 // less the comment
	if keys != rotations+1 {
		t.Errorf("the ring has %d keys, want the first and %d", keys, rotations)
	}
	wantAlone(t, path, 0o600)
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte("1 c2VjcmV0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		path   string
		create bool
		want   string
	}{
		"no file":       {filepath.Join(dir, "none"), false, "no such file"},
		"no directory":  {filepath.Join(dir, "none", "server.key"), true, "no such file"},
		"a broken file": {bad, true, "bad: line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := keyfile.Load(test.path, test.create)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "server key: ") {
				t.Errorf("Load = %v, want an error about the server key that says %q", err, test.want)
			}
		})
	}
	if err := keyfile.Rotate(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Rotate = %v, want %v", err, fs.ErrNotExist)
	}
	if err := keyfile.Rotate(bad); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("Rotate = %v, want an error that names the line", err)
	}
	if text, err := os.ReadFile(bad); err != nil || string(text) != "1 c2VjcmV0\n" {
		t.Errorf("the broken file is %q, %v", text, err)
	}
}

func TestRotateAddsAKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), keyfile.FileName)
	before := load(t, path, true)
	if err := keyfile.Rotate(path); err != nil {
		t.Fatal(err)
	}
	wantAlone(t, path, 0o600)
	after := load(t, path, false)
	if !bytes.HasPrefix(after.Encode(), before.Encode()) || len(after.Encode()) == len(before.Encode()) {
		t.Error("the ring is not the one before and a key")
	}
	if !bytes.Equal(after.Fingerprint(), before.Fingerprint()) {
		t.Error("the ring has another fingerprint: the store would refuse it")
	}
}

func TestRotateKeepsTheModeAndTheLink(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "real", keyfile.FileName), filepath.Join(dir, "link")
	if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), os.Symlink(path, link)); err != nil {
		t.Fatal(err)
	}
	load(t, path, true)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := keyfile.Rotate(link); err != nil {
		t.Fatal(err)
	}
	wantAlone(t, path, 0o640)
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("Lstat = %v, %v, want the link", info, err)
	}
}

func TestPutKeepsARingThatIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), keyfile.FileName)
	ring, other := session.NewKeyRing(), session.NewKeyRing()
	if err := keyfile.Check(path, ring); err != nil {
		t.Errorf("Check without a file = %v", err)
	}
	for range 2 {
		if err := keyfile.Put(path, ring); err != nil {
			t.Fatal(err)
		}
	}
	wantAlone(t, path, 0o600)
	for name, err := range map[string]error{"Put": keyfile.Put(path, other), "Check": keyfile.Check(path, other)} {
		if err == nil || !strings.Contains(err.Error(), path+" has another key ring") {
			t.Errorf("%s of another ring = %v", name, err)
		}
	}
	if !bytes.Equal(load(t, path, false).Encode(), ring.Encode()) {
		t.Error("the ring was replaced")
	}
}
