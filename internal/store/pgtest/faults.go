//go:build unix

package pgtest

import "syscall"

// OutOfMemory kills the server as the kernel does when there is no memory left: its processes have no time to say anything.
// Until they too have ended, Start fails.
func (s *Server) OutOfMemory() { s.end(syscall.SIGKILL) }

// EndConnections ends all connections to databases from the server's side.
func (s *Server) EndConnections() error {
	return s.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IS NOT NULL AND pid <> pg_backend_pid()")
}
