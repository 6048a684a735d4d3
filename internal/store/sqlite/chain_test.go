package sqlite

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/storetest"
)

// publishMore publishes so many messages in each session, in turn.
func publishMore(t *testing.T, store *Store, n int, ids ...string) {
	t.Helper()
	var writes []*session.Write
	for range n {
		for _, id := range ids {
			writes = append(writes, publish(id, "", smallMessage))
		}
	}
	for _, err := range inGroup(t, store, writes) {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// wantReadable reads the session's log from around the ends of blocks and some other places, in every way, and checks that
// it has all from first to head.
func wantReadable(t *testing.T, store *Store, id string, first, head int64) {
	t.Helper()
	wantIndexed(t, store)
	record, _, err := store.Get(t.Context(), id, "")
	if err != nil || record == nil || record.Head.Sequence != head {
		t.Fatalf("Get(%s) = %+v, %v, want the head %d", id, record, err, head)
	}
	for after := int64(0); after <= head+1; after++ {
		if place := after % blockSize; place < 3 || place > 60 || after > head-2 || after%16 == 0 {
			wantReadableAfter(t, store, record.UID, after, first, head)
		}
	}
}

func wantReadableAfter(t *testing.T, store *Store, uid session.UID, after, first, head int64) {
	t.Helper()
	for _, limit := range []int64{1, 64, 100} {
		log, err := store.Log(t.Context(), uid, after, int(limit), 1<<30)
		if err != nil || log.First != first {
			t.Fatalf("Log(%d) = %+v, %v, want the first %d", after, log, err, first)
		}
		from := max(after+1, first)
		wantSequences(t, fmt.Sprintf("%d after %d", limit, after), log.Events, from, min(head, from+limit-1), false)
	}
	up, down := pageOf(t, store, uid, after, false), pageOf(t, store, uid, after, true)
	from, to := max(after+1, first, 2), head
	if after > 0 {
		to = min(head, after-1)
	}
	wantSequences(t, fmt.Sprintf("a page after %d", after), up.Events, from, min(head, from+pageSize-1), false)
	wantSequences(t, fmt.Sprintf("a page before %d", after), down.Events, max(first, 2, to-pageSize+1), to, true)
	for _, event := range up.Events[:min(1, len(up.Events))] {
		found, err := store.Message(t.Context(), uid, event.MessageName())
		if err != nil || found == nil || found.Sequence != event.Sequence {
			t.Errorf("the message %d by its id: %+v, %v", event.Sequence, found, err)
		}
	}
}

const pageSize = 70

func pageOf(t *testing.T, store *Store, uid session.UID, after int64, descending bool) *session.MessagePage {
	t.Helper()
	page, err := store.Messages(t.Context(), &session.MessageQuery{UID: uid, After: after, Size: pageSize, Descending: descending})
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// wantSequences checks that the events are those from one sequence to another.
func wantSequences(t *testing.T, what string, events []*session.Event, from, to int64, descending bool) {
	t.Helper()
	var want, got []int64
	for sequence := from; sequence <= to; sequence++ {
		want = append(want, sequence)
		if descending {
			want[len(want)-1] = to - (sequence - from)
		}
	}
	for _, event := range events {
		got = append(got, event.Sequence)
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// TestBlocks reads logs that end around the ends of blocks, each between the events of another one. The store is opened
// again in the middle of a block.
func TestBlocks(t *testing.T) {
	t.Parallel()
	for _, head := range []int{2, 62, 63, 64, 65, 127, 128, 200} {
		t.Run(strconv.Itoa(head), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			opened(t, Config{Dir: dir}, func(store *Store) {
				createAll(t, store, "a", "b")
				publishMore(t, store, (head-1)/2, "a", "b")
			})
			store := openStore(t, Config{Dir: dir})
			publishMore(t, store, head-1-(head-1)/2, "a", "b")
			publishMore(t, store, 5, "b")
			wantReadable(t, store, "a", 1, int64(head))
			wantReadable(t, store, "b", 1, int64(head+5))
			wantCount(t, store, int64((head+1)/64+(head+6)/64), `SELECT count(*) FROM event_blocks`)
		})
	}
}

// opened opens a store, does something with it, and closes it.
func opened(t *testing.T, config Config, do func(*Store)) {
	t.Helper()
	store, err := tryOpen(t, config)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, store)
	do(store)
}

// TestTrimsAroundBlocks trims to sizes so that the first event is around the end of a block.
func TestTrimsAroundBlocks(t *testing.T) {
	t.Parallel()
	const head = 200
	for _, first := range []int64{2, 63, 64, 65, 127, 128, head} {
		t.Run(strconv.FormatInt(first, 10), func(t *testing.T) {
			t.Parallel()
			store := storeOf(t, Config{Dir: t.TempDir()}, "a", "b")
			publishMore(t, store, head-1, "a", "b")
			keepOnly(t, store, "a", fmt.Sprintf(`{"historySize":%d}`, head-first+1))
			wantReadable(t, store, "a", first, head)
			wantCount(t, store, 3+(3-first/64), `SELECT count(*) FROM event_blocks`)
			publishMore(t, store, 70, "a")
			tidyNow(t, store)
			wantReadable(t, store, "a", first+70, head+70)
			if err := storetest.End(t.Context(), store, "a"); err != nil {
				t.Fatal(err)
			}
			tidyNow(t, store)
			wantReadable(t, store, "b", 1, head)
			wantCount(t, store, head-1, `SELECT count(*) FROM events`)
			wantCount(t, store, 3, `SELECT count(*) FROM event_blocks`)
		})
	}
}

// keepOnly has the session keep what the options say, and no more.
func keepOnly(t *testing.T, store *Store, id, options string) {
	t.Helper()
	update := func(s *session.Spec) { s.Options = []byte(options) }
	if _, err := storetest.Update(t.Context(), store, id, update); err != nil {
		t.Fatal(err)
	}
	tidyNow(t, store)
}

// TestEmptiedLogGoesOn has all of a log become too old, in the middle of a block or at its end, and positions be used
// again after that.
func TestEmptiedLogGoesOn(t *testing.T) {
	t.Parallel()
	for _, head := range []int{40, 63, 64} {
		t.Run(strconv.Itoa(head), func(t *testing.T) {
			t.Parallel()
			dir, clock := t.TempDir(), storetest.NewClock()
			opened(t, Config{Dir: dir, Now: clock.Now}, func(store *Store) {
				createAll(t, store, "a", "b")
				publishMore(t, store, 10, "b")
				publishMore(t, store, head-1, "a")
				clock.Advance(time.Hour)
				keepOnly(t, store, "a", `{"historyTtl":"60s"}`)
				wantCount(t, store, 10, `SELECT count(*) FROM events`)
				wantCount(t, store, 0, `SELECT count(*) FROM event_blocks`)
				wantReadable(t, store, "a", int64(head+1), int64(head))
			})
			store := openStore(t, Config{Dir: dir, Now: clock.Now})
			publishMore(t, store, 70, "b", "a")
			wantCount(t, store, 150, `SELECT max(position) FROM events`)
			wantReadable(t, store, "a", int64(head+1), int64(head+70))
			wantReadable(t, store, "b", 1, 81)
		})
	}
}

// TestTrimmedMessageIDIsFree: what is trimmed leaves nothing that a publish could run into.
func TestTrimmedMessageIDIsFree(t *testing.T) {
	store := storeOf(t, Config{Dir: t.TempDir()}, "a")
	publishNamed := func() error {
		_, err := (&storetest.Publication{User: "user-1", MessageID: "m", Text: "x"}).Publish(t.Context(), store, "a")
		return err
	}
	if err := publishNamed(); err != nil {
		t.Fatal(err)
	}
	publishMore(t, store, 3, "a")
	keepOnly(t, store, "a", `{"historySize":2}`)
	if err := publishNamed(); err != nil {
		t.Errorf("publishing under a trimmed message's id: %v", err)
	}
	wantIndexed(t, store)
}

// TestBrokenChain: an event that is missing is an error, and no shorter log.
func TestBrokenChain(t *testing.T) {
	store := storeOf(t, Config{Dir: t.TempDir()}, "a")
	publishMore(t, store, 10, "a")
	spoil := func(e *engine) ([]*session.Event, error) {
		return nil, e.exec(`DELETE FROM events WHERE sequence = 5`)
	}
	if err := store.committer.Submit(t.Context(), &job{tidy: spoil}); err != nil {
		t.Fatal(err)
	}
	record, _, err := store.Get(t.Context(), "a", "")
	if err != nil {
		t.Fatal(err)
	}
	if log, err := store.Log(t.Context(), record.UID, 0, 100, 1<<20); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("Log = %+v, %v, want an error", log, err)
	}
}
