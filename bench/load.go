//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	drainTimeout = 10 * time.Second // for the answers that are outstanding at the end
	stallTimeout = time.Minute      // without a single answer, a run of a fixed number is given up
)

// loadConfig says what one run of the load generator does: a number of
// requests, or as many as fit into a duration after a warm-up.
type loadConfig struct {
	Addr     string // of the server; of several, with commas between, the connections take turns
	Action   action
	Conns    int
	Loops    int
	IDs      int
	Seed     uint64
	Users    int    // who ask, in turn by connection, where it need not be one for all; 0: the operator
	Key      string // file with the key that their tokens are signed with; empty: Parley-User names them
	PIDs     []int  // of the servers whose processor time is measured
	Database int    // process of PostgreSQL that its others are children of; 0: there is none
	Requests int64
	Warmup   time.Duration
	Duration time.Duration
}

// loadResult is what the run reports to its parent, as one line of JSON.
// Requests, times, bytes and latencies are of the measured window only; answers,
// refusals and errors are of the whole run.
type loadResult struct {
	Requests   int64
	Answers    int64 // with the expected status
	Refused    int64 // with status 429, of a flood; of anything else they are errors
	Errors     int64
	FirstError string
	Seconds    float64
	ServerCPU  float64 // seconds, of all servers
	Database   float64 // seconds, of PostgreSQL
	LoadCPU    float64 // seconds
	Others     float64 // share of the machine that other processes took
	Written    int64   // bytes that the server sent to the disk
	P50        time.Duration
	P90        time.Duration
	P99        time.Duration
	Max        time.Duration
}

// phase is what all loops of a run are doing; the main goroutine moves it on.
type phase = int32

const (
	warming phase = iota
	measuring
	draining
)

// run is what the loops of one run share.
type run struct {
	config loadConfig
	script *script
	phase  atomic.Int32
	ticket atomic.Int64 // requests begun
	limit  int64
}

func loadMain(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c loadConfig
	flags := flag.NewFlagSet("bench load", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&c.Addr, "addr", "", "IPv4 `address` of the server, or several with commas between")
	flags.StringVar((*string)(&c.Action), "action", string(create), "what to request")
	flags.IntVar(&c.Conns, "conns", 64, "connections")
	flags.IntVar(&c.Loops, "loops", 1, "event loops")
	flags.IntVar(&c.IDs, "ids", 0, "sessions that have a computable id")
	flags.Uint64Var(&c.Seed, "seed", 1, "of the random draws")
	flags.IntVar(&c.Users, "users", 0, "users who ask, in turn by connection; 0: the operator")
	flags.StringVar(&c.Key, "key", "", "`file` with the key that tokens are signed with; default: no tokens")
	flags.Func("pid", "`processes` whose processor time to report, with commas between", func(text string) (err error) {
		c.PIDs, err = parseNumbers(text)
		return err
	})
	flags.IntVar(&c.Database, "database", 0, "`process` of PostgreSQL whose processor time, and its children's, to report")
	flags.Int64Var(&c.Requests, "requests", 0, "stop after so many requests; 0: after the duration")
	flags.DurationVar(&c.Warmup, "warmup", 500*time.Millisecond, "not measured")
	flags.DurationVar(&c.Duration, "duration", 4*time.Second, "measured")
	if err := flags.Parse(args); err != nil {
		return err
	}
	// A thread for each loop and one for the clock: more would only look for work
	// that does not exist.
	runtime.GOMAXPROCS(max(1, c.Loops) + 1)
	result, err := generate(ctx, c, stderr)
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(result)
}

// generate drives the server as configured. When it returns, every request has
// been answered or counted as an error, and the connections are closed.
func generate(ctx context.Context, c loadConfig, progress io.Writer) (loadResult, error) {
	if c.Loops < 1 || c.Conns < c.Loops {
		return loadResult{}, fmt.Errorf("%d connections on %d loops: each loop needs one", c.Conns, c.Loops)
	}
	script, err := newScript(c)
	if err != nil {
		return loadResult{}, err
	}
	r := &run{config: c, script: script, limit: math.MaxInt64}
	if c.Requests > 0 {
		r.limit = c.Requests
	}
	loops, err := r.open()
	defer closeAll(loops)
	if err != nil {
		return loadResult{}, err
	}
	w := openWindow(c.Database, c.PIDs...)
	if c.Requests > 0 {
		r.phase.Store(measuring) // all of them, from the first
	}
	ended := make(chan error, len(loops))
	var driving sync.WaitGroup
	for _, l := range loops {
		driving.Go(func() { ended <- l.drive() })
	}
	if c.Requests > 0 {
		err = r.untilDone(ctx, ended, len(loops), progress)
		w.end()
	} else {
		w, err = r.forDuration(ctx, ended, len(loops))
	}
	r.phase.Store(draining) // also when one loop has failed and the others have not
	driving.Wait()
	return w.result(loops), err
}

