//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const defaultAtOnce = 64

// errQuiet says that nothing came for too long.
var errQuiet = errors.New("nothing comes any more")

// follower reads all its streams from one thread with one buffer. A stream has a
// buffer of its own only for an event that arrived in part, so that a delivery
// costs it little beside the system call.
type follower struct {
	config  followConfig
	addrs   []unix.SockaddrInet4
	headers []string // that say who follows
	epoll   int
	streams []*stream
	begun   int // streams that were begun to open
	events  []unix.EpollEvent
	buffer  []byte
	tally   tally

	began      int64
	lost       int
	firstError string
}

func newFollower(c followConfig) (*follower, error) {
	addrs, err := parseAddresses(c.Addr)
	if err != nil {
		return nil, err
	}
	if c.Streams < 1 || c.Rooms < 1 || c.Backlog < 0 {
		return nil, fmt.Errorf("%d streams of %d rooms: each needs one", c.Streams, c.Rooms)
	}
	if c.AtOnce == 0 {
		c.AtOnce = defaultAtOnce
	}
	if err := allowFiles(c.Streams); err != nil {
		return nil, err
	}
	signer, err := readSigner(c.Key)
	if err != nil {
		return nil, err
	}
	headers, err := signer.headers(writerUser)
	if err != nil {
		return nil, err
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	f := &follower{
		config:  c,
		addrs:   addrs,
		headers: headers,
		epoll:   epoll,
		streams: make([]*stream, c.Streams),
		events:  make([]unix.EpollEvent, min(c.Streams, 512)),
		buffer:  make([]byte, maxEvent+256<<10),
		tally:   tally{backlog: c.Backlog},
	}
	for i := range f.streams {
		f.streams[i] = &stream{fd: -1, socket: c.Socket}
	}
	return f, nil
}

func parseAddresses(list string) ([]unix.SockaddrInet4, error) {
	var addrs []unix.SockaddrInet4
	for text := range strings.SplitSeq(list, ",") {
		addr, err := netip.ParseAddrPort(text)
		if err != nil || !addr.Addr().Is4() {
			return nil, fmt.Errorf("%q is not an IPv4 address with a port", text)
		}
		addrs = append(addrs, unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())})
	}
	return addrs, nil
}

func (f *follower) close() {
	for _, s := range f.streams {
		s.close()
	}
	_ = unix.Close(f.epoll)
}

func (s *stream) close() {
	if s.fd >= 0 {
		_ = unix.Close(s.fd)
		s.fd = -1
	}
}

// until reads until it is done, or nothing came for as long as it has patience:
// 0 for ever.
func (f *follower) until(ctx context.Context, patience time.Duration, done func() bool) error {
	seen, moved := f.progress(), time.Now()
	for !done() {
		if err := f.turn(); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if now := f.progress(); now != seen {
			seen, moved = now, time.Now()
		} else if patience > 0 && time.Since(moved) > patience {
			return errQuiet
		}
	}
	return nil
}

func (f *follower) progress() int64 { return f.tally.messages + int64(f.tally.ready) }

// turn opens what may be opened, and reads what has arrived.
func (f *follower) turn() error {
	for f.begun < len(f.streams) && f.begun-f.tally.ready < f.config.AtOnce {
		if err := f.open(f.begun); err != nil {
			return err
		}
		f.begun++
	}
	n, err := unix.EpollWait(f.epoll, f.events, wakeEvery)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("epoll_wait: %w", err)
	}
	for _, event := range f.events[:max(0, n)] {
		if err := f.receive(f.streams[event.Fd]); err != nil {
			return err
		}
	}
	return nil
}

func (f *follower) open(index int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	f.streams[index].fd = fd
	if err := unix.Connect(fd, &f.addrs[index%len(f.addrs)]); err != nil {
		return fmt.Errorf("connect to %s: %w", f.config.Addr, err)
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(index)}
	if err := errors.Join(
		unix.SetNonblock(fd, true),
		unix.EpollCtl(f.epoll, unix.EPOLL_CTL_ADD, fd, &event),
	); err != nil {
		return err
	}
	return writeRest(fd, f.request(index), nil)
}

// request opens the stream of the index, as the member that the writer is.
func (f *follower) request(index int) []byte {
	c := f.config
	path := sessionsPath + "/" + roomName(c.First+index%c.Rooms) + "/events"
	if c.Cursor != "" {
		path += "?cursor=" + c.Cursor
	}
	kind := []string{"Accept: text/event-stream"}
	if c.Socket {
		kind = socketHeaders
	}
	headers := slices.Concat(kind, f.headers)
	host, _, _ := strings.Cut(c.Addr, ",") // the name that all servers go by
	return []byte("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n")
}

// receive reads a stream once: what it has left over follows when all others
// have had their turn.
func (f *follower) receive(s *stream) error {
	if s.fd < 0 {
		return nil
	}
	kept := copy(f.buffer, s.left)
	n, err := unix.Read(s.fd, f.buffer[kept:])
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return f.lose(s, err)
	case n == 0:
		return f.lose(s, io.ErrUnexpectedEOF)
	}
	f.tally.now = time.Now().UnixNano()
	rest, err := s.take(f.buffer[:kept+n], &f.tally)
	if err == nil && len(rest) > maxEvent {
		err = fmt.Errorf("an event of more than %d bytes", maxEvent)
	}
	if err == nil && len(s.pong) > 0 {
		err = writeRest(s.fd, s.pong, nil)
		s.pong = s.pong[:0]
	}
	if err != nil {
		return f.lose(s, err)
	}
	s.keep(rest)
	return nil
}

// keep holds on to the beginning of an event. Whoever has none holds no memory.
func (s *stream) keep(rest []byte) {
	if len(rest) == 0 {
		s.left = s.left[:0]
		return
	}
	s.left = append(s.left[:0], rest...)
}

// lose gives a stream up. One that never opened fails the run.
func (f *follower) lose(s *stream, cause error) error {
	s.close()
	if !s.ready {
		return fmt.Errorf("a stream did not open: %w", cause)
	}
	f.lost++
	if f.firstError == "" {
		f.firstError = cause.Error()
	}
	return nil
}
