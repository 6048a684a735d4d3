package natsbus

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
)

func TestWarningsAreLeftOutAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logged
		w := warnings{log: log.logger()}
		const left = 5
		for i := range warningsMost + left {
			if got := w.room(); got != (i < warningsMost) {
				t.Errorf("room for warning %d = %t", i, got)
			}
		}
		if log.has("left out") {
			t.Errorf("the log is %s", &log)
		}
		time.Sleep(warningsTime) //nolint:forbidigo // in a synctest bubble
		if !w.room() || !log.has("left out\" count=5") {
			t.Errorf("the log is %s, want that 5 were left out, and room", &log)
		}
	})
}

func TestAClientCannotFillTheLog(t *testing.T) {
	var log logged
	b := open(t, Config{Listen: "127.0.0.1:0", Log: log.logger()})
	admit(t, b, func(context.Context, Client) (Grant, error) {
		return Grant{Publish: []string{"in"}, Subscribe: []string{"out"}}, nil
	})
	c := dial(t, b, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	const count = 2000
	subject := strings.Repeat("x", 10_000)
	for range count {
		c.Publish(subject, nil)
	}
	if err := c.FlushTimeout(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	n := strings.Count(log.String(), "Publish Violation")
	if n == 0 || n > count/10 { // some windows, if this machine is slow
		t.Errorf("the log has %d violations of %d", n, count)
	}
	if log.has(subject) {
		t.Error("the log has all that the client said")
	}
}
