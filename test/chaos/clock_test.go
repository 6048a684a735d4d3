//go:build linux

package chaos_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clockVariable names, for a server with a shifted clock, the file that has how many seconds the clock is ahead.
const clockVariable = "CHAOS_CLOCK"

// shiftedClock is added to package time. The file is mapped: a clock is shifted while the server runs. What measures how
// long something takes is not, as on a machine whose clock is set.
const shiftedClock = `package time

import (
	"syscall"
	"unsafe"
)

var ahead = mapAhead()

func mapAhead() *int64 {
	path, ok := syscall.Getenv("` + clockVariable + `")
	if !ok {
		return new(int64)
	}
	file, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	mapped, err := syscall.Mmap(file, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	return (*int64)(unsafe.Pointer(&mapped[0]))
}
`

// buildWithShiftedClock builds the server with a package time whose Now is ahead by what a file says. All of the server is
// compiled anew for that, unless Go's cache has it.
func buildWithShiftedClock(dir string) (string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	const reads = "sec, nsec, mono := runtimeNow()\n"
	before, after, found := strings.Cut(string(source), "func Now() Time {\n\t"+reads)
	if !found {
		return "", errors.New("time.Now is not what it was: the shifted clock has to be written anew")
	}
	patched := before + "func Now() Time {\n\t" + reads + "\tsec += *ahead\n" + after
	changed, added := filepath.Join(dir, "time.go"), filepath.Join(dir, "ahead.go")
	if err := errors.Join(os.WriteFile(changed, []byte(patched), 0o600), os.WriteFile(added, []byte(shiftedClock), 0o600)); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{
		"Replace": {original: changed, filepath.Join(filepath.Dir(original), "ahead.go"): added},
	})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return "", err
	}
	return build(filepath.Join(dir, "parley-shifted"), "-overlay", file)
}

// clock is the file that shifts a server's clock.
type clock struct{ path string }

func newClock(t *testing.T) *clock {
	c := &clock{path: filepath.Join(t.TempDir(), "clock")}
	if err := os.WriteFile(c.path, make([]byte, 8), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// shift sets how far the clock is ahead. The eight bytes are one write, to the page that the server has mapped.
func (c *clock) shift(ahead time.Duration) error {
	file, err := os.OpenFile(c.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(ahead/time.Second)), 0)
	return errors.Join(err, file.Close())
}
