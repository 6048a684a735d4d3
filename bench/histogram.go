//go:build linux

package main

import (
	"math/bits"
	"time"
)

// Durations below 2^subBits nanoseconds have a bucket each; above, every power
// of two is cut into 2^subBits buckets, so no bucket is wider than 1/128 of
// what it holds. The last power of two begins at about nine minutes.
const (
	subBits    = 7
	subBuckets = 1 << subBits
	maxPower   = 39
	buckets    = (maxPower - subBits + 2) * subBuckets
)

// histogram counts durations in a fixed table, so that recording one neither
// allocates nor grows with the length of the run.
type histogram struct {
	counts [buckets]int64
	total  int64
	max    time.Duration
}

func (h *histogram) record(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.total++
	h.max = max(h.max, d)
}

func (h *histogram) merge(other *histogram) {
	for i, n := range &other.counts {
		h.counts[i] += n
	}
	h.total += other.total
	h.max = max(h.max, other.max)
}

// quantile returns the upper edge of the bucket that holds the q-th of all
// durations, so it errs on the slow side, and never beyond the maximum.
func (h *histogram) quantile(q float64) time.Duration {
	rank := max(1, int64(q*float64(h.total)+0.5))
	var seen int64
	for i, n := range &h.counts {
		seen += n
		if seen >= rank {
			return min(h.max, upperEdge(i))
		}
	}
	return h.max
}

func bucketOf(d time.Duration) int {
	v := uint64(max(0, d))
	power := bits.Len64(v) - 1
	if power < subBits {
		return int(v)
	}
	if power > maxPower {
		return buckets - 1
	}
	shift := power - subBits
	return (shift+1)<<subBits + int(v>>shift) - subBuckets
}

func upperEdge(bucket int) time.Duration {
	if bucket < subBuckets {
		return time.Duration(bucket)
	}
	shift := bucket>>subBits - 1
	low := int64(bucket&(subBuckets-1)+subBuckets) << shift
	return time.Duration(low + 1<<shift - 1)
}
