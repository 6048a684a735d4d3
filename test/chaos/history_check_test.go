//go:build linux

package chaos_test

import (
	"math"
	"testing"

	"github.com/anishathalye/porcupine"
)

// op is one of a history that is written down: at a time, answered at another.
func op(called, returned int64, input, output any) porcupine.Operation {
	return porcupine.Operation{Call: called, Return: returned, Input: input, Output: output}
}

const never = math.MaxInt64

// What could not have happened is found, and what could is not.
func TestTheModelsTellRightFromWrong(t *testing.T) {
	join := func(user, request int) place { return place{Op: "join", User: user, Request: request} }
	leave := func(user, request int) place { return place{Op: "leave", User: user, Request: request} }
	count := place{Op: "count"}
	now := func(n int) placed { return placed{Count: n} }
	full, gone, open := placed{Reason: "SESSION_FULL"}, placed{Reason: "NOT_A_MEMBER"}, placed{Verdict: unknown}
	create := func(label string) desk { return desk{Op: "create", Label: label} }
	get, remove := desk{Op: "get"}, desk{Op: "delete"}
	ok, taken, missing, lost := desked{Status: 200}, desked{Status: 409}, desked{Status: 404}, desked{Verdict: unknown}
	is := func(label string) desked { return desked{Status: 200, Label: label} }
	two := roomModel(2)
	for _, c := range []struct {
		name  string
		model porcupine.Model
		ops   []porcupine.Operation
		wrong bool
	}{
		{"two of three come in", two, []porcupine.Operation{
			op(0, 10, join(0, 0), now(1)), op(0, 10, join(1, 0), now(2)), op(0, 10, join(2, 0), full), op(11, 12, count, now(2)),
		}, false},
		{"three come in", two, []porcupine.Operation{
			op(0, 10, join(0, 0), now(1)), op(0, 10, join(1, 0), now(2)), op(0, 10, join(2, 0), now(3)),
		}, true},
		{"three come in, and are counted as two", two, []porcupine.Operation{
			op(0, 10, join(0, 0), now(1)), op(0, 10, join(1, 0), now(2)), op(0, 10, join(2, 0), now(2)),
		}, true},
		{"full with a place left", two, []porcupine.Operation{op(0, 1, join(0, 0), now(1)), op(2, 3, join(1, 0), full)}, true},
		{"full while it was full", two, []porcupine.Operation{
			op(0, 1, join(0, 0), now(1)), op(2, 3, join(1, 0), now(2)), op(4, 9, leave(0, 0), now(1)), op(4, 9, join(2, 0), full),
		}, false},
		{"a count of the past", two, []porcupine.Operation{
			op(0, 1, join(0, 0), now(1)), op(2, 3, join(1, 0), now(2)), op(4, 5, count, now(1)),
		}, true},
		{"an unknown join happens late", two, []porcupine.Operation{
			op(0, never, join(0, 0), open), op(1, 2, count, now(0)), op(3, 4, count, now(1)),
		}, false},
		{"an unknown join happens before it is asked for", two, []porcupine.Operation{
			op(1, 2, count, now(1)), op(3, never, join(0, 0), open),
		}, true},
		{"an unknown join happens twice", two, []porcupine.Operation{
			op(0, never, join(0, 1), open), op(1, 2, join(0, 1), now(1)), op(3, 4, leave(0, 0), now(0)), op(5, 6, count, now(1)),
		}, true},
		{"a repeated join whose member has left", two, []porcupine.Operation{
			op(0, 1, join(0, 1), now(1)), op(2, 3, leave(0, 0), now(0)), op(4, 5, join(0, 1), gone), op(6, 7, count, now(0)),
		}, false},
		{"an unknown join of a full room", two, []porcupine.Operation{
			op(0, 1, join(0, 0), now(1)), op(2, 3, join(1, 0), now(2)), op(4, never, join(2, 0), open), op(5, 6, count, now(2)),
		}, false},
		{"a member who is not listed", two, []porcupine.Operation{
			op(0, 1, join(1, 0), now(1)), op(2, 3, place{Op: "members"}, placed{Members: 1}),
		}, true},

		{"one of two makes it", deskModel, []porcupine.Operation{
			op(0, 9, create("a"), ok), op(0, 9, create("b"), taken), op(10, 11, get, is("a")),
		}, false},
		{"both make it", deskModel, []porcupine.Operation{op(0, 9, create("a"), ok), op(0, 9, create("b"), ok)}, true},
		{"made, deleted, made again", deskModel, []porcupine.Operation{
			op(0, 1, create("a"), ok), op(2, 3, remove, ok), op(4, 5, create("b"), ok), op(6, 7, get, is("b")),
		}, false},
		{"taken by nobody", deskModel, []porcupine.Operation{op(0, 1, create("a"), taken), op(2, 3, get, missing)}, true},
		{"taken by one's own unknown", deskModel, []porcupine.Operation{
			op(0, never, create("a"), lost), op(2, 3, create("b"), taken), op(4, 5, get, is("a")),
		}, false},
		{"deleted and still there", deskModel, []porcupine.Operation{
			op(0, 1, create("a"), ok), op(2, 3, remove, ok), op(4, 5, get, is("a")),
		}, true},
		{"deleted by two", deskModel, []porcupine.Operation{
			op(0, 1, create("a"), ok), op(2, 9, remove, ok), op(2, 9, remove, ok),
		}, true},
		{"an unknown delete comes late", deskModel, []porcupine.Operation{
			op(0, 1, create("a"), ok), op(2, never, remove, lost), op(3, 4, get, is("a")), op(5, 6, get, missing),
		}, false},
		{"another's session", deskModel, []porcupine.Operation{
			op(0, 1, create("a"), ok), op(2, 3, get, is("b")),
		}, true},
	} {
		want := porcupine.Ok
		if c.wrong {
			want = porcupine.Illegal
		}
		if got, _ := judge(c.model, c.ops); got != want {
			t.Errorf("%s: %s, want %s", c.name, got, want)
		}
	}
}

func TestTheOrderOfTheLogIsThatOfTime(t *testing.T) {
	for _, c := range []struct {
		name  string
		all   []said
		wrong bool
	}{
		{"in order", []said{{called: 0, returned: 1, sequence: 1}, {called: 2, returned: 3, sequence: 2}}, false},
		{"at the same time", []said{{called: 0, returned: 3, sequence: 2}, {called: 1, returned: 4, sequence: 1}}, false},
		{"later and before", []said{{called: 0, returned: 1, sequence: 2}, {called: 2, returned: 3, sequence: 1}}, true},
		{"one sequence for two", []said{{called: 0, returned: 1, sequence: 2}, {called: 2, returned: 3, sequence: 2}}, true},
		{"a look at what was written", []said{{called: 0, returned: 1, sequence: 2}, {called: 2, returned: 3, sequence: 2, looked: true}}, false},
		{"a look that misses it", []said{{called: 0, returned: 1, sequence: 2}, {called: 2, returned: 3, sequence: 1, looked: true}}, true},
		{"looks that go back", []said{
			{called: 0, returned: 1, sequence: 2, looked: true}, {called: 2, returned: 3, sequence: 1, looked: true},
		}, true},
		{"written where it was already looked", []said{
			{called: 0, returned: 1, sequence: 2, looked: true}, {called: 2, returned: 3, sequence: 2},
		}, true},
	} {
		if got := outOfOrder(c.all); (got != nil) != c.wrong {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}
