package gate

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/limit"
	"github.com/parleyhq/parley/internal/session"
)

const (
	maxAudited    = 128 // bytes that a record has of what its client chose: as long as users and ids may be
	maxAttributes = 11  // of a record
)

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
		if record, leftOut = g.denials.take(cmp.Or(c.known().User, limit.NetworkOf(c.Remote).String())); !record {
			return
		}
	}
	log.LogAttrs(ctx, slog.LevelInfo, "audit", c.attributes(allowed, reason, leftOut)...)
}

// known is who asks, as far as the record knows: also who may not.
func (c *Call) known() session.Caller { return cmp.Or(c.Caller, c.denied) }

// attributes are those of the call's record.
func (c *Call) attributes(allowed bool, reason string, leftOut int) []slog.Attr {
	caller := c.known()
	attributes := append(make([]slog.Attr, 0, maxAttributes),
		slog.String("requestId", c.ID),
		slog.String("transport", c.Transport),
		slog.String("method", c.Method.String()),
		slog.String("user", clip(caller.User)),
		slog.String("key", caller.Key),
	)
	if c.For != "" && c.For != caller.User {
		attributes = append(attributes, slog.String("for", clip(c.For)))
	}
	attributes = append(attributes,
		slog.String("session", clip(c.Session)),
		slog.String("remote", addressText(c.Remote)),
		slog.Bool("allowed", allowed),
	)
	if reason != "" {
		attributes = append(attributes, slog.String("reason", reason))
	}
	if leftOut > 0 {
		attributes = append(attributes, slog.Int("leftOut", leftOut))
	}
	return attributes
}

// addressText is the address; empty if it is not known, as of a request over NATS.
func addressText(address netip.Addr) string {
	if !address.IsValid() {
		return ""
	}
	return address.String()
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
