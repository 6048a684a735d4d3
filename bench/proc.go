//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of the times in /proc/PID/stat. The kernel converts to
// a hundredth of a second for user space on every architecture that Go runs on,
// whatever its own timer does.
const clockTick = time.Second / 100

// processorTime returns what all threads of the process have used, user and
// system.
func processorTime(pid int) (time.Duration, error) {
	if pid == 0 {
		return 0, nil
	}
	stat, err := readStat(pid)
	return stat.used, err
}

// processStat is what /proc/PID/stat says of a process.
type processStat struct {
	parent int
	used   time.Duration // by all its threads
	buried time.Duration // by its children that have ended and were waited for, and theirs
}

func readStat(pid int) (processStat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return processStat{}, err
	}
	// The second field is the program's name in parentheses and may contain
	// anything, also spaces and parentheses. "S ppid ..."; from the 12th on utime,
	// stime, cutime and cstime.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 15 {
		return processStat{}, fmt.Errorf("/proc/%d/stat has %d fields after the name", pid, len(fields))
	}
	var numbers [5]int64
	for i, place := range [5]int{1, 11, 12, 13, 14} {
		if numbers[i], err = strconv.ParseInt(fields[place], 10, 64); err != nil {
			return processStat{}, err
		}
	}
	return processStat{
		parent: int(numbers[0]),
		used:   time.Duration(numbers[1]+numbers[2]) * clockTick,
		buried: time.Duration(numbers[3]+numbers[4]) * clockTick,
	}, nil
}

// familyTime returns what the process and its children have used, also those that
// have ended: PostgreSQL is such a family. 0 is no process.
func familyTime(pid int) (time.Duration, error) {
	if pid == 0 {
		return 0, nil
	}
	stat, err := readStat(pid)
	if err != nil {
		return 0, err
	}
	total := stat.used + stat.buried
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	for text := range strings.FieldsSeq(string(children)) {
		child, err := strconv.Atoi(text)
		if err != nil {
			return 0, err
		}
		if stat, err := readStat(child); err == nil { // else it has ended meanwhile
			total += stat.used + stat.buried
		}
	}
	return total, nil
}

// machineTime returns what all processes have used of all processors, with what
// the hypervisor gave to others.
func machineTime() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	// "cpu user nice system idle iowait irq softirq steal guest guest_nice";
	// the guests are part of user and nice.
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	var ticks int64
	for i, field := range fields[1:9] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		if idle := i == 3 || i == 4; !idle {
			ticks += n
		}
	}
	return time.Duration(ticks) * clockTick, nil
}

// residentBytes returns VmRSS of the process.
func residentBytes(pid int) (int64, error) {
	kilobytes, err := procField(pid, "status", "VmRSS:")
	return kilobytes << 10, err
}

// writtenBytes returns what the process has sent to the storage layer, in whole
// pages: of the server, the write-ahead log with all its overhead, and what
// checkpoints copy into the database. On a tmpfs it is 0.
func writtenBytes(pid int) (int64, error) {
	if pid == 0 {
		return 0, nil
	}
	return procField(pid, "io", "write_bytes:")
}

func procField(pid int, file, name string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == name {
			return strconv.ParseInt(fields[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc/%d/%s has no %s", pid, file, name)
}
