//go:build linux

package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	roomMembers  = 3  // maxMembers
	roomUsers    = 5  // who want to come in
	roomCalls    = 10 // of each, until there is another room
	mostUnknowns = 3  // of each client: what is unknown makes a history hard to decide
)

// useRooms has users come into one room after the other, and leave, and looks how many are there.
func (l *load) useRooms(ctx, working context.Context) error {
	for working.Err() == nil {
		id, err := l.create(ctx, "room", document{"maxMembers": roomMembers})
		if err != nil {
			return err
		}
		r := &roomLoad{load: l, id: id, history: newHistory()}
		if err := many(roomUsers+1, func(i int) error {
			if i == roomUsers {
				return r.look(ctx, working)
			}
			return r.use(ctx, working, i)
		}); err != nil {
			return err
		}
		if err := r.end(ctx); err != nil {
			return err
		}
		r.history.check(l.t, id, roomModel(roomMembers))
		l.rooms.Add(1)
	}
	return nil
}

// roomLoad is one room, and what was asked and told.
type roomLoad struct {
	*load

	id       string
	history  *history
	requests atomic.Int64 // that were sent more than once
}

func roomUser(i int) string { return "user-" + strconv.Itoa(i) }

// use comes in and leaves as one user.
func (r *roomLoad) use(ctx, working context.Context, user int) error {
	c := newClient(r.cluster, roomUser(user))
	for n, unknowns := 0, 0; n < roomCalls && unknowns < mostUnknowns && working.Err() == nil; n++ {
		op := "join"
		if n%2 == 1 {
			op = "leave"
		}
		more, err := r.insist(ctx, working, c, place{Op: op, User: user}, fmt.Sprintf("%s-%d-%d", op, user, n))
		if err != nil {
			return err
		}
		unknowns += more
		pause(working, 60*time.Millisecond)
	}
	return nil
}

// attempt is one call with a requestId.
type attempt struct {
	out              placed
	called, returned int64
}

// insist sends a request under one requestId until it is answered, a few times at most, and now and then once more than
// needed. It returns how many of them have an unknown outcome.
func (r *roomLoad) insist(ctx, working context.Context, c *client, in place, requestID string) (unknowns int, err error) {
	needed := 1
	if rand.IntN(8) == 0 {
		needed = 2
	}
	var all []attempt
	for needed > 0 && unknowns < mostUnknowns && working.Err() == nil {
		a, err := r.attempt(ctx, c, in, requestID)
		if err != nil {
			return 0, err
		}
		switch a.out.Verdict {
		case undone:
			pause(working, 40*time.Millisecond)
			continue
		case unknown:
			unknowns++
		case answered:
			needed--
		}
		if all = append(all, a); a.out.Reason != "" {
			break
		}
	}
	if len(all) > 1 {
		in.Request = int(r.requests.Add(1))
	}
	for _, a := range all {
		r.history.add(in.User, in, a.out, a.called, a.returned, a.out.Verdict)
	}
	r.operations.Add(int64(len(all)))
	r.unknowns.Add(int64(unknowns))
	return unknowns, nil
}

func (r *roomLoad) attempt(ctx context.Context, c *client, in place, requestID string) (attempt, error) {
	called := r.history.now()
	a, err := c.call(ctx, http.MethodPost, "/"+r.id+"/"+in.Op, document{"requestId": requestID})
	if err != nil {
		return attempt{}, err
	}
	done := attempt{out: placed{Verdict: a.verdict, Reason: a.reason}, called: called, returned: r.history.now()}
	if a.verdict == answered && a.status == http.StatusOK {
		b, err := a.read()
		if err != nil {
			return attempt{}, err
		}
		done.out.Count = b.Session.MemberCount
	}
	return done, nil
}

// look counts the members, and lists them.
func (r *roomLoad) look(ctx, working context.Context) error {
	c := newClient(r.cluster, "")
	for n := 0; n < roomUsers*roomCalls/4 && working.Err() == nil; n++ {
		if err := r.lookOnce(ctx, c); err != nil {
			return err
		}
		pause(working, 80*time.Millisecond)
	}
	return nil
}

func (r *roomLoad) lookOnce(ctx context.Context, c *client) error {
	called := r.history.now()
	b, err := c.insist(ctx, http.MethodGet, "/"+r.id, nil)
	if err != nil {
		return err
	}
	r.history.add(roomUsers, place{Op: "count"}, placed{Count: b.MemberCount}, called, r.history.now(), answered)
	called = r.history.now()
	if b, err = c.insist(ctx, http.MethodGet, "/"+r.id+"/members", nil); err != nil {
		return err
	}
	var members uint64
	for _, m := range b.Members {
		user, err := strconv.Atoi(m.User[len("user-"):])
		if err != nil {
			return err
		}
		members |= 1 << user
	}
	r.history.add(roomUsers, place{Op: "members"}, placed{Members: members}, called, r.history.now(), answered)
	return nil
}

// end looks once more, and compares the log with what the session says of itself: at no time had it too many members.
func (r *roomLoad) end(ctx context.Context) error {
	c := newClient(r.cluster, "")
	if err := r.lookOnce(ctx, c); err != nil {
		return err
	}
	b, err := c.insist(ctx, http.MethodGet, "/"+r.id, nil)
	if err != nil {
		return err
	}
	events, err := readLog(ctx, r.id, b.HeadSequence, c.elsewhere)
	if err != nil {
		return err
	}
	members := 0
	for _, e := range events {
		switch e.Event {
		case "member.joined":
			members++
		case "member.left":
			members--
		default:
		}
		if members < 0 || members > roomMembers {
			return fmt.Errorf("%s: after event %d there are %d members", r.id, e.Sequence, members)
		}
	}
	if members != b.MemberCount {
		return fmt.Errorf("%s: %d members, and by the log %d", r.id, b.MemberCount, members)
	}
	return nil
}
