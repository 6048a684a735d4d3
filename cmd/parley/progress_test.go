package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/store/transfer"
)

func TestProgressIsALineNowAndThen(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	tell := newProgress(&out, false, func() time.Time { return now })
	total := transfer.Counts{Sessions: 10, Events: 190}
	for n := range 10 {
		tell(total, transfer.Counts{Sessions: int64(n), Events: 19 * int64(n)})
		now = now.Add(2 * time.Second)
	}
	const want = "copied 3 of 10 sessions, 57 of 190 events (30%)\ncopied 6 of 10 sessions, 114 of 190 events (60%)\n" +
		"copied 9 of 10 sessions, 171 of 190 events (90%)\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestProgressIsABarOnATerminal(t *testing.T) {
	var out bytes.Buffer
	tell := newProgress(&out, true, time.Now)
	total := transfer.Counts{Events: 200}
	tell(total, transfer.Counts{})
	tell(total, total)
	if got := out.String(); !strings.Contains(got, "copying 100% |") || !strings.Contains(got, "(200/200") || !strings.HasSuffix(got, "\n") {
		t.Errorf("the bar is %q", got)
	}
	tell = newProgress(&out, true, time.Now)
	tell(transfer.Counts{}, transfer.Counts{}) // of nothing
}
