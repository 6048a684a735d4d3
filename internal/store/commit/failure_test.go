package commit

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/parleyhq/parley/internal/fault"
)

func wantStoreFailed(t *testing.T, err error) {
	t.Helper()
	wantFault(t, err, fault.Unavailable, "STORE_FAILED")
}

func TestFailedGroupIsRunOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options[*write]{})
		full := fault.New(fault.Unavailable, "DISK_FULL", "the disk is full: nothing was done")
		cause := errors.New("bad page")
		failures := map[string]error{
			"a b c d": fmt.Errorf("group: %w", ErrNothingDone),
			"b":       fmt.Errorf("%w: %w", ErrNothingDone, cause),
			"c":       fmt.Errorf("%w: %w", ErrNothingDone, full),
		}
		fresh := make(chan struct{})
		r.engine.commit = func(group string) error {
			if group == "a b c d" {
				<-fresh
			}
			return failures[group]
		}
		release := r.hold()
		r.submitAll("a b c d")
		release()
		r.submitAll("e f") // while the group runs: they come after it, however it ends

		close(fresh)
		synctest.Wait()

		r.wantGroups("hold", "a b c d", "a", "b", "c", "d", "e f")
		r.wantDone("a d e f")
		wantStoreFailed(t, r.answer("b"))
		if !errors.Is(r.answer("b"), cause) {
			t.Errorf("the answer %v does not have the engine's error as its cause", r.answer("b"))
		}
		wantFaultOfEngine(t, r.answer("c"), full)
	})
}

func wantFaultOfEngine(t *testing.T, err error, want *fault.Error) {
	t.Helper()
	if got := fault.From(err); got != want {
		t.Errorf("answer = %v, want the engine's fault %v", err, want)
	}
}

func TestEachIsAnsweredAfterItsOwnTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options[*write]{})
		stopB := make(chan struct{})
		r.engine.commit = func(group string) error {
			switch group {
			case "a b":
				return ErrNothingDone
			case "b":
				<-stopB
			}
			return nil
		}
		release := r.hold()
		r.submitAll("a b")

		release()

		r.wantDone("a")
		r.wantWaiting("b")
		close(stopB)
		synctest.Wait()
		r.wantDone("b")
	})
}

func TestRefusalOfAFailedGroupIsDecidedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options[*write]{})
		failures := map[string]error{"a b c": ErrNothingDone, "a": ErrNothingDone}
		r.engine.commit = func(group string) error { return failures[group] }
		tries := 0
		taken := errors.New("a took the name")
		release := r.hold()
		r.submit(&write{name: "a"})
		r.submit(&write{name: "b", refusal: func() error { // forbidden only if a happens, which it does not
			if tries++; tries == 1 {
				return taken
			}
			return nil
		}})
		always := errors.New("forbidden")
		r.submit(&write{name: "c", refusal: func() error { return always }})

		release()

		r.wantGroups("hold", "a b c", "a", "b", "c")
		wantStoreFailed(t, r.answer("a"))
		r.wantDone("b")
		if got := r.answer("c"); got != always {
			t.Errorf("c was answered %v, want %v", got, always)
		}
	})
}

func TestGroupOfOneIsNotRunTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options[*write]{})
		r.engine.commit = func(string) error { return ErrNothingDone }

		r.submitAll("a")

		r.wantGroups("a")
		wantStoreFailed(t, r.answer("a"))
	})
}

func TestUnknownOutcome(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
	}{
		{name: "said so", err: fmt.Errorf("commit: %w", ErrUnknown)},
		{name: "not said", err: errors.New("connection lost")},
		{name: "said both", err: errors.Join(ErrNothingDone, ErrUnknown)},
		{name: "a fault alone", err: fault.New(fault.Unavailable, "DISK_FULL", "the disk is full")},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Options[*write]{})
				r.engine.commit = func(group string) error {
					if group == "a b c" {
						return test.err
					}
					return nil
				}
				release := r.hold()
				r.submitAll("a")
				r.submit(&write{name: "b", refusal: func() error { return errors.New("forbidden") }})
				r.submitAll("c")

				release()
				r.submitAll("d")

				r.wantGroups("hold", "a b c", "d")
				for _, name := range []string{"a", "b", "c"} {
					wantFault(t, r.answer(name), fault.Unavailable, "OUTCOME_UNKNOWN")
					if !errors.Is(r.answer(name), test.err) {
						t.Errorf("%s: the answer does not have the engine's error as its cause", name)
					}
				}
				r.wantDone("d")
			})
		})
	}
}

func TestWritesPutBackCountAsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options[*write]{MaxQueued: 2})
		stopA := make(chan struct{})
		r.engine.commit = func(group string) error {
			switch group {
			case "a b c":
				return ErrNothingDone
			case "a":
				<-stopA
			}
			return nil
		}
		gate := make(chan struct{})
		r.submit(&write{name: "a", run: func() {
			if gate != nil {
				<-gate
				gate = nil
			}
		}})
		r.submitAll("b c")

		close(gate)
		synctest.Wait() // a runs alone; b and c wait
		wantFault(t, r.Submit(context.Background(), &write{name: "d"}), fault.Unavailable, "QUEUE_FULL")

		close(stopA)
		synctest.Wait()
		r.wantGroups("a b c", "a", "b", "c")
		r.wantDone("a b c")
	})
}

// Waiters are used again; nothing that happened to a write may happen to the next one on its account.
func TestWritesAreIndependentOfEarlierOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options[*write]{})
		r.engine.commit = func(group string) error {
			if group == "d e f" {
				return ErrNothingDone
			}
			return nil
		}
		release, gate := r.hold(), make(chan struct{})
		ctx, cancel := context.WithCancel(context.Background())
		for _, name := range []string{"a", "b", "c"} {
			r.submitWith(ctx, &write{name: name, stop: gate})
		}
		release()
		cancel() // after they have begun
		synctest.Wait()
		close(gate)
		synctest.Wait()
		r.wantDone("a b c")

		release = r.hold()
		r.submitAll("d e f") // are run again, alone
		release()
		r.wantDone("d e f")

		release = r.hold()
		r.submitAll("g h i")
		release()
		r.wantDone("g h i")
		r.wantGroups("hold", "a b c", "hold", "d e f", "d", "e", "f", "hold", "g h i")
	})
}
