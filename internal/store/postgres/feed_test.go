package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/pgtest"
	"github.com/parleyhq/parley/internal/store/storetest"
)

// heard is what a feed told: where the sessions' logs end, and how often anything was told.
type heard struct {
	mu    sync.Mutex // guards what follows
	ends  map[session.UID]int64
	times map[session.UID]int
}

func (h *heard) reached(uid session.UID, sequence int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ends == nil {
		h.ends, h.times = make(map[session.UID]int64), make(map[session.UID]int)
	}
	h.ends[uid] = max(h.ends[uid], sequence)
	h.times[uid]++
}

func (h *heard) end(uid session.UID) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ends[uid]
}

func (h *heard) count(uid session.UID) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.times[uid]
}

// quiet is a database whose server makes no checkpoint, as it does for other tests: after one, the feed reads a while back.
func quiet(t *testing.T) string {
	t.Helper()
	return pgtest.Start(t, "checkpoint_timeout=1h").Database(t)
}

// openToFeed opens a store whose feed looks when the test says so.
func openToFeed(t *testing.T, url string) (*Store, *feed, *heard) {
	t.Helper()
	h := &heard{}
	store := openStore(t, Config{URL: url, TidyEvery: time.Hour})
	f, err := newFeed(t.Context(), store, h.reached)
	if err != nil {
		t.Fatal(err)
	}
	return store, f, h
}

