package gate

import (
	"context"
	"log/slog"

	"github.com/parleyhq/parley/internal/fault"
)

// Shown is the fault to answer a request of the id with. One of ours is logged under the id, with what else the request is
// known by, and has the id in its message if the message says nothing else.
func Shown(ctx context.Context, log *slog.Logger, id string, err error, known ...slog.Attr) *fault.Error {
	f := fault.From(err)
	if f.Kind != fault.Internal && f.Kind != fault.Unavailable {
		return f
	}
	attributes := append([]slog.Attr{slog.String("requestId", id)}, known...)
	log.LogAttrs(ctx, slog.LevelError, "request failed", append(attributes, slog.Any("error", f))...)
	if f.Kind != fault.Internal {
		return f
	}
	shown := *f
	shown.Message = "internal error (request " + id + ")"
	return &shown
}
