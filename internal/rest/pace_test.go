package rest

import (
	"testing"
	"testing/synctest"
	"time"
)

// Who catches up works without a rest while nobody asks for anything, and leaves two thirds of the time to requests while
// somebody does.
func TestThoseWhoCatchUpKeepAPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		turns := func() time.Duration {
			begin := time.Now()
			for range 100 {
				p.begin()
				if p.mu.TryLock() {
					t.Fatal("two streams may work at a time")
				}
				time.Sleep(paceStretch / 5) //nolint:forbidigo // in a bubble
				p.end()
			}
			return time.Since(begin)
		}
		const work = 100 * paceStretch / 5
		if got := turns(); got != work {
			t.Errorf("without requests, work of %v takes %v", work, got)
		}
		p.requests.Add(1)
		if got := turns(); got != (1+paceRest)*work {
			t.Errorf("after a request, work of %v takes %v, want %v", work, got, (1+paceRest)*work)
		}
		time.Sleep(paceMemory) //nolint:forbidigo // in a bubble
		if got := turns(); got != work {
			t.Errorf("long after a request, work of %v takes %v", work, got)
		}
	})
}
