package natsapi

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/parleyhq/parley/internal/fault"
)

// stats are what an endpoint adds to what the library counts: that does not see the answers, which are given on other
// goroutines.
type stats struct {
	mu        sync.Mutex // guards the fields below
	answered  int64
	errors    int64
	lastError string // its reason
	took      time.Duration
}

// statsJSON is stats as they are answered, in the manner of the library's own.
type statsJSON struct {
	Answered              int64         `json:"answered"`
	Errors                int64         `json:"errors"`
	LastError             string        `json:"last_error,omitempty"`
	ProcessingTime        time.Duration `json:"processing_time"`
	AverageProcessingTime time.Duration `json:"average_processing_time"`
}

// add counts an answer; f is nil if it is none of a fault.
func (s *stats) add(took time.Duration, f *fault.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered++
	s.took += took
	if f != nil {
		s.errors++
		s.lastError = f.Reason
	}
}

// statsOf implements micro.StatsHandler.
func (a *API) statsOf(e *micro.Endpoint) any {
	s := a.stats[e.Name]
	s.mu.Lock()
	defer s.mu.Unlock()
	return statsJSON{
		Answered: s.answered, Errors: s.errors, LastError: s.lastError, ProcessingTime: s.took,
		AverageProcessingTime: s.took / time.Duration(max(s.answered, 1)),
	}
}
