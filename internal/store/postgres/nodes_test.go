package postgres

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/pgtest"
	"github.com/parleyhq/parley/internal/store/storetest"
)

var (
	errTaken = errors.New("the id is taken")
	errFull  = errors.New("the session is full")
)

// nodes are two stores on one database, and what they told.
type nodes struct {
	stores [2]*Store
	url    string

	mu     sync.Mutex // guards events
	events []*session.Event
}

func openNodes(t *testing.T) *nodes {
	t.Helper()
	n := &nodes{url: pgtest.Database(t)}
	for i := range n.stores {
		n.stores[i] = openStore(t, Config{URL: n.url, Committed: n.committed, TidyEvery: 20 * time.Millisecond})
	}
	return n
}

func (n *nodes) committed(events []*session.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, events...)
}

// told is how often an event of the kind was told of each session.
func (n *nodes) told(kind session.EventKind) map[session.UID]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	found := make(map[session.UID]int)
	for _, ev := range n.events {
		if ev.Kind == kind {
			found[ev.UID]++
		}
	}
	return found
}

// inParallel calls do with 0 to count-1 at the same time, by turns with either store, and returns its errors.
func (n *nodes) inParallel(count int, do func(i int, store *Store) error) []error {
	errs := make([]error, count)
	var group sync.WaitGroup
	for i := range count {
		group.Go(func() { errs[i] = do(i, n.stores[i%2]) })
	}
	group.Wait()
	return errs
}

// succeeded is how many of the errors are nil; any other must be the one that is expected.
func succeeded(t *testing.T, errs []error, expected error) (n int) {
	t.Helper()
	for _, err := range errs {
		if err == nil {
			n++
		} else if !errors.Is(err, expected) {
			t.Errorf("a write failed: %v, want %v", err, expected)
		}
	}
	return n
}

func TestOfCreatesOfOneIDOnTwoNodesOneSucceeds(t *testing.T) {
	t.Parallel()
	n := openNodes(t)
	const rounds, tries = 10, 40
	for round := range rounds {
		errs := n.inParallel(tries, func(i int, store *Store) error {
			return store.Write(t.Context(), createUnlessTaken("s-"+strconv.Itoa(round), strconv.Itoa(i)))
		})
		if made := succeeded(t, errs, errTaken); made != 1 {
			t.Errorf("%d creates succeeded, want 1", made)
		}
	}
	if got := count(t, n.url, `SELECT count(*) FROM sessions s JOIN heads h ON h.uid = s.uid`); got != rounds {
		t.Errorf("there are %d sessions, want %d", got, rounds)
	}
	if got := count(t, n.url, `SELECT sum(sessions) FROM creators`); got != rounds {
		t.Errorf("%d sessions are counted, want %d", got, rounds)
	}
}

// TestCreatesOfOneCreatorDoNotWaitForOneAnother holds the number of a creator's sessions as another node does that is about
// to commit.
func TestCreatesOfOneCreatorDoNotWaitForOneAnother(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	store := openStore(t, Config{URL: url})
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `INSERT INTO creators (user_name, part, sessions) VALUES ('user-1', $1, 1)`, creatorParts); err != nil {
		t.Fatal(err)
	}
	create(t, store, storetest.Creation{ID: "s", Spec: session.Spec{Owners: []string{"user-1"}}, Creator: "user-1"})
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	created := 0
	err = store.Write(t.Context(), &session.Write{ID: "s", Creator: "user-1", Decide: func(v *session.View) (session.Change, error) {
		created = v.Created
		return session.Change{}, nil
	}})
	if err != nil || created != 2 {
		t.Errorf("%d sessions are of the creator, %v, want those of both nodes, 2", created, err)
	}
}

func createUnlessTaken(id, creator string) *session.Write {
	return &session.Write{ID: id, Decide: func(v *session.View) (session.Change, error) {
		if v.Current != nil {
			return session.Change{}, errTaken
		}
		spec := session.Spec{Owners: []string{creator}}
		record := &session.Record{
			UID: session.NewUID(v.Now, uint64(len(creator))), ID: id, Creator: creator, CreateTime: v.Now, UpdateTime: v.Now,
			Document: spec.AppendJSON(nil), Head: session.Head{Sequence: 1},
		}
		return session.Change{Kind: session.Create, Record: record, After: spec.Principals()}, nil
	}}
}

