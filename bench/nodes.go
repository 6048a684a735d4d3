//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// nodesRows are those that nodes on PostgreSQL are measured with.
func nodesRows() []string { return []string{"create64", "publish64x1", "publish64x1000"} }

// nodeLanes are the transactions that a node writes at the same time
// (internal/store/postgres), of which one session has one.
const nodeLanes = 2

// nodesMeasurements are the rest.
func nodesMeasurements() []measurement {
	const one, hundred = 1, 100
	return []measurement{
		{name: "near1", rooms: one, nodes: 2, run: crossing(10, 100, near)},
		{name: "across1", rooms: one, nodes: 2, run: crossing(10, 100, across)},
		{name: "cut1", rooms: one, nodes: 2, run: crossing(10, 100, cut)},
		{name: "near100", rooms: hundred, nodes: 2, run: crossing(hundred, 1000, near)},
		{name: "across100", rooms: hundred, nodes: 2, run: crossing(hundred, 1000, across)},
		{name: "cut100", rooms: hundred, nodes: 2, run: crossing(hundred, 1000, cut)},
		{name: "live100", rooms: 100, nodes: 2, run: live},
		{name: "live1000", rooms: 1000, nodes: 2, run: live},
		{name: "live10000", rooms: 10_000, nodes: 2, run: live},
	}
}

// selectNodes returns what is named, of the rows and of the measurements, or
// everything.
func selectNodes(list string) (rows []row, measurements []measurement, err error) {
	if strings.Trim(list, ", ") == "" {
		rows, err = selectServerRows("", nodesRows())
		return rows, nodesMeasurements(), err
	}
	var rowList, rest []string
	for _, name := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		if slices.Contains(nodesRows(), name) {
			rowList = append(rowList, name)
		} else {
			rest = append(rest, name)
		}
	}
	if len(rowList) > 0 {
		if rows, err = selectServerRows(strings.Join(rowList, ","), nil); err != nil {
			return nil, nil, err
		}
	}
	if len(rest) > 0 {
		if measurements, err = selectMeasurements(strings.Join(rest, ","), nodesMeasurements()); err != nil {
			return nil, nil, fmt.Errorf("%w, and the rows %s", err, strings.Join(nodesRows(), ", "))
		}
	}
	return rows, measurements, nil
}

// nodes measures nodes that share a PostgreSQL.
func (b *bench) nodes(ctx context.Context, stdout io.Writer) (err error) {
	if b.postgres, err = openPostgres(ctx, b.options.databaseURL); err != nil {
		return fmt.Errorf("-database-url: %w", err)
	}
	defer func() { err = errors.Join(err, b.postgres.close(ctx)) }()
	table, err := b.compareNodes(ctx)
	if err != nil {
		return err
	}
	results, err := b.measure(ctx)
	if err != nil {
		return err
	}
	b.printFacts(stdout)
	fmt.Fprintf(stdout, "database %s\n", b.postgres.facts)
	if len(b.options.rows) > 0 {
		printNodes(stdout, b.options.rows, table)
	}
	if len(b.options.measurements) > 0 {
		printFigures(stdout, b.options.measurements, results, nodesLegend)
	}
	return nil
}

// contender is one of those that a row is measured on, in turn.
type contender struct {
	name     string
	against  string // whose rate its own is divided by, beside the echo's
	database *database
	measure  func(ctx context.Context, round int) (loadResult, error)
}

// contest is what a contender did in one round.
type contest struct {
	loadResult

	spent account // by all answers, also those of the warm-up
}

// contestant is a contender with its rounds, and a line has all of a row, the echo
// first.
type contestant struct {
	contender

	rounds []contest
}

type line []contestant

// nodesStand is what the rows are measured on: all of it runs at once, and what is not
// measured is idle.
type nodesStand struct {
	echo     *child
	echoAddr string
	one, two *cluster
	bare     *database
	sample   sample
}

func (s *nodesStand) stop() {
	for _, c := range []*cluster{s.one, s.two} {
		if c != nil {
			c.stop()
		}
	}
	if s.echo != nil {
		s.echo.stop()
	}
}

