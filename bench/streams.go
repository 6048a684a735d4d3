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
	nodes int // how many share a PostgreSQL; 0: it is one server without
}

func allMeasurements() []measurement {
	return []measurement{
		{name: echoOfPublish, rooms: 1, run: echoCeiling},
		{name: "publishws", rooms: 1, run: publishWS},
		{name: "publishgrpc", rooms: 1, run: publishGRPC},
		{name: "fanout1000", rooms: 1, run: fanout(1000)},
		{name: "steady1000", rooms: 1, run: steady(1000, 80)},
		{name: "fanout5000", rooms: 1, run: fanout(5000)},
		{name: "steady5000", rooms: 1, run: steady(5000, 16)},
		{name: "idle-sse", rooms: 1, run: idle(5000, false)},
		{name: "idle-ws", rooms: 1, run: idle(5000, true)},
		{name: "catchup1000", rooms: 1, run: catchUp(1000, 10_000, 0)},
		{name: "catchup1000b", rooms: 2, run: catchUp(1000, 10_000, 1)},
	}
}

// selectMeasurements returns the named ones, or all.
func selectMeasurements(list string, all []measurement) ([]measurement, error) {
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
			return nil, fmt.Errorf("no measurement is called %q; there are %s", name, strings.Join(known, ", "))
		}
	}
	return slices.DeleteFunc(all, func(m measurement) bool { return !slices.Contains(names, m.name) }), nil
}

// stage is where one measurement is made in one round.
type stage struct {
	*bench
	*server // of several nodes, the first

	cluster *cluster // nil: the server is alone
	rooms   int
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
	results, err := b.measure(ctx)
	if err != nil {
		return err
	}
	b.printFacts(stdout)
	printFigures(stdout, b.options.measurements, results, streamsLegend)
	return nil
}

// measure returns the figures of each measurement, of each round.
func (b *bench) measure(ctx context.Context) ([][][]figure, error) {
	results := make([][][]figure, len(b.options.measurements))
	for round := range b.options.rounds {
		for i, m := range b.options.measurements {
			figures, err := b.stage(ctx, m, round)
			if err != nil {
				return nil, err
			}
			results[i] = append(results[i], figures)
		}
	}
	return results, nil
}

func (b *bench) stage(ctx context.Context, m measurement, round int) ([]figure, error) {
	s, stop, err := b.openStage(ctx, m, fmt.Sprintf("%s-%d", m.name, round))
	if err != nil {
		return nil, err
	}
	s.label = fmt.Sprintf("%s, round %d", m.name, round+1)
	err = s.openRooms(ctx, m.rooms, io.Discard)
	if err == nil {
		err = m.run(ctx, s)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w; %s", s.label, err, s.lastWords())
	}
	if err := errors.Join(err, stop()); err != nil {
		return nil, err
	}
	s.report(m.name, round)
	return s.figures, nil
}

// openStage starts what is measured. What it returns stops that, and takes away the
// data.
func (b *bench) openStage(ctx context.Context, m measurement, name string) (_ *stage, stop func() error, err error) {
	s := &stage{bench: b, rooms: m.rooms}
	if m.nodes == 0 {
		if s.server, err = b.space.startServer(ctx, b.path, name); err != nil {
			return nil, nil, err
		}
		return s, func() error {
			s.stop()
			return os.RemoveAll(s.dir)
		}, nil
	}
	if s.cluster, err = b.startCluster(ctx, name, m.nodes); err != nil {
		return nil, nil, err
	}
	s.server = s.cluster.nodes[0]
	return s, func() error {
		s.cluster.stop()
		return b.postgres.drop(context.WithoutCancel(ctx), s.cluster.database)
	}, nil
}

// report shows the figures of the round as progress.
func (s *stage) report(name string, round int) {
	for _, f := range s.figures {
		fmt.Fprintf(s.stderr, "round %d  %-14s %-36s %14s\n", round+1, name, f.name, f)
	}
}
