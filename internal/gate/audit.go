package gate

import (
	"cmp"
	"context"
	"log/slog"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/fault"
)

// maxAudited is how many bytes a record has of what its client chose: as long as users and ids may be.
const maxAudited = 128

// reasonNoSession is the reason of the fault that there is no such session, or none that the caller may know of.
const reasonNoSession = "SESSION_NOT_FOUND"

// audit records a call that ended with err, if it is one to be recorded: a change that was done, or may have been, and a
// denial, unless there is a flood of them: the next record says how many were left out. A message that was published is in
// the session's log; see methods.
//
// A record has no secret, no query string, and nothing of what is said in a session.
func (g *Gate) audit(ctx context.Context, c *Call, err error) {
	log, changes := g.config.Audit, methods[c.Method].changes
	if log == nil || err == nil && !changes {
		return
	}
	allowed, reason := true, ""
	if err != nil {
		f := fault.From(err)
		allowed, reason = !denies(f), f.Reason
		if allowed && (!changes || !mayHaveHappened(f)) {
			return
		}
	}
	leftOut := 0
	if !allowed {
		var record bool
		if record, leftOut = g.denials.take(cmp.Or(c.Caller.User, c.Remote.String())); !record {
			return
		}
	}
	attributes := [...]slog.Attr{
		slog.String("requestId", c.ID),
		slog.String("transport", c.Transport),
		slog.String("method", c.Method.String()),
		slog.String("user", clip(c.Caller.User)),
		slog.String("key", c.Caller.Key),
		slog.String("session", clip(c.Session)),
		slog.String("remote", c.Remote.String()),
		slog.Bool("allowed", allowed),
		slog.String("reason", reason),
		slog.Int("leftOut", leftOut),
	}
	shown := attributes[:]
	switch {
	case reason == "":
		shown = shown[:len(shown)-2]
	case leftOut == 0:
		shown = shown[:len(shown)-1]
	}
	log.LogAttrs(ctx, slog.LevelInfo, "audit", shown...)
}

// denies tells whether a fault says that the caller may not, or not now: also that there is no session that it may
// know of.
func denies(f *fault.Error) bool {
	switch f.Kind {
	case fault.Unauthenticated, fault.PermissionDenied, fault.ResourceExhausted:
		return true
	case fault.NotFound:
		return f.Reason == reasonNoSession
	default:
		return false
	}
}

// mayHaveHappened tells whether a change that ended with the fault may have been done all the same.
func mayHaveHappened(f *fault.Error) bool {
	return f.Kind == fault.Internal || f.Reason == "OUTCOME_UNKNOWN"
}

// clip cuts a text to what a record has room for.
func clip(text string) string {
	if len(text) <= maxAudited {
		return text
	}
	end := maxAudited
	for end > maxAudited-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}
