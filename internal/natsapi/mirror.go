package natsapi

import (
	"log/slog"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/parleyhq/parley/internal/session"
)

// Headers of the mirror.
const (
	headerEvent  = "Parley-Event"
	headerCursor = "Parley-Cursor" // not of ephemeral events
)

// maxMirrorBytes is how much may wait to be published. What comes when so much waits is left out, which clients notice by
// its sequence and ask for.
const maxMirrorBytes = 16 << 20

// mirrorSubject is where a session's events on a channel are published.
func mirrorSubject(id, channel string) string { return sessionsSubject + id + ".events." + channel }

// mirror publishes events on a goroutine of its own, in the order in which it was given them: encoding and a slow server
// shall not hold up commits.
type mirror struct {
	conn    *nats.Conn
	log     *slog.Logger
	arrived *sync.Cond
	ended   chan struct{} // closed when the goroutine is

	mu      sync.Mutex // guards the fields below
	waiting []*session.Event
	bytes   int
	lost    int // events that were left out since the log was told
	stopped bool
}

func startMirror(conn *nats.Conn, log *slog.Logger) *mirror {
	m := &mirror{conn: conn, log: log, ended: make(chan struct{})}
	m.arrived = sync.NewCond(&m.mu)
	go m.run()
	return m
}

// add publishes events.
func (m *mirror) add(events []*session.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range events {
		if m.stopped || m.bytes > maxMirrorBytes {
			m.lost++
			continue
		}
		m.bytes += e.Size()
		m.waiting = append(m.waiting, e)
	}
	m.arrived.Signal()
}

// stop returns when what waits has been published.
func (m *mirror) stop() {
	m.mu.Lock()
	m.stopped = true
	m.mu.Unlock()
	m.arrived.Signal()
	<-m.ended
}

func (m *mirror) run() {
	defer close(m.ended)
	var events []*session.Event
	var lost int
	for {
		if events, lost = m.take(events); len(events) == 0 {
			return
		}
		for _, e := range events {
			if err := m.conn.PublishMsg(mirrored(e)); err != nil {
				lost++
				m.log.Debug("an event is not in the mirror", "session", e.ID, "sequence", e.Sequence, "error", err)
			}
		}
		if lost > 0 {
			m.log.Warn("events are not in the NATS mirror; who listens finds them in the log", "count", lost)
		}
	}
}

// take waits for events and returns them all, in exchange for a slice that is done with, and how many were left out. None:
// it was stopped.
func (m *mirror) take(done []*session.Event) (events []*session.Event, lost int) {
	clear(done)
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.waiting) == 0 && !m.stopped {
		m.arrived.Wait()
	}
	events, lost = m.waiting, m.lost
	m.waiting, m.bytes, m.lost = done[:0], 0, 0
	return events, lost
}

// mirrored is an event as it is published: the envelope that the streams have too.
func mirrored(e *session.Event) *nats.Msg {
	header := nats.Header{headerEvent: {e.Kind.String()}}
	if cursor, stored := e.Cursor(); stored {
		header[headerCursor] = []string{cursor.String()}
	}
	return &nats.Msg{Subject: mirrorSubject(e.ID, strconv.Itoa(int(e.Channel))), Header: header, Data: e.JSON()}
}
