//go:build linux

package main

import (
	"fmt"
	"io"
)

// databaseCost is microseconds of PostgreSQL's processor time a request.
func (r loadResult) databaseCost() float64 { return perRequest(r.Database, r.Requests) }

func (c contest) logEach() float64   { return each(float64(c.spent.log), c.Answers) }
func (c contest) keptEach() float64  { return each(float64(c.spent.kept), c.Answers) }
func (c contest) groupEach() float64 { return each(float64(c.Answers), c.spent.groups) }

// printNodes prints a line for each contender of each row.
func printNodes(stdout io.Writer, rows []row, table []line) {
	fmt.Fprintf(stdout, "\n%-14s %-13s %10s %9s %9s %11s %11s %8s %8s %8s %8s %8s\n",
		"row", "on", "req/s", "p50", "p99", "node CPU", "database", "log", "kept", "a group", "of echo", "of bare")
	for i, r := range rows {
		echo := table[i][0].loads()
		for _, c := range table[i] {
			of := c.loads()
			fmt.Fprintf(stdout, "%-14s %-13s %10.0f %9s %9s %8.1f us %8.1f us %6.0f B %6.0f B %8.1f %8s %8s%s\n", r.name, c.name,
				median(of, loadResult.rate), short(medianTime(of, p50)), short(medianTime(of, p99)),
				median(of, loadResult.serverCost), median(of, loadResult.databaseCost),
				median(c.rounds, contest.logEach), median(c.rounds, contest.keptEach), median(c.rounds, contest.groupEach),
				ratio(of, echo), ratio(of, table[i].named(c.against)), mark(of))
		}
	}
	fmt.Fprint(stdout, nodesTableLegend)
}

// ratio is the median of the rounds' ratios; "-" of nothing.
func ratio(of, other []loadResult) string {
	if len(other) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", median(pairs(of, other), pair.ratio))
}

// loads are the rounds without what they cost the database.
func (c *contestant) loads() []loadResult {
	of := make([]loadResult, len(c.rounds))
	for i, round := range c.rounds {
		of[i] = round.loadResult
	}
	return of
}

// named are the rounds of the contestant with the name; none of no name.
func (l line) named(name string) []loadResult {
	for i := range l {
		if l[i].name == name {
			return l[i].loads()
		}
	}
	return nil
}

const nodesTableLegend = `
64 connections, spread evenly over the nodes; the nodes share a database and a NATS server, and each writes in two
lanes. Create is by 64 users, one a connection. Publish goes to 1 session or 1,000, each with a follower in a process of
its own, on the nodes in turn, which must get all that was acknowledged, once and in order. Bare is the same transactions
without a server, as many lanes x as many rows in each; its latencies are a transaction's. CPU is user and system time a
request: of all nodes, of bare of what drives it, and of all of PostgreSQL's processes (0 if they are elsewhere). Log is
what the write-ahead log grew by a request, kept what the database did less the record of the groups, which is purged
after an hour; both with the warm-up. A group is requests a transaction. Of bare is the rate against as many lanes with
the largest groups that 64 connections can make.
`
