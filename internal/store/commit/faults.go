package commit

import (
	"context"
	"errors"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// retryAfter is what callers are told to wait. A full queue drains in less; a whole second is the least that HTTP can
// say.
const retryAfter = time.Second

// errWithdrawn answers a write whose writer has given up; Submit puts the context's fault in its place.
var errWithdrawn = errors.New("withdrawn")

// fault is the answer to a write that was not accepted.
func (v verdict) fault() error {
	switch v {
	case keyBusy:
		return fault.New(fault.ResourceExhausted, "SESSION_BUSY",
			"too many writes to this session are waiting: nothing was done").After(retryAfter)
	case full:
		return fault.New(fault.Unavailable, "QUEUE_FULL",
			"too many writes are waiting: nothing was done").After(retryAfter)
	default:
		return shuttingDown()
	}
}

func shuttingDown() error {
	return fault.New(fault.Unavailable, "SHUTTING_DOWN", "the server is stopping: nothing was done").After(retryAfter)
}

// canceled is the answer to a writer whose context ended before its write began.
func canceled(ctx context.Context) error {
	const message = "the request ended before its write began: nothing was done"
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fault.New(fault.DeadlineExceeded, "DEADLINE_EXCEEDED", message).Because(context.Cause(ctx))
	}
	return fault.New(fault.Canceled, "CANCELED", message).Because(context.Cause(ctx))
}

// failed is the answer to a write whose transaction, of nothing else, did not happen.
func failed(err error) error {
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	return fault.New(fault.Unavailable, "STORE_FAILED", "the store failed: nothing was done").
		After(retryAfter).Because(err)
}

// outcomeUnknown is the answer to a write whose transaction may have happened.
func outcomeUnknown(err error) error {
	return fault.New(fault.Unavailable, "OUTCOME_UNKNOWN", "the store failed, and whether the write was done is "+
		"unknown; repeating the request with the same requestId settles it").After(retryAfter).Because(err)
}
