package transfer_test

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/postgres"
	"github.com/parleyhq/parley/internal/store/sqlite"
	"github.com/parleyhq/parley/internal/store/storetest"
	"github.com/parleyhq/parley/internal/store/transfer"
)

// TestAllThatCanBeReadIsMoved through both engines, each way, and back.
func TestAllThatCanBeReadIsMoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	begin := inSQLite{dir}
	opened, err := begin.open(nil)
	if err != nil {
		t.Fatal(err)
	}
	sc := populate(t, opened)
	want := read(t, opened, sc)
	closeStore(t, opened)
	keyOf(t, dir, "zulu")
	keyOf(t, dir, "alpha") // keys keep the order in which they were made

	from := engine(begin)
	way := []engine{newPostgres(t), newPostgres(t), newSQLite(t), newSQLite(t)}
	for _, to := range way {
		counts := mustTransfer(t, from, to)
		if counts.Sessions != int64(len(sc.ids)) || counts.Ended != int64(len(sc.ended)) || counts.APIKeys != 2 {
			t.Errorf("%+v were moved of %d sessions, %d ended ones and 2 keys", counts, len(sc.ids), len(sc.ended))
		}
		opened, err := to.open(nil)
		if err != nil {
			t.Fatal(err)
		}
		got := read(t, opened, sc)
		if len(got.Keys) != 2 || got.Keys[0].Name != "zulu" || got.Keys[1].Name != "alpha" || string(got.Keys[1].Hash[:5]) != "alpha" {
			t.Errorf("the keys are %v", got.Keys)
		}
		got.Keys = nil
		if diff := diff(t, want, got); diff != "" {
			t.Fatalf("%T to %T (-want +got):\n%.8000s", from, to, diff)
		}
		closeStore(t, opened)
		from = to
	}
	for _, e := range []engine{way[0], way[3]} {
		wantStillGood(t, session.NewService(openStore(t, e, nil), noTail{}, testKeys), sc)
	}
}

// wantStillGood checks what does not show in reads: requestIds, secretKeys, message ids, and that the log goes on.
func wantStillGood(t *testing.T, service *session.Service, sc *scene) {
	t.Helper()
	ctx, guest := t.Context(), session.Caller{User: "guest"}
	again, err := service.Publish(ctx, guest, session.PublishRequest{ID: "session-0", RequestID: "publish-7", Message: &session.Message{
		Kind: session.ContentText, Text: "text 7", Contents: 1, Channel: 2,
	}})
	if err != nil || again.Sequence != 12 {
		t.Errorf("the repeated publish is %+v, %v; want the event 12", again, err)
	}
	_, err = service.Publish(ctx, guest, session.PublishRequest{ID: "session-0", Message: &session.Message{
		ID: "message-13", Kind: session.ContentText, Text: "x", Contents: 1,
	}})
	if err == nil || !strings.Contains(err.Error(), "the session has a message of this id") {
		t.Errorf("a message of an id that is taken: %v", err)
	}
	before, err := service.Get(ctx, admin, "session-0")
	if err != nil {
		t.Fatal(err)
	}
	stranger := session.Caller{User: "stranger"}
	if _, err := service.Join(ctx, stranger, session.JoinRequest{ID: "session-1", SecretKey: "secret of 0"}); err == nil {
		t.Error("another session's secretKey lets in")
	}
	if _, err := service.Join(ctx, stranger, session.JoinRequest{ID: "session-1", SecretKey: "secret of 1"}); err != nil {
		t.Errorf("the secretKey: %v", err)
	}
	said, err := service.Publish(ctx, guest, session.PublishRequest{ID: "session-0", Message: &session.Message{
		Kind: session.ContentText, Text: "next", Contents: 1,
	}})
	if err != nil || said.Sequence != before.Head.Sequence+1 {
		t.Errorf("the next event is %+v, %v, after %d", said, err, before.Head.Sequence)
	}
	if _, err := service.Create(ctx, admin, session.CreateRequest{
		Draft: &session.Draft{Spec: session.Spec{Type: session.Public, Owners: []string{"x"}}}, SessionID: sc.ids[0],
	}); err == nil {
		t.Error("an id that is taken was given again")
	}
}

func TestTheTargetMustBeEmpty(t *testing.T) {
	t.Parallel()
	for name, place := range map[string]func(*testing.T) engine{"SQLite": newSQLite, "PostgreSQL": newPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, to := newSQLite(t), place(t)
			closeStore(t, openedWith(t, from, "moved"))
			closeStore(t, openedWith(t, to)) // it has the mark of a server that was started with it, and no sessions
			_, err := transferAll(t.Context(), from, to, transfer.Plan{})
			if err == nil || !strings.Contains(err.Error(), "is not empty") && !strings.Contains(err.Error(), "there is a store already") {
				t.Errorf("it says %v", err)
			}
			if record, _, err := openStore(t, to, nil).Get(t.Context(), "moved", ""); record != nil || err != nil {
				t.Errorf("it has %v, %v", record, err)
			}
		})
	}
}

