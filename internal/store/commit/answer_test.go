package commit

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

func TestAnswersComeAfterTheCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options[*write]{})
		gate, durable := make(chan struct{}), make(chan struct{})
		errB, errD := errors.New("b is forbidden"), errors.New("d is forbidden")
		r.submit(&write{name: "a", run: func() { <-gate }, stop: durable})
		r.submit(&write{name: "b", refusal: func() error { return errB }})
		r.submit(&write{name: "c"})
		r.submit(&write{name: "d", refusal: func() error { return errD }})

		close(gate)
		synctest.Wait()
		r.wantGroups("a b c d")
		r.wantWaiting("a b c d")

		close(durable)
		synctest.Wait()
		r.wantGroups("a b c d")
		r.wantDone("a c")
		for name, want := range map[string]error{"b": errB, "d": errD} {
			if got := r.answer(name); got != want {
				t.Errorf("%s was answered %v, want its own refusal %v", name, got, want)
			}
		}
	})
}

func TestWritesRunInOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options[*write]{MaxGroup: 3})
		release := r.hold()
		for i, name := range strings.Fields("a b c d e f g h") {
			r.submit(&write{name: name, key: []string{"x", "y", ""}[i%3], size: 100 - i})
		}

		release()

		r.wantGroups("hold", "a b c", "d e f", "g h")
	})
}

func TestCommittedIsToldWhatHappened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		r := newRig(t, Options[*write]{Committed: func(writes []*write) {
			for _, w := range writes {
				told = append(told, w.name)
			}
			told = append(told, "|")
		}})
		refuse := func() error { return errors.New("forbidden") }
		failures := map[string]error{"x y": ErrNothingDone, "u": ErrUnknown, "n": ErrNothingDone}
		r.engine.commit = func(group string) error { return failures[group] }

		release := r.hold()
		r.submitAll("a")
		r.submit(&write{name: "b", refusal: refuse})
		r.submitAll("c")
		release()
		r.submit(&write{name: "d", refusal: refuse}) // a group of which nothing remains
		release = r.hold()
		r.submitAll("x y") // fails, then each succeeds alone
		release()
		r.submitAll("u")
		r.submitAll("n")

		want := strings.Fields("hold | a c | hold | x | y |")
		if diff := cmp.Diff(want, told); diff != "" {
			t.Errorf("Committed was told (-want +got):\n%s", diff)
		}
	})
}

func TestCommittedIsToldBetweenCommitAndAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		durable, hook := make(chan struct{}), make(chan struct{})
		told := false
		r := newRig(t, Options[*write]{Committed: func([]*write) {
			told = true
			<-hook
		}})

		r.submit(&write{name: "a", stop: durable})
		if told {
			t.Error("Committed was called before the commit")
		}
		close(durable)
		synctest.Wait()
		if !told {
			t.Error("Committed was not called after the commit")
		}
		r.wantWaiting("a")

		close(hook)
		synctest.Wait()
		r.wantDone("a")
	})
}

func TestGroupThatWasNotTaken(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
	}{
		{name: "an engine that does nothing", err: nil},
		{name: "a transaction that cannot begin", err: ErrNothingDone},
		{name: "an error that says too little", err: errors.New("broken")},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				c := New(engineFunc(func(func() (string, bool), func(int, error)) error {
					tries++
					return test.err
				}), Options[string]{})

				for range 3 {
					wantStoreFailed(t, c.Submit(t.Context(), "a"))
				}

				if err := c.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				if tries != 3 {
					t.Errorf("%d tries, want 3", tries)
				}
			})
		})
	}
}
