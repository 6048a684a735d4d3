package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// pulseEvery is how often it is looked whether the store can be reached.
const pulseEvery = time.Second

// pinger is a store that may get out of reach.
type pinger interface {
	// Ping is an error if it is. It answers within seconds.
	Ping(ctx context.Context) error
}

// readiness is whether the server is to be given work: what /readyz and gRPC's health say.
type readiness struct {
	log    *slog.Logger
	health *health.Server

	mu      sync.Mutex // guards the fields below
	serves  bool       // it has begun to, and is not about to stop
	outOf   bool       // reach: the store is
	leaving bool       // it is about to stop, and does not come back from that
}

func newReadiness(log *slog.Logger) *readiness {
	r := &readiness{log: log, health: health.NewServer()}
	r.tell()
	return r
}

// ready tells whether the server is.
func (r *readiness) ready() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.serves && !r.outOf
}

// begin says that the server serves.
func (r *readiness) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serves = !r.leaving
	r.tell()
}

// leave says that the server is about to stop.
func (r *readiness) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serves, r.leaving = false, true
	r.tell()
}

// tell requires mu, but for the first time. It tells gRPC's health.
func (r *readiness) tell() {
	status := healthv1.HealthCheckResponse_NOT_SERVING
	if r.serves && !r.outOf {
		status = healthv1.HealthCheckResponse_SERVING
	}
	r.health.SetServingStatus("", status)
}

// watch looks whether the store can be reached, until the context ends.
func (r *readiness) watch(ctx context.Context, store pinger) {
	tick := time.NewTicker(pulseEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := store.Ping(ctx); ctx.Err() == nil {
			r.note(err)
		}
	}
}

// note notes whether the store could be reached.
func (r *readiness) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.outOf == (err != nil) {
		return
	}
	r.outOf = err != nil
	r.tell()
	if r.outOf {
		r.log.Error("the store cannot be reached: not ready", "error", err)
	} else {
		r.log.Info("the store can be reached again")
	}
}