// openedWith opens a store, and makes sessions in it.
func openedWith(t *testing.T, e engine, ids ...string) store {
	t.Helper()
	s, err := e.open(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		create := storetest.Creation{ID: id, Creator: "creator", Spec: session.Spec{Owners: []string{"owner"}}}
		if _, err := create.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// TestNothingIsLeftOfACopyThatIsBrokenOff in the middle. It can be made again.
func TestNothingIsLeftOfACopyThatIsBrokenOff(t *testing.T) {
	t.Parallel()
	for name, place := range map[string]func(*testing.T) engine{"SQLite": newSQLite, "PostgreSQL": newPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, to := newSQLite(t), place(t)
			fill(t, from.(inSQLite).dir, 10_000, 100)
			ctx, cancel := context.WithCancelCause(t.Context())
			stop := errors.New("stop")
			_, err := transferAll(ctx, from, to, transfer.Plan{Moved: func(total, moved transfer.Counts) {
				if moved.Events > total.Events/2 {
					cancel(stop)
				}
			}})
			if !errors.Is(err, stop) {
				t.Fatalf("it was broken off, and says %v", err)
			}
			if e, ok := to.(inSQLite); ok && exists(t, e) {
				t.Error("there is something left")
			}
			if counts := mustTransfer(t, from, to); counts.Events != 10_000 {
				t.Errorf("the second time %+v were moved", counts)
			}
		})
	}
}

