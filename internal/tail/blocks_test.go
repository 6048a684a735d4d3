package tail

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/parleyhq/parley/internal/session"
)

// wantLoad wants Load to return the events from first to last; 0: none.
func wantLoad(t *testing.T, w session.Watch, after, first, last int64) *session.Log {
	t.Helper()
	log, err := w.Load(t.Context(), after)
	if err != nil {
		t.Fatalf("Load(%d): %v", after, err)
	}
	var gotFirst, gotLast int64
	if len(log.Events) > 0 {
		gotFirst, gotLast = log.Events[0].Sequence, lastOf(log)
	}
	if gotFirst != first || gotLast != last {
		t.Errorf("Load(%d) = %d to %d, want %d to %d", after, gotFirst, gotLast, first, last)
	}
	return log
}

func TestLoadReadsAlignedBlocksOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		log.append(one, 600, 10)
		h := newHub(t, Options{Log: log})
		w := newWatcher(t, h, one, 0)
		wantLoad(t, w, 0, 1, 256)
		wantLoad(t, w, 100, 101, 256)
		wantLoad(t, w, 255, 256, 256)
		wantReads(t, log, 1)
		wantLoad(t, w, 300, 301, 512)
		wantLoad(t, w, 256, 257, 512)
		wantReads(t, log, 2)
	})
}

func TestTheLastBlockIsNeverStale(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		log.append(one, 300, 10)
		w := newWatcher(t, newHub(t, Options{Log: log}), one, 0)
		wantLoad(t, w, 256, 257, 300)
		log.append(one, 1, 10)
		wantLoad(t, w, 300, 301, 301)
		if got := wantLoad(t, w, 301, 0, 0); got.Record.Head.Sequence != 301 {
			t.Errorf("head = %d, want 301", got.Record.Head.Sequence)
		}
		log.end(one, false)
		if got := wantLoad(t, w, 301, 0, 0); got.End == nil || got.Record != nil {
			t.Errorf("Load after the end = %+v", got)
		}
	})
}

func TestLoadOfLargeEventsMakesProgress(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		log.append(one, 40, 200<<10) // a block holds three
		w := newWatcher(t, newHub(t, Options{Log: log}), one, 0)
		for range 2 {
			for after := int64(0); after < 39; after += 3 {
				wantLoad(t, w, after, after+1, after+3)
			}
			wantLoad(t, w, 39, 40, 40)
		}
		wantReads(t, log, 13+2) // the last block is read each time
		wantLoad(t, w, 7, 8, 10)
		wantReads(t, log, 13+3)
	})
}

func TestAPartOfABlockIsFoundWithoutTheBlock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		log.append(one, 40, 200<<10)
		h := newHub(t, Options{Log: log})
		w := newWatcher(t, h, one, 0)
		wantLoad(t, w, 3, 4, 6)
		wantReads(t, log, 2)
		key := blockKey{uid: one}
		h.blocks.evict(key, h.blocks.cached[key])
		wantLoad(t, w, 3, 4, 6)
		wantReads(t, log, 2)
	})
}

func TestLoadsOfOneBlockShareOneRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		log.append(one, 600, 10)
		resume := make(chan struct{})
		log.before = func() { <-resume }
		w := newWatcher(t, newHub(t, Options{Log: log}), one, 0)
		var work sync.WaitGroup
		for i := range int64(100) {
			work.Go(func() { wantLoad(t, w, i, i+1, 256) })
		}
		synctest.Wait()
		close(resume)
		work.Wait()
		wantReads(t, log, 1)
	})
}

func TestAnEmptyLoadIsAsNewAsTheCall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		log.append(one, 10, 10)
		resume := make(chan struct{}, 2)
		log.after = func() { <-resume }
		w := newWatcher(t, newHub(t, Options{Log: log}), one, 0)
		var work sync.WaitGroup
		work.Go(func() { wantLoad(t, w, 10, 0, 0) })
		synctest.Wait() // the first has read, and found nothing
		log.append(one, 1, 10)
		work.Go(func() { wantLoad(t, w, 10, 11, 11) })
		synctest.Wait()
		resume <- struct{}{}
		resume <- struct{}{}
		work.Wait()
	})
}

func TestAtMostFourReadsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		log.append(one, 5000, 10)
		resume := make(chan struct{})
		log.before = func() { <-resume }
		w := newWatcher(t, newHub(t, Options{Log: log}), one, 0)
		var work sync.WaitGroup
		for i := range int64(10) {
			work.Go(func() { wantLoad(t, w, i*256, i*256+1, i*256+256) })
		}
		synctest.Wait()
		wantReads(t, log, 4)
		close(resume)
		work.Wait()
		wantReads(t, log, 10)
		if log.most != 4 {
			t.Errorf("%d reads at once, want 4", log.most)
		}
	})
}

func TestLoadEndsWithItsContextAndTheReadGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		log.append(one, 600, 10)
		resume := make(chan struct{})
		log.before = func() { <-resume }
		w := newWatcher(t, newHub(t, Options{Log: log}), one, 0)
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		work.Go(func() {
			if _, err := w.Load(ctx, 0); !errors.Is(err, context.Canceled) {
				t.Errorf("Load: %v, want canceled", err)
			}
		})
		synctest.Wait()
		work.Go(func() { wantLoad(t, w, 0, 1, 256) })
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(resume)
		work.Wait()
		wantReads(t, log, 1)
	})
}

func TestAFailedLoadIsNotKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		log.append(one, 600, 10)
		log.fail(errBoom)
		w := newWatcher(t, newHub(t, Options{Log: log}), one, 0)
		if _, err := w.Load(t.Context(), 0); !errors.Is(err, errBoom) {
			t.Errorf("Load: %v, want %v", err, errBoom)
		}
		log.fail(nil)
		wantLoad(t, w, 0, 1, 256)
	})
}

func TestLoadOfATrimmedLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		log.append(one, 1000, 10)
		log.trim(one, 700)
		w := newWatcher(t, newHub(t, Options{Log: log}), one, 0)
		if got := wantLoad(t, w, 0, 701, 956); got.First != 701 {
			t.Errorf("First = %d, want 701", got.First)
		}
		wantLoad(t, w, 700, 701, 956)
		log.trim(one, 1000)
		if got := wantLoad(t, w, 0, 0, 0); got.First != 1001 {
			t.Errorf("First = %d, want 1001", got.First)
		}
	})
}

func TestBlocksAreForgottenWhenTheLogGoesBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		log.append(one, 300, 10)
		h := newHub(t, Options{Log: log})
		w := newWatcher(t, h, one, 0)
		wantLoad(t, w, 0, 1, 256)
		log.restore(one, 100)
		wantLoad(t, w, 300, 0, 0)
		wantLoad(t, w, 0, 1, 100)
	})
}

func TestTheBudgetIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const budget = 500 << 10
		log := newFakeLog()
		log.append(one, 2560, 10)
		h := newHub(t, Options{Log: log, Budget: budget})
		w := newWatcherAtHead(t, h, one) // reads ten blocks of some 220 KiB
		if h.budget.used > budget || len(h.blocks.cached) != 2 {
			t.Errorf("%d bytes and %d blocks are held, want at most %d and 2", h.budget.used, len(h.blocks.cached), budget)
		}
		before := log.countReads()
		wantLoad(t, w, 2559, 2560, 2560)
		wantLoad(t, w, 2303, 2304, 2304)
		wantReads(t, log, before)
		wantLoad(t, w, 0, 1, 256) // the block before the last was used later than the last
		wantLoad(t, w, 2303, 2304, 2304)
		wantReads(t, log, before+1)
		wantLoad(t, w, 2559, 2560, 2560)
		wantReads(t, log, before+2)
	})
}

func TestAnEvictedTailIsReadFromTheLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		log.append(one, 1, 10)
		log.append(two, 1, 10)
		h := newHub(t, Options{Log: log, Budget: 100 << 10})
		old, recent := newWatcherAtHead(t, h, one), newWatcherAtHead(t, h, two)
		commit(h, log, one, 5)
		h.Committed(log.append(two, 1, 49<<10))
		old.wantRead("behind")
		recent.wantRead("2 idle")
		wantLoad(t, old, 1, 2, 6)
		old.place.Sequence = 6
		old.wantRead("idle")
		commit(h, log, one, 1)
		old.wantRead("7 idle")
	})
}

func TestNothingIsHeldOfWhatIsNotWatched(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		log.append(one, 3, 10)
		h := newHub(t, Options{Log: log})
		w := newWatcherAtHead(t, h, one)
		commit(h, log, one, 5)
		h.Committed([]*session.Event{ephemeral(one, 1)})
		w.Close()
		h.expire(h.topic(one))
		if h.budget.used != 0 || h.budget.holders.Len() != 0 {
			t.Errorf("%d bytes are held", h.budget.used)
		}
	})
}

func TestATailIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFakeLog()
		log.append(one, 1, 10)
		h := newHub(t, Options{Log: log})
		newWatcherAtHead(t, h, one)
		topic := h.topic(one)
		commit(h, log, one, maxEvents+10)
		if got := len(topic.events); got != maxEvents {
			t.Errorf("%d events in the tail, want %d", got, maxEvents)
		}
		h.Committed(log.append(one, 100, 50<<10))
		if got := topic.sizes.events; got > maxEventBytes {
			t.Errorf("%d bytes in the tail, want at most %d", got, maxEventBytes)
		}
		h.Committed(log.append(one, 1, maxEventBytes))
		if got := len(topic.events); got != 1 {
			t.Errorf("%d events in the tail, want the large one", got)
		}
		for i := range 10 {
			whisper := message(one, 0, 300<<10)
			whisper.Time = session.Time(i)
			h.Committed([]*session.Event{whisper})
		}
		if got := topic.sizes.ephemeral; got > maxEphemeralBytes {
			t.Errorf("%d bytes of ephemeral events, want at most %d", got, maxEphemeralBytes)
		}
		last := log.sessions[one].head
		for range 3 {
			topic.receive(message(one, last+2, 10))
		}
		if got := len(topic.pending); got != 1 {
			t.Errorf("%d pending events, want 1", got)
		}
		for i := range int64(2 * maxPending) {
			topic.receive(message(one, last+2+i, 10))
		}
		if got := len(topic.pending); got != maxPending {
			t.Errorf("%d pending events, want %d", got, maxPending)
		}
	})
}
