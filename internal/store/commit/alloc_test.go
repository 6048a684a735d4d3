//go:build !race

package commit

import (
	"context"
	"testing"
)

// Under the race detector a sync.Pool forgets at random.
func TestSubmitDoesNotAllocate(t *testing.T) {
	c := New(engineFunc(func(next func() (string, bool), _ func(int, error)) error {
		for ok := true; ok; {
			_, ok = next()
		}
		return nil
	}), Options[string]{
		Size:      func(w string) int { return len(w) },
		Key:       func(w string) string { return w },
		Committed: func([]string) {},
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()

	allocs := testing.AllocsPerRun(2000, func() {
		if err := c.Submit(ctx, "a"); err != nil {
			t.Fatal(err)
		}
	})

	if allocs != 0 {
		t.Errorf("%v allocations for a write, want none", allocs)
	}
	if err := c.Close(ctx); err != nil {
		t.Fatal(err)
	}
}
