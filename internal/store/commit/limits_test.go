package commit

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/parleyhq/parley/internal/fault"
)

func TestLimits(t *testing.T) {
	for _, test := range []struct {
		name    string
		options Options[*write]
		waiting []write // fill the queue to the limit
		over    write   // is not accepted
		kind    fault.Kind
		reason  string
		fits    []write // are, even so
	}{
		{
			name:    "writes",
			options: Options[*write]{MaxQueued: 3, MaxPerKey: 3},
			waiting: []write{{}, {}, {}},
			kind:    fault.Unavailable, reason: "QUEUE_FULL",
		},
		{
			name:    "bytes",
			options: Options[*write]{MaxQueuedBytes: 10},
			waiting: []write{{size: 4}, {size: 4}},
			over:    write{size: 3},
			kind:    fault.Unavailable, reason: "QUEUE_FULL",
			fits: []write{{size: 2}, {size: 0}},
		},
		{
			name:    "bytes, of one write",
			options: Options[*write]{MaxQueuedBytes: 10},
			waiting: []write{{size: 11}},
			over:    write{size: 1},
			kind:    fault.Unavailable, reason: "QUEUE_FULL",
		},
		{
			name:    "writes of a key",
			options: Options[*write]{MaxPerKey: 2},
			waiting: []write{{key: "x"}, {key: "y"}, {key: "x"}},
			over:    write{key: "x"},
			kind:    fault.ResourceExhausted, reason: "SESSION_BUSY",
			fits: []write{{key: "y"}, {}, {}, {}},
		},
		{
			name:    "writes of a key, by default an eighth",
			options: Options[*write]{MaxQueued: 16},
			waiting: []write{{key: "x"}, {key: "x"}},
			over:    write{key: "x"},
			kind:    fault.ResourceExhausted, reason: "SESSION_BUSY",
			fits: []write{{key: "y"}},
		},
		{
			name:    "writes of a key in a full queue",
			options: Options[*write]{MaxQueued: 2, MaxPerKey: 2},
			waiting: []write{{key: "x"}, {key: "x"}},
			over:    write{key: "x"},
			kind:    fault.ResourceExhausted, reason: "SESSION_BUSY",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, test.options)
				release := r.hold()
				submit := func(kind string, writes []write) {
					for i, w := range writes {
						w.name = fmt.Sprint(kind, i)
						r.submit(&w)
						r.wantWaiting(w.name)
					}
				}
				over := test.over
				over.name = "over"

				submit("waiting", test.waiting)
				r.submit(&over)
				wantFault(t, r.answer("over"), test.kind, test.reason)
				submit("fits", test.fits)

				release()
				r.submit(&over)
				r.wantDone("over") // there is room again
			})
		})
	}
}

func TestWriterWhoLeavesFreesItsPlace(t *testing.T) {
	for _, test := range []struct {
		name    string
		options Options[*write]
	}{
		{name: "in the count", options: Options[*write]{MaxQueued: 3, MaxPerKey: 9}},
		{name: "in the bytes", options: Options[*write]{MaxQueuedBytes: 30}},
		{name: "in the share of its key", options: Options[*write]{MaxPerKey: 3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, test.options)
				release := r.hold()
				for i := range 3 { // the oldest, one in the middle, the newest
					var leave [3]context.CancelFunc
					for j := range 3 {
						var ctx context.Context
						ctx, leave[j] = context.WithCancel(context.Background())
						r.submitWith(ctx, &write{name: fmt.Sprint(i, j), size: 10, key: "x"})
					}
					r.submit(&write{name: "over", size: 10, key: "x"})
					if r.answer("over") == nil {
						t.Fatal("a fourth write was accepted")
					}
					for j := range 3 {
						leave[(i+j)%3]()
						synctest.Wait()
						wantFault(t, r.answer(fmt.Sprint(i, (i+j)%3)), fault.Canceled, "CANCELED")
					}
				}
				r.submit(&write{name: "last", size: 10, key: "x"})
				release()
				r.wantGroups("hold", "last")
			})
		})
	}
}
