//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// stopTimeout is what a child gets to end after SIGTERM, before SIGKILL.
const stopTimeout = 20 * time.Second

// child is a server that runs until it is stopped or the context ends.
type child struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	log    string        // the file that holds its standard error
	ended  chan struct{} // closed after the process is gone
}

// command prepares a child that is ended by its own process id: the terminal's
// Ctrl-C does not reach it, because it is in a process group of its own, and
// should this process be killed, the kernel ends it.
func command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	return cmd
}

// start runs the program with its standard error in the file log.
func start(ctx context.Context, log string, stdout *os.File, path string, args ...string) (*child, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // the child has a descriptor of its own
	ctx, cancel := context.WithCancel(ctx)
	cmd := command(ctx, path, args...)
	cmd.Stderr = file
	if stdout != nil {
		cmd.Stdout = stdout
	}
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	c := &child{cmd: cmd, cancel: cancel, log: log, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended matters only to who finds it gone
		close(c.ended)
	}()
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

func (c *child) stop() {
	c.cancel()
	<-c.ended
}

// lastWords quotes the end of what the child has written to standard error.
func (c *child) lastWords() string {
	const kept = 2000
	file, err := os.Open(c.log)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = file.Close() }()
	_, _ = file.Seek(-kept, io.SeekEnd) // from the beginning, if there is less
	text, err := io.ReadAll(io.LimitReader(file, kept))
	if err != nil {
		return err.Error()
	}
	if len(text) == 0 {
		return "its log is empty"
	}
	return "its log ends with:\n" + strings.TrimSpace(string(text))
}

// startEcho runs the echo server as a child and returns its address.
func startEcho(ctx context.Context, log string) (c *child, addr string, err error) {
	c, err = startSelf(ctx, log, []any{&addr}, "echo", "--listen", "127.0.0.1:0")
	return c, addr, err
}

// startSelf runs one of this program's parts as a child, and scans the line that it
// begins with.
func startSelf(ctx context.Context, log string, line []any, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = read.Close() }()
	c, err := start(ctx, log, write, self, args...)
	_ = write.Close()
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fscanln(read, line...); err != nil {
		c.stop()
		return nil, fmt.Errorf("bench %s did not start: %s", args[0], c.lastWords())
	}
	return c, nil
}

// load runs the generator in a process of its own, which writes its progress
// and why it failed to standard error.
func load(ctx context.Context, c loadConfig, stderr io.Writer) (loadResult, error) {
	self, err := os.Executable()
	if err != nil {
		return loadResult{}, err
	}
	var stdout bytes.Buffer
	cmd := command(ctx, self, "load",
		"-addr", c.Addr,
		"-action", string(c.Action),
		"-conns", strconv.Itoa(c.Conns),
		"-loops", strconv.Itoa(min(c.Loops, c.Conns)),
		"-ids", strconv.Itoa(c.IDs),
		"-seed", strconv.FormatUint(c.Seed, 10),
		"-users", strconv.Itoa(c.Users),
		"-key", c.Key,
		"-pid", joinNumbers(c.PIDs),
		"-database", strconv.Itoa(c.Database),
		"-requests", strconv.FormatInt(c.Requests, 10),
		"-warmup", c.Warmup.String(),
		"-duration", c.Duration.String(),
	)
	cmd.Stdout, cmd.Stderr = &stdout, stderr
	if err := cmd.Run(); err != nil {
		return loadResult{}, fmt.Errorf("load generator: %w", err)
	}
	var result loadResult
	if err := json.Unmarshal(stdout.Bytes(), &result); err != nil {
		return loadResult{}, fmt.Errorf("report of the load generator: %w", err)
	}
	return result, nil
}

func joinNumbers(numbers []int) string {
	texts := make([]string, len(numbers))
	for i, n := range numbers {
		texts[i] = strconv.Itoa(n)
	}
	return strings.Join(texts, ",")
}

// parseNumbers reads what joinNumbers writes.
func parseNumbers(list string) ([]int, error) {
	var numbers []int
	for text := range strings.SplitSeq(list, ",") {
		if list == "" {
			break
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}
