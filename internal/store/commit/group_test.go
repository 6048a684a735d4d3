package commit

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestGroupStartsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options[*write]{})
		began := time.Now()

		r.submit(&write{name: "a"})

		r.wantDone("a")
		if waited := time.Since(began); waited != 0 {
			t.Errorf("a was answered after %v, want at once", waited)
		}
	})
}

func TestGroupTakesInWhatArrivesWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options[*write]{})
		gate := make(chan struct{})

		r.submit(&write{name: "a", run: func() { <-gate }})
		r.submitAll("b c")
		close(gate)
		synctest.Wait()

		r.wantGroups("a b c")
		r.wantDone("a b c")
	})
}

func TestGroupEnds(t *testing.T) {
	const kib, mib = 1 << 10, 1 << 20
	equal := func(n, size int) []int {
		sizes := make([]int, n)
		for i := range sizes {
			sizes[i] = size
		}
		return sizes
	}
	for _, test := range []struct {
		name  string
		sizes []int         // of the writes that wait
		take  time.Duration // that running each of them takes
		want  []int         // lengths of the groups
	}{
		{name: "at 256 writes", sizes: equal(300, 0), want: []int{256, 44}},
		{name: "at 1 MiB", sizes: equal(5, 512*kib), want: []int{2, 2, 1}},
		{name: "before it is over 1 MiB", sizes: []int{mib - 1, 1, 1}, want: []int{2, 1}},
		{name: "at 5 ms", sizes: equal(7, 0), take: 2 * time.Millisecond, want: []int{3, 3, 1}},
		{name: "at exactly 5 ms", sizes: equal(3, 0), take: 5 * time.Millisecond, want: []int{1, 1, 1}},
		{name: "when a write over 1 MiB comes, which goes alone", sizes: []int{1, 3 * mib, 0, 1}, want: []int{1, 1, 2}},
		{name: "when no write is left", sizes: equal(3, 1), want: []int{3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Options[*write]{})
				release := r.hold()
				for i, size := range test.sizes {
					run := func() { time.Sleep(test.take) } //nolint:forbidigo // in a synctest bubble
					r.submit(&write{name: strconv.Itoa(i), size: size, run: run})
				}

				release()
				time.Sleep(time.Second) //nolint:forbidigo // in a synctest bubble
				synctest.Wait()

				var lengths []int
				for _, group := range r.engine.groups[1:] {
					lengths = append(lengths, len(strings.Fields(group)))
				}
				if fmt.Sprint(lengths) != fmt.Sprint(test.want) {
					t.Errorf("lengths of the groups = %v, want %v", lengths, test.want)
				}
			})
		})
	}
}

func TestGroupTimeGoesByTheGivenClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Unix(0, 0) // used by the engine and the Committer, on one goroutine
		r := newRig(t, Options[*write]{Now: func() time.Time { return now }})
		release := r.hold()
		for _, name := range []string{"a", "b", "c"} {
			r.submit(&write{name: name, run: func() { now = now.Add(3 * time.Millisecond) }})
		}

		release()

		r.wantGroups("hold", "a b", "c")
	})
}

func TestEngineMayStopAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran []string
		c := New(engineFunc(func(next func() (string, bool), _ func(int, error)) error {
			w, _ := next()
			ran = append(ran, w)
			return nil
		}), Options[string]{})

		for _, w := range []string{"a", "b", "c"} {
			go func() {
				if err := c.Submit(t.Context(), w); err != nil {
					t.Errorf("Submit(%s) = %v", w, err)
				}
			}()
			synctest.Wait()
		}

		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(ran, " "); got != "a b c" {
			t.Errorf("the engine ran %q, want a, b and c", got)
		}
	})
}

func TestCompleteGroupStaysComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var again bool
		c := New(engineFunc(func(next func() (string, bool), _ func(int, error)) error {
			first, _ := next()
			for ok := true; ok; {
				_, ok = next()
			}
			if first == "a" {
				<-gate // b arrives
				_, again = next()
			}
			return nil
		}), Options[string]{})
		for _, w := range []string{"a", "b"} {
			go func() { _ = c.Submit(t.Context(), w) }()
			synctest.Wait()
		}

		close(gate)

		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if again {
			t.Error("next returned a write after it had returned false")
		}
	})
}

// engineFunc is an engine that is a function.
type engineFunc func(next func() (string, bool), refuse func(int, error)) error

func (f engineFunc) Try(next func() (string, bool), refuse func(int, error)) error {
	return f(next, refuse)
}
