package rest

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
)

// streamConn is one stream on a connection that was taken over from net/http. An idle one has no goroutine and no
// buffer: whoever wakes it writes what there is, as far as the connection takes it at once; only what would block
// gets a goroutine, until the stream is idle again. (A WebSocket has a goroutine that reads, and a stream of HTTP/2 its
// handler, which waits for its end.)
type streamConn struct {
	owner  *streams
	format format
	stream *session.Stream
	conn   outlet
	raw    syscall.RawConn // the socket, perhaps under TLS; nil: the stream has none of its own
	direct bool            // raw may be written to: else every write is left to a goroutine
	leave  func()          // lets go of the place among its user's streams

	activity  atomic.Uint32 // who writes; see the constants
	alive     atomic.Bool   // a sign of life is due
	lastWrite atomic.Int64  // in nanoseconds since 1970
	lastPing  atomic.Int64  // likewise
	closing   sync.Once
	closed    atomic.Bool // before the owner is told

	// writing is held from the first byte of a batch to its last: frames of a WebSocket must not be mixed. It may be
	// locked on one goroutine and unlocked on another.
	writing sync.Mutex
}

// outlet is what a stream is written to: a connection, or a response.
type outlet interface {
	io.WriteCloser
	SetDeadline(at time.Time) error
	SetWriteDeadline(at time.Time) error
}

// What a stream is doing.
const (
	idle    = iota // nobody writes, and the tail will wake it
	writes         // someone writes
	writeOn        // someone writes, and there is more since
)

func newStreamConn(owner *streams, format format) *streamConn {
	c := &streamConn{owner: owner, format: format}
	c.activity.Store(writes) // until begin is done
	return c
}

// answer takes the connection over, or of HTTP/2 the response, and begins an endless body.
func (c *streamConn) answer(w http.ResponseWriter, r *http.Request) error {
	if r.ProtoMajor >= 2 {
		c.respond(w, r)
		return nil
	}
	return c.hijack(w)
}

// hijack takes the connection over, and answers with the header of an endless body.
func (c *streamConn) hijack(w http.ResponseWriter) error {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fault.New(fault.Unimplemented, "UNIMPLEMENTED", "streams need HTTP/1.1 or HTTP/2").Because(err)
	}
	c.adopt(conn)
	b := []byte("HTTP/1.1 200 OK\r\n")
	for _, field := range c.header() {
		b = append(b, field.name+": "+field.value+"\r\n"...)
	}
	b = appendOthers(b, w.Header(), c.header())
	b = append(b, "Connection: close\r\n\r\n"...)
	if c.writeAll(append(b, c.opening()...)) != nil {
		c.close() // the client is gone already: nobody is left to be told
	}
	return nil
}

// headerField is a field of a stream's header.
type headerField struct{ name, value string }

// header is the header of a stream, in every version of HTTP.
func (c *streamConn) header() []headerField {
	return []headerField{
		{"Content-Type", contentTypes[c.format]},
		{"Cache-Control", "no-store, no-transform"},
		{"X-Accel-Buffering", "no"},
		{"X-Content-Type-Options", "nosniff"},
	}
}

// opening is what comes before the first event.
func (c *streamConn) opening() []byte {
	if c.format != formatSSE {
		return nil
	}
	return []byte("retry: " + strconv.Itoa(int(streamRetry.Milliseconds())) + "\n\n")
}

// adopt makes the connection the stream's.
func (c *streamConn) adopt(conn outlet) {
	c.conn = conn
	c.lastPing.Store(time.Now().UnixNano())
	_ = conn.SetDeadline(time.Time{}) // those of the request
	secure, isSecure := conn.(*tls.Conn)
	if isSecure {
		conn = secure.NetConn()
	}
	if socket, ok := conn.(*net.TCPConn); ok {
		c.raw, _ = socket.SyscallConn()
		c.direct = !isSecure && c.raw != nil
		endWhenStalled(c.raw, c.owner.stall)
	}
}

// begin makes the stream one of its owner's, and writes what there is. If the stream is the response to a request, then
// it returns when the stream has ended.
func (c *streamConn) begin() {
	if c.owner.add(c) {
		c.run(false)
	} else {
		c.close()
	}
	if response, ok := c.conn.(*responseConn); ok {
		response.stay(c)
	}
}

