//go:build linux

package main

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestQuantilesAgainstASortedSlice(t *testing.T) {
	draw := rand.New(rand.NewPCG(3, 4))
	var h, half histogram
	var all []time.Duration
	for i := range 10_000 {
		// From nanoseconds to minutes, every power of two as often as the next.
		d := time.Duration(draw.Int64N(1 << (1 + draw.IntN(38))))
		all = append(all, d)
		if i%2 == 0 {
			h.record(d)
		} else {
			half.record(d)
		}
	}
	h.merge(&half)
	slices.Sort(all)
	for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		exact := all[max(0, int(q*float64(len(all))+0.5)-1)]
		got := h.quantile(q)
		if got < exact || float64(got-exact) > float64(exact)/100 {
			t.Errorf("quantile %v is %d ns, want %d to %d", q, got, exact, exact+exact/100)
		}
	}
	if h.max != all[len(all)-1] || h.total != int64(len(all)) {
		t.Errorf("%d durations up to %s, want %d up to %s", h.total, h.max, len(all), all[len(all)-1])
	}
}

func TestEveryBucketHoldsItsOwnEdge(t *testing.T) {
	for bucket := range buckets {
		edge := upperEdge(bucket)
		if got := bucketOf(edge); got != bucket {
			t.Fatalf("%d ns belong to bucket %d, want %d", edge, got, bucket)
		}
		if got := bucketOf(edge + 1); got != min(bucket+1, buckets-1) {
			t.Fatalf("%d ns belong to bucket %d, want %d", edge+1, got, bucket+1)
		}
	}
}

func TestAnEmptyHistogramHasZeroQuantiles(t *testing.T) {
	var h histogram
	if got := h.quantile(0.99); got != 0 {
		t.Errorf("p99 of nothing is %s", got)
	}
}
