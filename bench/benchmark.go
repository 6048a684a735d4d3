//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// bench is one benchmark in progress.
type bench struct {
	options options
	stderr  io.Writer
	space   *workspace
	path    string // of the server, empty without one
	facts   facts
	syncs   []syncLatency
	failed  []string // what went wrong in which cell
}

// facts head the output.
type facts struct {
	kind, device string // of the file system
	binary       int64
	server       *server
	idle, loaded int64 // resident bytes
}

// benchmark measures what the options ask for and prints it. Only errors of the
// requests fail it, never a figure.
func benchmark(ctx context.Context, o options, stdout, stderr io.Writer) error {
	space, err := newWorkspace(o.dataDir)
	if err != nil {
		return err
	}
	defer space.remove()
	b := &bench{options: o, stderr: stderr, space: space}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	if len(o.scale) > 0 {
		err = b.scale(ctx, stdout)
	} else {
		err = b.compare(ctx, stdout)
	}
	if err != nil {
		return err
	}
	for _, what := range b.failed {
		fmt.Fprintln(stdout, "! "+what)
	}
	if n := len(b.failed); n > 0 {
		return fmt.Errorf("%d runs had errors: their figures are not to be trusted", n)
	}
	return nil
}

func (b *bench) prepare(ctx context.Context) error {
	var err error
	if b.facts.kind, b.facts.device, err = fileSystem(b.space.data); err != nil {
		return err
	}
	switch b.options.server {
	case "none":
		return nil
	case "":
		fmt.Fprintln(b.stderr, "building the server")
		b.path, err = b.space.build(ctx, b.stderr)
	default:
		b.path, err = filepath.Abs(b.options.server)
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(b.path)
	if err != nil {
		return err
	}
	b.facts.binary = info.Size()
	return nil
}

// compare runs the rows round after round, the echo's and the server's in turn.
func (b *bench) compare(ctx context.Context, stdout io.Writer) error {
	echo, echoAddr, err := startEcho(ctx, filepath.Join(b.space.programs, "echo.log"))
	if err != nil {
		return err
	}
	defer echo.stop()
	if b.path != "" {
		if err := b.startMeasured(ctx); err != nil {
			return err
		}
		defer b.facts.server.stop()
	}
	results, err := b.rounds(ctx, target{echo, echoAddr, namedSessions(b.options.sessions)})
	if err != nil {
		return err
	}
	if b.facts.server != nil {
		if b.facts.loaded, err = residentBytes(b.facts.server.pid()); err != nil {
			return err
		}
	}
	b.printFacts(stdout)
	printTable(stdout, b.options.rows, results)
	b.printSync(stdout, results["create1"])
	return nil
}

func (b *bench) rounds(ctx context.Context, echo target) (map[string][]loadResult, error) {
	results := map[string][]loadResult{}
	for round := range b.options.rounds {
		if err := b.measureSync(); err != nil {
			return nil, err
		}
		for _, r := range b.options.rows {
			t := echo
			if !r.onEcho() {
				t = b.facts.server.target()
			}
			result, err := b.cell(ctx, r, t, round, r.name)
			if err != nil {
				return nil, err
			}
			results[r.name] = append(results[r.name], result)
		}
	}
	return results, nil
}

// startMeasured starts the server, lets it idle, and creates the sessions.
func (b *bench) startMeasured(ctx context.Context) error {
	s, err := b.space.startServer(ctx, b.path, "data")
	if err != nil {
		return err
	}
	b.facts.server = s
	err = wait(ctx, idleFor)
	if err == nil {
		b.facts.idle, err = residentBytes(s.pid())
	}
	if err == nil {
		err = s.fill(ctx, b.options.sessions, b.options.loops, b.stderr)
	}
	if err != nil {
		s.stop()
		return fmt.Errorf("%w; %s", err, s.lastWords())
	}
	return nil
}

func (b *bench) measureSync() error {
	latency, err := measureSync(b.space.data)
	b.syncs = append(b.syncs, latency)
	return err
}

// target is the process that a cell is measured on.
type target struct {
	process *child
	addr    string
	ids     int
}

func (s *server) target() target {
	return target{s.child, s.addr, namedSessions(s.sessions)}
}

// cell measures one row in one round.
func (b *bench) cell(ctx context.Context, r row, t target, round int, label string) (loadResult, error) {
	if err := settle(ctx, t.process.pid()); err != nil {
		return loadResult{}, fmt.Errorf("before %s: %w; %s", label, err, t.process.lastWords())
	}
	result, err := load(ctx, loadConfig{
		Addr: t.addr, Action: r.action, Conns: r.conns, Loops: b.options.loops, IDs: t.ids,
		Seed: uint64(round + 1), PID: t.process.pid(), Warmup: b.options.warmup, Duration: b.options.duration,
	}, b.stderr)
	if err != nil {
		return loadResult{}, fmt.Errorf("%s: %w; %s", label, err, t.process.lastWords())
	}
	fmt.Fprintf(b.stderr, "round %d  %-20s %8.0f req/s  p50 %8s  p90 %8s  p99 %8s  max %8s  others %2.0f %%\n", round+1,
		label, result.rate(), short(result.P50), short(result.P90), short(result.P99), short(result.Max), 100*result.Others)
	if result.Errors > 0 {
		b.failed = append(b.failed, fmt.Sprintf("%s, round %d: %d errors beside %d answers; the first: %s",
			label, round+1, result.Errors, result.Requests, result.FirstError))
	}
	return result, nil
}
