package commit

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

var errLeft = errors.New("the client left")

func TestCancelBeforeTheWriteBegins(t *testing.T) {
	for _, test := range []struct {
		name   string
		ctx    func() (context.Context, func())
		kind   fault.Kind
		reason string
	}{
		{
			name: "canceled",
			ctx: func() (context.Context, func()) {
				ctx, cancel := context.WithCancelCause(context.Background())
				return ctx, func() { cancel(errLeft) }
			},
			kind: fault.Canceled, reason: "CANCELED",
		},
		{
			name: "out of time",
			ctx: func() (context.Context, func()) {
				ctx, cancel := context.WithTimeoutCause(context.Background(), time.Second, errLeft)
				return ctx, func() {
					time.Sleep(time.Second) //nolint:forbidigo // in a synctest bubble
					synctest.Wait()
					cancel()
				}
			},
			kind: fault.DeadlineExceeded, reason: "DEADLINE_EXCEEDED",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Options[*write]{MaxQueued: 3, MaxPerKey: 3})
				release := r.hold()
				ctx, cancel := test.ctx()
				r.submitAll("a")
				r.submitWith(ctx, &write{name: "b"})
				r.submitAll("c")
				r.wantWaiting("b")

				cancel()
				synctest.Wait()
				err := r.answer("b") // at once: the group still holds the engine
				wantFault(t, err, test.kind, test.reason)
				if !errors.Is(err, errLeft) {
					t.Errorf("answer = %v, want the context's cause in its chain", err)
				}
				r.submitAll("d")
				wantFault(t, r.Submit(ctx, &write{name: "late"}), test.kind, test.reason) // not even looked at

				release()
				r.wantGroups("hold", "a c d")
				r.wantDone("a c d")
			})
		})
	}
}

func TestCancelAfterTheWriteHasBegun(t *testing.T) {
	refusal := errors.New("forbidden")
	for _, test := range []struct {
		name   string
		write  write
		commit error
		want   func(t *testing.T, err error)
	}{
		{name: "done", want: func(t *testing.T, err error) {
			if err != nil {
				t.Errorf("answer = %v, want nil", err)
			}
		}},
		{name: "refused", write: write{refusal: func() error { return refusal }}, want: func(t *testing.T, err error) {
			if err != refusal {
				t.Errorf("answer = %v, want the refusal", err)
			}
		}},
		{name: "unknown", commit: ErrUnknown, want: func(t *testing.T, err error) {
			wantFault(t, err, fault.Unavailable, "OUTCOME_UNKNOWN")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Options[*write]{})
				r.engine.commit = func(string) error { return test.commit }
				ctx, cancel := context.WithCancel(context.Background())
				stop := make(chan struct{})
				w := test.write
				w.name, w.stop = "a", stop
				r.submitWith(ctx, &w)

				cancel()
				synctest.Wait()
				r.wantWaiting("a")

				close(stop)
				synctest.Wait()
				test.want(t, r.answer("a"))
			})
		})
	}
}

// A write that is put back has not begun: its transaction never happened.
func TestCancelOfAWriteThatIsPutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options[*write]{})
		failGroup, stopA := make(chan struct{}), make(chan struct{})
		r.engine.commit = func(group string) error {
			switch group {
			case "a b c d":
				<-failGroup
				return ErrNothingDone
			case "a":
				<-stopA
			}
			return nil
		}
		during, cancelDuring := context.WithCancel(context.Background())
		later, cancelLater := context.WithCancel(context.Background())
		release := r.hold()
		r.submitAll("a")
		r.submitWith(during, &write{name: "b"})
		r.submitWith(later, &write{name: "c"})
		r.submitAll("d")
		release()

		cancelDuring()
		synctest.Wait()
		r.wantWaiting("a b c d")
		close(failGroup)
		synctest.Wait()
		wantFault(t, r.answer("b"), fault.Canceled, "CANCELED")
		r.wantWaiting("a c d")

		cancelLater()
		synctest.Wait()
		wantFault(t, r.answer("c"), fault.Canceled, "CANCELED")

		close(stopA)
		synctest.Wait()
		r.wantGroups("hold", "a b c d", "a", "d")
		r.wantDone("a d")
	})
}
