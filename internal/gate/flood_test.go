package gate

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// One who is refused again and again leaves room in the log for the denials of others, and they say what was left out.
func TestAFloodOfDenialsIsRecordedInPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDenials()
		recorded := 0
		for range 100 {
			if record, _ := d.take("mallory"); record {
				recorded++
			}
		}
		if recorded != denialsOfOne {
			t.Errorf("%d denials of one are recorded, want %d", recorded, denialsOfOne)
		}
		if record, leftOut := d.take("ada"); !record || leftOut != 100-denialsOfOne {
			t.Errorf("another's: %t, with %d left out before", record, leftOut)
		}
		if record, leftOut := d.take("ada"); !record || leftOut != 0 {
			t.Errorf("another's second: %t, with %d left out before", record, leftOut)
		}
		time.Sleep(time.Second) //nolint:forbidigo // in a bubble
		if record, _ := d.take("mallory"); !record {
			t.Error("none is recorded in the next second")
		}
	})
}

func TestAFloodOfDenialsOfManyIsRecordedInPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDenials()
		recorded := 0
		for i := range 3 * denialsOfAll {
			if record, _ := d.take(strconv.Itoa(i)); record {
				recorded++
			}
		}
		if recorded != denialsOfAll || len(d.of) != denialsOfAll {
			t.Errorf("%d denials are recorded and %d users are known, want %d", recorded, len(d.of), denialsOfAll)
		}
	})
}
