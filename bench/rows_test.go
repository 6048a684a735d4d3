//go:build linux

package main

import (
	"os"
	"strings"
	"testing"
)

func TestSelectRows(t *testing.T) {
	tests := []struct {
		list          string
		server, scale bool
		want          string
		fails         bool
	}{
		{"create64,get64", true, false, "echo64, create64, echoget64, get64", false},
		{"update64", true, false, "echo64, update64", false},
		{"", false, false, "echo1, echo32, echo64, echo256, echoget64, echopublish64", false},
		{"", true, true, "get64, list64, create64", false},
		{"list64", true, true, "list64", false},
		{"publish64x1", true, false, "echopublish64, publish64x1", false},
		{"echo64", true, true, "", true},
		{"create65", true, false, "", true},
	}
	for _, tt := range tests {
		rows, err := selectRows(tt.list, tt.server)
		if tt.scale {
			rows, err = selectServerRows(tt.list, scaleRows())
		}
		if (err != nil) != tt.fails || rowNames(rows) != tt.want {
			t.Errorf("%q selects %q (error %v), want %q", tt.list, rowNames(rows), err, tt.want)
		}
	}
}

func TestEveryRowIsHeldAgainstTheSameConnections(t *testing.T) {
	rows := map[string]row{}
	for _, r := range allRows() {
		rows[r.name] = r
		if r.onEcho() {
			continue
		}
		if base, ok := rows[r.base]; !ok || base.conns != r.conns {
			t.Errorf("%s is held against %q, which does not come before it with %d connections", r.name, r.base, r.conns)
		}
	}
}

func TestOwnProcessIsMeasured(t *testing.T) {
	if n, err := residentBytes(os.Getpid()); err != nil || n < 1<<20 {
		t.Errorf("resident: %d bytes, %v", n, err)
	}
	if _, err := processorTime(os.Getpid()); err != nil {
		t.Errorf("processor time: %v", err)
	}
	if n, err := writtenBytes(os.Getpid()); err != nil || n < 0 {
		t.Errorf("written: %d bytes, %v", n, err)
	}
	if kind, device, err := fileSystem(t.TempDir()); err != nil || kind == "" || device == "" {
		t.Errorf("file system %q on %q, %v", kind, device, err)
	}
	if _, err := processorTime(-1); err == nil || !strings.Contains(err.Error(), "/proc/-1/stat") {
		t.Errorf("processor time of no process: %v", err)
	}
}