// compareNodes measures the rows on the echo, on the bare engine, on one node and on
// two. Each round begins with another of them.
func (b *bench) compareNodes(ctx context.Context) ([]line, error) {
	if len(b.options.rows) == 0 {
		return nil, nil
	}
	stand, err := b.openStand(ctx)
	defer stand.stop()
	if err != nil {
		return nil, err
	}
	var table []line
	for _, r := range b.options.rows {
		var all line
		for _, c := range b.contenders(r, stand) {
			all = append(all, contestant{contender: c})
		}
		for round := range b.options.rounds {
			for turn := range all {
				c := &all[(round+turn)%len(all)]
				result, err := b.contest(ctx, c.contender, round)
				if err != nil {
					return nil, fmt.Errorf("%s of %s: %w", r.name, c.name, err)
				}
				c.rounds = append(c.rounds, result)
			}
		}
		table = append(table, all)
	}
	return table, nil
}

func (b *bench) openStand(ctx context.Context) (*nodesStand, error) {
	s := &nodesStand{}
	var err error
	if s.echo, s.echoAddr, err = startEcho(ctx, filepath.Join(b.space.programs, "echo.log")); err != nil {
		return s, err
	}
	if err := b.openBare(ctx, s); err != nil {
		return s, err
	}
	if s.one, err = b.startCluster(ctx, "one", 1); err != nil {
		return s, err
	}
	if s.two, err = b.startCluster(ctx, "two", 2); err != nil {
		return s, err
	}
	for _, c := range []*cluster{s.one, s.two} {
		if err := c.nodes[0].openRooms(ctx, rooms, b.stderr); err != nil {
			return s, err
		}
	}
	return s, nil
}

// openBare has a node make the tables, the rooms, and the rows that are written again
// and again.
func (b *bench) openBare(ctx context.Context, s *nodesStand) error {
	c, err := b.startCluster(ctx, "bare", 1)
	if err != nil {
		return err
	}
	defer c.stop()
	node := c.nodes[0]
	if err := node.openRooms(ctx, rooms, b.stderr); err != nil {
		return err
	}
	for _, action := range []action{create, publish} {
		if err := node.do(ctx, loadConfig{Action: action, Conns: 1, Loops: 1, IDs: 1, Requests: 1}, b.stderr); err != nil {
			return err
		}
	}
	s.bare = c.database
	return s.sample.read(ctx, c.database.conn)
}

// contenders are the echo, the bare engine and the nodes. The engine is driven with the
// largest groups that the row's connections can make on as many lanes as the nodes have,
// and with groups of another size beside.
func (b *bench) contenders(r row, s *nodesStand) []contender {
	lanes := nodeLanes
	if r.action == publish {
		lanes = min(lanes, r.ids)
	}
	engine := func(nodes, rows int) contender {
		x := &bare{database: s.bare, action: r.action, nodes: nodes, lanes: lanes, rows: rows, rooms: max(1, r.ids), sample: s.sample}
		return contender{name: x.name(), database: s.bare, measure: func(ctx context.Context, _ int) (loadResult, error) {
			return x.run(ctx, b.postgres.postmaster, b.options.warmup, b.options.duration)
		}}
	}
	cluster := func(name string, c *cluster, against string) contender {
		return contender{name: name, against: against, database: c.database, measure: func(ctx context.Context, round int) (loadResult, error) {
			return b.cell(ctx, r, c.target(), round, r.name+" "+name)
		}}
	}
	base := echoRow(r)
	one, two, half := engine(1, r.conns/lanes), engine(2, r.conns/lanes/2), engine(1, r.conns/lanes/2)
	return []contender{
		{name: base.name, measure: func(ctx context.Context, round int) (loadResult, error) {
			return b.cell(ctx, base, target{processes: []*child{s.echo}, addr: s.echoAddr}, round, base.name)
		}},
		one, half, two,
		cluster("one node", s.one, one.name),
		cluster("two nodes", s.two, two.name),
	}
}

// echoRow is the row that another is held against.
func echoRow(r row) row {
	all := allRows()
	return all[slices.IndexFunc(all, func(of row) bool { return of.name == r.base })]
}

// contest measures once, with what it costs the database.
func (b *bench) contest(ctx context.Context, c contender, round int) (result contest, err error) {
	var before account
	if c.database != nil {
		if before, err = c.database.account(ctx); err != nil {
			return result, err
		}
	}
	if result.loadResult, err = c.measure(ctx, round); err != nil || c.database == nil {
		return result, err
	}
	after, err := c.database.account(ctx)
	result.spent = after.since(before)
	return result, err
}
