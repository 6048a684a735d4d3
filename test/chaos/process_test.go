//go:build linux

package chaos_test

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// process is a program that ends when the tests do, however they end.
type process struct {
	command *exec.Cmd
	ended   chan struct{} // closed when the process has ended; then exit may be read
	exit    error
	output  output
}

// start starts a program. Each line that it writes is heard.
func start(command *exec.Cmd, heard func(line string)) (*process, error) {
	p := &process{command: command, ended: make(chan struct{}), output: output{heard: heard}}
	command.Stdout, command.Stderr = &p.output, &p.output
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The kernel counts the death of the thread that started the program as that of its parent.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			p.exit = command.Wait()
		}
		close(p.ended)
	}()
	return p, <-started
}

// signal sends a signal; if the process has ended, nobody gets it.
func (p *process) signal(s syscall.Signal) { _ = p.command.Process.Signal(s) }

// kill ends the process with SIGKILL, and waits for its end.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// dump ends a Go program that hangs: it says where.
func (p *process) dump() {
	p.signal(syscall.SIGQUIT)
	<-p.ended
}

// running tells whether the process has not ended.
func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// output keeps the last of what a process writes.
type output struct {
	heard func(line string)

	mu   sync.Mutex // guards the fields below
	kept []byte
	line []byte // the part of one that has come
}

const outputKept = 64 << 10

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept = append(o.kept, b...)
	if len(o.kept) > 2*outputKept {
		o.kept = append(o.kept[:0], o.kept[len(o.kept)-outputKept:]...)
	}
	o.line = append(o.line, b...)
	for {
		line, rest, whole := bytes.Cut(o.line, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		if o.heard != nil {
			o.heard(string(line))
		}
		o.line = rest
	}
}

// String is the last of what was written.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.kept)
}

// itself is a command that runs the binary of these tests, with more in its environment.
func itself(environment ...string) *exec.Cmd {
	command := exec.Command("/proc/self/exe")
	command.Env = append(os.Environ(), environment...)
	return command
}
