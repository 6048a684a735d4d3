//go:build linux

package chaos_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// kind is what a fault does.
type kind string

const (
	nodeKilled      kind = "node killed"
	nodeDrained     kind = "node drained"
	nodeStopped     kind = "node stopped" // as on a machine that hangs
	clockShifted    kind = "clock shifted"
	natsKilled      kind = "NATS server killed"
	natsGone        kind = "NATS gone"
	natsCut         kind = "node cut from NATS"
	natsStalled     kind = "node's NATS stalled"
	postgresStopped kind = "PostgreSQL stopped in good order"
	postgresCrashed kind = "PostgreSQL crashed"
	postgresKilled  kind = "PostgreSQL killed"
	postgresDropped kind = "PostgreSQL's connections ended"
	postgresCut     kind = "node cut from PostgreSQL"
	postgresStalled kind = "node's PostgreSQL stalled"
)

var kinds = []kind{
	nodeKilled, nodeDrained, nodeStopped, clockShifted, natsKilled, natsGone, natsCut, natsStalled,
	postgresStopped, postgresCrashed, postgresKilled, postgresDropped, postgresCut, postgresStalled,
}

// fault is something that breaks for a time.
type fault struct {
	Kind  kind
	Which int           // of the nodes or NATS servers
	For   time.Duration // until it is mended
	Ahead time.Duration // of a clock
	Loses bool          // what a stall holds back never arrives
}

// String says what the fault is.
func (f fault) String() string {
	s := string(f.Kind)
	switch f.Kind {
	case natsGone, postgresStopped, postgresCrashed, postgresKilled, postgresDropped:
	default:
		s += fmt.Sprintf(" (%d)", f.Which)
	}
	if f.Ahead != 0 {
		s += " by " + f.Ahead.String()
	}
	if f.Loses {
		s += " and then cut"
	}
	return s + " for " + f.For.String()
}

// step is what breaks together, and for how long all is well afterwards.
type step struct {
	Faults []fault
	Rest   time.Duration
}

// schedule is the steps of a round: every kind of fault once, in any order, some of them together with another. It follows
// from the seed, the round, and whether it is short.
func schedule(seed uint64, round int, short bool) []step {
	random := rand.New(rand.NewPCG(seed, uint64(round)))
	deck := slices.Clone(kinds)
	random.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	var steps []step
	for len(deck) > 0 {
		together := 1
		if random.IntN(3) == 0 && len(deck) > 1 {
			together = 2
		}
		var s step
		for _, k := range deck[:together] {
			s.Faults = append(s.Faults, newFault(random, k, short))
		}
		deck = deck[together:]
		s.Rest = between(random, 200*time.Millisecond, time.Second)
		if !short {
			s.Rest *= 3
		}
		steps = append(steps, s)
	}
	return steps
}

func newFault(random *rand.Rand, k kind, short bool) fault {
	f := fault{Kind: k, Which: random.IntN(nodeCount), For: between(random, 300*time.Millisecond, 1500*time.Millisecond)}
	if !short {
		f.For *= 3
	}
	switch k {
	case natsGone:
		f.For = 10 * time.Second
		if short {
			f.For = 3 * time.Second
		}
	case clockShifted:
		f.Which = shifted
		f.Ahead = between(random, 1*time.Minute, 10*time.Minute).Truncate(time.Second)
		if random.IntN(2) == 0 {
			f.Ahead = -f.Ahead
		}
	case natsStalled, postgresStalled:
		f.Loses = random.IntN(2) == 0
	default:
	}
	return f
}

func between(random *rand.Rand, least, most time.Duration) time.Duration {
	return (least + time.Duration(random.Int64N(int64(most-least)))).Truncate(time.Millisecond)
}

func TestAScheduleFollowsFromItsSeedAndHasEveryFault(t *testing.T) {
	for seed := range uint64(100) {
		steps := schedule(seed, 3, false)
		if diff := cmp.Diff(steps, schedule(seed, 3, false)); diff != "" {
			t.Fatalf("seed %d: another schedule each time:\n%s", seed, diff)
		}
		var dealt []kind
		for _, s := range steps {
			for _, f := range s.Faults {
				dealt = append(dealt, f.Kind)
				if f.For <= 0 || f.Which >= nodeCount || (f.Ahead == 0) == (f.Kind == clockShifted) {
					t.Errorf("seed %d: %+v", seed, f)
				}
			}
		}
		slices.Sort(dealt)
		if diff := cmp.Diff(slices.Sorted(slices.Values(kinds)), dealt); diff != "" {
			t.Errorf("seed %d (-kinds +dealt):\n%s", seed, diff)
		}
	}
	if cmp.Equal(schedule(1, 0, false), schedule(2, 0, false)) || cmp.Equal(schedule(1, 0, false), schedule(1, 1, false)) {
		t.Error("two seeds or two rounds have one schedule")
	}
}