func look(t *testing.T, f *feed) {
	t.Helper()
	if err := f.look(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func publish(t *testing.T, store *Store, id string) {
	t.Helper()
	if _, err := (&storetest.Publication{User: "user-1", Text: "x"}).Publish(t.Context(), store, id); err != nil {
		t.Fatal(err)
	}
}

var someone = session.Spec{Owners: []string{"user-1"}}

func TestANodeHearsOfWhatAnotherCommits(t *testing.T) {
	t.Parallel()
	url, h := pgtest.Database(t), &heard{}
	before := openStore(t, Config{URL: url})
	old := create(t, before, storetest.Creation{ID: "old", Spec: someone})
	openStore(t, Config{URL: url, Reached: h.reached, FeedEvery: 10 * time.Millisecond})
	record := create(t, before, storetest.Creation{ID: "s", Spec: someone})
	publish(t, before, "s")
	if err := storetest.End(t.Context(), before, "s"); err != nil {
		t.Fatal(err)
	}
	if err := eventually(t, func() bool { return h.end(record.UID) == 3 }); err != nil {
		t.Errorf("the log is told to end at %d, want 3", h.end(record.UID))
	}
	if n := h.count(old.UID); n != 0 {
		t.Errorf("what was committed before Open was told %d times", n)
	}
}

func TestEachTransactionIsToldOnce(t *testing.T) {
	t.Parallel()
	store, f, h := openToFeed(t, quiet(t))
	record := create(t, store, storetest.Creation{ID: "s", Spec: someone})
	for range 5 {
		look(t, f)
	}
	if n := h.count(record.UID); n != 1 {
		t.Errorf("one transaction was told %d times", n)
	}
}

// TestATransactionThatTakesLongIsNotMissed has one with an early id commit after many with later ids, while another one
// keeps all of them among those that were running for some.
func TestATransactionThatTakesLongIsNotMissed(t *testing.T) {
	t.Parallel()
	url := quiet(t)
	store, f, h := openToFeed(t, url)
	create(t, store, storetest.Creation{ID: "s", Spec: someone})
	beginAt := func() (pgx.Tx, session.UID) {
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		uid := session.NewUID(session.Now(), rand.Uint64())
		if _, err := tx.Exec(t.Context(), signSQL, [16]byte(session.NewUID(session.Now(), rand.Uint64())), 1, [][16]byte{uid}, []int64{7}); err != nil {
			t.Fatal(err)
		}
		return tx, uid
	}
	foreign, _ := beginAt()
	late, uid := beginAt()
	middle, other := beginAt()
	for range 3 {
		publish(t, store, "s")
		look(t, f)
	}
	if err := middle.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	look(t, f)
	if h.end(other) != 7 || h.end(uid) != 0 {
		t.Fatalf("the logs are told to end at %d and %d, want 7 and 0", h.end(other), h.end(uid))
	}
	publish(t, store, "s")
	look(t, f)
	if err := late.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		look(t, f)
	}
	if h.end(uid) != 7 || h.count(uid) != 1 || h.count(other) != 1 {
		t.Errorf("the log is told to end at %d, %d times, and another %d times, want at 7, once and once", h.end(uid), h.count(uid), h.count(other))
	}
	if err := foreign.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// insertCommits adds so many transactions as other nodes would, each of a session with one event.
func insertCommits(t *testing.T, url string, n int) {
	t.Helper()
	execute(t, url, fmt.Sprintf(`DO $$ BEGIN FOR i IN 1..%d LOOP
		INSERT INTO commits (group_id, at, void, uids, sequences)
			VALUES (gen_random_uuid(), 1, false, ARRAY[('00000000-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid], '{1}');
		COMMIT; END LOOP; END $$`, n))
}

// heardCommits is how many of those that insertCommits added were told exactly so often.
func heardCommits(h *heard, times int) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for uid, told := range h.times {
		if uid[0] == 0 && told == times {
			n++
		}
	}
	return n
}

func TestABacklogIsReadInPagesAndWhollyTold(t *testing.T) {
	t.Parallel()
	url := quiet(t)
	_, f, h := openToFeed(t, url)
	const backlog = 2*feedRows + 3
	insertCommits(t, url, backlog)
	look(t, f)
	if got := heardCommits(h, 1); got != backlog {
		t.Errorf("%d transactions were told once, want %d", got, backlog)
	}
	if most := cap(f.page); most > 2*feedRows {
		t.Errorf("%d rows were held at once", most)
	}
	// Rows with one transaction id, as a restored copy may have them.
	execute(t, url, fmt.Sprintf(`INSERT INTO commits (group_id, at, void, uids, sequences) SELECT gen_random_uuid(), 1, false,
		ARRAY[('00000001-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid], '{1}' FROM generate_series(1, %d) i`, backlog))
	look(t, f)
	if got := heardCommits(h, 1); got != 2*backlog {
		t.Errorf("%d transactions were told once, want %d", got, 2*backlog)
	}
}

// TestRowsOfAnotherDatabaseAreNotToldAgainAndAgain: a copy may bring ids of transactions that are yet to come here.
func TestRowsOfAnotherDatabaseAreNotToldAgainAndAgain(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	_, f, h := openToFeed(t, url)
	insertCommits(t, url, 1)
	execute(t, url, `INSERT INTO commits (group_id, xid, at, void, uids, sequences)
		VALUES (gen_random_uuid(), '9000000000', 1, false, ARRAY['00000000-0000-7000-8000-999999999999'::uuid], '{1}')`)
	look(t, f)
	if n := len(h.ends); n != 1 {
		t.Errorf("%d sessions were told of, want 1", n)
	}
}

// TestWrongClocksOfNodesHideNothing has nodes write whose clocks, and so the times in the ids of their transactions, are
// behind and ahead, while both tidy: what became of a transaction is known for as long, and a node hears of all.
func TestWrongClocksOfNodesHideNothing(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{10 * time.Minute, 3 * time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			t.Parallel()
			p, url := through(t, pgtest.Database(t))
			var h heard
			right := openStore(t, Config{URL: url, Reached: h.reached, FeedEvery: 5 * time.Millisecond})
			var wrong [2]*Store
			for i, off := range []time.Duration{-off, off} {
				now := func() session.Time { return session.Now().Add(off) }
				wrong[i] = openStore(t, Config{URL: url, Now: now, TidyEvery: 5 * time.Millisecond, Lanes: 1, patience: hasty})
			}
			records := make([]*session.Record, len(wrong))
			for i, store := range wrong {
				records[i] = create(t, store, storetest.Creation{ID: strconv.Itoa(i), Spec: someone})
			}
			for n := range 2 * newestCommits {
				publish(t, wrong[n%2], strconv.Itoa(n/2%2))
			}
			for i, store := range wrong { // one that must ask what became of it
				p.cutNext(afterCommit, 1)
				publish(t, store, strconv.Itoa(i))
				if p.cuts() != 1 {
					t.Error("no connection was cut")
				}
			}
			for i, record := range records {
				want := int64(len(wantWhole(t, right, record.UID)))
				if want != newestCommits+2 {
					t.Errorf("the log of %d has %d events, want %d", i, want, newestCommits+2)
				}
				if err := eventually(t, func() bool { return h.end(record.UID) == want }); err != nil {
					t.Errorf("the log of %d is told to end at %d, want %d", i, h.end(record.UID), want)
				}
			}
			for _, store := range wrong {
				if err := store.tidy(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if got := count(t, url, `SELECT count(*) FROM commits`); got < 2*newestCommits+4 {
				t.Errorf("%d transactions are known, want %d", got, 2*newestCommits+4)
			}
			again := openStore(t, Config{URL: url})
			after, err := storetest.Update(t.Context(), again, "1", func(s *session.Spec) { s.Description = "x" })
			if latest := wantWhole(t, again, records[1].UID)[newestCommits+1].Time; err != nil || after.UpdateTime <= latest {
				t.Errorf("a node that opens later writes at %v, %v, want it after %v", after.UpdateTime, err, latest)
			}
		})
	}
}

// TestALookThatFailsInItsMiddleIsTakenUp cuts the connections after a page.
func TestALookThatFailsInItsMiddleIsTakenUp(t *testing.T) {
	t.Parallel()
	url := quiet(t)
	p, through := through(t, url)
	_, f, h := openToFeed(t, through)
	const backlog = feedRows + 3
	insertCommits(t, url, backlog)
	tell := f.reached
	told := 0
	f.reached = func(uid session.UID, sequence int64) {
		tell(uid, sequence)
		if told++; told == feedRows {
			p.silence()
		}
	}
	if err := f.look(t.Context()); err == nil {
		t.Fatal("the look succeeded without a database")
	}
	p.sound()
	look(t, f)
	if got := heardCommits(h, 1); got != backlog {
		t.Errorf("%d transactions were told once, want %d", got, backlog)
	}
}

// TestALookIsOneStatement counts what the database is asked, with few sessions and with many.
func TestALookIsOneStatement(t *testing.T) {
	t.Parallel()
	p, url := through(t, quiet(t))
	store, f, h := openToFeed(t, url)
	for _, sessions := range []int{1, 300} {
		var creating sync.WaitGroup
		for i := range sessions {
			creating.Go(func() { create(t, store, storetest.Creation{ID: strconv.Itoa(sessions + i), Spec: someone}) })
		}
		creating.Wait()
		look(t, f)
		look(t, f)                                     // and what is to be known of the statement is known
		<-time.After(feedEvery + 100*time.Millisecond) // for a connection that was idle as long as between two looks
		const looks = 10
		before := p.statements()
		for range looks {
			look(t, f)
		}
		if asked := p.statements() - before; asked != looks {
			t.Errorf("with %d sessions, %d looks asked %d statements", sessions, looks, asked)
		}
		if len(h.ends) < sessions {
			t.Errorf("%d sessions were told of, want %d", len(h.ends), sessions)
		}
	}
}

// wantAllTold checks that the feed tells of all sessions.
func wantAllTold(t *testing.T, f *feed, h *heard, records ...*session.Record) {
	t.Helper()
	if f.all == nil {
		t.Fatal("it is not told of all sessions")
	}
	for f.all != nil {
		if err := f.tellAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, record := range records {
		if h.end(record.UID) == 0 {
			t.Errorf("the end of the log of %s was not told", record.ID)
		}
	}
}

// TestWhoWasAwayForLongIsToldOfAllSessions takes away the rows that it would have read.
func TestWhoWasAwayForLongIsToldOfAllSessions(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	store, f, h := openToFeed(t, url)
	live, gone := create(t, store, storetest.Creation{ID: "live", Spec: someone}), create(t, store, storetest.Creation{ID: "gone", Spec: someone})
	if err := storetest.End(t.Context(), store, "gone"); err != nil {
		t.Fatal(err)
	}
	execute(t, url, fmt.Sprintf(`INSERT INTO heads (uid, sequence, members, last_message, latest, first, trim_at)
		SELECT gen_random_uuid(), 1, 0, 0, 1, 1, 0 FROM generate_series(1, %d)`, 2*recountRows))
	f.since.clock = f.since.clock.Add(-keepCommits)
	execute(t, url, `DELETE FROM commits`)
	look(t, f)
	wantAllTold(t, f, h, live, gone)
	if h.end(live.UID) != 1 || h.end(gone.UID) != 2 || len(h.ends) != 2*recountRows+2 {
		t.Errorf("the logs end at %d and %d, and %d sessions were told of", h.end(live.UID), h.end(gone.UID), len(h.ends))
	}
	look(t, f)
	if f.all != nil {
		t.Error("all is told again")
	}
}

// TestADatabaseThatCrashedIsReadFromBefore: it may use ids of transactions again that were not on its disk.
func TestADatabaseThatCrashedIsReadFromBefore(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, "checkpoint_timeout=1h")
	store, f, h := openToFeed(t, server.Database(t))
	record := create(t, store, storetest.Creation{ID: "s", Spec: someone})
	look(t, f)
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	look(t, f)
	if n := h.count(record.UID); n != 2 || f.all != nil {
		t.Errorf("the session was told of %d times, want once more after the crash", n)
	}
	publish(t, store, "s")
	look(t, f)
	if h.end(record.UID) != 2 || h.count(record.UID) != 3 {
		t.Errorf("the log is told to end at %d, %d times, want at 2, 3 times", h.end(record.UID), h.count(record.UID))
	}
}

// TestAnotherDatabaseInThePlaceIsToldOfWhole: of one that is behind, and of one that another history led to.
func TestAnotherDatabaseInThePlaceIsToldOfWhole(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(f *feed){
		"behind":           func(f *feed) { f.since.snapshot = "9000000000:9000000000:" },
		"another timeline": func(f *feed) { f.since.timeline = "000000FF" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, f, h := openToFeed(t, pgtest.Database(t))
			record := create(t, store, storetest.Creation{ID: "s", Spec: someone})
			change(f)
			look(t, f)
			wantAllTold(t, f, h, record)
		})
	}
}

