//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// measurement is one of what -streams measures. It has a server of its own, with
// nothing in it but rooms.
type measurement struct {
	name  string
	rooms int
	run   func(ctx context.Context, s *stage) error
}

func allMeasurements() []measurement {
	return []measurement{
		{echoOfPublish, 1, echoCeiling},
		{"publishws", 1, publishWS},
		{"publishgrpc", 1, publishGRPC},
		{"fanout1000", 1, fanout(1000)},
		{"steady1000", 1, steady(1000, 80)},
		{"fanout5000", 1, fanout(5000)},
		{"steady5000", 1, steady(5000, 16)},
		{"idle-sse", 1, idle(5000, false)},
		{"idle-ws", 1, idle(5000, true)},
		{"catchup1000", 1, catchUp(1000, 10_000, 0)},
		{"catchup1000b", 2, catchUp(1000, 10_000, 1)},
	}
}

// selectMeasurements returns the named ones, or all.
func selectMeasurements(list string) ([]measurement, error) {
	all := allMeasurements()
	names := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	if len(names) == 0 {
		return all, nil
	}
	var known []string
	for _, m := range all {
		known = append(known, m.name)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("no measurement of streams is called %q; there are %s", name, strings.Join(known, ", "))
		}
	}
	return slices.DeleteFunc(all, func(m measurement) bool { return !slices.Contains(names, m.name) }), nil
}

// stage is where one measurement is made in one round.
type stage struct {
	*bench
	*server

	label   string
	figures []figure
}

// figure is one number of the table.
type figure struct {
	name  string
	value float64
	unit  string
}

func (s *stage) add(name string, value float64, unit string) {
	s.figures = append(s.figures, figure{name, value, unit})
}

// check fails the measurement if there is a flaw.
func (s *stage) check(flaw string) {
	if flaw != "" {
		s.failf("%s: %s", s.label, flaw)
	}
}

// streams measures round after round and prints one table.
func (b *bench) streams(ctx context.Context, stdout io.Writer) error {
	results := make([][][]figure, len(b.options.measurements)) // of each measurement, of each round
	for round := range b.options.rounds {
		for i, m := range b.options.measurements {
			figures, err := b.stage(ctx, m, round)
			if err != nil {
				return err
			}
			results[i] = append(results[i], figures)
		}
	}
	b.printFacts(stdout)
	printFigures(stdout, b.options.measurements, results, streamsLegend)
	return nil
}

func (b *bench) stage(ctx context.Context, m measurement, round int) ([]figure, error) {
	started, err := b.space.startServer(ctx, b.path, fmt.Sprintf("%s-%d", m.name, round))
	if err != nil {
		return nil, err
	}
	s := &stage{bench: b, server: started, label: fmt.Sprintf("%s, round %d", m.name, round+1)}
	err = s.openRooms(ctx, m.rooms, io.Discard)
	if err == nil {
		err = m.run(ctx, s)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w; %s", s.label, err, s.lastWords())
	}
	started.stop()
	if err := errors.Join(err, os.RemoveAll(s.dir)); err != nil {
		return nil, err
	}
	s.report(m.name, round)
	return s.figures, nil
}

// report shows the figures of the round as progress.
func (s *stage) report(name string, round int) {
	for _, f := range s.figures {
		fmt.Fprintf(s.stderr, "round %d  %-14s %-36s %14s\n", round+1, name, f.name, f)
	}
}
