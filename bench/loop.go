//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	wakeEvery    = 100 // milliseconds after which a quiet loop looks at the phase
	writeTimeout = 5000
	maxLost      = 100 // connections that a loop replaces before it gives up
)

// loop drives its share of the connections from one thread: it waits for any of
// them to become readable, reads the answer and writes the next request at
// once. No goroutine is parked or woken for a request, which costs a generator
// with one goroutine a connection more than everything else that it does.
type loop struct {
	run       *run
	epoll     int
	conns     []*conn
	events    []unix.EpollEvent
	buffer    []byte
	draw      *rand.PCG
	started   time.Time
	waiting   int // connections with an outstanding request
	latencies histogram

	answers    int64 // of the whole run, whatever its phase
	refused    int64
	errors     int64
	lost       int
	firstError string
}

// conn is one keep-alive connection with at most one request outstanding.
type conn struct {
	fd       int
	writer   writer
	response response
	began    time.Duration // on the loop's clock
	busy     bool
}

func newLoop(r *run, index uint64, conns int) (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	l := &loop{
		run:     r,
		epoll:   epoll,
		conns:   make([]*conn, conns),
		events:  make([]unix.EpollEvent, max(1, conns)),
		buffer:  make([]byte, 128<<10),
		draw:    rand.NewPCG(r.config.Seed, index),
		started: time.Now(),
	}
	for i := range l.conns {
		if err := l.begin(i); err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

func (l *loop) begin(index int) error {
	w, err := newWriter(l.run.script)
	if err != nil {
		return err
	}
	l.conns[index] = &conn{fd: -1, writer: w}
	l.conns[index].response.reset()
	return l.connect(index)
}

func (l *loop) close() {
	for _, c := range l.conns {
		if c != nil && c.fd >= 0 {
			_ = unix.Close(c.fd)
			c.fd = -1
		}
	}
	_ = unix.Close(l.epoll)
}

func (l *loop) connect(index int) error {
	addr, err := netip.ParseAddrPort(l.conns[index].writer.addr)
	if err != nil || !addr.Addr().Is4() {
		return fmt.Errorf("%q is not an IPv4 address with a port", l.conns[index].writer.addr)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	l.conns[index].fd = fd
	if l.run.script.action == flood {
		from := &unix.SockaddrInet4{Addr: floodAddress(l.conns[index].writer.user).As4()}
		if err := unix.Bind(fd, from); err != nil {
			return fmt.Errorf("send from an address of 127.0.0.0/8: %w", err)
		}
	}
	to := &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}
	if err := unix.Connect(fd, to); err != nil {
		return fmt.Errorf("connect to %s: %w", addr, err)
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(index)}
	return errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetNonblock(fd, true),
		unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event),
	)
}

// drive runs the loop until the run drains or all its requests are answered.
func (l *loop) drive() error {
	for i := range l.conns {
		if err := l.send(i); err != nil {
			return err
		}
	}
	var drainEnds time.Time
	for l.waiting > 0 {
		if err := l.turn(); err != nil {
			return err
		}
		if l.run.phase.Load() != draining {
			continue
		}
		if drainEnds.IsZero() {
			drainEnds = time.Now().Add(drainTimeout)
		}
		if time.Now().After(drainEnds) {
			l.fail(l.waiting, fmt.Sprintf("no answer within %s after the end", drainTimeout))
			return nil
		}
	}
	return nil
}

func (l *loop) turn() error {
	n, err := unix.EpollWait(l.epoll, l.events, wakeEvery)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("epoll_wait: %w", err)
	}
	for _, event := range l.events[:max(0, n)] {
		if err := l.receive(int(event.Fd)); err != nil {
			return err
		}
	}
	return nil
}

// receive reads what has arrived; if it ends a response, the next request goes
// out.
func (l *loop) receive(index int) error {
	c := l.conns[index]
	n, err := unix.Read(c.fd, l.buffer)
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return l.replace(index, err)
	case n == 0:
		return l.replace(index, io.ErrUnexpectedEOF)
	}
	done, err := c.response.feed(l.buffer[:n])
	if err != nil {
		return l.replace(index, err)
	}
	if !done {
		return nil
	}
	return l.finish(index)
}

func (l *loop) finish(index int) error {
	c := l.conns[index]
	c.busy = false
	l.waiting--
	switch {
	case c.response.status == expectedStatus:
		l.answered(time.Since(l.started) - c.began)
	case c.response.status == refusedStatus && l.run.script.action == flood:
		l.refused++
	default:
		l.fail(1, fmt.Sprintf("status %d: %s", c.response.status, c.response.body))
	}
	closes, refused := c.response.closes, c.response.status == refusedStatus
	c.response.reset()
	switch {
	case closes && refused: // it may
		return l.reconnect(index)
	case closes:
		return l.replace(index, errors.New("the server asked to close the connection"))
	}
	return l.send(index)
}

func (l *loop) answered(latency time.Duration) {
	l.answers++
	if l.run.phase.Load() == measuring {
		l.latencies.record(latency)
	}
}

// send writes the next request, unless the run is at its end.
func (l *loop) send(index int) error {
	if l.run.phase.Load() == draining {
		return nil
	}
	ticket := l.run.ticket.Add(1) - 1
	if ticket >= l.run.limit {
		return nil
	}
	c := l.conns[index]
	request := c.writer.next(l.draw, ticket)
	c.busy = true
	l.waiting++
	c.began = time.Since(l.started)
	n, err := unix.Write(c.fd, request)
	if n == len(request) {
		return nil
	}
	if err := writeRest(c.fd, request[max(0, n):], err); err != nil {
		return l.replace(index, err)
	}
	return nil
}

// writeRest is for the socket that did not take a request in one piece. That
// does not happen to small requests on an idle connection, so it may block.
func writeRest(fd int, rest []byte, err error) error {
	for len(rest) > 0 {
		if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return err
		}
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if n, _ := unix.Poll(ready, writeTimeout); n == 0 {
			return errors.New("the server does not read the request")
		}
		var n int
		n, err = unix.Write(fd, rest)
		rest = rest[max(0, n):]
	}
	return nil
}

// replace counts a lost connection as an error and opens another in its place.
func (l *loop) replace(index int, cause error) error {
	c := l.conns[index]
	l.fail(1, "connection lost: "+cause.Error())
	if l.lost++; l.lost > maxLost {
		return fmt.Errorf("%d connections lost, the last: %w", l.lost, cause)
	}
	if c.busy {
		c.busy = false
		l.waiting--
	}
	if err := l.reconnect(index); err != nil {
		return fmt.Errorf("after a lost connection (%w): %w", cause, err)
	}
	return nil
}

// reconnect opens another connection in place of one that ends.
func (l *loop) reconnect(index int) error {
	c := l.conns[index]
	_ = unix.Close(c.fd)
	c.fd = -1
	c.response.reset()
	if err := l.connect(index); err != nil {
		return err
	}
	return l.send(index)
}

func (l *loop) fail(n int, what string) {
	l.errors += int64(n)
	if l.firstError == "" {
		l.firstError = what
	}
}
