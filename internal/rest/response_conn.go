package rest

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// HTTP2 is how a server of the edge is to speak HTTP/2, where one connection carries many streams: a client that takes
// no byte of any of them, or answers no ping, for as long as a stream may stall loses the connection. Nothing else would
// end it, because a stream's own deadline can only be told to a client that takes bytes.
func HTTP2() *http.HTTP2Config {
	return &http.HTTP2Config{
		WriteByteTimeout: defaultTiming.stall,
		SendPingTimeout:  defaultTiming.keepAlive,
		PingTimeout:      defaultTiming.stall,
	}
}

// responseConn is a stream's outlet where the connection cannot be taken over, because HTTP/2 has other requests on it:
// the response to the request. It is the response writer's for only as long as the handler stays.
type responseConn struct {
	writer  http.ResponseWriter
	control *http.ResponseController
	gone    <-chan struct{} // closed when the client has gone
	closed  chan struct{}   // closed by Close

	using sync.Mutex // held by who uses the writer; guards the field below
	over  bool       // the handler has returned, or is about to: the writer is net/http's again
}

// respond answers with the header of an endless body.
func (c *streamConn) respond(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	for _, field := range c.header() {
		header[field.name] = []string{field.value}
	}
	w.WriteHeader(http.StatusOK)
	c.adopt(&responseConn{
		writer:  w,
		control: http.NewResponseController(w),
		gone:    r.Context().Done(),
		closed:  make(chan struct{}),
	})
	if c.writeAll(c.opening()) != nil {
		c.close() // the client is gone already: nobody is left to be told
	}
}

// stay is where the handler waits until the stream has ended. After it nothing uses the response writer.
func (c *responseConn) stay(stream *streamConn) {
	select {
	case <-c.closed:
	case <-c.gone:
		stream.close()
	}
	if !c.using.TryLock() {
		_ = c.control.SetWriteDeadline(time.Unix(0, 0)) // ends the write that is under way, which may wait for the client
		c.using.Lock()
	}
	defer c.using.Unlock()
	c.over = true
}

// Write implements outlet. What it has written is on its way when it returns.
func (c *responseConn) Write(b []byte) (int, error) {
	c.using.Lock()
	defer c.using.Unlock()
	if c.over {
		return 0, net.ErrClosed
	}
	n, err := c.writer.Write(b)
	if err != nil {
		return n, err
	}
	if err := c.control.Flush(); err != nil {
		return 0, err
	}
	return n, nil
}

// SetDeadline implements outlet.
func (c *responseConn) SetDeadline(at time.Time) error {
	c.using.Lock()
	defer c.using.Unlock()
	if c.over {
		return net.ErrClosed
	}
	if err := c.control.SetReadDeadline(at); err != nil {
		return err
	}
	return c.control.SetWriteDeadline(at)
}

// SetWriteDeadline implements outlet. A deadline that passes ends the response, whether something is being written or not.
func (c *responseConn) SetWriteDeadline(at time.Time) error {
	c.using.Lock()
	defer c.using.Unlock()
	if c.over {
		return net.ErrClosed
	}
	return c.control.SetWriteDeadline(at)
}

// Close implements outlet: it lets the handler return, which ends the response. It is called once, and does not wait.
func (c *responseConn) Close() error {
	close(c.closed)
	return nil
}
