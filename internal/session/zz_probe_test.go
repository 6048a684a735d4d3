package session

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestProbe(t *testing.T) {
	fill := func(s string) string { return strings.Repeat(s, 4096/len(s)) }
	for _, s := range []string{fill("a "), fill("a."), fill("-1"), fill("1 "), fill("-a "), fill("NOT a "), fill("a OR "), fill("a:b "), fill("a=b "), fill("(a) "), "profile=a" + fill(".a")[:4080], fill("'' "), fill("a\n"), strings.Repeat("(a ", 32) + strings.Repeat("b ", 1900), strings.Repeat("timestamp(", 32) + fill("a,")[:3700], strings.Repeat("profile=(", 32) + strings.Repeat("a ", 1800), fill("labels.a=b "), fill("."), fill("a. "), strings.Repeat("timestamp((", 16) + fill("a ")[:3700]} {
		best := time.Hour
		for range 3 {
			start := time.Now()
			_, err := ParseFilter(s)
			best = min(best, time.Since(start))
			_ = err
		}
		fmt.Printf("%-25.25q %v\n", s, best)
	}
}
