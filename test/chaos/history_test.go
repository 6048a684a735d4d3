//go:build linux

package chaos_test

import (
	"fmt"
	"math"
	"math/bits"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// history is what clients asked of one thing and what they were told, with the times. Any number of goroutines may use it.
type history struct {
	began time.Time

	mu  sync.Mutex // guards the fields below
	ops []porcupine.Operation
}

func newHistory() *history { return &history{began: time.Now()} }

// now is a time of the history.
func (h *history) now() int64 { return int64(time.Since(h.began)) }

// add adds what a client asked at a time and was told at another. An outcome that is unknown may come about until the end.
func (h *history) add(client int, input, output any, called, returned int64, v verdict) {
	op := porcupine.Operation{ClientId: client, Input: input, Output: output, Call: called, Return: returned}
	switch v {
	case undone:
		return
	case unknown:
		op.Return = math.MaxInt64
	case answered:
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
}

// decideLimit is how long it may take to decide about one history.
const decideLimit = time.Minute

// judge tells whether one thing, doing what it is asked one after the other, could have answered so.
func judge(model porcupine.Model, ops []porcupine.Operation) (porcupine.CheckResult, porcupine.LinearizationInfo) {
	return porcupine.CheckOperationsVerbose(model, ops, decideLimit)
}

// check fails the test unless the history is linearizable, and leaves a picture of one that is not.
func (h *history) check(t *testing.T, name string, model porcupine.Model) {
	t.Helper()
	result, info := judge(model, h.ops)
	switch result {
	case porcupine.Ok:
	case porcupine.Unknown:
		t.Errorf("%s: whether %d operations are linearizable was not decided within %s", name, len(h.ops), decideLimit)
	default:
		picture, err := os.CreateTemp("", "parley-chaos-*.html") //nolint:usetesting // it is to be looked at afterwards
		if err != nil {
			t.Error(err)
			return
		}
		defer picture.Close()
		if err := porcupine.Visualize(model, info, picture); err != nil {
			t.Error(err)
		}
		t.Errorf("%s: %d operations are not linearizable; see %s", name, len(h.ops), picture.Name())
	}
}

// place is what is asked about a room: a session that holds so many members.
type place struct {
	Op      string // join, leave, count, members
	User    int
	Request int // numbers the requestIds that were sent more than once, from 1
}

// placed is the answer.
type placed struct {
	Verdict verdict
	Reason  string // of a refusal
	Count   int    // of the members, now
	Members uint64 // a bit for each
}

// room is the state of such a session.
type room struct {
	Members, Requests uint64 // a bit for each user, and for each requestId that has succeeded
}

func (r room) size() int { return bits.OnesCount64(r.Members) }

// roomModel is a room for so many.
func roomModel(most int) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return room{} },
		Step: func(state, input, output any) (bool, any) {
			return state.(room).step(input.(place), output.(placed), most)
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
		DescribeState:     func(state any) string { return fmt.Sprintf("%+b", state) },
	}
}

func (r room) step(in place, out placed, most int) (bool, room) {
	user, request := uint64(1)<<in.User, uint64(0)
	if in.Request > 0 {
		request = 1 << in.Request
	}
	repeated := r.Requests&request != 0
	switch in.Op {
	case "count":
		return out.Count == r.size(), r
	case "members":
		return out.Members == r.Members, r
	case "leave":
		if !repeated {
			r.Members &^= user
		}
	default:
		if reason := r.refusesJoin(user, repeated, most); reason != "" {
			return out.Verdict == unknown || out.Reason == reason, r
		}
		r.Members |= user
	}
	r.Requests |= request
	return out.Verdict == unknown || out.Reason == "" && out.Count == r.size(), r
}

// refusesJoin is the reason, or empty.
func (r room) refusesJoin(user uint64, repeated bool, most int) string {
	isMember := r.Members&user != 0
	switch {
	case repeated && !isMember:
		return "NOT_A_MEMBER"
	case !isMember && r.size() >= most:
		return "SESSION_FULL"
	default:
		return ""
	}
}

// desk is what is asked about an id that everybody wants. Who makes a session of that id labels it.
type desk struct {
	Op    string // create, delete, get
	Label string
}

// desked is the answer.
type desked struct {
	Verdict verdict
	Status  int
	Label   string // of the session that has the id
}

// deskModel is an id. Its state is the label of the session that has it, or empty.
var deskModel = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		return stepDesk(state.(string), input.(desk), output.(desked))
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
}

func stepDesk(holder string, in desk, out desked) (bool, string) {
	const done, missing, taken = 200, 404, 409
	status, after := done, holder
	switch {
	case in.Op == "create" && holder != "":
		status = taken
	case in.Op == "create":
		after = in.Label
	case holder == "":
		status = missing
	case in.Op == "delete":
		after = ""
	default:
	}
	if out.Verdict == unknown {
		return true, after
	}
	return out.Status == status && (in.Op != "get" || out.Label == holder), after
}

// said is a publish that was acknowledged with a sequence, or a look at the head. Both have a time.
type said struct {
	called, returned int64
	sequence         int64
	looked           bool
}

// outOfOrder returns two of which the second began when the first had been answered, and yet comes before it in the log;
// nil: the order of the log is one that those who wrote and looked can have seen.
func outOfOrder(all []said) []said {
	byCall, byReturn := slices.Clone(all), slices.Clone(all)
	slices.SortFunc(byCall, func(a, b said) int { return int(a.called - b.called) })
	slices.SortFunc(byReturn, func(a, b said) int { return int(a.returned - b.returned) })
	var highest said
	for _, s := range byCall {
		for len(byReturn) > 0 && byReturn[0].returned < s.called {
			if byReturn[0].sequence > highest.sequence {
				highest = byReturn[0]
			}
			byReturn = byReturn[1:]
		}
		if s.sequence < highest.sequence || !s.looked && s.sequence == highest.sequence {
			return []said{highest, s}
		}
	}
	return nil
}
