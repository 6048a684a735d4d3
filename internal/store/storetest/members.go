package storetest

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parleyhq/parley/internal/session"
)

func testMembers(t *testing.T, open Opener) {
	t.Run("join, join again, leave", func(t *testing.T) {
		store, _ := openFresh(t, open)
		record := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		wantMember(t, store, "s", "user-2", nil)
		first := mustJoin(t, store, "s", "user-2", 1, 7)
		wantMember(t, store, "s", "user-2", first)
		wantMember(t, store, "s", "user-1", nil)
		wantMember(t, store, "s", "USER-2", nil)
		second := mustJoin(t, store, "s", "user-2")
		wantMember(t, store, "s", "user-2", second)
		wantMembers(t, store, &session.MemberQuery{UID: record.UID}, second)
		wantHead(t, store, record, session.Head{Sequence: 3, Members: 1})
		if err := Leave(t.Context(), store, "s", "user-2"); err != nil {
			t.Fatal(err)
		}
		wantMember(t, store, "s", "user-2", nil)
		if err := Leave(t.Context(), store, "s", "user-2"); !errors.Is(err, errNoMember) {
			t.Errorf("leaving twice: %v, want %v", err, errNoMember)
		}
		wantMembers(t, store, &session.MemberQuery{UID: record.UID})
		wantHead(t, store, record, session.Head{Sequence: 4})
	})
	t.Run("an update that blocks", func(t *testing.T) {
		store, _ := openFresh(t, open)
		record := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		mustJoin(t, store, "s", "user-2")
		stays := mustJoin(t, store, "s", "user-3")
		block := func(s *session.Spec) { s.Type, s.BlockedUsers = session.Private, []string{"user-2"} }
		wantSession(t, store, "s", must(t)(remove(t.Context(), store, "s", "user-2", block)))
		wantMember(t, store, "s", "user-2", nil)
		wantMember(t, store, "s", "user-3", stays)
		wantHead(t, store, record, session.Head{Sequence: 4, Members: 1})
		if last := readLog(t, store, record.UID, 3).Events; len(last) != 1 || last[0].Kind != session.MemberRemoved {
			t.Errorf("the last event is %v, want %v", last, session.MemberRemoved)
		}
		wantIDs(t, store, &session.Query{VisibleTo: "user-2"})
		wantIDs(t, store, &session.Query{VisibleTo: "user-3"}, "s")
	})
	t.Run("as writes see them", func(t *testing.T) {
		store, clock := openFresh(t, open)
		must(t)((&Creation{ID: "s", Spec: publicSpec("user-1"), Lifetime: time.Hour}).Create(t.Context(), store))
		one, two := mustJoin(t, store, "s", "one", 1), mustJoin(t, store, "s", "two", 2)
		for range 2 { // read, and remembered
			wantSeen(t, store, "s", []string{"two", "none", "one"}, two, nil, one)
		}
		wantSeen(t, store, "another", []string{"two", "one"}, nil, nil)
		wantSeen(t, store, "", []string{"two"}, nil)
		clock.Advance(2 * time.Hour)
		wantSeen(t, store, "s", []string{"one"}, nil)
		wantMember(t, store, "s", "one", nil)
	})
	t.Run("in pages", testMemberPages(open))
	t.Run("of a session that ended", func(t *testing.T) {
		store, _ := openFresh(t, open)
		record := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		mustJoin(t, store, "s", "user-2")
		if err := End(t.Context(), store, "s"); err != nil {
			t.Fatal(err)
		}
		wantMember(t, store, "s", "user-2", nil)
		wantMembers(t, store, &session.MemberQuery{UID: record.UID})
		must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		wantMember(t, store, "s", "user-2", nil)
	})
	t.Run("find the session", testMembersFind(open))
}

func testMemberPages(open Opener) func(t *testing.T) {
	return func(t *testing.T) {
		store, _ := openFresh(t, open)
		record := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		var all, even []string
		for i := range 20 {
			user := strconv.Itoa((i * 7) % 20) // not in the order of their names
			mustJoin(t, store, "s", user, int32(i%2))
			all = append(all, user)
			if i%2 == 0 {
				even = append(even, user)
			}
		}
		ofEven := func(m *session.Member) bool { return m.Channels[0] == 0 }
		for _, size := range []int{1, 3, 10, 20, 100} {
			for _, c := range []struct {
				match func(*session.Member) bool
				want  []string
			}{{nil, all}, {ofEven, even}, {func(*session.Member) bool { return false }, nil}} {
				for _, descending := range []bool{false, true} {
					q := &session.MemberQuery{UID: record.UID, Size: size, Match: c.match, Descending: descending}
					var got []string
					for _, m := range allMembers(t, store, q) {
						got = append(got, m.User)
					}
					if diff := cmp.Diff(turned(c.want, descending), got, cmpopts.EquateEmpty()); diff != "" {
						t.Errorf("members in pages of %d, descending %v (-want +got):\n%s", size, descending, diff)
					}
				}
			}
		}
	}
}

