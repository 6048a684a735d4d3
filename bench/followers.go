//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// followers are streams that a process of its own reads.
type followers struct {
	cmd     *exec.Cmd
	cancel  context.CancelFunc
	stdin   io.WriteCloser
	reports *json.Decoder
	opened  followReport
	done    bool // it has reported its end
}

// follow opens streams and returns when all of them are ready, so that nothing
// that is published from then on may be missing on any.
func follow(ctx context.Context, c followConfig, stderr io.Writer) (*followers, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	f := &followers{cmd: command(ctx, self, c.arguments()...), cancel: cancel}
	f.cmd.Stderr = stderr
	if err := f.start(); err != nil {
		cancel()
		return nil, err
	}
	if f.opened, err = f.await(stageOpen); err != nil {
		f.stop()
		return nil, err
	}
	return f, nil
}

func (f *followers) start() error {
	stdout, err := f.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	f.reports = json.NewDecoder(stdout)
	if f.stdin, err = f.cmd.StdinPipe(); err != nil {
		return err
	}
	return f.cmd.Start()
}

// await returns the next report, which must be of the stage.
func (f *followers) await(stage string) (followReport, error) {
	var r followReport
	if err := f.reports.Decode(&r); err != nil {
		return r, fmt.Errorf("the followers ended before they were at %q: %w", stage, err)
	}
	if r.Stage != stage {
		return r, fmt.Errorf("the followers are at %q, want %q", r.Stage, stage)
	}
	return r, nil
}

// finish tells the followers how many messages there were, over all streams, and
// returns what came.
func (f *followers) finish(total int64) (followReport, error) {
	if _, err := fmt.Fprintln(f.stdin, total); err != nil {
		return followReport{}, fmt.Errorf("the followers are gone: %w", err)
	}
	r, err := f.await(stageEnd)
	f.done = err == nil
	return r, err
}

// stop ends the process, if it has not ended by itself. Its standard input tells
// it that nobody is left to report to; one that has reported its end is on its
// way out anyway.
func (f *followers) stop() {
	if !f.done {
		f.cancel()
	}
	_ = f.stdin.Close()
	_ = f.cmd.Wait() // how it ended was in its reports
	f.cancel()
}