func (r *run) open() ([]*loop, error) {
	n := r.config.Loops
	loops := make([]*loop, 0, n)
	for i := range n {
		l, err := newLoop(r, uint64(i), (r.config.Conns+i)/n)
		if err != nil {
			return loops, err
		}
		loops = append(loops, l)
	}
	return loops, nil
}

func closeAll(loops []*loop) {
	for _, l := range loops {
		l.close()
	}
}

// forDuration measures a window between a warm-up and a drain.
func (r *run) forDuration(ctx context.Context, ended chan error, loops int) (window, error) {
	err := pause(ctx, r.config.Warmup, ended)
	w := openWindow(r.config.Database, r.config.PIDs...)
	r.phase.Store(measuring)
	if err == nil {
		err = pause(ctx, r.config.Duration, ended)
	}
	w.end()
	r.phase.Store(draining)
	if err != nil {
		return w, err
	}
	for range loops {
		err = errors.Join(err, <-ended)
	}
	return w, err
}

// pause waits for the duration; a loop that ends meanwhile has failed.
func pause(ctx context.Context, d time.Duration, ended chan error) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// untilDone waits for the last answer of a fixed number of requests and reports
// the progress every second.
func (r *run) untilDone(ctx context.Context, ended chan error, loops int, progress io.Writer) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var before int64
	moved := time.Now()
	for loops > 0 {
		select {
		case err := <-ended:
			if err != nil {
				return err
			}
			loops--
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			begun := min(r.ticket.Load(), r.limit)
			fmt.Fprintf(progress, "  %s: %d of %d, %d a second\n", r.config.Action, begun, r.limit, begun-before)
			if begun > before {
				before, moved = begun, time.Now()
			}
			if time.Since(moved) > stallTimeout {
				return fmt.Errorf("no answer for %s", stallTimeout)
			}
		}
	}
	return nil
}

// window holds the clocks at the start of what is measured, and what they have
// advanced by at its end.
type window struct {
	postmaster            int
	pids                  []int
	began                 time.Time
	elapsed               time.Duration
	server, load, machine time.Duration
	database              time.Duration
	written               int64
}

// openWindow measures these servers together, and the PostgreSQL of the postmaster
// unless that is 0.
func openWindow(postmaster int, pids ...int) window {
	w := window{postmaster: postmaster, pids: pids, began: time.Now(), load: ownProcessorTime()}
	// Without these clocks the run still counts, and a process that is gone is
	// reported better by the connections that it leaves.
	for _, pid := range pids {
		used, _ := processorTime(pid)
		written, _ := writtenBytes(pid)
		w.server += used
		w.written += written
	}
	w.machine, _ = machineTime()
	w.database, _ = familyTime(postmaster)
	return w
}

func (w *window) end() {
	now := openWindow(w.postmaster, w.pids...)
	w.elapsed = now.began.Sub(w.began)
	w.server, w.load, w.machine = now.server-w.server, now.load-w.load, now.machine-w.machine
	w.database = now.database - w.database
	w.written = now.written - w.written
}

// others is the share of the machine's processors that went neither to the
// servers nor to the load: what makes a figure worse than it is.
func (w *window) others() float64 {
	all := w.elapsed * time.Duration(runtime.NumCPU())
	if all <= 0 {
		return 0
	}
	return max(0, float64(w.machine-w.server-w.database-w.load)/float64(all))
}

func ownProcessorTime() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func (w *window) result(loops []*loop) loadResult {
	var all histogram
	out := loadResult{
		Seconds:   w.elapsed.Seconds(),
		ServerCPU: w.server.Seconds(),
		Database:  w.database.Seconds(),
		LoadCPU:   w.load.Seconds(),
		Others:    w.others(),
		Written:   w.written,
	}
	for _, l := range loops {
		all.merge(&l.latencies)
		out.Answers += l.answers
		out.Refused += l.refused
		out.Errors += l.errors
		if out.FirstError == "" {
			out.FirstError = l.firstError
		}
	}
	out.Requests = all.total
	out.P50, out.P90, out.P99 = all.quantile(0.50), all.quantile(0.90), all.quantile(0.99)
	out.Max = all.max
	return out
}
