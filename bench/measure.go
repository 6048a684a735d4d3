//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"
)

const (
	pipeline       = 64 // messages on their way in one WebSocket or gRPC connection
	burstConns     = 8
	manyStreams    = 1000 // the subscribers that -burst is for
	leaveSomeTime  = 5 * time.Second
	countedLate    = 11 * time.Second
	livePublishing = 80 // messages a second beside those who catch up
)

// echoCeiling measures the ceiling beside the streams, on the same machine in the same
// mood.
func echoCeiling(ctx context.Context, s *stage) error {
	echo, addr, err := startEcho(ctx, filepath.Join(s.space.programs, "echo.log"))
	if err != nil {
		return err
	}
	defer echo.stop()
	result, err := load(ctx, loadConfig{
		Addr: addr, Action: echoPublish, Conns: 64, Loops: s.options.loops,
		PIDs: []int{echo.pid()}, Warmup: s.options.warmup, Duration: s.options.duration,
	}, s.stderr)
	s.add("echo of a publish, 64 connections", result.rate(), "/s")
	return err
}

func publishWS(ctx context.Context, s *stage) error {
	return s.publishWith(ctx, func() (*published, error) {
		return publishOverSocket(ctx, s.addr, pipeline, s.options.duration)
	})
}

func publishGRPC(ctx context.Context, s *stage) error {
	return s.publishWith(ctx, func() (*published, error) {
		return publishOverGRPC(ctx, s.grpcAddr, pipeline, s.options.duration)
	})
}

// publishWith measures a publisher in this process, with one follower.
func (s *stage) publishWith(ctx context.Context, publish func() (*published, error)) error {
	readers, err := follow(ctx, followConfig{Addr: s.addr, Streams: 1, Rooms: 1}, s.stderr)
	if err != nil {
		return err
	}
	defer readers.stop()
	if err := settle(ctx, s.pid()); err != nil {
		return err
	}
	w := openWindow(0, s.pid())
	sent, err := publish()
	w.end()
	if err != nil {
		return err
	}
	if _, err := s.finish(readers, sent.answers); err != nil {
		return err
	}
	s.check(sent.flaw())
	s.add("messages acknowledged", float64(sent.answers)/sent.seconds, "/s")
	s.addLatency("until the acknowledgment", sent.latencies.quantile(0.50), sent.latencies.quantile(0.99))
	s.add("written to the disk a message", each(float64(w.written), sent.answers), "B")
	s.add("server CPU a message", perRequest(w.server.Seconds(), sent.answers), "us")
	return nil
}

// finish checks the followers against what was published to each of them.
func (s *stage) finish(readers *followers, messages int64) (followReport, error) {
	return s.finishAt(readers, messages*int64(readers.opened.Streams))
}

// finishAt checks the followers against how many messages all streams together were to
// get.
func (s *stage) finishAt(readers *followers, total int64) (followReport, error) {
	got, err := readers.finish(total)
	if err != nil {
		return got, err
	}
	s.check(got.flaw(total))
	return got, nil
}

func (s *stage) addLatency(what string, p50, p99 time.Duration) {
	s.add("p50 "+what, p50.Seconds()*1e3, "ms")
	s.add("p99 "+what, p99.Seconds()*1e3, "ms")
}

// fanout publishes a burst as fast as it is acknowledged. More subscribers get
// fewer messages, so that the deliveries are as many.
func fanout(streams int) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		readers, err := s.subscribe(ctx, streams)
		if err != nil {
			return err
		}
		defer readers.stop()
		w := openWindow(0, s.pid())
		sent, err := load(ctx, loadConfig{
			Addr: s.addr, Action: publish, Conns: burstConns, Loops: 1, IDs: 1,
			Requests: max(1, s.options.burst*manyStreams/int64(streams)), PIDs: []int{s.pid()},
		}, io.Discard)
		if err != nil {
			return err
		}
		if sent.Errors > 0 {
			s.failf("%s: %d messages failed, the first: %s", s.label, sent.Errors, sent.FirstError)
		}
		got, err := s.finish(readers, sent.Answers)
		w.end()
		if err != nil {
			return err
		}
		s.add("deliveries", float64(got.Messages)/seconds(got.FirstSent, got.LastCame), "/s")
		s.add("messages acknowledged meanwhile", sent.rate(), "/s")
		s.addLatency("from publish to receive", got.P50, got.P99)
		s.addCost(w, readers, got)
		return nil
	}
}

// addCost says what a delivery costs the server, and the follower beside it.
func (s *stage) addCost(w window, readers *followers, got followReport) {
	s.add("server CPU a delivery", perRequest(w.server.Seconds(), got.Messages), "us")
	s.add("follower CPU a delivery", perRequest(got.CPU-readers.opened.CPU, got.Messages), "us")
}

