package natsapi

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/parleyhq/parley/internal/fault"
)

// stats are of an endpoint's answers.
type stats struct {
	mu     sync.Mutex // guards counts
	counts micro.EndpointStats
}

// add counts an answer; f is nil if it is none of a fault.
func (s *stats) add(took time.Duration, f *fault.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.NumRequests++
	s.counts.ProcessingTime += took
	if f != nil {
		s.counts.NumErrors++
		s.counts.LastError = f.Reason
	}
}

func (s *stats) read() micro.EndpointStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := s.counts
	counts.AverageProcessingTime = counts.ProcessingTime / time.Duration(max(counts.NumRequests, 1))
	return counts
}
