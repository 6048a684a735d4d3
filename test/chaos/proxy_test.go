//go:build linux

package chaos_test

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy stands between a node and what it depends on, and cuts or stalls what goes through it.
type proxy struct {
	network, target string // what is on the other side
	listener        net.Listener
	handling        sync.WaitGroup
	statements      *atomic.Int64 // counts those to PostgreSQL that pass; nil: there are none

	mu    sync.Mutex // guards what follows
	links map[*link]struct{}
	flow  chan struct{} // closed while there is no stall
	cut   bool          // whoever comes is turned away
}

// newProxy starts a proxy on a port of its own. What passes is counted, unless there is nothing to count it with.
func newProxy(t *testing.T, network, target string, statements *atomic.Int64) *proxy {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{
		network: network, target: target, listener: listener, statements: statements,
		links: make(map[*link]struct{}), flow: make(chan struct{}),
	}
	close(p.flow)
	p.handling.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.sever()
		p.handling.Wait()
	})
	return p
}

// address is where the proxy listens.
func (p *proxy) address() string { return p.listener.Addr().String() }

// sever cuts all connections, and turns away whoever comes, until mend. What was stalled never arrives.
func (p *proxy) sever() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for l := range p.links {
		l.close()
	}
}

// stall lets connections be made, and nothing through them, until mend.
func (p *proxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.flow:
		p.flow = make(chan struct{})
	default:
	}
}

// mend ends a cut or a stall. What was stalled arrives now.
func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
	select {
	case <-p.flow:
	default:
		close(p.flow)
	}
}

func (p *proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		l := &link{proxy: p, near: near, closed: make(chan struct{})}
		p.mu.Lock()
		if p.cut {
			_ = near.Close()
		} else {
			p.links[l] = struct{}{}
			p.handling.Go(l.run)
		}
		p.mu.Unlock()
	}
}

// flowing is closed when there is no stall.
func (p *proxy) flowing() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.flow
}

// link is one connection through a proxy.
type link struct {
	proxy *proxy
	near  net.Conn

	once   sync.Once
	closed chan struct{}
}

func (l *link) close() {
	l.once.Do(func() {
		close(l.closed)
		_ = l.near.Close()
	})
}

// run passes on what comes, both ways, until one side ends.
func (l *link) run() {
	defer func() {
		l.close()
		l.proxy.mu.Lock()
		defer l.proxy.mu.Unlock()
		delete(l.proxy.links, l)
	}()
	if !l.passes() {
		return
	}
	far, err := net.Dial(l.proxy.network, l.proxy.target)
	if err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { l.pass(l.near, far) })
	stopped := make(chan struct{})
	back.Go(func() { // the connection is closed from outside
		select {
		case <-l.closed:
		case <-stopped:
		}
		_ = far.Close()
	})
	var to io.Writer = far
	if count := l.proxy.statements; count != nil {
		to = io.MultiWriter(far, &meter{statements: count})
	}
	l.pass(to, l.near)
	close(stopped)
	l.close()
	back.Wait()
}

// passes waits until there is no stall; false: the connection is closed.
func (l *link) passes() bool {
	select {
	case <-l.proxy.flowing():
		return true
	case <-l.closed:
		return false
	}
}

func (l *link) pass(to io.Writer, from net.Conn) {
	defer l.close()
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		if n > 0 && (!l.passes() || !wrote(to, buffer[:n])) || err != nil {
			return
		}
	}
}

func wrote(to io.Writer, b []byte) bool {
	_, err := to.Write(b)
	return err == nil
}

// meter counts the statements in what a client tells PostgreSQL: those that are told to run, and those that are text alone.
type meter struct {
	statements *atomic.Int64
	header     []byte // of the present message, as far as it has come
	left       int    // bytes of its content to come
	begun      bool   // the first message, which has no type, is past
}

// Write implements io.Writer.
func (m *meter) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		if m.left > 0 {
			n := min(m.left, len(rest))
			m.left, rest = m.left-n, rest[n:]
			continue
		}
		m.header, rest = append(m.header, rest[0]), rest[1:]
		m.begin()
	}
	return len(b), nil
}

// begin begins the content of a message if its header is whole.
func (m *meter) begin() {
	const lengthBytes = 4
	typed := 0
	if m.begun {
		typed = 1
	}
	if len(m.header) < typed+lengthBytes {
		return
	}
	if kind := m.header[0]; m.begun && (kind == 'E' || kind == 'Q') {
		m.statements.Add(1)
	}
	m.left = int(binary.BigEndian.Uint32(m.header[typed:])) - lengthBytes
	m.header, m.begun = m.header[:0], true
}