// TestAServerThatStartsDuringACopyHasAllOfIt and not a part.
func TestAServerThatStartsDuringACopyHasAllOfIt(t *testing.T) {
	t.Parallel()
	from, to := newSQLite(t), newPostgres(t)
	closeStore(t, openedWith(t, from, "one", "two"))
	type result struct {
		store store
		err   error
	}
	var results chan result
	_, err := transferAll(t.Context(), from, to, transfer.Plan{Ready: func() error {
		results = make(chan result, 1)
		go func() {
			opened, err := to.open(nil)
			results <- result{opened, err}
		}()
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	opened := <-results
	if opened.err != nil {
		t.Fatal(opened.err)
	}
	defer closeStore(t, opened.store)
	if ids := list(t, opened.store, &session.Query{All: true}); len(ids) != 2 {
		t.Errorf("it has %v", ids)
	}
}

// TestWhoBreaksOffACommitKnowsHowItEnds: it is too late, and the copy is made.
func TestWhoBreaksOffACommitKnowsHowItEnds(t *testing.T) {
	t.Parallel()
	from, to := newSQLite(t), newPostgres(t).(inPostgres)
	closeStore(t, openedWith(t, from, "one"))
	if err := postgres.Migrate(t.Context(), to.url); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), to.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	const hold = `CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END';
		CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON commits DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold();
		SELECT pg_advisory_lock(1)`
	if _, err := conn.Exec(t.Context(), hold); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	copied := make(chan error, 1)
	go func() {
		_, err := transferAll(ctx, from, to, transfer.Plan{})
		copied <- err
	}()
	for held := false; !held; {
		select {
		case err := <-copied:
			t.Fatalf("it did not wait: %v", err)
		default:
		}
		err := conn.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND NOT granted)`).
			Scan(&held)
		if err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if _, err := conn.Exec(t.Context(), `SELECT pg_advisory_unlock(1)`); err != nil {
		t.Fatal(err)
	}
	if err := <-copied; err != nil {
		t.Errorf("it says %v", err)
	}
	if _, err := conn.Exec(t.Context(), `DROP TRIGGER hold ON commits`); err != nil {
		t.Fatal(err)
	}
	if record, _, err := openStore(t, to, nil).Get(t.Context(), "one", ""); record == nil || err != nil {
		t.Errorf("the session is %v, %v", record, err)
	}
}

func TestAKilledCopyIsSweptAway(t *testing.T) {
	t.Parallel()
	from, to := newSQLite(t), inSQLite{t.TempDir()}
	closeStore(t, openedWith(t, from, "one"))
	for _, suffix := range []string{"", "-wal", "-shm"} { // as a process leaves them that is killed
		if err := os.WriteFile(filepath.Join(to.dir, "parley.db.part"+suffix), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mustTransfer(t, from, to)
	if record, _, err := openStore(t, to, nil).Get(t.Context(), "one", ""); record == nil || err != nil {
		t.Errorf("the session is %v, %v", record, err)
	}
	if left, err := filepath.Glob(filepath.Join(to.dir, "*.part*")); err != nil || left != nil {
		t.Errorf("%v is left (%v)", left, err)
	}
}

func TestASourceThatIsWrittenToIsNoticed(t *testing.T) {
	t.Parallel()
	from, to := newPostgres(t), inSQLite{t.TempDir()}
	server := openedWith(t, from, "one")
	defer closeStore(t, server)
	_, err := transferAll(t.Context(), from, to, transfer.Plan{Moved: func(_, moved transfer.Counts) {
		if moved.Sessions == 1 {
			create := storetest.Creation{ID: "late", Spec: session.Spec{Owners: []string{"owner"}}}
			if _, err := create.Create(t.Context(), server); err != nil {
				t.Error(err)
			}
		}
	}})
	if err == nil || !strings.Contains(err.Error(), "a server has written to the source meanwhile") {
		t.Errorf("it says %v", err)
	}
	if exists(t, to) {
		t.Error("there is a target")
	}

	// Nobody writes now; but a transaction that began before the last write is still going on.
	conn, err := pgx.Connect(t.Context(), from.(inPostgres).url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), `BEGIN; SELECT pg_current_xact_id()`); err != nil {
		t.Fatal(err)
	}
	create := storetest.Creation{ID: "last", Spec: session.Spec{Owners: []string{"owner"}}}
	if _, err := create.Create(t.Context(), server); err != nil {
		t.Fatal(err)
	}
	mustTransfer(t, from, to)
}

// TestAKeyThatIsRevokedMeanwhileIsNoticed, though no server is needed for that: else it would be good again in the target.
func TestAKeyThatIsRevokedMeanwhileIsNoticed(t *testing.T) {
	t.Parallel()
	for name, place := range map[string]func(*testing.T) engine{"SQLite": newSQLite, "PostgreSQL": newPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, from, to := newSQLite(t), place(t), inSQLite{t.TempDir()}
			closeStore(t, openedWith(t, first, "one"))
			keyOf(t, first.(inSQLite).dir, "leaked")
			mustTransfer(t, first, from)
			_, err := transferAll(t.Context(), from, to, transfer.Plan{Moved: func(_, moved transfer.Counts) {
				if moved.APIKeys == 1 {
					revoke(t, from, "leaked")
				}
			}})
			if err == nil || !strings.Contains(err.Error(), "meanwhile: copy again") {
				t.Errorf("it says %v", err)
			}
			if exists(t, to) {
				t.Error("there is a target")
			}
			mustTransfer(t, from, to)
		})
	}
}

func TestSessionsOfOneMicrosecondAreRefusedBySQLite(t *testing.T) {
	t.Parallel()
	from, to := newPostgres(t), inSQLite{t.TempDir()}
	target, err := from.target(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	now := session.Now()
	batch := &transfer.Batch{Sessions: []*transfer.Session{newSession(now, 1, "one"), newSession(now, 2, "two")}} // as two nodes may
	err = target.Write(t.Context(), batch)
	if err := errors.Join(err, target.Commit(t.Context(), transfer.Settings{Latest: now}), target.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := transferAll(t.Context(), from, to, transfer.Plan{}); err == nil || !strings.Contains(err.Error(), "same microsecond") {
		t.Errorf("it says %v", err)
	}
	if exists(t, to) {
		t.Error("there is a target")
	}
}

// TestTimeGoesOnAfterAMove also if the clock of the source was ahead.
func TestTimeGoesOnAfterAMove(t *testing.T) {
	t.Parallel()
	ahead := session.Now().Add(time.Hour)
	for name, way := range map[string][2]func(*testing.T) engine{
		"to PostgreSQL": {newSQLite, newPostgres}, "to SQLite": {newPostgres, newSQLite}, "from SQLite to SQLite": {newSQLite, newSQLite},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, to := way[0](t), way[1](t)
			before, err := from.open(func() session.Time { return ahead })
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range []string{"early", "late"} {
				create := storetest.Creation{ID: id, Spec: session.Spec{Type: session.Public, Owners: []string{"owner"}}}
				if _, err := create.Create(t.Context(), before); err != nil {
					t.Fatal(err)
				}
			}
			// The last event of all is of the session whose log comes first.
			said := publish(t, before, "late")
			said = max(said, publish(t, before, "early"))
			closeStore(t, before)
			mustTransfer(t, from, to)
			after := openStore(t, to, session.Now)
			create := storetest.Creation{ID: "next", Spec: session.Spec{Owners: []string{"owner"}}}
			if made, err := create.Create(t.Context(), after); err != nil || made.CreateTime <= said {
				t.Errorf("a session was made at %v after an event of %v (%v)", made.CreateTime, said, err)
			}
			for _, id := range []string{"late", "early"} {
				if next := publish(t, after, id); next <= said {
					t.Errorf("%s has an event of %v after one of %v", id, next, said)
				}
			}
		})
	}
}

func publish(t *testing.T, s store, id string) session.Time {
	t.Helper()
	service, owner := session.NewService(s, noTail{}, testKeys), session.Caller{User: "owner"}
	if _, err := service.Join(t.Context(), owner, session.JoinRequest{ID: id}); err != nil {
		t.Fatal(err)
	}
	ev, err := service.Publish(t.Context(), owner, session.PublishRequest{ID: id, Message: &session.Message{
		Kind: session.ContentText, Text: "text", Contents: 1, Channel: 1,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return ev.Time
}

func TestASourceOfAnotherVersionIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ change, want string }{
		"newer": {`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)`, "of a newer version of Parley (schema 9999"},
		"none":  {`DROP TABLE goose_db_version`, "there is no store of Parley in it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from := newPostgres(t).(inPostgres)
			closeStore(t, openedWith(t, from))
			conn, err := pgx.Connect(t.Context(), from.url)
			if err != nil {
				t.Fatal(err)
			}
			_, err = conn.Exec(t.Context(), c.change)
			if err := errors.Join(err, conn.Close(t.Context())); err != nil {
				t.Fatal(err)
			}
			if _, err := from.source(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("it says %v, want %q", err, c.want)
			}
		})
	}
	t.Run("older", func(t *testing.T) {
		t.Parallel()
		from := inSQLite{t.TempDir()}
		closeStore(t, openedWith(t, from))
		db, err := sql.Open("sqlite", filepath.Join(from.dir, sqlite.FileName))
		if err != nil {
			t.Fatal(err)
		}
		_, err = db.ExecContext(t.Context(), `DELETE FROM goose_db_version WHERE version_id = (SELECT max(version_id) FROM goose_db_version)`)
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := from.source(t.Context()); err == nil || !strings.Contains(err.Error(), "run parley migrate up first") {
			t.Errorf("it says %v", err)
		}
	})
}

// TestMemoryDoesNotGrowWithTheLog moves a short log and a long one, and compares the heaps.
func TestMemoryDoesNotGrowWithTheLog(t *testing.T) {
	if testing.Short() {
		t.Skip("it moves 100,000 events")
	}
	peak := func(events int) uint64 {
		from, to := newSQLite(t), newPostgres(t)
		fill(t, from.(inSQLite).dir, events, 1000)
		most, calls := uint64(0), 0
		counts, err := transferAll(t.Context(), from, to, transfer.Plan{Moved: func(_, _ transfer.Counts) {
			if calls++; calls%3 == 0 {
				runtime.GC()
				var stats runtime.MemStats
				runtime.ReadMemStats(&stats)
				most = max(most, stats.HeapAlloc)
			}
		}})
		if err != nil || counts.Events != int64(events) {
			t.Fatalf("%+v were moved of %d events, %v", counts, events, err)
		}
		return most
	}
	short, long := peak(10_000), peak(100_000)
	t.Logf("10,000 events: %d KiB; 100,000 events: %d KiB", short>>10, long>>10)
	const documents = 90_000 * 1000
	if long > short+documents/10 {
		t.Errorf("the heap has %d bytes with a long log, and %d with a short one", long, short)
	}
}

func newSession(created session.Time, random uint64, id string) *transfer.Session {
	spec := session.Spec{Type: session.Public, Owners: []string{"owner"}}
	return &transfer.Session{First: 1, Record: &session.Record{
		UID: session.NewUID(created, random), ID: id, Type: spec.Type, CreateTime: created, UpdateTime: created,
		Document: spec.AppendJSON(nil), Head: session.Head{Sequence: 1},
	}}
}

// fill makes a store of one session, whose events have documents of some bytes.
func fill(t *testing.T, dir string, events, bytes int) {
	t.Helper()
	target, err := sqlite.OpenTarget(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	only := newSession(session.Now(), math.MaxUint64, "long")
	only.Head.Sequence += int64(events)
	uid := only.UID
	document := []byte(`{"text":"` + strings.Repeat("x", bytes) + `","contentType":"","replyTo":""}`)
	err = target.Write(t.Context(), &transfer.Batch{Sessions: []*transfer.Session{only}})
	for from := 0; from < events && err == nil; from += 1000 {
		b := &transfer.Batch{}
		for i := from; i < min(from+1000, events); i++ {
			b.Events = append(b.Events, &session.Event{
				UID: uid, Kind: session.MessagePublished, Sequence: int64(i) + 2, Time: uid.Time() + session.Time(i), Channel: 1, Document: document,
			})
		}
		err = target.Write(t.Context(), b)
	}
	if err := errors.Join(err, target.Commit(t.Context(), transfer.Settings{Latest: session.Now()}), target.Close()); err != nil {
		t.Fatal(err)
	}
}
