package gate

import (
	"sync"
	"time"
)

// How many denials are recorded within a second: whoever is refused thousands of times a second must not fill the log.
const (
	denialsOfOne = 10
	denialsOfAll = 1000
)

// denials counts those of the present second.
type denials struct {
	mu      sync.Mutex // guards the fields below
	begun   time.Time
	all     int
	of      map[string]int // by user, or by limit.NetworkOf the address if nobody knows the user
	leftOut int            // since the last that was recorded
}

func newDenials() *denials { return &denials{of: make(map[string]int)} }

// take tells whether another denial is to be recorded, and how many before it were not.
func (d *denials) take(of string) (record bool, leftOut int) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.Sub(d.begun) >= time.Second {
		d.begun, d.all = now, 0
		clear(d.of)
	}
	if d.all == denialsOfAll || d.of[of] == denialsOfOne {
		d.leftOut++
		return false, 0
	}
	d.all++
	d.of[of]++
	leftOut, d.leftOut = d.leftOut, 0
	return true, leftOut
}