// testMembersFind: a member finds the session, whatever else it says and wherever it stands in the engine's indexes.
func testMembersFind(open Opener) func(t *testing.T) {
	return func(t *testing.T) {
		store, _ := openFresh(t, open)
		private := session.Spec{DisplayName: "n", Type: session.Private, Owners: []string{"owner"}, DefaultChannels: []int32{1}}
		round := 0
		want := func(t *testing.T, user string, ids ...string) {
			t.Helper()
			round++ // the engine's indexes, and then by turns the other orders
			for _, order := range []session.Order{allOrders[0], allOrders[round%len(allOrders)]} {
				list := ids
				if order.Descending {
					list = turned(ids, true)
				}
				wantIDs(t, store, &session.Query{VisibleTo: user, Order: order}, list...)
			}
		}
		allow := func(users ...string) func(*session.Spec) {
			return func(s *session.Spec) { s.AllowedUsers = users }
		}
		check := func(t *testing.T, id string) {
			t.Helper()
			want(t, "guest")
			mustJoin(t, store, id, "guest")
			want(t, "guest", id)
			must(t)(Update(t.Context(), store, id, allow("guest", "other")))
			want(t, "guest", id)
			must(t)(Update(t.Context(), store, id, allow()))
			want(t, "guest", id)
			want(t, "other")
			mustJoin(t, store, id, "guest")
			if err := Leave(t.Context(), store, id, "guest"); err != nil {
				t.Fatal(err)
			}
			want(t, "guest")
			must(t)(Update(t.Context(), store, id, allow("guest")))
			mustJoin(t, store, id, "guest")
			if err := Leave(t.Context(), store, id, "guest"); err != nil { // still allowed
				t.Fatal(err)
			}
			want(t, "guest", id)
			must(t)(Update(t.Context(), store, id, allow()))
			want(t, "guest")
			wantIDs(t, store, &session.Query{All: true, Filter: parse(t, `allowedUsers:"stays"`)})
		}
		must(t)((&Creation{ID: "old", Spec: private}).Create(t.Context(), store))
		must(t)((&Creation{ID: "older", Spec: private}).Create(t.Context(), store))
		mustJoin(t, store, "older", "stays")
		check(t, "old")
		fill := func(prefix string) {
			errs := inParallel(600, func(i int) error {
				_, err := (&Creation{ID: prefix + strconv.Itoa(i), Spec: private}).Create(t.Context(), store)
				return err
			})
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
		}
		fill("x") // so that the first are recent no longer
		want(t, "stays", "older")
		check(t, "old")
		must(t)((&Creation{ID: "new", Spec: private}).Create(t.Context(), store))
		check(t, "new")
		if err := End(t.Context(), store, "older"); err != nil {
			t.Fatal(err)
		}
		want(t, "stays")
	}
}

func mustJoin(t *testing.T, store session.Store, id, user string, channels ...int32) *session.Member {
	t.Helper()
	member, err := Join(t.Context(), store, id, user, channels...)
	if err != nil {
		t.Fatal(err)
	}
	return member
}

// wantMember checks the membership that a reader and a writer see.
func wantMember(t *testing.T, store session.Store, id, user string, want *session.Member) {
	t.Helper()
	_, got, err := store.Get(t.Context(), id, user)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s in %s (-want +got):\n%s", user, id, diff)
	}
	wantSeen(t, store, id, []string{user}, want)
}

// wantSeen checks what a write sees of the users' memberships.
func wantSeen(t *testing.T, store session.Store, id string, users []string, want ...*session.Member) {
	t.Helper()
	var got []*session.Member
	err := store.Write(t.Context(), &session.Write{ID: id, Users: users, Decide: func(v *session.View) (session.Change, error) {
		got = v.Members
		return session.Change{}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("a write sees %v in %s as (-want +got):\n%s", users, id, diff)
	}
}

func wantMembers(t *testing.T, store session.Store, q *session.MemberQuery, want ...*session.Member) {
	t.Helper()
	query := *q
	query.Size = 100
	if diff := cmp.Diff(want, allMembers(t, store, &query), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}

// allMembers follows the pages from the first to the last.
func allMembers(t *testing.T, store session.Store, q *session.MemberQuery) (all []*session.Member) {
	t.Helper()
	query := *q
	for {
		page, err := store.Members(t.Context(), &query)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Members) > query.Size {
			t.Fatalf("a page has %d members, more than %d", len(page.Members), query.Size)
		}
		all = append(all, page.Members...)
		if page.Next == 0 {
			return all
		}
		if page.Next == query.After {
			t.Fatalf("the pages stand still at %v", page.Next)
		}
		query.After = page.Next
	}
}
