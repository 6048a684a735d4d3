package sqlite

import (
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/storetest"
)

// publish is a write that publishes without looking whether its message's id is free.
func publish(id, messageID string, document []byte) *session.Write {
	return &session.Write{ID: id, Users: []string{"user-1"}, Decide: func(v *session.View) (session.Change, error) {
		after := *v.Current
		after.Head.Sequence++
		after.Head.LastMessageTime = v.Now
		event := &session.Event{
			UID: after.UID, ID: id, Kind: session.MessagePublished, Sequence: after.Head.Sequence, Time: v.Now,
			MessageID: messageID, Document: document,
		}
		return session.Change{Kind: session.Append, Record: &after, Events: []*session.Event{event}}, nil
	}}
}

var smallMessage = (&session.Message{Kind: session.ContentText, Text: "x"}).AppendJSON(nil)

// storeOf is a store with the sessions of these ids.
func storeOf(t *testing.T, config Config, ids ...string) *Store {
	t.Helper()
	store := openStore(t, config)
	createAll(t, store, ids...)
	return store
}

// createAll creates the sessions of these ids.
func createAll(t *testing.T, store *Store, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := store.Write(t.Context(), create(id, smallSpec)); err != nil {
			t.Fatal(err)
		}
	}
}

// wantPublished checks that a session's log has exactly the messages that were acknowledged, without a hole, and that
// the log goes on after them.
func wantPublished(t *testing.T, store *Store, id string, acknowledged int) {
	t.Helper()
	record, _, err := store.Get(t.Context(), id, "")
	if err != nil || record == nil {
		t.Fatalf("Get(%s) = %v, %v", id, record, err)
	}
	log, err := store.Log(t.Context(), record.UID, 1, 10_000, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for i, event := range log.Events {
		if event.Sequence != int64(i+2) {
			t.Fatalf("%s: event %d has the sequence %d", id, i, event.Sequence)
		}
	}
	if len(log.Events) != acknowledged || record.Head.Sequence != int64(acknowledged+1) {
		t.Errorf("%s has %d messages and the head %d, want %d messages", id, len(log.Events), record.Head.Sequence, acknowledged)
	}
	if err := store.Write(t.Context(), publish(id, "", smallMessage)); err != nil {
		t.Errorf("publishing to %s afterwards: %v", id, err)
	}
	wantIndexed(t, store)
}

// TestPublishFailsAlone has a publish fail in the middle of a group, between others to the same session.
func TestPublishFailsAlone(t *testing.T) {
	again := publish("s", "taken", smallMessage)
	withRequest := publish("s", "taken", smallMessage)
	withRequest.Request = session.RequestKey{1}
	bad := func(spoil func(*session.Change)) *session.Write {
		good := publish("s", "", smallMessage)
		return &session.Write{ID: "s", Decide: func(v *session.View) (session.Change, error) {
			change, err := good.Decide(v)
			spoil(&change)
			return change, err
		}}
	}
	for _, c := range []struct {
		name string
		bad  *session.Write
		want string
	}{
		{"a statement that breaks a constraint", again, "UNIQUE"},
		{"a statement of several", withRequest, "UNIQUE"},
		{"a hole", bad(func(c *session.Change) { c.Events[0].Sequence++; c.Record.Head.Sequence++ }), "stands where"},
		{"a head without its event", bad(func(c *session.Change) { c.Record.Head.Sequence++ }), "the head is"},
		{"an event without its head", bad(func(c *session.Change) { c.Record.Head.Sequence-- }), "the head is"},
		{"another session's record", bad(func(c *session.Change) { c.Record.UID[15]++ }), "in the place of"},
		{"no record", bad(func(c *session.Change) { c.Record = nil }), "no record"},
		{"an end without its event", bad(func(c *session.Change) { c.Kind = session.End }), "does not end"},
		{"an unknown kind", bad(func(c *session.Change) { c.Kind = 99 }), "99"},
	} {
		t.Run(c.name, func(t *testing.T) {
			told := 0
			store := storeOf(t, Config{Dir: t.TempDir(), Committed: func(events []*session.Event) { told += len(events) }}, "s", "other")
			writes := make([]*session.Write, 60)
			for i := range writes {
				writes[i] = publish([]string{"s", "other"}[i%2], "", smallMessage)
			}
			writes[0] = publish("s", "taken", smallMessage)
			writes[30] = c.bad
			for i, err := range inGroup(t, store, writes) {
				if i != 30 && err != nil {
					t.Errorf("write %d beside the bad one: %v", i, err)
				}
				if i == 30 && (err == nil || !strings.Contains(err.Error(), c.want) || !fault.Is(err, fault.Internal)) {
					t.Errorf("the bad write = %v, want an internal fault that says %q", err, c.want)
				}
			}
			if want := 2 + 59; told != want {
				t.Errorf("%d events were told, want %d", told, want)
			}
			wantPublished(t, store, "s", 29)
			wantPublished(t, store, "other", 30)
		})
	}
}

// TestHeadsAfterALostTransaction fills the disk in the middle of groups of publishes: all of the group is lost, what the
// engine remembered of it too, and its writes run again one by one.
func TestHeadsAfterALostTransaction(t *testing.T) {
	large := (&session.Message{Kind: session.ContentText, Text: strings.Repeat("x", 100<<10)}).AppendJSON(nil)
	dir, told := t.TempDir(), make(map[string]int)
	config := Config{Dir: dir, MaxPages: 150, Committed: func(events []*session.Event) {
		for _, ev := range events {
			told[ev.ID]++
		}
	}}
	store := storeOf(t, config, "a", "b")
	acknowledged := make(map[string]int)
	for _, id := range []string{"a", "b"} { // so that blocks end within the groups
		acknowledged[id] = 30
		publishMore(t, store, 30, id)
	}
	full := 0
	for range 3 {
		writes := make([]*session.Write, 40)
		for i := range writes {
			document := smallMessage
			if i%4 == 3 {
				document = large
			}
			writes[i] = publish([]string{"a", "b"}[i/4%2], "", document)
		}
		for i, err := range inGroup(t, store, writes) {
			switch {
			case err == nil:
				acknowledged[[]string{"a", "b"}[i/4%2]]++
			case fault.From(err).Reason != "DISK_FULL" || i%4 != 3:
				t.Errorf("write %d = %v, want it to fit, or DISK_FULL", i, err)
			default:
				full++
			}
		}
	}
	if full == 0 {
		t.Error("no write found the disk full")
	}
	for _, id := range []string{"a", "b"} {
		if told[id] != acknowledged[id]+1 {
			t.Errorf("%d events of %s were told, %d and its creation acknowledged", told[id], id, acknowledged[id])
		}
		wantPublished(t, store, id, acknowledged[id])
	}
}

// TestPurgeOfALargeSession ends a session with many events and members: that is quick, the rest goes in pieces, and its
// space is used again.
func TestPurgeOfALargeSession(t *testing.T) {
	const messages, members = 3500, 1200
	store := storeOf(t, Config{Dir: t.TempDir()})
	store.stopTidy() // what the loop does is done here, one piece at a time
	store.tidying.Wait()
	fill := func() {
		if err := store.Write(t.Context(), create("s", smallSpec)); err != nil {
			t.Fatal(err)
		}
		for from := 0; from < messages; from += 250 {
			var writes []*session.Write
			for range min(250, messages-from) {
				writes = append(writes, publish("s", "", smallMessage))
			}
			for _, err := range inGroup(t, store, writes) {
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	pages := func() (n int64) {
		n, err := store.engine.integer("PRAGMA page_count") // nobody writes meanwhile
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	fill()
	joinMany(t, store, "s", members)
	before := pages()
	record, _, err := store.Get(t.Context(), "s", "")
	if err != nil {
		t.Fatal(err)
	}
	uid := record.UID
	if err := storetest.End(t.Context(), store, "s"); err != nil {
		t.Fatal(err)
	}
	wantEnded(t, store, uid, false)
	rows := int64(messages + 2*members)
	for steps := 0; ; steps++ {
		left := countRows(t, store)
		if rows-left > tidyRows {
			t.Errorf("step %d purged %d rows, more than %d", steps, rows-left, tidyRows)
		}
		if rows = left; left == 0 {
			break
		}
		if steps > 20 {
			t.Fatalf("%d rows are left after %d steps", left, steps)
		}
		tidyOnce(t, store)
		wantIndexed(t, store)
		wantEnded(t, store, uid, steps >= members/tidyRows)
	}
	tidyNow(t, store)
	wantIndexed(t, store)
	wantCount(t, store, 0, `SELECT count(*) FROM event_blocks`)
	fill()
	if after := pages(); after > before+8 {
		t.Errorf("the file has %d pages, and had %d: space was not used again", after, before)
	}
}

// wantEnded checks that the log of a session that has ended is whole, or that none of it is kept if it is purged.
func wantEnded(t *testing.T, store *Store, uid session.UID, purged bool) {
	t.Helper()
	first, after, end := int64(0), int64(0), int64(2)
	for after < end-1 {
		log, err := store.Log(t.Context(), uid, after, 1000, 1<<30)
		if err != nil || log.Record != nil || log.End == nil {
			t.Fatalf("Log = %+v, %v, want an end", log, err)
		}
		first, end = log.First, log.End.Sequence
		after = max(after, first-1)
		for _, event := range log.Events {
			if after++; event.Sequence != after {
				t.Fatalf("the event %d stands where %d is to be", event.Sequence, after)
			}
		}
	}
	if purged != (first == end) || !purged && first != 2 {
		t.Errorf("the log is kept from %d, and its end is %d; purged: %v", first, end, purged)
	}
}

func joinMany(t *testing.T, store *Store, id string, n int) {
	t.Helper()
	const workers = 50
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for i := worker; i < n; i += workers {
				if _, err := storetest.Join(t.Context(), store, id, "member-"+strconv.Itoa(i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

// countRows counts the events and members that there are.
func countRows(t *testing.T, store *Store) (n int64) {
	t.Helper()
	err := store.read(t.Context(), func(c *conn) (err error) {
		n, err = c.integer(`SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM members)`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// tidyOnce does one piece of tidying.
func tidyOnce(t *testing.T, store *Store) {
	t.Helper()
	if err := store.committer.Submit(t.Context(), &job{tidy: (*engine).tidy}); err != nil {
		t.Fatal(err)
	}
}

// TestLargeEventsGoInPieces: a thousand rows are no bound if each is large.
func TestLargeEventsGoInPieces(t *testing.T) {
	large := (&session.Message{Kind: session.ContentText, Text: strings.Repeat("x", 500<<10)}).AppendJSON(nil)
	store := storeOf(t, Config{Dir: t.TempDir()}, "s")
	for range 20 {
		if err := store.Write(t.Context(), publish("s", "", large)); err != nil {
			t.Fatal(err)
		}
	}
	left := tidyRows
	var found oldest
	err := store.read(t.Context(), func(c *conn) error {
		record, err := c.findByID("s")
		if err != nil {
			return err
		}
		e := &engine{conn: c}
		found, err = e.oldestEvents(record.chain(), &left, func(int64, session.Time) bool { return false })
		return err
	})
	if err != nil || left != 0 || found.end > 12 || found.end < 5 {
		t.Errorf("one piece goes to %d, with %d rows left to do, %v; want about 4 MiB of events", found.end, left, err)
	}
}

// TestTrimGoesOn trims more than one piece, and logs of which the engine knows unwritten heads.
func TestTrimGoesOn(t *testing.T) {
	store := storeOf(t, Config{Dir: t.TempDir()})
	spec := smallSpec
	spec.Options = []byte(`{"historySize":5}`)
	if err := store.Write(t.Context(), create("s", spec)); err != nil {
		t.Fatal(err)
	}
	const messages = 2500
	for range messages / 250 {
		writes := make([]*session.Write, 250)
		for i := range writes {
			writes[i] = publish("s", "", smallMessage)
		}
		for _, err := range inGroup(t, store, writes) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	tidyNow(t, store)
	wantIndexed(t, store)
	wantCount(t, store, 5, `SELECT count(*) FROM events`)
	wantCount(t, store, 0, `SELECT count(*) FROM heads WHERE trim_at > 0`)
	wantCount(t, store, messages+1-4, `SELECT first FROM heads`)
}

func TestCacheIsBounded(t *testing.T) {
	var c cache
	spec := smallSpec
	spec.Description = strings.Repeat("x", 1000)
	document := spec.AppendJSON(nil)
	add := func(i int, document []byte) *cached {
		r := &session.Record{ID: strconv.Itoa(i), CreateTime: session.Time(i), Document: document, Head: session.Head{Sequence: 1}}
		s, err := c.add(state{record: r, first: 1})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := add(0, document)
	c.touch(first)
	for i := range 3 * cacheSessions {
		add(i+1, document)
		if len(c.byTime) > cacheSessions+1 || len(c.byID) != len(c.byTime) {
			t.Fatalf("it has %d sessions and %d ids", len(c.byTime), len(c.byID))
		}
	}
	if c.byTime[0] != first || !first.dirty {
		t.Error("a session is forgotten whose head is yet to be written")
	}
	spec.Options = []byte(`{"x":"` + strings.Repeat("x", 60<<10) + `"}`)
	document = spec.AppendJSON(nil)
	for i := range 1000 {
		add(i+4*cacheSessions, document)
		if c.bytes > cacheBytes+1<<20 {
			t.Fatalf("it has %d bytes", c.bytes)
		}
	}
	for i := range 1_000_000 {
		c.join(first, &session.Member{User: strconv.Itoa(i)})
		if c.bytes > 2*cacheBytes {
			break
		}
	}
	first.dirty = false
	if err := c.flush(nil); err != nil {
		t.Fatal(err)
	}
	if len(c.byTime) != 0 || c.bytes != 0 {
		t.Errorf("it has %d sessions and %d bytes after too many memberships", len(c.byTime), c.bytes)
	}
}

// TestUpgrade opens a store of the first version, which has sessions, tombstones and requests.
func TestUpgrade(t *testing.T) {
	dir := t.TempDir()
	uid := makeFirstVersion(t, dir)
	store := openStore(t, Config{Dir: dir})
	if err := store.Write(t.Context(), publish("s", "", smallMessage)); err != nil {
		t.Error(err)
	}
	log, err := store.Log(t.Context(), uid, 0, 10, 1<<20)
	if err != nil || log.End == nil || log.End.Sequence != 2 || log.End.ID != uid.String() {
		t.Errorf("Log = %+v, %v, want the end 2", log, err)
	}
	wantPublished(t, store, "s", 1)
	for range 2 { // the first version indexed ids that the server made
		if _, err := (&storetest.Creation{Spec: smallSpec}).Create(t.Context(), store); err != nil {
			t.Errorf("create in an upgraded store: %v", err)
		}
	}
}
