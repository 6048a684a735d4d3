//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// maxEvent is what a stream may leave incomplete before it is given up.
const maxEvent = 1 << 20

// stream is one subscription: what it needs to tell whether everything comes,
// once and in order.
type stream struct {
	fd       int
	socket   bool // a WebSocket; else server-sent events
	answered bool // the header is read
	ready    bool

	left []byte // beginning of an event whose end has not arrived yet
	pong []byte // to be sent, of a WebSocket

	uid      []byte // of the session
	sequence int64  // of the event that came last, or the cursor of ready
	messages int64
}

// tally is what all streams of one follower have delivered.
type tally struct {
	ready      int
	caughtUp   int // streams that have had the backlog
	messages   int64
	others     int64 // events of the log that are not messages
	missing    int64
	duplicates int64
	backlog    int64

	latencies histogram
	now       int64 // when the bytes were read, in nanoseconds since 1970
	firstSent int64
	lastCame  int64
	caughtAt  int64
}

var (
	headEnd      = []byte("\r\n\r\n")
	eventEnd     = []byte("\n\n")
	eventPrefix  = []byte("event: ")
	cursorPrefix = []byte("id: ")
	textPrefix   = []byte(`,"text":"`)
)

// take reads the whole events at the beginning of p and returns the rest, which
// is to be given again with what follows it.
func (s *stream) take(p []byte, t *tally) (rest []byte, err error) {
	if !s.answered {
		head, after, ok := bytes.Cut(p, headEnd)
		if !ok {
			return p, nil
		}
		if err := s.checkHead(head, after); err != nil {
			return nil, err
		}
		s.answered, p = true, after
	}
	next := cutEvent
	if s.socket {
		next = s.cutFrame
	}
	for {
		name, cursor, body, after, ok := next(p)
		if !ok {
			return p, nil
		}
		p = after
		if err := s.deliver(name, cursor, body, t); err != nil {
			return nil, err
		}
	}
}

// checkHead expects a body that has no frame of its own and ends with the
// connection, as the server sends it.
func (s *stream) checkHead(head, body []byte) error {
	status := []byte("HTTP/1.1 200 ")
	if s.socket {
		status = []byte("HTTP/1.1 101 ")
	}
	if !bytes.HasPrefix(head, status) {
		return fmt.Errorf("no stream, but %.40q with %.300q", head, body)
	}
	if bytes.Contains(bytes.ToLower(head), []byte("\r\ntransfer-encoding:")) {
		return errors.New("the stream comes in chunks, which this reader does not know")
	}
	return nil
}

// cutEvent returns the parts of the first event in p. The name is empty if it is
// a comment or a retry.
func cutEvent(p []byte) (name, cursor, body, rest []byte, ok bool) {
	event, rest, ok := bytes.Cut(p, eventEnd)
	if !ok {
		return nil, nil, nil, p, false
	}
	event, named := bytes.CutPrefix(event, eventPrefix)
	if !named {
		return nil, nil, nil, rest, true
	}
	name, body, _ = bytes.Cut(event, eventEnd[:1])
	if after, has := bytes.CutPrefix(body, cursorPrefix); has {
		cursor, body, _ = bytes.Cut(after, eventEnd[:1])
	}
	return name, cursor, body, rest, true
}

// deliver counts one event, and says what a stream must not say here.
func (s *stream) deliver(name, cursor, body []byte, t *tally) error {
	switch string(name) {
	case "": // a sign of life
		return nil
	case "ready":
		return s.begin(cursor, t)
	case "message":
		if err := s.advance(cursor, t); err != nil {
			return err
		}
		s.message(body, t)
		return nil
	case "member.joined", "member.left", "member.removed", "session.created":
		t.others++
		return s.advance(cursor, t)
	default:
		return fmt.Errorf("the stream said %.40q", name)
	}
}

func (s *stream) begin(cursor []byte, t *tally) error {
	uid, sequence, err := splitCursor(cursor)
	if err != nil {
		return err
	}
	if s.ready {
		return errors.New("the stream was ready twice")
	}
	s.ready, s.uid, s.sequence = true, bytes.Clone(uid), sequence
	t.ready++
	return nil
}

// advance moves on to the event's place in the log.
func (s *stream) advance(cursor []byte, t *tally) error {
	uid, sequence, err := splitCursor(cursor)
	switch {
	case err != nil:
		return err
	case !s.ready:
		return errors.New("an event came before ready")
	case !bytes.Equal(uid, s.uid):
		return fmt.Errorf("an event of session %s on a stream of %s", uid, s.uid)
	case sequence <= s.sequence:
		t.duplicates++
		return nil
	}
	t.missing += sequence - s.sequence - 1
	s.sequence = sequence
	return nil
}

func (s *stream) message(body []byte, t *tally) {
	s.messages++
	t.messages++
	t.lastCame = t.now
	if s.messages == t.backlog {
		t.caughtUp++
		t.caughtAt = t.now
	}
	sent, ok := sentTime(body)
	if !ok {
		return
	}
	if t.firstSent == 0 || sent < t.firstSent {
		t.firstSent = sent
	}
	t.latencies.record(time.Duration(t.now - sent))
}

// sentTime is when the message says that it was sent.
func sentTime(body []byte) (nanoseconds int64, ok bool) {
	_, text, found := bytes.Cut(body, textPrefix)
	if !found || len(text) < len(sentMark) {
		return 0, false
	}
	return digits(text[:len(sentMark)])
}

// splitCursor reads "uid:sequence".
func splitCursor(cursor []byte) (uid []byte, sequence int64, err error) {
	uid, number, _ := bytes.Cut(cursor, []byte(":"))
	sequence, ok := digits(number)
	if !ok {
		return nil, 0, fmt.Errorf("the cursor %.60q has no sequence", cursor)
	}
	return uid, sequence, nil
}

// digits reads a number of at most 19 digits, without the string that strconv
// would make of it.
func digits(text []byte) (n int64, ok bool) {
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, len(text) > 0 && len(text) <= 19
}
