package storetest

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/session"
)

// Created returns how many sessions a decision sees of a creator.
func Created(t *testing.T, store session.Store, creator string) (n int) {
	t.Helper()
	err := store.Write(t.Context(), &session.Write{Creator: creator, Decide: func(v *session.View) (session.Change, error) {
		n = v.Created
		return session.Change{}, nil
	}})
	if err != nil {
		t.Error(err)
	}
	return n
}

// wantCreatedAt checks what a decision about an id sees.
func wantCreatedAt(t *testing.T, store session.Store, id, creator string, want int) {
	t.Helper()
	err := store.Write(t.Context(), &session.Write{ID: id, Creator: creator, Decide: func(v *session.View) (session.Change, error) {
		if v.Created != want {
			t.Errorf("at %q, %d sessions of %q exist, want %d", id, v.Created, creator, want)
		}
		return session.Change{}, nil
	}})
	if err != nil {
		t.Error(err)
	}
}

func wantCreated(t *testing.T, store session.Store, creator string, want int) {
	t.Helper()
	if got := Created(t, store, creator); got != want {
		t.Errorf("%d sessions of %q exist, want %d", got, creator, want)
	}
}

func testCreators(t *testing.T, open Opener) {
	t.Run("creates and deletes", func(t *testing.T) {
		store, _ := openFresh(t, open)
		wantCreated(t, store, "user-1", 0)
		for i, creator := range []string{"user-1", "user-1", "user-2", `üser "3"`, "user-1"} {
			must(t)((&Creation{ID: strconv.Itoa(i), Spec: publicSpec("user-9"), Creator: creator}).Create(t.Context(), store))
		}
		for creator, want := range map[string]int{"user-1": 3, "user-2": 1, `üser "3"`: 1, "user-9": 0, "user": 0} {
			wantCreated(t, store, creator, want)
		}
		must(t)(Update(t.Context(), store, "0", func(s *session.Spec) { s.Owners = []string{"user-2"} }))
		wantCreated(t, store, "user-1", 3)
		for i, id := range []string{"0", "4", "1"} {
			if err := End(t.Context(), store, id); err != nil {
				t.Fatal(err)
			}
			wantCreated(t, store, "user-1", 2-i)
		}
		wantCreated(t, store, "user-2", 1)
	})
	t.Run("creates from before the first question", func(t *testing.T) {
		store, _ := openFresh(t, open)
		for i := range 5 {
			must(t)((&Creation{ID: strconv.Itoa(i), Spec: publicSpec("user-1"), Creator: "user-1"}).Create(t.Context(), store))
		}
		if err := End(t.Context(), store, "0"); err != nil {
			t.Fatal(err)
		}
		wantCreated(t, store, "user-1", 4)
	})
	t.Run("not what was refused", func(t *testing.T) {
		store, _ := openFresh(t, open)
		create := Creation{ID: "s", Spec: publicSpec("user-1"), Creator: "user-1", Quota: 100}
		must(t)(create.Create(t.Context(), store))
		if _, err := create.Create(t.Context(), store); !errors.Is(err, errTaken) {
			t.Errorf("Create = %v, want %v", err, errTaken)
		}
		err := store.Write(t.Context(), &session.Write{ID: "s", Creator: "user-1", Decide: func(v *session.View) (session.Change, error) {
			return ending(v, session.Digest{}), errMissing
		}})
		if !errors.Is(err, errMissing) {
			t.Errorf("Write = %v, want %v", err, errMissing)
		}
		wantCreated(t, store, "user-1", 1)
	})
	t.Run("a quota under concurrency", testQuota(open))
	t.Run("expiry", func(t *testing.T) {
		store, clock := openFresh(t, open)
		for i := range 3 {
			create := Creation{ID: strconv.Itoa(i), Spec: publicSpec("user-1"), Creator: "user-1", Lifetime: time.Duration(i) * time.Minute}
			must(t)(create.Create(t.Context(), store))
		}
		wantCreated(t, store, "user-1", 3)
		clock.Advance(time.Minute + time.Second)
		must(t)((&Creation{ID: "1", Spec: publicSpec("user-2"), Creator: "user-2"}).Create(t.Context(), store))
		wantCreated(t, store, "user-1", 2)
		wantCreated(t, store, "user-2", 1)
		clock.Advance(time.Minute)
		eventually(t, "a session that has expired counts no more", func() bool { return Created(t, store, "user-1") == 1 })
	})
	t.Run("one that has expired makes room for the one that takes its place", func(t *testing.T) {
		store, clock := openFresh(t, open)
		for round := range 3 { // each time it is full, and counts until the moment that its place is taken
			create := Creation{ID: "s", Spec: publicSpec("user-1"), Creator: "user-1", Quota: 1, Lifetime: time.Minute}
			if _, err := create.Create(t.Context(), store); err != nil {
				t.Fatalf("round %d: Create = %v", round, err)
			}
			clock.Advance(time.Hour)
		}
		must(t)((&Creation{ID: "s", Spec: publicSpec("user-2"), Creator: "user-2", Lifetime: time.Minute}).Create(t.Context(), store))
		clock.Advance(time.Hour)
		wantCreatedAt(t, store, "s", "user-1", 0) // another's makes no room
	})
	t.Run("at random, across restarts", testCreatorsAtRandom(open))
}