// wake is called when there is something new. It does not block.
func (c *streamConn) wake() {
	for {
		switch {
		case c.activity.CompareAndSwap(idle, writes):
			c.run(false)
			return
		case c.activity.CompareAndSwap(writes, writeOn), c.activity.Load() == writeOn:
			return
		}
	}
}

// rest ends the writing, unless there is more since.
func (c *streamConn) rest() bool {
	if c.activity.CompareAndSwap(writes, idle) {
		return true
	}
	c.activity.Store(writes)
	return false
}

// batch is what one write writes.
type batch struct {
	bytes  []byte
	events []*session.Event
	shared bool // the bytes are an event's own: they are not to be changed
	done   int  // so many of the bytes are written
	locked bool // the lock of writing is held for the rest
}

var batches = sync.Pool{New: func() any { return new(batch) }}

// maxKeptBatch bounds what the pool holds on to.
const maxKeptBatch = 256 << 10

func (b *batch) release() {
	clear(b.events)
	if b.shared {
		b.bytes = nil
	}
	b.events, b.shared, b.done, b.locked = b.events[:0], false, 0, false
	if cap(b.bytes) <= maxKeptBatch {
		b.bytes = b.bytes[:0]
		batches.Put(b)
	}
}

// run writes until there is nothing more to write. If it must not block then it leaves what would to a goroutine.
func (c *streamConn) run(mayBlock bool) {
	for {
		b := batches.Get().(*batch)
		state, whole := c.begun(b, mayBlock)
		if !mayBlock && (!whole || state == session.StreamBlocked) {
			go c.goOn(b, state)
			return
		}
		if c.finish(b, state) {
			return
		}
	}
}

// begun fills a batch and writes what the connection takes at once. It tells whether that was everything.
//
// Of the goroutines that catch up there may be a thousand, each of them always ready to run, and requests would wait
// behind them all: so they do this part one after the other, and at a pace.
func (c *streamConn) begun(b *batch, mayBlock bool) (state session.StreamState, whole bool) {
	if mayBlock {
		c.owner.pace.begin()
		defer c.owner.pace.end()
	}
	state = c.fill(b)
	return state, c.writeNow(b)
}

// goOn is run on a goroutine of its own, from the middle of a batch.
func (c *streamConn) goOn(b *batch, state session.StreamState) {
	if !c.finish(b, state) {
		c.run(true)
	}
}

// finish writes the rest of a batch and does what the stream asks for after it. It tells whether the writing is over.
func (c *streamConn) finish(b *batch, state session.StreamState) bool {
	err := c.writeRest(b)
	b.release()
	if err != nil {
		c.close()
		return true
	}
	return c.settle(state)
}

// settle does what the stream asks for after a batch, and tells whether the writing is over.
func (c *streamConn) settle(state session.StreamState) bool {
	switch state {
	case session.StreamIdle:
		return c.rest()
	case session.StreamOver:
		c.close()
		return true
	case session.StreamBlocked:
		if err := c.stream.Advance(c.owner.ctx); err != nil {
			c.owner.log.Warn("a stream was ended", "error", err)
			c.close()
			return true
		}
	case session.StreamMore:
	}
	return false
}

// fill encodes what is to be delivered next.
func (c *streamConn) fill(b *batch) session.StreamState {
	var state session.StreamState
	b.events, state = c.stream.Next(b.events)
	if len(b.events) == 1 && c.share(b, b.events[0]) {
		return state
	}
	for _, e := range b.events {
		switch c.format {
		case formatSSE:
			b.bytes = append(b.bytes, e.SSE()...)
		case formatNDJSON:
			b.bytes = append(b.bytes, e.NDJSON()...)
		default:
			b.bytes = appendFrame(b.bytes, e.JSON())
		}
	}
	if c.mayShowLife(b, state) && c.alive.Swap(false) {
		b.bytes = c.appendSignOfLife(b.bytes)
	}
	if state == session.StreamOver && c.format == formatWebSocket {
		b.bytes = append(b.bytes, closeGoingAway...)
	}
	return state
}

