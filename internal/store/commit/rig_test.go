package commit

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/parleyhq/parley/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// write is what the tests submit.
type write struct {
	name    string
	size    int
	key     string
	run     func()          // what running it does besides; nil: nothing
	refusal func() error    // the engine's answer; nil: done
	stop    <-chan struct{} // the commit of its group waits for this; nil: does not
}

// fakeEngine runs writes as they tell it to, and keeps a record. Only read it while its goroutine is known to wait.
type fakeEngine struct {
	groups []string                 // what each Try was given, the names separated by blanks
	commit func(group string) error // how the transaction ends; nil: well
}

func (e *fakeEngine) Try(next func() (*write, bool), refuse func(int, error)) error {
	var names []string
	var stops []<-chan struct{}
	for i := 0; ; i++ {
		w, ok := next()
		if !ok {
			break
		}
		names = append(names, w.name)
		if w.run != nil {
			w.run()
		}
		if w.refusal != nil {
			if err := w.refusal(); err != nil {
				refuse(i, err)
			}
		}
		if w.stop != nil {
			stops = append(stops, w.stop)
		}
	}
	group := strings.Join(names, " ")
	e.groups = append(e.groups, group)
	for _, stop := range stops {
		<-stop
	}
	if e.commit != nil {
		return e.commit(group)
	}
	return nil
}

// rig is a Committer in a synctest bubble, whose writers run until they wait for one another.
type rig struct {
	*Committer[*write]

	t      *testing.T
	engine *fakeEngine

	mu      sync.Mutex // guards answers
	answers map[string]error
}

func newRig(t *testing.T, options Options[*write]) *rig {
	t.Helper()
	options.Size = func(w *write) int { return w.size }
	options.Key = func(w *write) string { return w.key }
	engine := &fakeEngine{}
	r := &rig{t: t, engine: engine, Committer: New(engine, options), answers: make(map[string]error)}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return r
}

// submit starts a writer, and returns when all goroutines wait.
func (r *rig) submit(w *write) { r.submitWith(context.Background(), w) }

func (r *rig) submitWith(ctx context.Context, w *write) {
	go func() {
		err := r.Submit(ctx, w)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.answers[w.name] = err
	}()
	synctest.Wait()
}

// submitAll submits writes of the names, in their order.
func (r *rig) submitAll(names string) {
	for name := range strings.FieldsSeq(names) {
		r.submit(&write{name: name})
	}
}

// hold keeps the committer in the commit of a group of one, called "hold", until the returned function is called.
func (r *rig) hold() (release func()) {
	stop := make(chan struct{})
	r.submit(&write{name: "hold", stop: stop})
	return func() {
		close(stop)
		synctest.Wait()
	}
}

// answer is what the named writer was answered; the test ends if it was not.
func (r *rig) answer(name string) error {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	err, ok := r.answers[name]
	if !ok {
		r.t.Fatalf("%s was not answered", name)
	}
	return err
}

func (r *rig) wantDone(names string) {
	r.t.Helper()
	for name := range strings.FieldsSeq(names) {
		if err := r.answer(name); err != nil {
			r.t.Errorf("%s was answered %v, want nil", name, err)
		}
	}
}

func (r *rig) wantWaiting(names string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range strings.FieldsSeq(names) {
		if err, ok := r.answers[name]; ok {
			r.t.Errorf("%s was answered %v, want it to wait", name, err)
		}
	}
}

func (r *rig) wantGroups(groups ...string) {
	r.t.Helper()
	if diff := cmp.Diff(groups, r.engine.groups); diff != "" {
		r.t.Errorf("groups that the engine ran (-want +got):\n%s", diff)
	}
}

// wantFault checks the fault by what callers go by.
func wantFault(t *testing.T, err error, kind fault.Kind, reason string) {
	t.Helper()
	got, ok := errors.AsType[*fault.Error](err)
	if !ok {
		t.Fatalf("answer = %v, want a fault", err)
	}
	if got.Kind != kind || got.Reason != reason {
		t.Errorf("answer = kind %d, reason %s, want kind %d, reason %s (%v)", got.Kind, got.Reason, kind, reason, err)
	}
	says := "nothing was done"
	if reason == "OUTCOME_UNKNOWN" {
		says = "unknown; repeating the request with the same requestId settles it"
	}
	if !strings.Contains(got.Message, says) {
		t.Errorf("message = %q, want it to say %q", got.Message, says)
	}
	retry := kind == fault.Unavailable || kind == fault.ResourceExhausted
	if want := time.Second; retry && got.RetryAfter != want {
		t.Errorf("RetryAfter = %v, want %v", got.RetryAfter, want)
	}
}
