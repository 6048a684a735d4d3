//go:build unix

package keyfile

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockDir keeps others who lock the directory out, until the file is closed or the process ends. It waits for them. The
// directory itself is locked: a file beside the ring would stay there, and the ring's own is replaced.
func lockDir(path string) (*os.File, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: lock: %w", path, err), dir.Close())
	}
	return dir, nil
}
