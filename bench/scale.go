//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// scale compares stores of different sizes. All servers run at once, each row
// is measured on one after the other, and those that are not measured are idle,
// so whatever else the machine does meets all sizes alike.
func (b *bench) scale(ctx context.Context, stdout io.Writer) error {
	var servers []*server
	defer func() {
		for _, s := range servers {
			s.stop()
		}
	}()
	for i, size := range b.options.scale {
		s, err := b.space.startServer(ctx, b.path, fmt.Sprintf("data-%d", i))
		if err != nil {
			return err
		}
		servers = append(servers, s)
		if err := s.fill(ctx, size, b.options.loops, b.stderr); err != nil {
			return err
		}
		if err := b.furnish(ctx, s); err != nil {
			return err
		}
	}
	b.printDisk(stdout)
	b.printScaleHead(stdout)
	for _, r := range b.options.rows {
		if err := b.scaleRow(ctx, stdout, r, servers); err != nil {
			return err
		}
	}
	fmt.Fprintln(stdout, "\nEvery create row adds sessions: the sizes are those at its beginning.")
	return nil
}

func (b *bench) scaleRow(ctx context.Context, stdout io.Writer, r row, servers []*server) error {
	results := make([][]loadResult, len(servers))
	for round := range b.options.rounds {
		for i, s := range servers {
			label := fmt.Sprintf("%s of %s", r.name, grouped(s.sessions))
			result, err := b.cell(ctx, r, s.target(), round, label)
			if err != nil {
				return err
			}
			results[i] = append(results[i], result)
		}
	}
	fmt.Fprintf(stdout, "%-14s", r.name)
	for _, of := range results {
		fmt.Fprintf(stdout, " %10.0f %8s%s", median(of, loadResult.rate), short(medianTime(of, p50)), mark(of))
	}
	slower := median(pairs(results[0], results[len(results)-1]), pair.ratio)
	fmt.Fprintf(stdout, " %10.2f\n", slower)
	return nil
}

func (b *bench) printScaleHead(stdout io.Writer) {
	var sizes, columns strings.Builder
	for _, size := range b.options.scale {
		fmt.Fprintf(&sizes, " %20s", grouped(size))
		fmt.Fprintf(&columns, " %10s %8s ", "req/s", "p50")
	}
	fmt.Fprintf(stdout, "\n%-14s%s\n%-14s%s %10s\n", "sessions", sizes.String(), "row", columns.String(), "slower by")
}
