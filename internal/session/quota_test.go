package session

import (
	"context"
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/fault"
)

func TestTheSessionsOfAUsersMakingAreLimited(t *testing.T) {
	w := newWorld()
	w.LimitSessions(2)
	create := func(caller Caller, id, requestID string) error {
		_, err := w.Create(t.Context(), caller, CreateRequest{SessionID: id, RequestID: requestID, Draft: &Draft{Spec: Spec{
			Profile: "p", DisplayName: "d", Type: Private, Owners: []string{"ann", "bob"}, DefaultChannels: []int32{1},
		}}})
		return err
	}
	ann, bob := Caller{User: "ann"}, Caller{User: "bob"}
	for _, id := range []string{"a1", "a2"} {
		if err := create(ann, id, id); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
	}
	err := create(ann, "a3", "a3")
	if f := fault.From(err); f == nil || f.Kind != fault.ResourceExhausted || f.Reason != "QUOTA_SESSIONS" || !strings.Contains(f.Message, " 2:") || f.RetryAfter == 0 {
		t.Errorf("one too many is answered %v", err)
	}
	if err := create(ann, "a2", "a2"); err != nil {
		t.Errorf("a repeat is answered %v", err)
	}
	if err := create(ann, "a1", ""); saidBy(err) != "SESSION_EXISTS" {
		t.Errorf("an id that is taken is answered %v", err)
	}
	if err := create(bob, "b1", ""); err != nil {
		t.Errorf("another user is answered %v", err)
	}
	for _, id := range []string{"r1", "r2", "r3"} {
		if err := create(root, id, ""); err != nil {
			t.Errorf("an administrator is answered %v", err)
		}
	}
	if err := w.Delete(t.Context(), ann, DeleteRequest{ID: "a1"}); err != nil {
		t.Fatal(err)
	}
	if err := create(ann, "a3", "a3"); err != nil {
		t.Errorf("after one has ended, the next is answered %v", err)
	}
}

func TestWithoutALimitNobodyCountsSessions(t *testing.T) {
	w := newWorld()
	spy := &creatorSpy{memory: w.store}
	w.Service = NewService(spy, w.tail, w.keys)
	w.create(t, "s1", Private, "")
	if spy.asked != "" {
		t.Errorf("the store was asked for the sessions of %s", spy.asked)
	}
	w.LimitSessions(1)
	w.create(t, "s2", Private, "")
	if spy.asked != "" {
		t.Errorf("the store was asked for the sessions of an administrator, %s", spy.asked)
	}
}

// creatorSpy is a memory that knows whose sessions were asked for.
type creatorSpy struct {
	*memory

	asked string
}

func (s *creatorSpy) Write(ctx context.Context, w *Write) error {
	s.asked += w.Creator
	return s.memory.Write(ctx, w)
}
