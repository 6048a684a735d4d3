//go:build linux

// Command bench measures the built server against a bare net/http and
// encoding/json echo on the same machine, and prints one table. Five programs
// are in it: the benchmark itself, the echo (bench echo), the load generator
// (bench load), the reader of streams (bench follow) and a NATS server (bench
// nats), which it starts as processes of their own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := dispatch(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if ctx.Err() != nil {
		err = errors.New("interrupted") // whatever else failed, failed because of that
	}
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "echo":
			return echoMain(ctx, args[1:], stdout, stderr)
		case "nats":
			return natsMain(ctx, args[1:], stdout, stderr)
		case "load":
			return loadMain(ctx, args[1:], stdout, stderr)
		case "follow":
			return followMain(ctx, args[1:], os.Stdin, stdout, stderr)
		}
	}
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	return benchmark(ctx, o, stdout, stderr)
}

// options are what the command line of the benchmark sets.
type options struct {
	server   string // path of a built server, "none", or empty to build one
	dataDir  string
	rows     []row
	rounds   int
	duration time.Duration
	warmup   time.Duration
	sessions int
	scale    []int
	loops    int
	leave    time.Duration // what streams get to come to rest, before what they cost is read
	counted  time.Duration // until PostgreSQL has counted what connections did that are idle since

	streams      bool
	measurements []measurement // of the streams
	burst        int64

	auth  bool
	noisy bool

	nodes       bool
	databaseURL string
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	o := options{leave: leaveSomeTime, counted: countedLate}
	var rows, scale string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.server, "server", "", "`path` of a built server; none: only the echo; default: build ./cmd/parley")
	flags.StringVar(&o.dataDir, "data-dir", ".", "`directory` in which the server's data is kept while it runs")
	flags.StringVar(&rows, "rows", "", "measure only these `rows`, as create64,get64 (and the echo's that they are held against), "+
		"or with -streams and -nodes these of their measurements")
	flags.IntVar(&o.rounds, "rounds", 3, "rounds; the table shows medians")
	flags.DurationVar(&o.duration, "duration", 4*time.Second, "what each row takes in each round")
	flags.DurationVar(&o.warmup, "warmup", 500*time.Millisecond, "run before that, unmeasured")
	flags.IntVar(&o.sessions, "sessions", 1000, "sessions to create before measuring")
	flags.StringVar(&scale, "scale", "", "compare stores of these `sizes`, as 1000,1000000, instead of comparing with the echo")
	flags.BoolVar(&o.streams, "streams", false, "measure streams and what is delivered on them, instead of requests")
	flags.BoolVar(&o.auth, "auth", false, "compare servers under --auth dev and --auth jwt, instead of comparing with the echo")
	flags.BoolVar(&o.noisy, "noisy", false, "measure a quiet user beside ten who flood the server, with and without limits")
	flags.BoolVar(&o.nodes, "nodes", false, "measure one node and two that share the PostgreSQL of -database-url, beside its bare statements")
	flags.StringVar(&o.databaseURL, "database-url", os.Getenv("DATABASE_URL"), "with -nodes: `URL` of a PostgreSQL in which databases may be "+
		"made; default: $DATABASE_URL (scripts/with-postgres)")
	flags.Int64Var(&o.burst, "burst", 3000, "with -streams: `messages` that are published at once to 1,000 subscribers")
	flags.IntVar(&o.loops, "loops", 1, "event loops of the load generator")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.rounds < 1 || o.duration <= 0 || o.warmup < 0 || o.sessions < 1 || o.loops < 1 || o.burst < 1 {
		return o, errors.New("rounds, duration, sessions, burst and loops must be positive")
	}
	var err error
	if o.scale, err = parseSizes(scale); err != nil {
		return o, err
	}
	err = o.selectWhat(rows)
	return o, err
}

// selectWhat settles the mode, and what is measured in it.
func (o *options) selectWhat(rows string) (err error) {
	modes := 0
	for _, on := range []bool{len(o.scale) > 0, o.streams, o.auth, o.noisy, o.nodes} {
		if on {
			modes++
		}
	}
	if modes > 0 && o.server == "none" {
		return errors.New("-scale, -streams, -auth, -noisy and -nodes need a server")
	}
	if modes > 1 {
		return errors.New("-scale, -streams, -auth, -noisy and -nodes exclude each other")
	}
	switch {
	case o.noisy:
		if rows != "" {
			return errors.New("-noisy has no rows")
		}
	case o.nodes:
		if o.databaseURL == "" {
			return errors.New("-nodes needs -database-url: scripts/with-postgres starts a PostgreSQL for it")
		}
		o.rows, o.measurements, err = selectNodes(rows)
	case o.streams:
		o.measurements, err = selectMeasurements(rows, allMeasurements())
	case o.auth:
		o.rows, err = selectServerRows(rows, authRows())
	case len(o.scale) > 0:
		o.rows, err = selectServerRows(rows, scaleRows())
	default:
		o.rows, err = selectRows(rows, o.server != "none")
	}
	return err
}

func parseSizes(list string) ([]int, error) {
	if list == "" {
		return nil, nil
	}
	var sizes []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a number of sessions", text)
		}
		sizes = append(sizes, n)
	}
	if len(sizes) < 2 {
		return nil, errors.New("-scale compares at least two sizes")
	}
	return sizes, nil
}