// subscribe opens streams of the first room and lets the server come to rest.
func (s *stage) subscribe(ctx context.Context, streams int) (*followers, error) {
	readers, err := follow(ctx, followConfig{Addr: s.addr, Streams: streams, Rooms: 1}, s.stderr)
	if err != nil {
		return nil, err
	}
	if err := settle(ctx, s.pid()); err != nil {
		readers.stop()
		return nil, err
	}
	return readers, nil
}

// steady publishes at a rate that leaves the server time.
func steady(streams, rate int) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		readers, err := s.subscribe(ctx, streams)
		if err != nil {
			return err
		}
		defer readers.stop()
		w := openWindow(0, s.pid())
		sent := pacer{addr: s.addr, rate: rate}.runFor(ctx, s.options.duration)
		s.check(sent.flaw())
		got, err := s.finish(readers, sent.answers)
		w.end()
		if err != nil {
			return err
		}
		s.add("messages published", float64(sent.answers)/sent.seconds, "/s")
		s.addLatency("from publish to receive", got.P50, got.P99)
		s.addLatency("until the acknowledgment", sent.latencies.quantile(0.50), sent.latencies.quantile(0.99))
		s.add("p99 of the publisher's own delay", sent.late.quantile(0.99).Seconds()*1e3, "ms")
		s.addCost(w, readers, got)
		return nil
	}
}

// idle measures what streams cost that nothing comes through. The collector is
// left alone: what it has not collected yet is memory that the server has.
func idle(streams int, socket bool) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		if err := wait(ctx, idleFor); err != nil {
			return err
		}
		before, err := residentBytes(s.pid())
		if err != nil {
			return err
		}
		readers, err := follow(ctx, followConfig{Addr: s.addr, Streams: streams, Rooms: 1, Socket: socket}, s.stderr)
		if err != nil {
			return err
		}
		defer readers.stop()
		if err := wait(ctx, s.options.leave); err != nil {
			return err
		}
		after, err := residentBytes(s.pid())
		if err != nil {
			return err
		}
		if _, err := s.finish(readers, 0); err != nil {
			return err
		}
		s.add("resident a stream", float64(after-before)/float64(streams)/1024, "KiB")
		s.add(fmt.Sprintf("resident with %s streams", grouped(streams)), float64(after)/1e6, "MB")
		return nil
	}
}

// catchUp lets subscribers resume far behind, all at once, while somebody
// publishes to the room with the number: the same one, where every message is one
// more for all of them, or another.
func catchUp(streams int, backlog int64, room int) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		live := pacer{addr: s.addr, first: room, rate: livePublishing}
		alone := live.runFor(ctx, s.options.duration)
		s.check(alone.flaw())
		cursor, err := s.head(ctx)
		if err != nil {
			return err
		}
		if err := s.do(ctx, loadConfig{Action: publish, Conns: 64, Loops: 1, IDs: 1, Requests: backlog}, io.Discard); err != nil {
			return err
		}
		if err := settle(ctx, s.pid()); err != nil {
			return err
		}
		stop, ended := make(chan struct{}), make(chan *published, 1)
		go func() { ended <- live.run(ctx, stop) }()
		got, readers, err := s.resume(ctx, streams, backlog, cursor)
		close(stop)
		sent := <-ended
		if err != nil {
			return err
		}
		defer readers.stop()
		s.check(sent.flaw())
		s.add("events to those who catch up", float64(backlog)*float64(streams)/seconds(got.Began, got.CaughtAt), "/s")
		p99Alone, p99Meanwhile := alone.latencies.quantile(0.99), sent.latencies.quantile(0.99)
		s.add("p99 of a publisher alone", p99Alone.Seconds()*1e3, "ms")
		s.add("p99 of it meanwhile", p99Meanwhile.Seconds()*1e3, "ms")
		s.add("the latter over the former", float64(p99Meanwhile)/float64(max(1, p99Alone)), "")
		s.add("p99 of the publisher's own delay", sent.late.quantile(0.99).Seconds()*1e3, "ms")
		if room == 0 {
			backlog += sent.answers
		}
		_, err = s.finish(readers, backlog)
		return err
	}
}

// resume returns when all streams have had the backlog.
func (s *stage) resume(ctx context.Context, streams int, backlog int64, cursor string) (followReport, *followers, error) {
	readers, err := follow(ctx, followConfig{
		Addr: s.addr, Streams: streams, Rooms: 1, Cursor: cursor, Backlog: backlog, AtOnce: streams,
	}, s.stderr)
	if err != nil {
		return followReport{}, nil, err
	}
	got, err := readers.await(stageCaughtUp)
	if err != nil {
		readers.stop()
	}
	return got, readers, err
}

// head is the cursor of what came last in the first room.
func (s *stage) head(ctx context.Context) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+sessionsPath+"/"+roomName(0), http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	var session echoSession
	if err := json.NewDecoder(response.Body).Decode(&session); err != nil {
		return "", fmt.Errorf("read the room: %w", err)
	}
	return session.UID + ":" + session.HeadSequence, nil
}

// seconds lie between two times in nanoseconds.
func seconds(from, to int64) float64 { return max(1e-9, float64(to-from)/1e9) }
