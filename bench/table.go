//go:build linux

package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"time"
)

func (r loadResult) rate() float64 {
	if r.Seconds == 0 {
		return 0
	}
	return float64(r.Requests) / r.Seconds
}

// serverCost and loadCost are microseconds of processor time a request.
func (r loadResult) serverCost() float64 { return perRequest(r.ServerCPU, r.Requests) }
func (r loadResult) loadCost() float64   { return perRequest(r.LoadCPU, r.Requests) }

// writtenEach is bytes a request.
func (r loadResult) writtenEach() float64 { return each(float64(r.Written), r.Requests) }

func (r loadResult) others() float64 { return r.Others }

func perRequest(seconds float64, requests int64) float64 { return each(seconds*1e6, requests) }

func each(amount float64, of int64) float64 {
	if of == 0 {
		return 0
	}
	return amount / float64(of)
}

func p50(r loadResult) time.Duration { return r.P50 }
func p99(r loadResult) time.Duration { return r.P99 }

// pair is what two rows measured in the same round.
type pair struct{ one, other loadResult }

func (p pair) ratio() float64 {
	if p.other.rate() == 0 {
		return 0
	}
	return p.one.rate() / p.other.rate()
}

func pairs(one, other []loadResult) []pair {
	out := make([]pair, min(len(one), len(other)))
	for i := range out {
		out[i] = pair{one[i], other[i]}
	}
	return out
}

func median[T any](of []T, value func(T) float64) float64 {
	if len(of) == 0 {
		return 0
	}
	values := make([]float64, len(of))
	for i, x := range of {
		values[i] = value(x)
	}
	slices.Sort(values)
	half := len(values) / 2
	if len(values)%2 == 1 {
		return values[half]
	}
	return (values[half-1] + values[half]) / 2
}

func medianTime[T any](of []T, value func(T) time.Duration) time.Duration {
	return time.Duration(median(of, func(x T) float64 { return float64(value(x)) }))
}

func printTable(stdout io.Writer, rows []row, results map[string][]loadResult) {
	fmt.Fprintf(stdout, "\n%-14s %10s %9s %9s %11s %9s %9s %8s %8s\n",
		"row", "req/s", "p50", "p99", "server CPU", "written", "load CPU", "others", "of echo")
	for _, r := range rows {
		of := results[r.name]
		ratio := "-"
		if !r.onEcho() {
			ratio = fmt.Sprintf("%.2f", median(pairs(of, results[r.base]), pair.ratio))
		}
		fmt.Fprintf(stdout, "%-14s %10.0f %9s %9s %8.1f us %7.0f B %6.1f us %6.0f %% %8s%s\n", r.name,
			median(of, loadResult.rate), short(medianTime(of, p50)), short(medianTime(of, p99)),
			median(of, loadResult.serverCost), median(of, loadResult.writtenEach), median(of, loadResult.loadCost),
			100*median(of, loadResult.others), ratio, mark(of))
	}
	fmt.Fprintln(stdout, "\nThe number in a row's name is that of the connections. CPU is user and system time a request;\n"+
		"written is what the server sent to the disk a request (write_bytes of /proc/PID/io: the write-ahead\n"+
		"log and checkpoints, in pages); others is the share of the machine that other processes took\n"+
		"meanwhile. Of echo: create and update are divided by the echo's POST, get and list (of 50) by its\n"+
		"GET, publish, join and leave by its POST of a message. A join with its leave are two requests.\n"+
		"Publish goes to 1 session or 1,000; each has a follower in a process of its own, which is among\n"+
		"the others, and the row fails unless the followers get all that was acknowledged, once, in order.")
}

// mark flags a figure that errors have spoilt.
func mark(of []loadResult) string {
	if slices.ContainsFunc(of, func(r loadResult) bool { return r.Errors > 0 }) {
		return "!"
	}
	return " "
}

func (b *bench) printFacts(stdout io.Writer) {
	o := b.options
	fmt.Fprintf(stdout, "\nmachine  %d processors, %s/%s, %s; medians of %d x %s\n",
		runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), o.rounds, o.duration)
	b.printDisk(stdout)
	s := b.facts.server
	if s == nil {
		return
	}
	fmt.Fprintf(stdout, "server   %s binary, ready after %s, %s resident when idle, %s after the load; %s sessions at first\n",
		megabytes(b.facts.binary), short(s.ready), megabytes(b.facts.idle), megabytes(b.facts.loaded), grouped(s.sessions))
}

func (b *bench) printDisk(stdout io.Writer) {
	note := ""
	if b.facts.kind == "tmpfs" || b.facts.kind == "ramfs" {
		note = ", which is memory: its fsync says nothing about a disk"
	}
	fmt.Fprintf(stdout, "data     on %s (%s)%s\n", b.facts.kind, b.facts.device, note)
}

// printSync says what the disk's own fsync costs, and what a create alone costs
// in these. The cheaper of the two is the harder measure.
func (b *bench) printSync(stdout io.Writer, create1 []loadResult) {
	appending := medianTime(b.syncs, func(l syncLatency) time.Duration { return l.appending })
	overwriting := medianTime(b.syncs, func(l syncLatency) time.Duration { return l.overwriting })
	fmt.Fprintf(stdout, "\nfsync    %d writes of 4 KiB, each with fdatasync: p50 %s appending, %s overwriting\n",
		syncWrites, short(appending), short(overwriting))
	if len(create1) == 0 {
		return
	}
	create := medianTime(create1, p50)
	fmt.Fprintf(stdout, "create1  p50 %s: %.1f fsyncs appending, %.1f overwriting\n",
		short(create), float64(create)/float64(appending), float64(create)/float64(overwriting))
}

// short prints a duration with three digits at most.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%d us", d.Microseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

// grouped prints 1000000 as 1,000,000.
func grouped(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
