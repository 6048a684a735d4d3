package rpc

import (
	"time"

	"google.golang.org/grpc"
)

// MaxUnnamed is for tests.
const MaxUnnamed = maxUnnamed

// Timing is timing, for tests; what is zero is as it is for all.
type Timing struct{ Slow, Unfinished, Stall, Grace, Look time.Duration }

// NewServerOf is NewServer with another timing.
func NewServerOf(config Config, t Timing) *grpc.Server {
	changed := defaultTiming
	for of, to := range map[*time.Duration]time.Duration{
		&changed.slow: t.Slow, &changed.unfinished: t.Unfinished, &changed.stall: t.Stall, &changed.grace: t.Grace, &changed.look: t.Look,
	} {
		if to != 0 {
			*of = to
		}
	}
	return newServer(config, changed)
}
