//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	openTimeout  = 30 * time.Second       // without another stream that opens
	quietFollow  = 20 * time.Second       // without another event, those that are missing are given up
	surplusAfter = 300 * time.Millisecond // for what comes although everything is there
	spareFiles   = 64
)

// followConfig says which streams one run of the follower opens. The i-th is of
// the room First + i modulo Rooms.
type followConfig struct {
	Addr    string // of the server; of several, with commas between, the streams take turns
	Streams int
	First   int
	Rooms   int
	Socket  bool   // WebSockets; else server-sent events
	Cursor  string // where all begin; empty: now
	Backlog int64  // messages after which a stream has caught up; 0: it does not say so
	AtOnce  int    // streams that may be opening at the same time
	Key     string // file with the key that the member's token is signed with; empty: Parley-User names the member
}

// Stages of a follower: it reports each as a line of JSON, and ends with the
// last, once its parent has said, on standard input, how many messages there
// were.
const (
	stageOpen     = "open"
	stageCaughtUp = "caught up"
	stageEnd      = "end"
)

// followReport is what a follower has received so far. Times are nanoseconds
// since 1970.
type followReport struct {
	Stage      string
	Streams    int
	Messages   int64
	Others     int64 // events of the log that are not messages
	Missing    int64
	Duplicates int64
	Least      int64 // messages on one stream
	Most       int64
	Lost       int // streams that ended or broke off
	FirstError string

	Began     int64 // when the first stream was opened
	FirstSent int64 // when the first message was sent
	LastCame  int64 // when the last message came
	CaughtAt  int64 // when the last stream had caught up

	P50, P99, Max time.Duration // from the sending of a message to each delivery
	CPU           float64       // seconds of the follower
}

// flaw says what is wrong with the streams, given what was published to all of
// them together; empty if nothing is.
func (r followReport) flaw(published int64) string {
	var flaws []string
	if r.Messages != published {
		flaws = append(flaws, fmt.Sprintf("%d messages came of %d", r.Messages, published))
	}
	if r.Missing > 0 || r.Duplicates > 0 {
		flaws = append(flaws, fmt.Sprintf("%d events were skipped and %d came twice or late", r.Missing, r.Duplicates))
	}
	if r.FirstError != "" {
		flaws = append(flaws, fmt.Sprintf("%d streams were lost, the first: %s", r.Lost, r.FirstError))
	}
	return strings.Join(flaws, "; ")
}

func followMain(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	var c followConfig
	flags := flag.NewFlagSet("bench follow", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&c.Addr, "addr", "", "IPv4 `address` of the server, or several with commas between")
	flags.IntVar(&c.Streams, "streams", 1, "streams to open")
	flags.IntVar(&c.First, "first", 0, "number of the first room")
	flags.IntVar(&c.Rooms, "rooms", 1, "rooms that the streams are spread over")
	flags.BoolVar(&c.Socket, "socket", false, "WebSockets instead of server-sent events")
	flags.StringVar(&c.Cursor, "cursor", "", "where all streams begin; empty: now")
	flags.Int64Var(&c.Backlog, "backlog", 0, "messages after which a stream has caught up")
	flags.IntVar(&c.AtOnce, "at-once", 0, "streams that open at the same time; 0: 64")
	flags.StringVar(&c.Key, "key", "", "`file` with the key that tokens are signed with; default: no tokens")
	if err := flags.Parse(args); err != nil {
		return err
	}
	runtime.GOMAXPROCS(2) // a thread for the streams, one for standard input
	f, err := newFollower(c)
	if err != nil {
		return err
	}
	defer f.close()
	totals := make(chan int64, 1)
	go readTotal(stdin, totals)
	return f.follow(ctx, totals, json.NewEncoder(stdout))
}

// arguments are those that followMain makes the configuration of.
func (c followConfig) arguments() []string {
	return []string{
		"follow",
		"-addr", c.Addr,
		"-streams", strconv.Itoa(c.Streams),
		"-first", strconv.Itoa(c.First),
		"-rooms", strconv.Itoa(c.Rooms),
		"-socket=" + strconv.FormatBool(c.Socket),
		"-cursor", c.Cursor,
		"-backlog", strconv.FormatInt(c.Backlog, 10),
		"-at-once", strconv.Itoa(c.AtOnce),
		"-key", c.Key,
	}
}

// readTotal hands on the one line that the parent sends. Without one the parent
// is gone.
func readTotal(stdin io.Reader, totals chan<- int64) {
	defer close(totals)
	line, _ := bufio.NewReader(stdin).ReadString('\n')
	if n, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64); err == nil {
		totals <- n
	}
}

// follow opens all streams, and reads them until all messages have come that the
// parent says there were, or no more do.
func (f *follower) follow(ctx context.Context, totals <-chan int64, reports *json.Encoder) error {
	f.began = time.Now().UnixNano()
	allReady := func() bool { return f.tally.ready == len(f.streams) }
	if err := f.until(ctx, openTimeout, allReady); err != nil {
		return fmt.Errorf("%d of %d streams are open: %w", f.tally.ready, len(f.streams), err)
	}
	if err := reports.Encode(f.report(stageOpen)); err != nil {
		return err
	}
	if f.config.Backlog > 0 {
		allCaughtUp := func() bool { return f.tally.caughtUp == len(f.streams) }
		if err := f.until(ctx, quietFollow, allCaughtUp); err != nil {
			return fmt.Errorf("%d of %d streams have caught up: %w", f.tally.caughtUp, len(f.streams), err)
		}
		if err := reports.Encode(f.report(stageCaughtUp)); err != nil {
			return err
		}
	}
	total, err := f.awaitTotal(ctx, totals)
	if err != nil {
		return err
	}
	err = f.until(ctx, quietFollow, func() bool { return f.tally.messages >= total })
	if err != nil && !errors.Is(err, errQuiet) { // what is missing then is in the report
		return err
	}
	if err := f.until(ctx, surplusAfter, never); err != nil && !errors.Is(err, errQuiet) {
		return err
	}
	return reports.Encode(f.report(stageEnd))
}

func never() bool { return false }

func (f *follower) awaitTotal(ctx context.Context, totals <-chan int64) (int64, error) {
	total, told, ended := int64(0), false, false
	err := f.until(ctx, 0, func() bool {
		select {
		case n, ok := <-totals:
			total, told, ended = n, ok, !ok
		default:
		}
		return told || ended
	})
	if err == nil && ended {
		err = errors.New("nobody said how many messages there were")
	}
	return total, err
}

func (f *follower) report(stage string) followReport {
	t := &f.tally
	r := followReport{
		Stage: stage, Streams: len(f.streams),
		Messages: t.messages, Others: t.others, Missing: t.missing, Duplicates: t.duplicates,
		Lost: f.lost, FirstError: f.firstError,
		Began: f.began, FirstSent: t.firstSent, LastCame: t.lastCame, CaughtAt: t.caughtAt,
		P50: t.latencies.quantile(0.50), P99: t.latencies.quantile(0.99), Max: t.latencies.max,
		CPU: ownProcessorTime().Seconds(),
	}
	for i, s := range f.streams {
		if i == 0 || s.messages < r.Least {
			r.Least = s.messages
		}
		r.Most = max(r.Most, s.messages)
	}
	return r
}

// allowFiles raises the limit of open files as far as the streams need it.
func allowFiles(streams int) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	need := uint64(streams + spareFiles)
	if limit.Cur >= need {
		return nil
	}
	if limit.Max < need {
		return fmt.Errorf("%d streams need as many files in each process, and the hard limit (ulimit -Hn) is %d", streams, limit.Max)
	}
	limit.Cur = need
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
}
