//go:build !linux

package gate

import "time"

func sleep(d time.Duration) { time.Sleep(d) }
