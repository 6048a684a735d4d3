package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/parleyhq/parley/internal/store/transfer"
)

// progressEvery is how often something is said of a copy where no bar can be drawn.
const progressEvery = 5 * time.Second

// newProgress returns what tells of a copy, how much there is and how much was moved: as a bar on a terminal, else a line
// now and then.
func newProgress(to io.Writer, terminal bool, now func() time.Time) func(total, moved transfer.Counts) {
	if terminal {
		return barProgress(to)
	}
	said := now()
	return func(total, moved transfer.Counts) {
		if now().Sub(said) < progressEvery {
			return
		}
		said = now()
		fmt.Fprintf(to, "copied %d of %d sessions, %d of %d events (%d%%)\n", moved.Sessions, total.Sessions, moved.Events, total.Events,
			100*moved.Rows()/max(total.Rows(), 1))
	}
}

func barProgress(to io.Writer) func(total, moved transfer.Counts) {
	var bar *progressbar.ProgressBar
	return func(total, moved transfer.Counts) {
		if bar == nil {
			bar = progressbar.NewOptions64(max(total.Rows(), 1),
				progressbar.OptionSetWriter(to),
				progressbar.OptionSetDescription("copying"),
				progressbar.OptionSetItsString("rows"),
				progressbar.OptionShowCount(),
				progressbar.OptionShowIts(),
				progressbar.OptionSetPredictTime(true),
				progressbar.OptionSetWidth(30),
				progressbar.OptionThrottle(100*time.Millisecond),
				progressbar.OptionOnCompletion(func() { fmt.Fprintln(to) }),
			)
		}
		_ = bar.Set64(moved.Rows()) // what cannot be drawn is no reason to stop
	}
}