// mayShowLife tells whether a sign of life fits here. It says how far the stream has come, and that is known when the
// stream is idle: before, its place may be past events that are yet to be delivered.
func (c *streamConn) mayShowLife(b *batch, state session.StreamState) bool {
	return c.format == formatWebSocket || len(b.bytes) == 0 && state == session.StreamIdle
}

// share makes the batch an event's own bytes, if that is worth it: a thousand readers who take nothing would hold a copy
// of a large event each.
func (c *streamConn) share(b *batch, e *session.Event) bool {
	const worth = 16 << 10
	if len(e.Document) < worth || c.format == formatWebSocket { // whose frames have a header of their own
		return false
	}
	b.shared = true
	if b.bytes = e.SSE(); c.format == formatNDJSON {
		b.bytes = e.NDJSON()
	}
	return true
}

// appendSignOfLife appends what clients ignore, and, for a client that does not get every event, how far it has come.
func (c *streamConn) appendSignOfLife(b []byte) []byte {
	switch c.format {
	case formatNDJSON:
		return append(b, '\n')
	case formatWebSocket:
		return append(b, framePing, 0)
	default:
		b = append(b, ":\n"...)
		if c.stream.Filtered() {
			b = append(b, "id: "...)
			b = c.stream.Cursor().Append(b)
			b = append(b, '\n')
		}
		return append(b, '\n')
	}
}

// writeNow writes what the connection takes at once, and tells whether that was everything. If it was not, then the
// lock of writing may be held, for the rest.
func (c *streamConn) writeNow(b *batch) bool {
	if len(b.bytes) == 0 {
		return true
	}
	if !c.direct || !c.writing.TryLock() {
		return false
	}
	n, err := tryWrite(c.raw, b.bytes)
	c.lastWrite.Store(time.Now().UnixNano())
	b.done, b.locked = n, err == nil && n < len(b.bytes)
	if !b.locked {
		c.writing.Unlock()
	}
	return !b.locked && err == nil
}

// writeRest writes what is left of a batch.
func (c *streamConn) writeRest(b *batch) error {
	if b.done == len(b.bytes) {
		return nil
	}
	if !b.locked {
		c.writing.Lock()
	}
	defer c.writing.Unlock()
	return c.writeAll(b.bytes[b.done:])
}

// writePiece is how much is written at once where a deadline that passes is the end: TLS and HTTP/2 cannot go on in the
// middle, so a client that is slow has as long for each piece. It is what a record and a frame hold.
const writePiece = 16 << 10

// writeAll writes everything, unless the client takes no byte, or no whole piece, for too long.
func (c *streamConn) writeAll(b []byte) error {
	for len(b) > 0 {
		if err := c.conn.SetWriteDeadline(time.Now().Add(c.owner.stall)); err != nil {
			return err
		}
		piece := b
		if !c.direct {
			piece = b[:min(len(b), writePiece)]
		}
		n, err := c.conn.Write(piece)
		if err != nil && (n == 0 || !errors.Is(err, os.ErrDeadlineExceeded)) {
			return err
		}
		b = b[n:]
	}
	c.lastWrite.Store(time.Now().UnixNano())
	return c.conn.SetWriteDeadline(time.Time{}) // else the next write that must not block would fail by it
}

// lookAfter is called once a second.
func (c *streamConn) lookAfter(now time.Time) {
	last := &c.lastWrite
	if c.format == formatWebSocket {
		last = &c.lastPing // its client has to answer, however much it gets
	} else if c.raw != nil && hasLeft(c.raw) {
		c.close()
		return
	}
	if now.UnixNano()-last.Load() >= int64(c.owner.keepAlive) {
		c.lastPing.Store(now.UnixNano())
		c.alive.Store(true)
		c.wake()
	}
}

// close ends the stream, if there is one, and its connection.
func (c *streamConn) close() {
	c.closing.Do(func() {
		c.closed.Store(true)
		if c.stream != nil {
			c.stream.Close()
		}
		if c.conn != nil {
			_ = c.conn.Close()
		}
		c.owner.remove(c)
	})
}
