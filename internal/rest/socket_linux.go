package rest

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tryWrite writes what the socket takes without waiting.
func tryWrite(raw syscall.RawConn, b []byte) (n int, err error) {
	failed := raw.Write(func(fd uintptr) bool {
		n, err = unix.SendmsgN(int(fd), b, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		return true
	})
	n = max(n, 0)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		err = nil
	}
	return n, errors.Join(err, failed)
}

// hasLeft tells whether the client has closed its end, or the connection is broken.
func hasLeft(raw syscall.RawConn) bool {
	left := false
	failed := raw.Control(func(fd uintptr) {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(poll, 0)
		left = err == nil && n > 0 && poll[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return left || failed != nil
}

// endWhenStalled makes the system end the connection when nothing of what was written is confirmed for long: the client,
// or the way to it, is gone.
func endWhenStalled(raw syscall.RawConn, stall time.Duration) {
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(stall.Milliseconds()))
	})
}
