package sqlite

import (
	"cmp"
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/storetest"
)

// TestIndexIsComplete does many things at random, and then the lookups hold what they should, no more and no less.
func TestIndexIsComplete(t *testing.T) { //nolint:tparallel // its subtests follow each other
	t.Parallel()
	dir, random := t.TempDir(), rand.New(rand.NewPCG(3, 4))
	var ids []string
	for round := range 3 {
		t.Run(fmt.Sprintf("opened %d times", round+1), func(t *testing.T) {
			store := openStore(t, Config{Dir: dir})
			for i := range 700 {
				ids = doSomething(t, store, random, ids)
				if i%350 == 349 {
					wantIndexed(t, store)
				}
			}
			tidyNow(t, store)
			wantIndexed(t, store)
			wantCount(t, store, 0, `SELECT count(*) FROM tombstones WHERE users <> '' OR log <> 0`)
		})
	}
}

// doSomething creates, updates or ends a session, and returns the ids that there are then.
func doSomething(t *testing.T, store *Store, random *rand.Rand, ids []string) []string {
	t.Helper()
	users := []string{"user-1", "user-2", "user-3", "user-4"}
	spec := session.Spec{
		DisplayName: strconv.Itoa(random.IntN(20)), Type: session.Type(1 + random.IntN(3)),
		Owners: users[random.IntN(2):][:1+random.IntN(2)], AllowedUsers: users[:random.IntN(4)],
	}
	action := random.IntN(10)
	if len(ids) == 0 || action < 7 {
		record, err := (&storetest.Creation{Spec: spec}).Create(t.Context(), store)
		if err != nil {
			t.Fatal(err)
		}
		return append(ids, record.ID)
	}
	i := random.IntN(len(ids))
	talk(t, store, random, ids[i], users[random.IntN(len(users))])
	if action < 9 {
		if _, err := storetest.Update(t.Context(), store, ids[i], func(s *session.Spec) { *s = spec }); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	if err := storetest.End(t.Context(), store, ids[i]); err != nil {
		t.Fatal(err)
	}
	return slices.Delete(ids, i, i+1)
}

// talk has a user join or leave a session, and publish there.
func talk(t *testing.T, store *Store, random *rand.Rand, id, user string) {
	t.Helper()
	_, member, err := store.Get(t.Context(), id, user)
	if err != nil {
		t.Fatal(err)
	}
	if member != nil {
		err = storetest.Leave(t.Context(), store, id, user)
	} else {
		_, err = storetest.Join(t.Context(), store, id, user)
	}
	if err != nil {
		t.Fatal(err)
	}
	for range random.IntN(3) {
		if _, err := (&storetest.Publication{User: user, Text: "x"}).Publish(t.Context(), store, id); err != nil {
			t.Fatal(err)
		}
	}
}

// lookup is a row of a lookup table.
type lookup struct {
	Text    string
	Created int64
}

// wantIndexed checks that the lookups hold exactly what the sessions up to the last epoch's end have, but for what they
// may still hold of sessions whose remains are yet to be purged; and that the logs are whole.
func wantIndexed(t *testing.T, store *Store) {
	t.Helper()
	err := store.read(t.Context(), func(c *conn) error {
		if err := c.exec("BEGIN"); err != nil {
			return err
		}
		defer func() { _ = c.exec("COMMIT") }()
		wantUsers, wantNames, err := wantedLookups(c)
		if err != nil {
			return err
		}
		for text, want := range map[string][]lookup{
			`SELECT user, created FROM session_users` + purged + ` ORDER BY created, user`:   wantUsers,
			`SELECT display_name, created FROM session_names` + purged + ` ORDER BY created`: wantNames,
		} {
			var got []lookup
			err := c.query(text, nil, func(row []driver.Value) error {
				got = append(got, lookup{row[0].(string), row[1].(int64)})
				return nil
			})
			if err != nil {
				return err
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", text, diff)
			}
		}
		wantLogs(t, c)
		return wantEpochs(t, c)
	})
	if err != nil {
		t.Fatal(err)
	}
}

const purged = ` WHERE created NOT IN (SELECT created FROM tombstones WHERE users <> '' OR log <> 0)`

// wantLogs checks that heads, events and members agree.
func wantLogs(t *testing.T, c *conn) {
	t.Helper()
	for _, wrong := range []string{
		`SELECT count(*) FROM heads WHERE created NOT IN (SELECT created FROM sessions)`,
		`SELECT count(*) FROM heads h WHERE members <> (SELECT count(*) FROM members WHERE session = h.created)`,
		`SELECT count(*) FROM heads h WHERE sequence - max(first, 2) + 1 <> (SELECT count(*) FROM events WHERE session = h.created)`,
		`SELECT count(*) FROM heads h WHERE sequence > 1 AND first <= sequence
			AND sequence <> (SELECT max(sequence) FROM events WHERE session = h.created)`,
		`SELECT count(*) FROM heads h WHERE last_message < coalesce((SELECT max(time) FROM events
			WHERE session = h.created AND kind = 8), 0)`,
		`SELECT count(*) FROM events WHERE session NOT IN (SELECT created FROM heads)
			AND session NOT IN (SELECT created FROM tombstones WHERE log <> 0)`,
		`SELECT count(*) FROM members WHERE session NOT IN (SELECT created FROM heads)
			AND session NOT IN (SELECT created FROM tombstones WHERE log <> 0)`,
		// Every chain leads from its head to its first event.
		`SELECT count(*) FROM heads h WHERE last <> coalesce((SELECT max(position) FROM events WHERE session = h.created), 0)`,
		`SELECT count(*) FROM events e JOIN heads h ON h.created = e.session LEFT JOIN events p ON p.position = e.prev
			WHERE e.sequence > max(h.first, 2) AND (p.session, p.sequence) IS NOT (e.session, e.sequence - 1)`,
		`SELECT count(*) FROM events WHERE sequence = 2 AND prev <> 0`,
		// The blocks have their ends, and no others have.
		`SELECT count(*) FROM event_blocks b LEFT JOIN events e ON e.position = b.position
			WHERE (e.session, e.sequence) IS NOT (b.session, 64 * b.block + 63)`,
		`SELECT count(*) FROM events e LEFT JOIN event_blocks b ON (b.session, b.block) = (e.session, e.sequence / 64)
			WHERE e.sequence % 64 = 63 AND b.position IS NOT e.position`,
	} {
		if n, err := c.integer(wrong); n != 0 || err != nil {
			t.Errorf("%s: %d, %v", wrong, n, err)
		}
	}
}

// wantEpochs checks that each lookup's row stands under the epoch that its session belongs to.
func wantEpochs(t *testing.T, c *conn) error {
	t.Helper()
	for _, table := range []string{"session_users", "session_names"} {
		n, err := c.integer(`SELECT count(*) FROM ` + table + ` l
			WHERE l.epoch <> (SELECT max(first) FROM epochs WHERE first <= l.created)`)
		if err != nil {
			return err
		}
		if n != 0 {
			t.Errorf("%d rows of %s are under another epoch", n, table)
		}
	}
	waiting, err := c.integer(`SELECT count(*) FROM sessions WHERE created > coalesce((SELECT max(last) FROM epochs), 0)`)
	if waiting >= tailSessions {
		t.Errorf("%d sessions wait to be put into the lookups", waiting)
	}
	return err
}

func wantedLookups(c *conn) (users, names []lookup, err error) {
	last, err := c.integer(`SELECT max(last) FROM epochs`)
	if err != nil {
		return nil, nil, err
	}
	err = c.query(`SELECT `+columns+` FROM `+sessions+` WHERE s.created <= ?`, []driver.Value{last}, func(row []driver.Value) error {
		record, err := readRecord(row)
		if err != nil {
			return err
		}
		spec, err := record.Spec()
		if err != nil {
			return err
		}
		for _, user := range spec.Principals() {
			users = append(users, lookup{user, int64(record.CreateTime)})
		}
		names = append(names, lookup{spec.DisplayName, int64(record.CreateTime)})
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	err = c.query(`SELECT session, user FROM members WHERE session <= ? AND session IN (SELECT created FROM sessions)`,
		[]driver.Value{last}, func(row []driver.Value) error {
			users = append(users, lookup{row[1].(string), row[0].(int64)})
			return nil
		})
	order := func(a, b lookup) int { return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.Text, b.Text)) }
	slices.SortFunc(users, order)
	slices.SortFunc(names, order)
	return slices.Compact(users), names, err
}

// tidyNow tidies until nothing is left to do.
func tidyNow(t *testing.T, store *Store) {
	t.Helper()
	if err := store.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func wantCount(t *testing.T, store *Store, want int64, text string) {
	t.Helper()
	err := store.read(t.Context(), func(c *conn) error {
		got, err := c.integer(text)
		if got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func wantSessions(t *testing.T, store *Store, want int) {
	t.Helper()
	wantCount(t, store, int64(want), `SELECT count(*) FROM sessions`)
}

func TestTidy(t *testing.T) {
	t.Parallel()
	clock := storetest.NewClock()
	store := openStore(t, Config{Dir: t.TempDir(), Now: clock.Now})
	const made, expiring, ended = 500, 250, 50
	for i := range made {
		creation := storetest.Creation{ID: "s-" + strconv.Itoa(i), Spec: smallSpec}
		if i < expiring {
			creation.Lifetime = time.Hour
		}
		if i == expiring {
			creation.Request = session.RequestKey{1}
		}
		if _, err := creation.Create(t.Context(), store); err != nil {
			t.Fatal(err)
		}
	}
	for i := expiring; i < expiring+ended; i++ {
		if err := storetest.End(t.Context(), store, "s-"+strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
	}
	check := func(t *testing.T, left int, tombstones, requests int64) {
		t.Helper()
		tidyNow(t, store)
		wantIndexed(t, store)
		wantSessions(t, store, left)
		wantCount(t, store, 0, `SELECT count(*) FROM tombstones WHERE users <> '' OR log <> 0`)
		wantCount(t, store, tombstones, `SELECT count(*) FROM tombstones`)
		wantCount(t, store, requests, `SELECT count(*) FROM requests`)
	}
	check(t, made-ended, ended, 1)
	clock.Advance(time.Hour + time.Second)
	check(t, made-ended-expiring, ended+expiring, 1)
	wantCount(t, store, expiring, `SELECT count(*) FROM tombstones WHERE kind = 2`)
	clock.Advance(23 * time.Hour) // a day after the ends, not yet after the expiries
	check(t, made-ended-expiring, expiring, 0)
	clock.Advance(time.Hour + time.Second)
	check(t, made-ended-expiring, 0, 0)
}
