package storetest

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/session"
)

// manySessions is more than an engine is likely to keep in one piece of an index, with some to spare.
const manySessions = 1400

var allOrders = []session.Order{
	{By: session.ByCreateTime},
	{By: session.ByCreateTime, Descending: true},
	{By: session.ByUpdateTime},
	{By: session.ByUpdateTime, Descending: true},
	{By: session.ByDisplayName},
	{By: session.ByDisplayName, Descending: true},
}

// library is a store with many random sessions, and the model of it.
type library struct {
	session.Store
	model

	random *rand.Rand
	made   int
}

func newLibrary(t *testing.T, open Opener) *library {
	t.Helper()
	store, _ := openFresh(t, open)
	l := &library{Store: store, model: make(model), random: rand.New(rand.NewPCG(1, 2))}
	l.grow(t, manySessions)
	return l
}

// grow creates sessions, many at a time.
func (l *library) grow(t *testing.T, n int) {
	t.Helper()
	from := l.made
	l.made += n
	creations := make([]Creation, n)
	for i := range creations {
		creations[i] = Creation{ID: "s-" + strconv.Itoa(from+i), Spec: randomSpec(l.random), Creator: pick(l.random, someUsers)}
		if l.random.IntN(4) == 0 {
			creations[i].Lifetime = time.Hour
		}
	}
	records := make([]*session.Record, n)
	for first := 0; first < n; first += 250 {
		piece := creations[first:min(first+250, n)]
		errs := inParallel(len(piece), func(i int) (err error) {
			records[first+i], err = piece[i].Create(t.Context(), l.Store)
			return err
		})
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range records {
		l.set(t, r)
	}
}

// stir has users join and leave, and updates and ends sessions, old and recent ones.
func (l *library) stir(t *testing.T, updates, ends int) {
	t.Helper()
	names := slices.Sorted(maps.Keys(l.model))
	l.mix(t, names[len(names)-updates:])
	l.random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	l.mix(t, names[:updates/2])
	for _, id := range names[:updates] {
		l.set(t, must(t)(Update(t.Context(), l.Store, id, func(s *session.Spec) { *s = randomSpec(l.random) })))
	}
	for _, id := range names[updates/2 : updates/2+ends] { // some that were updated, some that were not
		if err := End(t.Context(), l.Store, id); err != nil {
			t.Fatal(err)
		}
		delete(l.model, id)
	}
}

// mix has users join some sessions, and leave some that they are in.
func (l *library) mix(t *testing.T, names []string) {
	t.Helper()
	for _, id := range names {
		user, e := pick(l.random, someUsers), l.model[id]
		if i := slices.Index(e.members, user); i >= 0 {
			e.members = slices.Delete(e.members, i, i+1)
			if err := Leave(t.Context(), l.Store, id, user); err != nil {
				t.Fatal(err)
			}
		} else {
			e.members = append(e.members, user)
			mustJoin(t, l.Store, id, user)
		}
		l.model[id] = e
	}
}

func (l *library) times() []session.Time {
	var times []session.Time
	for _, e := range l.model {
		times = append(times, e.record.CreateTime, e.record.UpdateTime)
		if e.record.ExpireTime != 0 {
			times = append(times, e.record.ExpireTime)
		}
	}
	slices.Sort(times)
	return times
}

func testList(t *testing.T, open Opener) {
	t.Run("an empty store", func(t *testing.T) {
		store, _ := openFresh(t, open)
		for _, order := range allOrders {
			for _, q := range []session.Query{{All: true}, {VisibleTo: "user-1"}} {
				q.Order = order
				wantIDs(t, store, &q)
			}
		}
	})
	t.Run("visibility", testVisibility(open))
	t.Run("many sessions", func(t *testing.T) {
		l := newLibrary(t, open)
		for _, order := range allOrders {
			l.wantList(t, l.Store, &session.Query{VisibleTo: "stranger", Order: order, Size: 7}, "")
		}
		l.checkFilters(t)
		l.checkRandom(t, 8)
		l.stir(t, 200, 150)
		l.checkOrders(t)
		l.checkRandom(t, 8)
		l.grow(t, 300)
		l.stir(t, 100, 50)
		l.checkOrders(t)
	})
}

func testVisibility(open Opener) func(*testing.T) {
	return func(t *testing.T) {
		store, _ := openFresh(t, open)
		spec := session.Spec{DisplayName: "n", Owners: []string{"owner"}, AllowedUsers: []string{"guest"}, BlockedUsers: []string{"blocked"}}
		for i, sessionType := range []session.Type{session.Public, session.Private, session.Temporary} {
			spec.Type = sessionType
			must(t)((&Creation{ID: []string{"public", "private", "temporary"}[i], Spec: spec, Creator: "creator"}).Create(t.Context(), store))
		}
		every := []string{"public", "private", "temporary"}
		check := func(t *testing.T) {
			t.Helper()
			for _, order := range []session.Order{{By: session.ByCreateTime}, {By: session.ByUpdateTime}, {By: session.ByDisplayName}} {
				for user, want := range map[string][]string{
					"owner": every, "guest": every, "stranger": every[:1], "blocked": every[:1], "creator": every[:1],
				} {
					wantIDs(t, store, &session.Query{VisibleTo: user, Order: order}, want...)
				}
				wantIDs(t, store, &session.Query{All: true, VisibleTo: "stranger", Order: order}, every...)
			}
			for user, want := range map[string][]string{"owner": every, "guest": every, "stranger": nil, "blocked": nil, "creator": nil} {
				wantIDs(t, store, &session.Query{VisibleTo: user, Own: true}, want...)
			}
		}
		check(t)
		if errs := inParallel(300, func(i int) error { // whatever is done to recent sessions is done to old ones too
			_, err := (&Creation{ID: "x" + strconv.Itoa(i), Spec: session.Spec{Type: session.Private, Owners: []string{"x"}}}).Create(t.Context(), store)
			return err
		}); errors.Join(errs...) != nil {
			t.Fatal(errors.Join(errs...))
		}
		for user, want := range map[string][]string{"owner": every, "guest": every, "stranger": every[:1], "creator": every[:1]} {
			wantIDs(t, store, &session.Query{VisibleTo: user}, want...)
		}
		for user, want := range map[string][]string{"owner": every, "guest": every, "stranger": nil, "creator": nil} {
			wantIDs(t, store, &session.Query{VisibleTo: user, Own: true}, want...)
		}
	}
}

// checkOrders reads every order.
func (l *library) checkOrders(t *testing.T) {
	t.Helper()
	for _, order := range allOrders {
		l.wantList(t, l.Store, &session.Query{VisibleTo: "user-2", Order: order, Size: 100}, "")
	}
	for _, descending := range []bool{false, true} {
		l.wantList(t, l.Store, &session.Query{VisibleTo: "user-2", Own: true, Order: session.Order{Descending: descending}, Size: 100}, "")
	}
}

// checkFilters reads by filters that an engine may serve in a way of their own.
func (l *library) checkFilters(t *testing.T) {
	t.Helper()
	for _, text := range []string{
		`owners:"user-1"`, `owners:"nobody"`, `owners:""`, `allowedUsers:"user-2"`, `owners:"user-2" AND sessionType = 1`,
		`owners:"user-1" OR owners:"user-2"`, `NOT owners:"user-1"`, `owners:"user-2" allowedUsers:"user-3"`,
		`-owners:"user-2"`, `displayName = ""`, `sessionType = PRIVATE`, `sessionType >= 2`, `labels.tenant = "alpha"`,
		`labels.tenant != "alpha"`, `labels:floor`, `expireTime:*`, `NOT expireTime:*`, `displayName:*`, `owners:"7"`,
	} {
		filter := parse(t, text)
		user, order := pick(l.random, []string{"", "user-1", "user-2"}), pick(l.random, allOrders)
		l.wantList(t, l.Store, &session.Query{All: user == "", VisibleTo: user, Filter: filter, Order: order, Size: 500}, text)
	}
}

// checkRandom reads by random filters.
func (l *library) checkRandom(t *testing.T, n int) {
	t.Helper()
	times := l.times()
	for range n {
		text := randomFilter(l.random, times, 3)
		q := &session.Query{
			All:       l.random.IntN(3) == 0,
			VisibleTo: pick(l.random, append([]string{"stranger"}, someUsers...)),
			Filter:    parse(t, text),
			Order:     pick(l.random, allOrders),
			Size:      pick(l.random, []int{50, 300, 1000}),
		}
		l.wantList(t, l.Store, q, text)
	}
}

func parse(t *testing.T, text string) *session.Filter {
	t.Helper()
	filter, err := session.ParseFilter(text)
	if err != nil {
		t.Fatalf("ParseFilter(%s): %v", text, err)
	}
	return filter
}

// testListWhileWriting reads lists while other sessions come and go: each session that stays is there once.
func testListWhileWriting(t *testing.T, open Opener) {
	store, _ := openFresh(t, open)
	const stay = 200
	if _, errs := createMany(t, store, stay); errors.Join(errs...) != nil {
		t.Fatal(errors.Join(errs...))
	}
	done := make(chan struct{})
	var writers sync.WaitGroup
	for writer := range 4 {
		writers.Go(func() { comeAndGo(t, store, writer) })
	}
	go func() {
		writers.Wait()
		close(done)
	}()
	for round := 0; ; round++ {
		order := allOrders[round%len(allOrders)]
		for _, q := range []*session.Query{{All: true}, {VisibleTo: "user-1"}} {
			q.Order, q.Size = order, 7+round%40
			wantOnce(t, listAll(t, store, q), stay, q)
		}
		select {
		case <-done:
			if round >= len(allOrders) {
				return
			}
		default:
		}
	}
}

// comeAndGo creates sessions, and ends most of them at once.
func comeAndGo(t *testing.T, store session.Store, writer int) {
	for i := range 120 {
		id := "w-" + strconv.Itoa(writer) + "-" + strconv.Itoa(i)
		if _, err := (&Creation{ID: id, Spec: publicSpec("user-1")}).Create(t.Context(), store); err != nil {
			t.Errorf("create beside lists: %v", err)
			return
		}
		if i%3 == 0 {
			continue
		}
		if err := End(t.Context(), store, id); err != nil {
			t.Errorf("end beside lists: %v", err)
			return
		}
	}
}

func wantOnce(t *testing.T, records []*session.Record, stay int, q *session.Query) {
	t.Helper()
	count := make(map[string]int)
	for _, r := range records {
		if count[r.ID]++; count[r.ID] == 2 {
			t.Errorf("order %+v: %s was listed twice", q.Order, r.ID)
		}
	}
	for i := range stay {
		if id := "s-" + strconv.Itoa(i); count[id] == 0 {
			t.Errorf("order %+v: %s was not listed", q.Order, id)
		}
	}
}