// TestAFeedMissesNothingUnderLoad has two nodes write, and both hear of all.
func TestAFeedMissesNothingUnderLoad(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	var heards [2]heard
	var stores [2]*Store
	for i := range stores {
		stores[i] = openStore(t, Config{URL: url, Reached: heards[i].reached, FeedEvery: 5 * time.Millisecond, Lanes: 4})
	}
	const rooms, writers, rounds = 20, 20, 15
	records := make([]*session.Record, rooms)
	for i := range records {
		records[i] = create(t, stores[i%2], storetest.Creation{ID: strconv.Itoa(i), Spec: someone})
	}
	var writing sync.WaitGroup
	for writer := range writers {
		writing.Go(func() {
			for round := range rounds {
				publish(t, stores[writer%2], strconv.Itoa((writer*7+round)%rooms))
			}
		})
	}
	writing.Wait()
	for _, record := range records {
		current, _, err := stores[0].Get(t.Context(), record.ID, "")
		if err != nil {
			t.Fatal(err)
		}
		for i := range heards {
			if err := eventually(t, func() bool { return heards[i].end(record.UID) == current.Head.Sequence }); err != nil {
				t.Errorf("the node %d heard that %s ends at %d, want %d", i, record.ID, heards[i].end(record.UID), current.Head.Sequence)
			}
		}
	}
}