// testQuota has many creates of few users come at the same time: no more succeed than there may be.
func testQuota(open Opener) func(t *testing.T) {
	return func(t *testing.T) {
		const users, quota, tries = 3, 20, 150
		store, _ := openFresh(t, open)
		created := make([]int, users)
		errs := inParallel(tries, func(i int) error {
			user := strconv.Itoa(i % users)
			_, err := (&Creation{Spec: publicSpec(user), Creator: user, Quota: quota}).Create(t.Context(), store)
			return err
		})
		for i, err := range errs {
			if err == nil {
				created[i%users]++
			} else if !errors.Is(err, errQuota) {
				t.Error(err)
			}
		}
		for user, n := range created {
			if n != quota {
				t.Errorf("%d creates of the user %d succeeded, want %d", n, user, quota)
			}
			wantCreated(t, store, strconv.Itoa(user), quota)
		}
	}
}

// testCreatorsAtRandom creates and ends many sessions of many users, while the store is opened several times. It asks in
// some of those runs only.
func testCreatorsAtRandom(open Opener) func(t *testing.T) {
	return func(t *testing.T) {
		const runs, rounds, creates, ends = 5, 5, 100, 40
		options, random := Options{Dir: t.TempDir(), Now: NewClock().Now}, rand.New(rand.NewPCG(5, 6))
		creators, want := make(map[string]string), make(map[string]int)
		for run := range runs {
			asks := run%2 == 1 || run == runs-1
			t.Run("run "+strconv.Itoa(run), func(t *testing.T) {
				store := open(t, options)
				for round := range rounds {
					creations := make([]Creation, creates)
					for i := range creations {
						id, creator := strconv.Itoa((run*rounds+round)*creates+i), strconv.Itoa(random.IntN(1+random.IntN(97)))
						creations[i] = Creation{ID: id, Spec: publicSpec("user-1"), Creator: creator}
						if asks {
							creations[i].Quota = 1e6
						}
						creators[id] = creator
						want[creator]++
					}
					created := inParallel(creates, func(i int) error {
						_, err := creations[i].Create(t.Context(), store)
						return err
					})
					ids := slices.Sorted(maps.Keys(creators))
					random.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
					ended := inParallel(ends, func(i int) error { return End(t.Context(), store, ids[i]) })
					if err := errors.Join(append(created, ended...)...); err != nil {
						t.Fatal(err)
					}
					for _, id := range ids[:ends] {
						want[creators[id]]--
						delete(creators, id)
					}
				}
				if asks {
					wantAllCreated(t, store, want)
				}
			})
		}
	}
}

// wantAllCreated asks for each of the creators at the same time.
func wantAllCreated(t *testing.T, store session.Store, want map[string]int) {
	t.Helper()
	names, counts := slices.Sorted(maps.Keys(want)), make([]int, len(want))
	inParallel(len(names), func(i int) error {
		counts[i] = Created(t, store, names[i])
		return nil
	})
	got := make(map[string]int)
	for i, name := range names {
		got[name] = counts[i]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sessions by creator (-want +got):\n%s", diff)
	}
}
