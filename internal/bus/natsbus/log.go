package natsbus

import (
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	warningsMost = 20 // in each warningsTime
	warningsTime = 10 * time.Second
)

// warnings are what clients can cause, as many as they like: so the log gets no more than a few, and how many were left out.
type warnings struct {
	log *slog.Logger

	mu    sync.Mutex // guards the fields below
	since time.Time
	count int // since then
}

// room tells whether there may be one more.
func (w *warnings) room() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); now.Sub(w.since) >= warningsTime {
		if left := w.count - warningsMost; left > 0 {
			w.log.Warn("warnings of NATS were left out", "count", left)
		}
		w.since, w.count = now, 0
	}
	w.count++
	return w.count <= warningsMost
}

// serverLog is the embedded server's logger.
type serverLog struct {
	warnings

	fatal chan string // holds one: why the server cannot start
}

// Noticef implements server.Logger.
func (l *serverLog) Noticef(format string, values ...any) {
	l.log.Debug("NATS server", "message", fmt.Sprintf(format, values...))
}

// Warnf implements server.Logger. Clients have what they said quoted, which may be long.
func (l *serverLog) Warnf(format string, values ...any) {
	if l.room() {
		l.log.Warn("NATS server", "message", fmt.Sprintf("%.1000s", fmt.Sprintf(format, values...)))
	}
}

// Errorf implements server.Logger. Whoever connects can cause errors, so they are no louder than warnings.
func (l *serverLog) Errorf(format string, values ...any) { l.Warnf(format, values...) }

// Fatalf implements server.Logger. The server goes on; whoever started it ends it.
func (l *serverLog) Fatalf(format string, values ...any) {
	cause := fmt.Sprintf(format, values...)
	select {
	case l.fatal <- cause:
	default:
	}
	l.log.Warn("NATS server", "message", cause)
}

// Debugf implements server.Logger.
func (*serverLog) Debugf(string, ...any) {}

// Tracef implements server.Logger.
func (*serverLog) Tracef(string, ...any) {}
