package commit

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

func TestCloseAnswersWhatWasAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options[*write]{MaxGroup: 2})
		release := r.hold()
		r.submitAll("a b c")
		closed := make(chan error, 2)
		for range cap(closed) {
			go func() { closed <- r.Close(context.Background()) }()
		}
		synctest.Wait()

		wantFault(t, r.Submit(context.Background(), &write{name: "late"}), fault.Unavailable, "SHUTTING_DOWN")
		r.wantWaiting("hold a b c")
		if len(closed) > 0 {
			t.Error("Close returned while writes waited")
		}

		release()
		r.wantGroups("hold", "a b", "c")
		r.wantDone("hold a b c")
		for range cap(closed) {
			if err := <-closed; err != nil {
				t.Errorf("Close = %v, want nil", err)
			}
		}
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		if err := r.Close(ended); err != nil {
			t.Errorf("Close of a closed Committer = %v, want nil", err)
		}
	})
}

func TestCloseRunsTheRestOfAFailedGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options[*write]{})
		gate := make(chan struct{})
		r.engine.commit = func(group string) error {
			if group == "a b" {
				<-gate
				return ErrNothingDone
			}
			return nil
		}
		release := r.hold()
		r.submitAll("a b")
		release()
		go func() { _ = r.Close(context.Background()) }()
		synctest.Wait()

		close(gate)
		synctest.Wait()

		r.wantGroups("hold", "a b", "a", "b")
		r.wantDone("a b")
	})
}

func TestCloseOutOfTime(t *testing.T) {
	for _, test := range []struct {
		name   string
		commit error // how the transaction that ran meanwhile ends
		check  func(t *testing.T, err error)
	}{
		{name: "the group commits", check: func(t *testing.T, err error) {
			if err != nil {
				t.Errorf("answer = %v, want nil", err)
			}
		}},
		{name: "the group fails", commit: ErrNothingDone, check: func(t *testing.T, err error) {
			wantFault(t, err, fault.Unavailable, "SHUTTING_DOWN")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Options[*write]{MaxGroup: 2})
				gate := make(chan struct{})
				r.engine.commit = func(group string) error {
					if group == "hold" {
						return nil
					}
					<-gate
					return test.commit
				}
				release := r.hold()
				r.submitAll("a b c")
				release() // a and b run, c waits
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()

				err := r.Close(ctx)
				synctest.Wait()

				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Close = %v, want the context's error", err)
				}
				wantFault(t, r.answer("c"), fault.Unavailable, "SHUTTING_DOWN")
				r.wantWaiting("a b")
				close(gate)
				synctest.Wait()
				test.check(t, r.answer("a"))
				test.check(t, r.answer("b"))
				r.wantGroups("hold", "a b")
			})
		})
	}
}

func TestEngineThatDoesNotReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options[*write]{MaxGroup: 2})
		r.engine.commit = func(group string) error {
			if group == "a b" {
				runtime.Goexit() // what a panic does, short of ending the test's process
			}
			return nil
		}
		release := r.hold()
		r.submitAll("a b c")

		release()

		wantFault(t, r.answer("a"), fault.Unavailable, "OUTCOME_UNKNOWN")
		wantFault(t, r.answer("b"), fault.Unavailable, "OUTCOME_UNKNOWN")
		wantFault(t, r.answer("c"), fault.Unavailable, "SHUTTING_DOWN")
		wantFault(t, r.Submit(context.Background(), &write{}), fault.Unavailable, "SHUTTING_DOWN")
	})
}

func TestEngineThatPanicsEndsTheProcess(t *testing.T) {
	const marker, message = "COMMIT_TEST_PANIC", "the engine broke"
	if os.Getenv(marker) != "" {
		c := New(engineFunc(func(func() (string, bool), func(int, error)) error { panic(message) }), Options[string]{})
		_ = c.Submit(context.Background(), "a")
		select {} // the process ends, whoever waits
	}
	command := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=30s")
	command.Env = append(os.Environ(), marker+"=1")

	output, err := command.CombinedOutput()

	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != 2 {
		t.Errorf("the process ended with %v, want exit code 2", err)
	}
	for _, want := range []string{"panic: " + message, "close_test.go"} {
		if !strings.Contains(string(output), want) {
			t.Errorf("the output does not hold %q:\n%s", want, output)
		}
	}
}
