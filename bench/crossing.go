//go:build linux

package main

import (
	"context"
	"time"
)

// way is how messages come from the publisher, who is at the first node, to the
// subscribers.
type way int

const (
	near   way = iota // who are at the same node
	across            // who are at the other one
	cut               // likewise, and NATS is gone: only the database tells
)

// crossing publishes so many messages a second to the stage's rooms, which have so many
// subscribers together.
func crossing(streams, rate int, w way) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		listens := s.cluster.nodes[0]
		if w != near {
			listens = s.cluster.nodes[1]
		}
		readers, err := follow(ctx, followConfig{Addr: listens.addr, Streams: streams, Rooms: s.rooms}, s.stderr)
		if err != nil {
			return err
		}
		defer readers.stop()
		if err := s.cluster.target().settle(ctx); err != nil {
			return err
		}
		if w == cut {
			s.cluster.nats.stop()
		}
		window := openWindow(s.postgres.postmaster, s.cluster.target().pids()...)
		sent := pacer{addr: s.addr, rooms: s.rooms, rate: rate}.runFor(ctx, s.options.duration)
		s.check(sent.flaw())
		got, err := s.finishAt(readers, deliveries(sent.answers, streams, s.rooms))
		window.end()
		if err != nil {
			return err
		}
		s.add("messages published", float64(sent.answers)/sent.seconds, "/s")
		s.addLatency("from publish to receive", got.P50, got.P99)
		s.add("longest from publish to receive", got.Max.Seconds()*1e3, "ms")
		s.addLatency("until the acknowledgment", sent.latencies.quantile(0.50), sent.latencies.quantile(0.99))
		s.add("p99 of the publisher's own delay", sent.late.quantile(0.99).Seconds()*1e3, "ms")
		s.add("node CPU a message", perRequest(window.server.Seconds(), sent.answers), "us")
		s.add("database CPU a message", perRequest(window.database.Seconds(), sent.answers), "us")
		return nil
	}
}

// deliveries are how many messages come to streams that are spread over rooms, if so
// many were published to the rooms in turn, from the first on.
func deliveries(messages int64, streams, rooms int) int64 {
	total := int64(0)
	for room := range int64(rooms) {
		listening := (int64(streams) - room + int64(rooms) - 1) / int64(rooms)
		total += (messages - room + int64(rooms) - 1) / int64(rooms) * listening
	}
	return total
}

// livePause is between the messages of a live measurement, over all sessions.
const livePause = time.Second

// live measures what sessions cost a node that have a subscriber each, and to one of
// which somebody publishes every second. The node is the second one: the first has made
// the sessions, and holds what that has left in its memory; it publishes.
func live(ctx context.Context, s *stage) error {
	node := s.cluster.nodes[1]
	if err := s.cluster.target().settle(ctx); err != nil {
		return err
	}
	resident, err := residentBytes(node.pid())
	if err != nil {
		return err
	}
	listening, err := s.cluster.nats.subscriptions(ctx)
	if err != nil {
		return err
	}
	readers, err := follow(ctx, followConfig{Addr: node.addr, Streams: s.rooms, Rooms: s.rooms}, s.stderr)
	if err != nil {
		return err
	}
	defer readers.stop()
	// Subscribing looks at the head once more after a second.
	if err := wait(ctx, s.options.leave+s.options.counted); err != nil {
		return err
	}
	before, err := s.cluster.database.account(ctx)
	if err != nil {
		return err
	}
	w := openWindow(s.postgres.postmaster, node.pid())
	sent := pacer{addr: s.addr, rooms: s.rooms, rate: int(time.Second / livePause)}.runFor(ctx, s.options.duration)
	w.end()
	s.check(sent.flaw())
	after, err := s.cluster.database.account(ctx)
	if err != nil {
		return err
	}
	if err := s.addLive(ctx, node, resident, listening); err != nil {
		return err
	}
	s.add("node CPU, of one processor", 100*w.server.Seconds()/w.elapsed.Seconds(), "%")
	s.add("database CPU, of one processor", 100*w.database.Seconds()/w.elapsed.Seconds(), "%")
	s.add("database transactions", float64(after.since(before).transactions)/w.elapsed.Seconds(), "/s")
	_, err = s.finishAt(readers, deliveries(sent.answers, s.rooms, s.rooms))
	return err
}

// addLive says what the node holds more than before.
func (s *stage) addLive(ctx context.Context, node *server, resident int64, listening int) error {
	now, err := residentBytes(node.pid())
	if err != nil {
		return err
	}
	subscriptions, err := s.cluster.nats.subscriptions(ctx)
	if err != nil {
		return err
	}
	s.add("resident", float64(now)/1e6, "MB")
	s.add("resident a live session", float64(now-resident)/float64(s.rooms)/1024, "KiB")
	s.add("NATS subscriptions more", float64(subscriptions-listening), "")
	return nil
}

const nodesLegend = `
Every stream is checked: a measurement fails unless each gets all that was acknowledged, once and in order. Messages
have 300 bytes and say when they were sent. All of it shares the machine.

near, across, cut   two nodes; the publisher is at the first. Its subscribers are at the same node, at the other, or at
             the other without NATS, which is stopped once they listen. 1: 100 messages a second into one session
             with 10 subscribers; 100: 1,000 a second over 100 sessions with a subscriber each.
live         as many sessions with a subscriber each at one node; another publishes a message a second over all of
             them. Resident is VmRSS of the first, garbage included, a live session what was added from before they
             listened. Transactions are of the whole database, those of both nodes' background too. PostgreSQL counts
             them a second late, those of idle connections ten, for which it waits: -duration 20s says it to a few
             hundredths.
`
