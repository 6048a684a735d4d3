package gate

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/fault"
)

// fakeTimed is a gate for a bubble: a thread that sleeps does not know its clock.
func fakeTimed() *Gate {
	g := New(Config{Auth: auth.Dev{}})
	g.alarms.sleep = time.Sleep //nolint:forbidigo // in a bubble
	return g
}

func TestWhenASessionIsNotFoundTheTimeOfTheAnswerDoesNotTellWhy(t *testing.T) {
	const veil = defaultVeil
	noSession := fault.New(fault.NotFound, "SESSION_NOT_FOUND", "session not found")
	for name, test := range map[string]struct {
		work time.Duration
		err  error
		want time.Duration
	}{
		"none":                 {0, noSession, veil},
		"hidden":               {veil / 10, noSession, veil},
		"hidden, after long":   {veil + 1, noSession, 2 * veil},
		"no fault":             {veil / 10, nil, veil / 10},
		"another fault":        {veil / 10, errors.New("boom"), veil / 10},
		"no message, not none": {veil / 10, fault.New(fault.NotFound, "MESSAGE_NOT_FOUND", "message not found"), veil / 10},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				call, err := fakeTimed().Arrive(Arrival{})
				if err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				time.Sleep(test.work) //nolint:forbidigo // in a bubble
				call.Veil(t.Context(), test.err)
				if got := time.Since(begin); got != test.want {
					t.Errorf("answered after %v, want %v", got, test.want)
				}
			})
		})
	}
}

func TestNobodyWaitsForAClientThatHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		call, err := fakeTimed().Arrive(Arrival{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begin := time.Now()
		call.Veil(ctx, fault.New(fault.NotFound, "SESSION_NOT_FOUND", "session not found"))
		if got := time.Since(begin); got != 0 {
			t.Errorf("it waited for %v", got)
		}
		time.Sleep(defaultVeil) //nolint:forbidigo // in a bubble, for the alarm that nobody waits for
	})
}

// Alarms ring in the order of their times, however they were set, and by the real clock.
func TestAlarmsRingInOrder(t *testing.T) {
	a := &alarms{sleep: sleep}
	begin := time.Now()
	var rung []<-chan struct{}
	const ms = time.Millisecond
	for _, after := range []time.Duration{3 * ms, 1 * ms, 2 * ms, 2 * ms, 0} {
		rung = append(rung, a.at(begin.Add(after)))
	}
	<-rung[0]
	for i, channel := range rung {
		select {
		case <-channel:
		default:
			t.Errorf("alarm %d has not rung, and the last one has", i)
		}
	}
	if time.Since(begin) < 3*ms {
		t.Error("the last has rung too early")
	}
}
