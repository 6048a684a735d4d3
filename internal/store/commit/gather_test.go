package commit

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// After a large group, the first who comes back waits a moment for the others; after a small one nobody waits.
func TestAGroupGathersThoseWhoWereAnsweredTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options[*write]{})
		large := strings.TrimSpace(strings.Repeat("x ", gatherMany))
		release := r.hold()
		r.submitAll(large)
		release()
		r.wantGroups("hold", large)

		r.submit(&write{name: "first"})
		r.wantGroups("hold", large) // it waits
		r.submit(&write{name: "second"})
		time.Sleep(gatherTime) //nolint:forbidigo // in a bubble
		synctest.Wait()
		r.wantGroups("hold", large, "first second")

		begin := time.Now()
		r.submit(&write{name: "alone"}) // the group before was small
		r.wantGroups("hold", large, "first second", "alone")
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("a write after a small group waits %v", waited)
		}
	})
}
