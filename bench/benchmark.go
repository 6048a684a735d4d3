//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// bench is one benchmark in progress.
type bench struct {
	options options
	stderr  io.Writer
	space   *workspace
	path    string // of the server, empty without one
	facts   facts
	syncs   []syncLatency

	postgres *postgres // that nodes share, with -nodes
	failed   []string  // what went wrong in which cell
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
	switch {
	case len(o.scale) > 0:
		err = b.scale(ctx, stdout)
	case o.streams:
		err = b.streams(ctx, stdout)
	case o.auth:
		err = b.auth(ctx, stdout)
	case o.nodes:
		err = b.nodes(ctx, stdout)
	case o.noisy:
		err = b.noisy(ctx, stdout)
	default:
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
	results, err := b.rounds(ctx, target{processes: []*child{echo}, addr: echoAddr, ids: namedSessions(b.options.sessions)})
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
	if err == nil {
		err = b.furnish(ctx, s)
	}
	if err != nil {
		s.stop()
		return err
	}
	return nil
}

// furnish prepares the rooms, if any row needs them.
func (b *bench) furnish(ctx context.Context, s *server) error {
	if !slices.ContainsFunc(b.options.rows, row.inRooms) {
		return nil
	}
	if err := s.openRooms(ctx, rooms+1, b.stderr); err != nil {
		return err
	}
	return s.do(ctx, loadConfig{Action: seed, Conns: 64, Loops: 1, Requests: seeded}, b.stderr)
}

func (b *bench) measureSync() error {
	latency, err := measureSync(b.space.data)
	b.syncs = append(b.syncs, latency)
	return err
}

// target is what a cell is measured on: one process, or several that share the load.
type target struct {
	processes []*child
	addr      string // or several, with commas between
	ids       int
	users     int
	key       string
	database  int // first process of the PostgreSQL behind them; 0: there is none, or it is elsewhere
}

func (s *server) target() target {
	return target{
		processes: []*child{s.child}, addr: s.addr, ids: namedSessions(s.sessions), users: s.users, key: s.key,
	}
}

// cell measures one row in one round.
func (b *bench) cell(ctx context.Context, r row, t target, round int, label string) (loadResult, error) {
	var readers *followers
	if r.followed() {
		var err error
		if readers, err = follow(ctx, followConfig{Addr: t.addr, Streams: r.ids, Rooms: r.ids, Key: t.key}, b.stderr); err != nil {
			return loadResult{}, fmt.Errorf("%s: %w; %s", label, err, t.lastWords())
		}
		defer readers.stop()
	}
	if err := t.settle(ctx); err != nil {
		return loadResult{}, fmt.Errorf("before %s: %w; %s", label, err, t.lastWords())
	}
	ids := t.ids
	if r.ids > 0 {
		ids = r.ids
	}
	result, err := load(ctx, loadConfig{
		Addr: t.addr, Action: r.action, Conns: r.conns, Loops: b.options.loops, IDs: ids,
		Users: t.users, Key: t.key, Seed: uint64(round + 1), PIDs: t.pids(), Database: t.database,
		Warmup: b.options.warmup, Duration: b.options.duration,
	}, b.stderr)
	if err != nil {
		return loadResult{}, fmt.Errorf("%s: %w; %s", label, err, t.lastWords())
	}
	fmt.Fprintf(b.stderr, "round %d  %-20s %8.0f req/s  p50 %8s  p90 %8s  p99 %8s  max %8s  others %2.0f %%\n", round+1,
		label, result.rate(), short(result.P50), short(result.P90), short(result.P99), short(result.Max), 100*result.Others)
	if result.Errors > 0 {
		b.failf("%s, round %d: %d errors beside %d answers; the first: %s",
			label, round+1, result.Errors, result.Answers, result.FirstError)
	}
	if readers != nil {
		err = b.checkReaders(readers, result.Answers, fmt.Sprintf("%s, round %d", label, round+1), &result)
	}
	return result, err
}

// checkReaders fails the cell unless the followers got every message that was
// acknowledged.
func (b *bench) checkReaders(readers *followers, published int64, label string, result *loadResult) error {
	got, err := readers.finish(published)
	if err != nil {
		return fmt.Errorf("%s: %w", label, err)
	}
	if flaw := got.flaw(published); flaw != "" {
		result.Errors++
		b.failf("%s: %s", label, flaw)
	}
	return nil
}

func (b *bench) failf(format string, args ...any) {
	b.failed = append(b.failed, fmt.Sprintf(format, args...))
}
