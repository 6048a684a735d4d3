//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
)

// authUsers are those who take turns by connection to create and get, so that each
// of 64 connections has a user and a token of its own.
const authUsers = 64

// authRows are those that a comparison of identities measures.
func authRows() []string { return []string{"create64", "publish64x1", "get64"} }

// identity is one way to say who asks, with the settings of a server that takes it.
type identity struct {
	name     string
	key      string // file with the key that tokens are signed with; empty: there are none
	settings []string
}

// highLimits are all set, and none is ever reached: they cost what they cost.
func highLimits() []string {
	return []string{
		"--limit-requests", "1000000", "--limit-creates", "1000000", "--limit-publishes", "1000000",
		"--limit-streams", "1000000", "--limit-address", "1000000",
		"--quota-sessions", "100000000", "--quota-streams", "1000000", "--quota-bytes", "1073741824",
	}
}

// noLimits sets none.
func noLimits() []string {
	return []string{
		"--limit-requests", "0", "--limit-creates", "0", "--limit-publishes", "0",
		"--limit-streams", "0", "--limit-address", "0",
		"--quota-sessions", "0", "--quota-streams", "0", "--quota-bytes", "0",
	}
}

// identities are those that are compared, the one without tokens first.
func (w *workspace) identities() ([]identity, error) {
	secret, err := w.makeSecret()
	if err != nil {
		return nil, err
	}
	pair, err := w.makeKeyPair()
	if err != nil {
		return nil, err
	}
	withTokens := func(flag string, files keyFiles) []string {
		return append([]string{"--auth", "jwt", flag, files.public}, highLimits()...)
	}
	return []identity{
		{"dev", "", []string{"--auth", "dev"}},
		{"HS256", secret.private, withTokens("--jwt-secret-file", secret)},
		{"ES256", pair.private, withTokens("--jwt-public-key-file", pair)},
	}, nil
}

// auth compares servers that find out in different ways who asks. As in a
// comparison of stores all of them run at once, and are measured in turn.
func (b *bench) auth(ctx context.Context, stdout io.Writer) error {
	identities, err := b.space.identities()
	if err != nil {
		return err
	}
	var servers []*server
	defer func() {
		for _, s := range servers {
			s.stop()
		}
	}()
	for _, i := range identities {
		s, err := b.space.startServer(ctx, b.path, "data-"+i.name, i.settings...)
		if err != nil {
			return err
		}
		s.users, s.key = min(authUsers, namedSessions(b.options.sessions)), i.key
		servers = append(servers, s)
		if err := s.fill(ctx, b.options.sessions, b.options.loops, b.stderr); err != nil {
			return err
		}
		if err := b.furnish(ctx, s); err != nil {
			return err
		}
	}
	b.printFacts(stdout)
	printAuthHead(stdout, identities)
	for _, r := range b.options.rows {
		results, err := b.authRow(ctx, r, identities, servers)
		if err != nil {
			return err
		}
		printAuthRow(stdout, r, results)
	}
	fmt.Fprint(stdout, authLegend)
	return nil
}

// authRow measures a row on all servers round after round. Each round begins with
// another of them.
func (b *bench) authRow(ctx context.Context, r row, identities []identity, servers []*server) ([][]loadResult, error) {
	results := make([][]loadResult, len(servers))
	for round := range b.options.rounds {
		for turn := range servers {
			i := (round + turn) % len(servers)
			result, err := b.cell(ctx, r, servers[i].target(), round, r.name+" "+identities[i].name)
			if err != nil {
				return nil, err
			}
			results[i] = append(results[i], result)
		}
	}
	return results, nil
}

func printAuthHead(stdout io.Writer, identities []identity) {
	fmt.Fprintf(stdout, "\n%-14s", "row")
	for i, of := range identities {
		fmt.Fprintf(stdout, " %10s %11s ", of.name, "server CPU")
		if i > 0 {
			fmt.Fprintf(stdout, " %6s", "of "+identities[0].name)
		}
	}
	fmt.Fprintln(stdout)
}

func printAuthRow(stdout io.Writer, r row, results [][]loadResult) {
	fmt.Fprintf(stdout, "%-14s", r.name)
	for i, of := range results {
		fmt.Fprintf(stdout, " %10.0f %8.1f us%s", median(of, loadResult.rate), median(of, loadResult.serverCost), mark(of))
		if i > 0 {
			fmt.Fprintf(stdout, " %6.2f", median(pairs(of, results[0]), pair.ratio))
		}
	}
	fmt.Fprintln(stdout)
}

const authLegend = `
Requests a second and the server's CPU a request; of dev is the median of the rounds' ratios. Under --auth dev
Parley-User names the users and no limit holds; HS256 and ES256 are --auth jwt with a token for each user, all
limits set beyond what the load reaches, and the audit on. All three have the same users: create, get, update
and list are by 64 users, one a connection, who own what they ask for, publish and messages by one. A server's
standard error, and so the audit, goes into a file of its own on the disk, which nobody reads meanwhile.
`
