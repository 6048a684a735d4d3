//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"slices"
)

// String prints the value with as many digits as it is worth.
func (f figure) String() string {
	text := fmt.Sprintf("%.2f", f.value)
	if math.Abs(f.value) >= 100 {
		text = grouped(int(math.Round(f.value)))
	}
	if f.unit == "" || f.unit == "/s" {
		return text + f.unit
	}
	return text + " " + f.unit
}

// printFigures prints a line for each figure: its median, and the extremes of all
// rounds.
func printFigures(stdout io.Writer, measurements []measurement, results [][][]figure, legend string) {
	fmt.Fprintf(stdout, "\n%-14s %-36s %14s %14s %14s\n", "measurement", "figure", "median", "lowest", "highest")
	for i, m := range measurements {
		rounds := results[i]
		if len(rounds) == 0 {
			continue
		}
		for column := range rounds[0] {
			middle, lowest, highest := spread(rounds, column)
			name := m.name
			if column > 0 {
				name = ""
			}
			fmt.Fprintf(stdout, "%-14s %-36s %14s %14s %14s\n", name, middle.name, middle, lowest, highest)
		}
	}
	fmt.Fprint(stdout, legend)
}

// spread summarizes one figure over all rounds.
func spread(rounds [][]figure, column int) (middle, lowest, highest figure) {
	values := make([]float64, len(rounds))
	for i, figures := range rounds {
		values[i] = figures[column].value
	}
	middle = rounds[0][column]
	lowest, highest = middle, middle
	middle.value = median(values, func(v float64) float64 { return v })
	lowest.value, highest.value = slices.Min(values), slices.Max(values)
	return middle, lowest, highest
}

const streamsLegend = `
Every stream is checked: a measurement fails unless each gets all that was acknowledged, once and in order.
Messages have 300 bytes and say when they were sent; publish to receive is from then to when the follower
reads them. The server, the followers and the publisher share the machine: the publisher's own delay is how
late it was to send, which no latency includes.

publishws    one WebSocket, 64 frames on their way; it is a stream of the room too. Its frames are handled in order.
publishgrpc  unary calls over one connection, 64 at a time: the API has no stream of requests.
fanout       a burst over 8 connections, as fast as it is acknowledged; deliveries until the last has come.
steady       80 messages a second to 1,000 subscribers, 16 to 5,000: as many deliveries.
idle         VmRSS before and 5 s after 5,000 streams were opened, for each; garbage included.
catchup      1,000 streams resume 10,000 messages behind at once; a publisher sends 80 messages a second to
             the same room meanwhile, in catchup1000b to another.
`
