package gate

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// sleep sleeps on a thread of its own, which is exact.
func sleep(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	for errors.Is(unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &t, &t), unix.EINTR) {
	}
}
