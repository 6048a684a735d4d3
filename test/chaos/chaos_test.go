//go:build linux

package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// fixedSeeds are those of a normal run of the tests.
var fixedSeeds = []uint64{1, 2}

func TestNothingAcknowledgedIsLostAndNothingComesTwice(t *testing.T) {
	if *runFor == 0 {
		for _, seed := range fixedSeeds {
			t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
				runRound(t, newCluster(t, nodeCount, *clocks), seed, 0, true)
			})
		}
		return
	}
	seed := *seeded
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	repeat := fmt.Sprintf("make chaos CHAOS_SEED=%d CHAOS_FOR=%s", seed, *runFor)
	t.Logf("seed %d; to repeat: %s", seed, repeat)
	defer func() {
		if t.Failed() {
			t.Logf("seed %d; to repeat: %s", seed, repeat)
		}
	}()
	began := time.Now()
	c := newCluster(t, nodeCount, *clocks)
	for round := 0; time.Since(began) < *runFor && !t.Failed(); round++ {
		runRound(t, c, seed, round, false)
	}
}

// roundLimit ends a round that hangs.
const roundLimit = 10 * time.Minute

// runRound has the cluster suffer a schedule under load, and checks what everybody was told.
func runRound(t *testing.T, c *cluster, seed uint64, round int, short bool) {
	t.Helper()
	c.t = t
	ctx, cancel := context.WithTimeout(t.Context(), roundLimit)
	defer cancel()
	l := &load{t: t, cluster: c, prefix: fmt.Sprintf("r%d", round)}
	var following, loading sync.WaitGroup
	followed, stopFollowing := context.WithCancel(ctx)
	defer func() {
		stopFollowing()
		following.Wait()
	}()
	if err := l.open(followed, &following); err != nil {
		t.Fatal(err)
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	loading.Go(func() { l.run(ctx, working) })
	err := c.suffer(ctx, schedule(seed, round, short))
	stop()
	if err != nil {
		cancel()
	}
	loading.Wait()
	if err != nil {
		t.Fatal(err)
	}
	l.checkTalks(ctx)
	l.report(round)
}

// report says how much was done.
func (l *load) report(round int) {
	messages, connections := 0, 0
	for _, k := range l.talks {
		messages += len(k.acknowledged)
		for _, f := range k.followers {
			connections += f.Opened()
		}
	}
	failed := 0
	for _, n := range l.cluster.nodes {
		failed += n.starts
	}
	l.t.Logf("round %d: %d messages, %d connections of %d followers, %d rooms and %d desks with %d operations, of which %d unknown; "+
		"%d starts of nodes failed so far", round, messages, connections, talkCount*followersPerTalk, l.rooms.Load(), l.desks.Load(),
		l.operations.Load(), l.unknowns.Load(), failed)
}
