//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// One user is quiet, the others flood the server: how well is the quiet one served
// meanwhile? Each has a room and an address of their own.
const (
	floodUsers    = 10
	floodConns    = 8 // of each of them
	quietNumber   = floodUsers
	quietRate     = 20 // requests a second
	maxFloodUsers = 200
)

// floodAddress is the address of this machine that the user asks from, so that a
// limit on an address meets one user.
func floodAddress(user int) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 1, byte(1 + user)}) }

// floodTemplate is what the connection requests all the time. Each kind has its
// own connections, so that one that is refused does not wait for one that is not.
func (s *script) floodTemplate(conn int, headers []string) *template {
	room := sessionsPath + "/" + roomName(conn%s.users)
	switch conn / s.users % 3 {
	case 0:
		return newTemplate("POST", s.addr, sessionsPath, createBody, headers...)
	case 1:
		return newTemplate("POST", s.addr, room+"/messages", publishBody, headers...)
	default:
		return newTemplate("GET", s.addr, room, "", headers...)
	}
}

// noisy measures with the limits as they are by default, and without any.
func (b *bench) noisy(ctx context.Context, stdout io.Writer) error {
	secret, err := b.space.makeSecret()
	if err != nil {
		return err
	}
	settings := []string{"--auth", "jwt", "--jwt-secret-file", secret.public}
	measurements := []measurement{{name: "default limits"}, {name: "no limits"}}
	var servers []*server
	defer func() {
		for _, s := range servers {
			s.stop()
		}
	}()
	for i, limits := range [][]string{nil, noLimits()} {
		s, err := b.space.startServer(ctx, b.path, fmt.Sprintf("data-%d", i), append(settings, limits...)...)
		if err != nil {
			return err
		}
		s.key = secret.private
		servers = append(servers, s)
		if err := s.openNoisyRooms(ctx, b.stderr); err != nil {
			return fmt.Errorf("%w; %s", err, s.lastWords())
		}
	}
	results := make([][][]figure, len(measurements))
	for round := range b.options.rounds {
		for i, m := range measurements {
			s := &stage{bench: b, server: servers[i], label: fmt.Sprintf("%s, round %d", m.name, round+1)}
			if err := s.besideNoise(ctx); err != nil {
				return fmt.Errorf("%s: %w; %s", s.label, err, s.lastWords())
			}
			results[i] = append(results[i], s.figures)
			s.report(m.name, round)
		}
	}
	b.printFacts(stdout)
	printFigures(stdout, measurements, results, noisyLegend)
	return nil
}

// openNoisyRooms makes a room for each user, and lets them join it.
func (s *server) openNoisyRooms(ctx context.Context, progress io.Writer) error {
	if err := s.do(ctx, loadConfig{Action: open, Conns: 1, Loops: 1, Requests: floodUsers + 1}, progress); err != nil {
		return err
	}
	for number := range floodUsers + 1 {
		v, err := s.visit(number)
		if err != nil {
			return err
		}
		err = v.request(ctx, http.MethodPost, v.room+"/join", "{}")
		v.client.CloseIdleConnections()
		if err != nil {
			return fmt.Errorf("%s joins a room: %w", userName(number), err)
		}
	}
	return nil
}

// besideNoise measures the quiet user alone, and then beside the flood, which
// begins before and ends after.
func (s *stage) besideNoise(ctx context.Context) error {
	quiet, err := s.visit(quietNumber)
	if err != nil {
		return err
	}
	defer quiet.client.CloseIdleConnections()
	if err := settle(ctx, s.pid()); err != nil {
		return err
	}
	alone := quiet.runFor(ctx, s.options.duration)
	flooded := make(chan loadResult, 1)
	failed := make(chan error, 1)
	flooding, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		result, err := load(flooding, loadConfig{
			Addr: s.addr, Action: flood, Conns: floodUsers * floodConns, Loops: s.options.loops, Users: floodUsers, Key: s.key,
			Seed: 1, PIDs: []int{s.pid()}, Duration: s.options.warmup + s.options.duration,
		}, s.stderr)
		failed <- err
		flooded <- result
	}()
	if err := pause(ctx, s.options.warmup, failed); err != nil {
		return err
	}
	meanwhile := quiet.runFor(ctx, s.options.duration)
	if err := <-failed; err != nil {
		return err
	}
	s.compareQuiet(alone, meanwhile, <-flooded)
	return ctx.Err()
}

