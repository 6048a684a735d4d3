package session

import (
	"sync"
	"testing"
	"time"
)

func TestTimeAsText(t *testing.T) {
	for want, moment := range map[string]time.Time{
		"1970-01-01T00:00:00.000001Z": time.UnixMicro(1),
		"2026-01-31T23:59:59.000000Z": time.Date(2026, 1, 31, 23, 59, 59, 999, time.UTC),
		"2026-01-31T21:59:59.120000Z": time.Date(2026, 1, 31, 23, 59, 59, 120000000, time.FixedZone("", 7200)),
		"9999-12-31T23:59:59.999999Z": time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC),
	} {
		t.Run(want, func(t *testing.T) {
			if got := TimeOf(moment).String(); got != want {
				t.Errorf("String() = %s, want %s", got, want)
			}
		})
	}
}

func TestTimeAddKeepsMicroseconds(t *testing.T) {
	if got, want := Time(10).Add(1500*time.Nanosecond+time.Second), Time(1000011); got != want {
		t.Errorf("Add = %d, want %d", got, want)
	}
}

func TestAnAscendingClockNeverRepeats(t *testing.T) {
	readings := []Time{5, 5, 3, 9, 9, 1}
	clock := Ascending(func() Time {
		next := readings[0]
		readings = readings[1:]
		return next
	})
	for _, want := range []Time{5, 6, 7, 9, 10, 11} {
		if got := clock(); got != want {
			t.Errorf("clock = %d, want %d", got, want)
		}
	}
}

func TestAnAscendingClockIsSharedSafely(t *testing.T) {
	clock := Ascending(func() Time { return 1 })
	var all sync.Map
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 1000 {
				if _, again := all.LoadOrStore(clock(), true); again {
					t.Error("a time was given out twice")
				}
			}
		})
	}
	group.Wait()
}
