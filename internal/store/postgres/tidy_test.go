package postgres

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/pgtest"
	"github.com/parleyhq/parley/internal/store/storetest"
)

// openToTidy opens a store that tidies often, with the clock that it goes by, and returns the database's URL.
func openToTidy(t *testing.T) (*Store, *storetest.Clock, string) {
	t.Helper()
	clock, url := storetest.NewClock(), pgtest.Database(t)
	return openStore(t, Config{URL: url, Now: clock.Now, TidyEvery: 20 * time.Millisecond}), clock, url
}

// wantCount waits until a query answers with a number.
func wantCount(t *testing.T, url, query string, want int) {
	t.Helper()
	got := 0
	if err := eventually(t, func() bool {
		got = count(t, url, query)
		return got == want
	}); err != nil {
		t.Fatalf("%s: %d, want %d", query, got, want)
	}
}

// fill gives a session so many more events and members, without a write for each.
func fill(t *testing.T, url string, record *session.Record, events, members int) {
	t.Helper()
	execute(t, url, fmt.Sprintf(`INSERT INTO events (uid, sequence, time, channel, kind, actor, message_id, doc)
		SELECT '%v', n, %d + n, 1, 8, 'user-1', '', '{}' FROM generate_series(2, %d) n`, record.UID, record.CreateTime, events+1))
	execute(t, url, fmt.Sprintf(`INSERT INTO members (uid, user_name, joined, channels)
		SELECT '%v', 'm-' || n, %d + n, '{1}' FROM generate_series(1, %d) n`, record.UID, record.CreateTime, members))
	execute(t, url, `INSERT INTO session_users (uid, user_name) SELECT uid, user_name FROM members`)
	execute(t, url, fmt.Sprintf(`UPDATE heads SET sequence = %d, members = %d, latest = latest + %d WHERE uid = '%v'`,
		events+1, members, events+1, record.UID))
}

// TestALargeSessionIsPurgedInPieces looks at the log meanwhile: what is left of it has no hole.
func TestALargeSessionIsPurgedInPieces(t *testing.T) {
	t.Parallel()
	store, clock, url := openToTidy(t)
	record := create(t, store, storetest.Creation{ID: "s", Spec: session.Spec{Type: session.Public, Owners: []string{"user-1"}}})
	const events, members = 3*tidyRows + 5, 2*tidyRows + 5
	fill(t, url, record, events, members)
	if err := storetest.End(t.Context(), store, "s"); err != nil {
		t.Fatal(err)
	}
	if err := eventually(t, func() bool {
		log, err := store.Log(t.Context(), record.UID, 0, 2*events, 64<<20)
		if err != nil || log.End == nil || log.End.Sequence != events+2 || log.First+int64(len(log.Events)) != log.End.Sequence {
			t.Fatalf("the log from %d has %d events, and the end %+v, %v", log.First, len(log.Events), log.End, err)
		}
		return len(log.Events) == 0
	}); err != nil {
		t.Error(err)
	}
	wantCount(t, url, `SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM members) + (SELECT count(*) FROM session_users)`, 0)
	wantCount(t, url, `SELECT count(*) FROM tombstones WHERE purged`, 1)
	clock.Advance(keepTombstones + time.Hour)
	wantCount(t, url, `SELECT count(*) FROM tombstones`, 0)
}

func TestALongLogIsTrimmedInPieces(t *testing.T) {
	t.Parallel()
	store, _, url := openToTidy(t)
	record := create(t, store, storetest.Creation{ID: "s", Spec: session.Spec{Owners: []string{"user-1"}, Options: []byte(`{"historySize":10}`)}})
	const events = 3*tidyRows + 5
	fill(t, url, record, events, 0)
	if _, err := (&storetest.Publication{User: "user-1", Text: "last"}).Publish(t.Context(), store, "s"); err != nil {
		t.Fatal(err)
	}
	wantCount(t, url, `SELECT count(*) FROM events`, 10)
	log, err := store.Log(t.Context(), record.UID, 0, 100, 1<<20)
	if err != nil || log.First != events-7 || len(log.Events) != 10 || log.Record.Head.Sequence != events+2 {
		t.Errorf("Log = %+v, %v, want the last 10 events", log, err)
	}
}