func (s *stage) compareQuiet(alone, meanwhile *published, noise loadResult) {
	for _, of := range []*published{alone, meanwhile} {
		if of.errors > 0 {
			s.failf("%s: %d requests of the quiet user failed beside %d answers, the first: %s",
				s.label, of.errors, of.answers, of.firstError)
		}
	}
	if noise.Errors > 0 {
		s.failf("%s: %d requests of the others failed otherwise than by a limit, the first: %s",
			s.label, noise.Errors, noise.FirstError)
	}
	for _, q := range []struct {
		name string
		of   float64
	}{{"p50", 0.50}, {"p99", 0.99}} {
		before, beside := alone.latencies.quantile(q.of), meanwhile.latencies.quantile(q.of)
		s.add(q.name+" of the quiet user alone", before.Seconds()*1e3, "ms")
		s.add(q.name+" of the quiet user meanwhile", beside.Seconds()*1e3, "ms")
		s.add(q.name+" meanwhile over alone", float64(beside)/float64(max(1, before)), "")
	}
	s.add("p99 of the quiet user's own delay", meanwhile.late.quantile(0.99).Seconds()*1e3, "ms")
	s.add("of the others answered with 200", float64(noise.Answers), "")
	s.add("of the others refused with 429", float64(noise.Refused), "")
}

// visitor is one user with their own address and room, in this process.
type visitor struct {
	client  *http.Client
	user    string
	headers http.Header
	base    string // URL of the server
	room    string // path
}

// visit makes the visitor with the number.
func (s *server) visit(number int) (*visitor, error) {
	signer, err := readSigner(s.key)
	if err != nil {
		return nil, err
	}
	lines, err := signer.headers(userName(number))
	if err != nil {
		return nil, err
	}
	headers := http.Header{"Content-Type": {"application/json"}}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		headers.Set(name, value)
	}
	dialer := &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(floodAddress(number), 0))}
	transport := &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 256}
	return &visitor{
		client:  &http.Client{Transport: transport, Timeout: publishTimeout},
		user:    userName(number),
		headers: headers,
		base:    "http://" + s.addr,
		room:    sessionsPath + "/" + roomName(number),
	}, nil
}

// runFor creates, publishes and gets in turn for as long.
func (v *visitor) runFor(ctx context.Context, d time.Duration) *published {
	stop := make(chan struct{})
	timer := time.AfterFunc(d, func() { close(stop) })
	defer timer.Stop()
	return pace(ctx, quietRate, stop, func(number int, sent time.Time) error {
		switch number % 3 {
		case 0:
			return v.request(ctx, http.MethodPost, sessionsPath, strings.Replace(roomBody, userName(1), v.user, 1))
		case 1:
			body := strings.Replace(publishBody, messageText, stamped(sent.UnixNano()), 1)
			return v.request(ctx, http.MethodPost, v.room+"/messages", body)
		default:
			return v.request(ctx, http.MethodGet, v.room, "")
		}
	})
}

// request fails unless it is answered with success.
func (v *visitor) request(ctx context.Context, method, path, body string) error {
	request, err := http.NewRequestWithContext(ctx, method, v.base+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header = v.headers
	return succeed(v.client, request)
}

const noisyLegend = `
The quiet user sends 20 requests a second, create, publish and get in turn, each when it is due: alone, and then
while ten others create, publish and get over 8 connections each as fast as they are answered, and go on when they are
refused. All have tokens (HS256), a room and an address of 127.0.0.0/8 of their own. The clients share the machine
with the server; the quiet user's own delay is how late it was to send, which no latency includes. A round
has 20 latencies a second of -duration: below 5 s its p99 is the slowest. It fails if a request of the quiet user does.
`
