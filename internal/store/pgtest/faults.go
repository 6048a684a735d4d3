//go:build unix

package pgtest

import (
	"syscall"
	"time"
)

// Stop ends the server: SIGINT in good order, SIGQUIT without, and SIGKILL as the kernel does that is out of memory.
func (s *Server) Stop(signal syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	_ = s.process.Signal(signal) // fails if it has ended
	<-s.exited
	s.process = nil
}

// Begin starts the server again on what is on the disk. Processes that outlived a killed server have their time to end.
func (s *Server) Begin() error {
	const patience, pause = 30 * time.Second, 100 * time.Millisecond
	for deadline := time.Now().Add(patience); ; {
		err := s.run()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		<-time.After(pause)
	}
}

// EndConnections ends all connections to databases from the server's side.
func (s *Server) EndConnections() error {
	return s.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IS NOT NULL AND pid <> pg_backend_pid()")
}
