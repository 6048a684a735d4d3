package natsapi

import (
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/parleyhq/parley/internal/session"
)

// large is an event of 1 MB.
func large(sequence int64) *session.Event {
	return &session.Event{
		ID: "s", Kind: session.MessagePublished, Sequence: sequence, Channel: 1,
		Document: []byte(`{"text":"` + strings.Repeat("x", 1_000_000) + `"}`),
	}
}

func TestAMirrorThatCannotFollowLeavesOutTheNewestAndCountsThem(t *testing.T) {
	m := &mirror{log: slog.New(slog.DiscardHandler)} // whose goroutine does not run
	m.arrived = sync.NewCond(&m.mu)
	const count = 30
	for i := range count {
		m.add([]*session.Event{large(int64(i + 1))})
	}
	kept, lost := m.take(nil)
	if len(kept)+lost != count || len(kept) == 0 || lost == 0 {
		t.Fatalf("%d events are kept and %d lost, of %d", len(kept), lost, count)
	}
	for i, e := range kept {
		if e.Sequence != int64(i+1) {
			t.Errorf("event %d is the %d. of the session", i, e.Sequence)
		}
	}
	m.add([]*session.Event{large(count + 1)})
	if kept, lost = m.take(kept); len(kept) != 1 || lost != 0 || kept[0].Sequence != count+1 {
		t.Errorf("then %d events are kept and %d lost, want one that is kept", len(kept), lost)
	}
}
