//go:build linux

package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

const (
	deskUsers = 4
	deskCalls = 12 // of each user, until there is another id
)

// useDesks has users make, delete and get the session of one id after the other.
func (l *load) useDesks(ctx, working context.Context) error {
	for working.Err() == nil {
		d := &deskLoad{load: l, id: l.newID("desk"), history: newHistory(), uids: make(map[string]string)}
		if err := many(deskUsers, func(i int) error { return d.use(ctx, working, i) }); err != nil {
			return err
		}
		if err := d.end(ctx); err != nil {
			return err
		}
		d.history.check(l.t, d.id, deskModel)
		l.desks.Add(1)
	}
	return nil
}

// deskLoad is one id, and what was asked and told.
type deskLoad struct {
	*load

	id      string
	history *history

	mu   sync.Mutex        // guards the field below
	uids map[string]string // by label, and labels by uid
}

func (d *deskLoad) use(ctx, working context.Context, user int) error {
	c := newClient(d.cluster, "")
	for n, unknowns := 0, 0; n < deskCalls && unknowns < mostUnknowns && working.Err() == nil; n++ {
		in := desk{Op: "get"}
		switch rand.IntN(5) {
		case 0, 1:
			in = desk{Op: "create", Label: fmt.Sprintf("user %d, call %d", user, n)}
		case 2:
			in = desk{Op: "delete"}
		default:
		}
		v, err := d.call(ctx, c, user, in)
		if err != nil {
			return err
		}
		if v == unknown {
			unknowns++
			d.unknowns.Add(1)
		}
		pause(working, 60*time.Millisecond)
	}
	return nil
}

// call sends one request, once.
func (d *deskLoad) call(ctx context.Context, c *client, user int, in desk) (verdict, error) {
	method, path, content := http.MethodGet, "/"+d.id, any(nil)
	switch in.Op {
	case "create":
		method, path, content = http.MethodPost, "?sessionId="+d.id, draft(in.Label, document{})
	case "delete":
		method = http.MethodDelete
	default:
	}
	called := d.history.now()
	a, err := c.call(ctx, method, path, content)
	if err != nil {
		return unknown, err
	}
	returned, out := d.history.now(), desked{Verdict: a.verdict, Status: a.status}
	if a.status == http.StatusOK && in.Op != "delete" {
		b, err := a.read()
		if err != nil {
			return unknown, err
		}
		if err := d.noteUID(b.DisplayName, b.UID); err != nil {
			return unknown, err
		}
		out.Label = b.DisplayName
	}
	if in.Op == "get" && a.verdict == unknown {
		return undone, nil // it has no effect that could come about
	}
	if a.verdict != undone {
		d.operations.Add(1)
	}
	d.history.add(user, in, out, called, returned, a.verdict)
	return a.verdict, nil
}

// noteUID fails if a session has two uids, or a uid two sessions.
func (d *deskLoad) noteUID(label, uid string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, value := range map[string]string{"label " + label: uid, "uid " + uid: label} {
		if before, known := d.uids[key]; known && before != value {
			return fmt.Errorf("%s: %s has %s, and had %s", d.id, key, value, before)
		}
		d.uids[key] = value
	}
	return nil
}

// end looks once more.
func (d *deskLoad) end(ctx context.Context) error {
	c := newClient(d.cluster, "")
	for {
		v, err := d.call(ctx, c, deskUsers, desk{Op: "get"})
		if err != nil || v == answered {
			return err
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}
