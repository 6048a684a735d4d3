//go:build !linux

package rest

import (
	"syscall"
	"time"
)

// tryWrite writes nothing: every write is left to a goroutine.
func tryWrite(syscall.RawConn, []byte) (int, error) { return 0, nil }

// hasLeft does not know: a client that has gone is noticed by the next write.
func hasLeft(syscall.RawConn) bool { return false }

func endWhenStalled(syscall.RawConn, time.Duration) {}