// count is the number that a query answers with.
func count(t *testing.T, url, query string) (n int) {
	t.Helper()
	store := &Store{}
	var err error
	if store.readers, err = newPool(t.Context(), url, 1); err != nil {
		t.Fatal(err)
	}
	defer store.closePools()
	if err := store.readers.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestASessionIsNotJoinedByMoreThanItHasRoomForOnTwoNodes(t *testing.T) {
	t.Parallel()
	n := openNodes(t)
	const most, tries = 17, 100
	record := create(t, n.stores[0], storetest.Creation{ID: "s", Spec: session.Spec{Owners: []string{"user-1"}}})
	errs := n.inParallel(tries, func(i int, store *Store) error { return joinUnlessFull(t, store, "s", strconv.Itoa(i), most) })
	if joined := succeeded(t, errs, errFull); joined != most {
		t.Errorf("%d users joined, want %d", joined, most)
	}
	page, err := n.stores[1].Members(t.Context(), &session.MemberQuery{UID: record.UID, Size: 1000})
	if err != nil || len(page.Members) != most {
		t.Errorf("the session has %d members, %v, want %d", len(page.Members), err, most)
	}
}

func joinUnlessFull(t *testing.T, store *Store, id, user string, most int32) error {
	t.Helper()
	return store.Write(t.Context(), &session.Write{ID: id, Users: []string{user}, Decide: func(v *session.View) (session.Change, error) {
		after := *v.Current
		if after.Head.Members >= most {
			return session.Change{}, errFull
		}
		after.Head.Members++
		after.Head.Sequence++
		event := &session.Event{UID: after.UID, ID: id, Kind: session.MemberJoined, Sequence: after.Head.Sequence, Time: v.Now, Actor: user}
		return session.Change{
			Kind: session.Append, Record: &after, Events: []*session.Event{event}, After: []string{user},
			Join: &session.Member{User: user, JoinTime: v.Now, Channels: []int32{1}},
		}, nil
	}})
}

func create(t *testing.T, store *Store, c storetest.Creation) *session.Record {
	t.Helper()
	record, err := c.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func TestSequencesOfTwoNodesHaveNoHoles(t *testing.T) {
	t.Parallel()
	n := openNodes(t)
	const rooms, writers, rounds = 3, 20, 15
	records := make([]*session.Record, rooms)
	for i := range records {
		records[i] = create(t, n.stores[i%2], storetest.Creation{ID: strconv.Itoa(i), Spec: session.Spec{Owners: []string{"user-1"}}})
	}
	errs := n.inParallel(writers, func(i int, store *Store) error {
		for round := range rounds {
			publication := storetest.Publication{User: strconv.Itoa(i), Text: "x"}
			if _, err := publication.Publish(t.Context(), store, strconv.Itoa((i+round)%rooms)); err != nil {
				return err
			}
		}
		return nil
	})
	succeeded(t, errs, nil)
	total := 0
	for i, record := range records {
		total += len(wantWhole(t, n.stores[i%2], record.UID)) - 1
	}
	if total != writers*rounds {
		t.Errorf("the logs have %d messages, want %d", total, writers*rounds)
	}
}

// wantWhole returns a session's log, which must have each sequence once, and times that ascend.
func wantWhole(t *testing.T, store *Store, uid session.UID) []*session.Event {
	t.Helper()
	log, err := store.Log(t.Context(), uid, 0, readRows, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	if log.Record == nil || int64(len(log.Events)) != log.Record.Head.Sequence {
		t.Fatalf("the log of %v has %d events, and the session is %+v", uid, len(log.Events), log.Record)
	}
	last := session.Time(0)
	for i, ev := range log.Events {
		if ev.Sequence != int64(i+1) || ev.Time <= last {
			t.Fatalf("event %d has the sequence %d and the time %v, after %v", i+1, ev.Sequence, ev.Time, last)
		}
		last = ev.Time
	}
	return log.Events
}

func TestARequestRunsOnceOnTwoNodes(t *testing.T) {
	t.Parallel()
	n := openNodes(t)
	const rounds, tries = 10, 20
	for round := range rounds {
		uids := make([]session.UID, tries)
		succeeded(t, n.inParallel(tries, func(i int, store *Store) error {
			creation := storetest.Creation{Spec: session.Spec{Owners: []string{"user-1"}}, Request: session.RequestKey{1, byte(round)}}
			record, err := creation.Create(t.Context(), store)
			if err == nil {
				uids[i] = record.UID
			}
			return err
		}), nil)
		if len(slices.Compact(uids)) != 1 {
			t.Errorf("one request made several sessions: %v", uids)
		}
	}
	if got := count(t, n.url, `SELECT count(*) FROM sessions`); got != rounds {
		t.Errorf("there are %d sessions, want %d", got, rounds)
	}
}

func TestAQuotaHoldsOnTwoNodes(t *testing.T) {
	t.Parallel()
	n := openNodes(t)
	const users, quota, tries = 3, 10, 90
	created := make([]int, users)
	for i, err := range n.inParallel(tries, func(i int, store *Store) error {
		creation := storetest.Creation{Spec: session.Spec{Owners: []string{"x"}}, Creator: strconv.Itoa(i % users), Quota: quota}
		_, err := creation.Create(t.Context(), store)
		return err
	}) {
		if err == nil {
			created[i%users]++
		}
	}
	for user, got := range created {
		if got != quota {
			t.Errorf("%d creates of the user %d succeeded, want %d", got, user, quota)
		}
		if got := storetest.Created(t, n.stores[user%2], strconv.Itoa(user)); got != quota {
			t.Errorf("%d sessions of the user %d exist, want %d", got, user, quota)
		}
	}
}

func TestATicketIsUsedOnceOnTwoNodes(t *testing.T) {
	t.Parallel()
	n := openNodes(t)
	for round := range 10 {
		ticket := &session.Ticket{Hash: session.CredentialHash{byte(round)}, Expire: session.Now().Add(time.Hour)}
		if err := storetest.KeepTicket(t.Context(), n.stores[0], "", ticket); err != nil {
			t.Fatal(err)
		}
		used := 0
		for _, err := range n.inParallel(20, func(_ int, store *Store) error {
			return storetest.UseTicket(t.Context(), store, ticket.Hash)
		}) {
			if err == nil {
				used++
			}
		}
		if used != 1 {
			t.Errorf("%d uses of one ticket succeeded, want 1", used)
		}
	}
}

// TestASessionExpiresOnceOnTwoNodes has both nodes sweep sessions, while others create new ones under their ids.
func TestASessionExpiresOnceOnTwoNodes(t *testing.T) {
	t.Parallel()
	n := openNodes(t)
	const sessions, rounds = 40, 5
	for range rounds {
		succeeded(t, n.inParallel(sessions, func(i int, store *Store) error {
			creation := storetest.Creation{
				ID: "s-" + strconv.Itoa(i), Spec: session.Spec{Owners: []string{"user-1"}}, Creator: "user-1", Lifetime: 30 * time.Millisecond,
			}
			return eventually(t, func() bool {
				_, err := creation.Create(t.Context(), store)
				return err == nil
			})
		}), nil)
	}
	const all = sessions * rounds
	if err := eventually(t, func() bool { return len(n.told(session.SessionExpired)) == all }); err != nil {
		t.Errorf("the ends of %d sessions are told, want %d", len(n.told(session.SessionExpired)), all)
	}
	for uid, times := range n.told(session.SessionExpired) {
		if times != 1 {
			t.Errorf("%v ended %d times", uid, times)
		}
	}
	if got := count(t, n.url, `SELECT count(*) FROM tombstones`); got != all {
		t.Errorf("there are %d tombstones, want %d", got, all)
	}
	if err := eventually(t, func() bool {
		return count(t, n.url, `SELECT (SELECT count(*) FROM session_users) + (SELECT count(*) FROM creators) +
			(SELECT count(*) FROM events) + (SELECT count(*) FROM tombstones WHERE NOT purged)`) == 0
	}); err != nil {
		t.Error("what is left of the sessions is not purged")
	}
}

// eventually waits until what happens by itself has happened.
func eventually(t *testing.T, done func() bool) error {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	for !done() {
		select {
		case <-tick.C:
		case <-late:
			return errors.New("after a minute not yet")
		}
	}
	return nil
}
