package natsbus

import (
	"fmt"
	"log/slog"
)

// serverLog is the embedded server's logger.
type serverLog struct {
	log   *slog.Logger
	fatal chan string // holds one: why the server cannot start
}

// Noticef implements server.Logger.
func (l *serverLog) Noticef(format string, values ...any) {
	l.log.Debug("NATS server", "message", fmt.Sprintf(format, values...))
}

// Warnf implements server.Logger.
func (l *serverLog) Warnf(format string, values ...any) {
	l.log.Warn("NATS server", "message", fmt.Sprintf(format, values...))
}

// Errorf implements server.Logger. Whoever connects can cause errors, so they are no louder than warnings.
func (l *serverLog) Errorf(format string, values ...any) { l.Warnf(format, values...) }

// Fatalf implements server.Logger. The server goes on; whoever started it ends it.
func (l *serverLog) Fatalf(format string, values ...any) {
	select {
	case l.fatal <- fmt.Sprintf(format, values...):
	default:
	}
	l.Warnf(format, values...)
}

// Debugf implements server.Logger.
func (*serverLog) Debugf(string, ...any) {}

// Tracef implements server.Logger.
func (*serverLog) Tracef(string, ...any) {}
