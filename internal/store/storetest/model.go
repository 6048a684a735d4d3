package storetest

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/session"
)

// model is what a store should hold, by session id.
type model map[string]entry

type entry struct {
	record  *session.Record
	spec    *session.Spec
	members []string
}

func (m model) set(t *testing.T, r *session.Record) {
	t.Helper()
	spec, err := r.Spec()
	if err != nil {
		t.Fatal(err)
	}
	m[r.ID] = entry{r, spec, m[r.ID].members}
}

// list is what the query asks for, all of it, by the plain meaning of the rules.
func (m model) list(q *session.Query) []string {
	var found []*session.Record
	for _, e := range m {
		see := q.All || !q.Own && e.spec.Type == session.Public ||
			slices.Contains(e.spec.Owners, q.VisibleTo) || slices.Contains(e.spec.AllowedUsers, q.VisibleTo) ||
			slices.Contains(e.members, q.VisibleTo)
		if see && q.Filter.Match(e.record, e.spec) {
			found = append(found, e.record)
		}
	}
	slices.SortFunc(found, func(a, b *session.Record) int {
		if q.Order.Descending {
			a, b = b, a
		}
		byField := 0
		switch q.Order.By {
		case session.ByUpdateTime:
			byField = cmp.Compare(a.UpdateTime, b.UpdateTime)
		case session.ByDisplayName:
			byField = cmp.Compare(a.DisplayName, b.DisplayName)
		case session.ByCreateTime:
		}
		return cmp.Or(byField, cmp.Compare(a.CreateTime, b.CreateTime))
	})
	return ids(found)
}

func ids(records []*session.Record) []string {
	list := make([]string, 0, len(records))
	for _, r := range records {
		list = append(list, r.ID)
	}
	return list
}

// listAll follows a list from its beginning to its end.
func listAll(t *testing.T, store session.Store, q *session.Query) []*session.Record {
	t.Helper()
	records, err := pages(t.Context(), store, q)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func pages(ctx context.Context, store session.Store, q *session.Query) (all []*session.Record, err error) {
	query := *q
	for {
		page, err := store.List(ctx, &query)
		if err != nil {
			return nil, err
		}
		if len(page.Records) > query.Size {
			return nil, fmt.Errorf("a page has %d sessions, more than %d", len(page.Records), query.Size)
		}
		all = append(all, page.Records...)
		if page.Next == nil {
			return all, nil
		}
		if query.After != nil && *query.After == *page.Next {
			return nil, fmt.Errorf("the list stands still at %v", page.Next)
		}
		query.After = page.Next
	}
}

// wantIDs checks the whole list of a small store.
func wantIDs(t *testing.T, store session.Store, q *session.Query, want ...string) {
	t.Helper()
	query := *q
	query.Size = 1000
	if diff := gocmp.Diff(append([]string{}, want...), ids(listAll(t, store, &query))); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
}

// wantList checks a list against the model.
func (m model) wantList(t *testing.T, store session.Store, q *session.Query, filter string) {
	t.Helper()
	want, got := m.list(q), ids(listAll(t, store, q))
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("list of filter %q, order %+v, user %q, all %v, in pages of %d: %d sessions, want %d (-want +got):\n%s",
			filter, q.Order, q.VisibleTo, q.All, q.Size, len(got), len(want), diff)
	}
}

// The words that random sessions and filters are made of: few, so that they meet.
var (
	someUsers  = []string{"user-1", "user-2", "user-3", "üser 4", `us"er\5`, "7"}
	someNames  = []string{"", "Desk", "Desk 2", "desk", "Ärzte", "日本", "a%_", "Zz"}
	someTexts  = []string{"", "alpha", "alphabet", "Beta", `qu"ote\`, "ünder"}
	someLabels = []string{"tenant", "floor", "a_b", "x-1"}
)

func pick[T any](random *rand.Rand, from []T) T { return from[random.IntN(len(from))] }

// some is up to n of the words, each once.
func some(random *rand.Rand, from []string, n int) []string {
	list := slices.Clone(from)
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:random.IntN(n+1)]
}

func randomSpec(random *rand.Rand) session.Spec {
	spec := session.Spec{
		Profile:         pick(random, someTexts),
		DisplayName:     pick(random, someNames),
		Type:            pick(random, []session.Type{session.Public, session.Private, session.Private, session.Temporary}),
		Owners:          append(some(random, someUsers[1:], 2), someUsers[0])[:1],
		DefaultChannels: []int32{1},
		Description:     pick(random, someTexts),
		AllowedUsers:    some(random, someUsers, 2),
	}
	if random.IntN(2) == 0 {
		spec.Labels = make(map[string]string)
		for _, key := range some(random, someLabels, 3) {
			spec.Labels[key] = pick(random, someTexts)
		}
	}
	return spec
}

// randomFilter writes a filter of at most so many levels; times are those of the sessions in the model.
func randomFilter(random *rand.Rand, times []session.Time, levels int) string {
	if levels > 0 {
		switch random.IntN(4) {
		case 0:
			return "(" + randomFilter(random, times, levels-1) + " AND " + randomFilter(random, times, levels-1) + ")"
		case 1:
			return "(" + randomFilter(random, times, levels-1) + " OR " + randomFilter(random, times, levels-1) + ")"
		case 2:
			return "NOT (" + randomFilter(random, times, levels-1) + ")"
		}
	}
	return randomComparison(random, times)
}

func randomComparison(random *rand.Rand, times []session.Time) string {
	compare := func() string { return pick(random, []string{" = ", " != ", " < ", " <= ", " > ", " >= ", ":"}) }
	order := func() string { return pick(random, []string{" = ", " != ", " < ", " <= ", " > ", " >= "}) }
	switch random.IntN(9) {
	case 0:
		return "owners:" + quoted(pick(random, someUsers))
	case 1:
		return "allowedUsers:" + quoted(pick(random, someUsers))
	case 2:
		return "displayName" + compare() + quoted(pick(random, someNames))
	case 3:
		return pick(random, []string{"profile", "description"}) + compare() + quoted(pick(random, someTexts))
	case 4:
		field := pick(random, []string{"displayName", "profile", "description", "creator", "labels.tenant"})
		return field + " = " + quoted(pick(random, []string{"D", "alpha", "Ä", "ü", ""})+"*")
	case 5:
		return "sessionType" + order() + strconv.Itoa(1+random.IntN(3))
	case 6:
		return "labels." + pick(random, []string{"tenant", "floor", "a_b"}) + compare() + quoted(pick(random, someTexts))
	case 7:
		return pick(random, []string{"labels:tenant", "labels.floor:*", "expireTime:*", `creator = "user-1"`})
	default:
		field := pick(random, []string{"createTime", "updateTime", "expireTime"})
		return field + order() + quoted(pick(random, times).String())
	}
}

func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}
