package postgres

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/parleyhq/parley/internal/store/pgtest"
)

// proxy stands between a store and its database, and cuts connections where it is told to.
type proxy struct {
	listener net.Listener
	socket   string // of the database
	handling sync.WaitGroup

	mu    sync.Mutex // guards what follows
	cut   cut
	times int // how often to cut from now on
	done  int // how often it was
	asked int // statements
	deaf  bool
	mute  chan struct{} // until it is closed, what the database says is kept back; nil: it is not
	held  int           // how often something was kept back
	open  map[net.Conn]struct{}
}

// cut is where a connection is cut.
type cut uint8

const (
	nowhere      cut = iota
	atLock           // when the statement that locks is to be forwarded
	beforeCommit     // when COMMIT is to be forwarded
	afterCommit      // when COMMIT is answered
)

// through returns a proxy, and the URL by which the database is reached through it.
func through(t *testing.T, database string) (*proxy, string) {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, socket: pgtest.Socket(database), open: make(map[net.Conn]struct{})}
	p.handling.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.silence()
		p.handling.Wait()
	})
	return p, pgtest.Through(database, listener.Addr().String())
}

// cutNext cuts the next connections that come to a point, so many times.
func (p *proxy) cutNext(where cut, times int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.times, p.done = where, times, 0
}

// cuts is how often the proxy has cut.
func (p *proxy) cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// silence cuts all connections, and accepts no others until there is sound.
func (p *proxy) silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf = true
	for conn := range p.open {
		_ = conn.Close()
	}
}

// statements is how many the database was asked to run.
func (p *proxy) statements() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

func (p *proxy) ask() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
}

func (p *proxy) sound() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf = false
}

// stall has the database answer nothing, until the end of the test or of the stall.
func (p *proxy) stall(t *testing.T) (end func()) {
	t.Helper()
	mute := make(chan struct{})
	end = sync.OnceFunc(func() { close(mute) })
	t.Cleanup(end)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = mute
	return end
}

// holds tells whether something is kept back, or was.
func (p *proxy) holds() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held > 0
}

// awaitVoice waits until the database may answer.
func (p *proxy) awaitVoice() {
	p.mu.Lock()
	mute := p.mute
	if mute != nil {
		p.held++
	}
	p.mu.Unlock()
	if mute != nil {
		<-mute
	}
}

// reaches tells whether a connection has come to where it is to be cut.
func (p *proxy) reaches(where cut) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut != where || p.times == 0 {
		return false
	}
	p.times--
	p.done++
	return true
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.handling.Go(func() { p.handle(client) })
	}
}

func (p *proxy) handle(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("unix", p.socket)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	deaf := p.deaf
	if !deaf {
		p.open[client], p.open[server] = struct{}{}, struct{}{}
	}
	p.mu.Unlock()
	if deaf {
		return
	}
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, client)
		delete(p.open, server)
	}()
	link := &link{proxy: p, client: client, server: server}
	p.handling.Go(link.back)
	link.forth()
}

// link is one connection through the proxy.
type link struct {
	*proxy

	client, server net.Conn

	commits sync.Mutex // guards committing
	// committing: a COMMIT is on its way whose answer is not to come through
	committing bool
}

// forth forwards what the client says, message by message.
func (l *link) forth() {
	defer l.server.Close()
	first := true
	for {
		message, err := readMessage(l.client, first)
		if err != nil {
			return
		}
		if !first && (message[0] == 'E' || message[0] == 'Q') { // Execute, Query
			l.ask()
		}
		first = false
		text := string(message)
		switch {
		case isCommit(text) && l.reaches(beforeCommit), strings.Contains(text, "FOR UPDATE OF h") && l.reaches(atLock):
			_ = l.client.Close()
			return
		case isCommit(text) && l.reaches(afterCommit):
			l.commits.Lock()
			l.committing = true
			l.commits.Unlock()
		default:
		}
		if _, err := l.server.Write(message); err != nil {
			return
		}
	}
}

// isCommit: a statement without parameters is sent as it stands.
func isCommit(message string) bool {
	return strings.HasPrefix(message, "Q") && strings.HasSuffix(message, "COMMIT\x00")
}

// back forwards what the server says.
func (l *link) back() {
	defer l.client.Close()
	buffer := make([]byte, 1<<16)
	for {
		n, err := l.server.Read(buffer)
		if err != nil {
			return
		}
		l.commits.Lock()
		committing := l.committing
		l.commits.Unlock()
		if committing {
			return
		}
		l.awaitVoice()
		if _, err := l.client.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// readMessage reads one message of a client: its type, unless it is the first, its length and the rest.
func readMessage(from io.Reader, first bool) ([]byte, error) {
	header := make([]byte, 5)
	if first {
		header = header[:4]
	}
	if _, err := io.ReadFull(from, header); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(header[len(header)-4:])
	rest := make([]byte, length-4)
	_, err := io.ReadFull(from, rest)
	return slices.Concat(header, rest), err
}