func TestWhatIsOldIsForgotten(t *testing.T) {
	t.Parallel()
	store, clock, url := openToTidy(t)
	record := create(t, store, storetest.Creation{ID: "s", Spec: session.Spec{Owners: []string{"user-1"}}, Request: session.RequestKey{1}})
	ticket := &session.Ticket{Hash: session.CredentialHash{1}, UID: record.UID, Expire: clock.Now().Add(time.Hour)}
	if err := storetest.KeepTicket(t.Context(), store, "s", ticket); err != nil {
		t.Fatal(err)
	}
	for range newestCommits + 20 {
		if _, err := (&storetest.Publication{User: "user-1", Text: "x"}).Publish(t.Context(), store, "s"); err != nil {
			t.Fatal(err)
		}
	}
	wantCount(t, url, `SELECT count(*) FROM tickets`, 1)
	clock.Advance(time.Hour + keepTickets + time.Second)
	wantCount(t, url, `SELECT count(*) FROM tickets`, 0)
	wantCount(t, url, `SELECT count(*) FROM commits`, newestCommits+22)
	execute(t, url, fmt.Sprintf(`UPDATE commits SET written = written - %d`, (keepCommits+time.Second).Microseconds()))
	wantCount(t, url, `SELECT count(*) FROM commits`, newestCommits)
	wantCount(t, url, `SELECT count(*) FROM requests`, 1)
	clock.Advance(keepRequests)
	wantCount(t, url, `SELECT count(*) FROM requests`, 0)
	wantCount(t, url, `SELECT count(*) FROM sessions`, 1)
}

// TestTimesOfASessionAscendWhereANodeIsBehind has two nodes write by turns, one of which is an hour behind.
func TestTimesOfASessionAscendWhereANodeIsBehind(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	ahead, behind := storetest.NewClock(), storetest.NewClock()
	behind.Advance(-time.Hour)
	stores := []*Store{openStore(t, Config{URL: url, Now: ahead.Now}), openStore(t, Config{URL: url, Now: behind.Now})}
	record := create(t, stores[0], storetest.Creation{ID: "s", Spec: session.Spec{Owners: []string{"user-1"}}})
	for i := range 10 {
		if _, err := (&storetest.Publication{User: "user-1", Text: "x"}).Publish(t.Context(), stores[i%2], "s"); err != nil {
			t.Fatal(err)
		}
		if _, err := storetest.Update(t.Context(), stores[(i+1)%2], "s", func(s *session.Spec) { s.Description += "x" }); err != nil {
			t.Fatal(err)
		}
	}
	wantWhole(t, stores[0], record.UID)
}

// TestEachCommitSaysWhichLogsWentOn: other nodes read it there.
func TestEachCommitSaysWhichLogsWentOn(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	store := openStore(t, Config{URL: url})
	one := create(t, store, storetest.Creation{ID: "one", Spec: session.Spec{Owners: []string{"user-1"}}})
	create(t, store, storetest.Creation{ID: "two", Spec: session.Spec{Owners: []string{"user-1"}}})
	if _, err := (&storetest.Publication{User: "user-1", Text: "x"}).Publish(t.Context(), store, "one"); err != nil {
		t.Fatal(err)
	}
	if err := storetest.End(t.Context(), store, "one"); err != nil {
		t.Fatal(err)
	}
	rows, err := store.readers.Query(t.Context(), `SELECT u.sequence FROM commits c, unnest(c.uids, c.sequences) AS u (uid, sequence)
		WHERE u.uid = $1 ORDER BY c.xid`, [16]byte(one.UID))
	if err != nil {
		t.Fatal(err)
	}
	var got []int64
	for rows.Next() {
		var sequence int64
		if err := rows.Scan(&sequence); err != nil {
			t.Fatal(err)
		}
		got = append(got, sequence)
	}
	if diff := cmp.Diff([]int64{1, 2, 3}, got); diff != "" {
		t.Errorf("the heads of a session in the order of the transactions (-want +got):\n%s", diff)
	}
}

// TestPartsOfCreatorsNumbersAreMerged has some with nothing left, some with something, and one that a node is adding to.
func TestPartsOfCreatorsNumbersAreMerged(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	store := openStore(t, Config{URL: url, TidyEvery: time.Hour})
	execute(t, url, `INSERT INTO creators (user_name, part, sessions) VALUES
		('gone', 1, 5), ('gone', 2, -2), ('gone', 3, -3), ('some', 1, -1), ('some', 2, 3), ('many', 1, 1), ('many', 2, 1),
		('busy', 1, 2), ('busy', 2, -2), ('busy', 3, 7)`)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `UPDATE creators SET sessions = sessions + 1 WHERE user_name = 'busy' AND part = 3`); err != nil {
		t.Fatal(err)
	}
	if err := store.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(t.Context(), `SELECT user_name || ' ' || part || ' ' || sessions FROM creators ORDER BY user_name, part`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	want := []string{"busy 3 8", "many 1 1", "many 2 1", "some 1 2"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("the numbers are %q, %v, want %q", got, err, want)
	}
}
