//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	syncWrites = 200
	pageSize   = 4096
)

// syncLatency holds the median of a 4 KiB write with its fdatasync: at the end
// of a growing file, where the file system has to record the new length too,
// and over pages that exist already, as a write-ahead log is reused.
type syncLatency struct {
	appending, overwriting time.Duration
}

func measureSync(dir string) (syncLatency, error) {
	file, err := os.CreateTemp(dir, "fsync-*")
	if err != nil {
		return syncLatency{}, err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	defer func() { _ = file.Close() }()
	appending, err := medianSync(file)
	if err != nil {
		return syncLatency{}, err
	}
	overwriting, err := medianSync(file)
	return syncLatency{appending, overwriting}, err
}

func medianSync(file *os.File) (time.Duration, error) {
	page := make([]byte, pageSize)
	took := make([]time.Duration, 0, syncWrites)
	for i := range syncWrites {
		page[0]++
		began := time.Now()
		if _, err := file.WriteAt(page, int64(i)*pageSize); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(int(file.Fd())); err != nil {
			return 0, fmt.Errorf("fdatasync: %w", err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// fileSystem names the type and the device of the mount that holds the
// directory.
func fileSystem(dir string) (kind, device string, err error) {
	dir, err = filepath.EvalSymlinks(dir)
	if err != nil {
		return "", "", err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", "", err
	}
	longest := -1
	for line := range strings.Lines(string(mounts)) {
		// "36 35 98:0 /root /mount/point options - ext4 /dev/sda1 options"
		left, right, _ := strings.Cut(line, " - ")
		where, what := strings.Fields(left), strings.Fields(right)
		if len(where) < 5 || len(what) < 2 || !within(dir, where[4]) {
			continue
		}
		if len(where[4]) >= longest { // of equals, the later mount covers the earlier
			longest, kind, device = len(where[4]), what[0], what[1]
		}
	}
	if longest < 0 {
		return "", "", fmt.Errorf("no mount holds %s", dir)
	}
	return kind, device, nil
}

func within(dir, mount string) bool {
	return mount == "/" || dir == mount || strings.HasPrefix(dir, mount+"/")
}
