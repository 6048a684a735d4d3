package contract_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// query is the query string of the parameters, which come in pairs.
func query(parameters ...string) string {
	values := url.Values{}
	for pair := range slices.Chunk(parameters, 2) {
		values.Add(pair[0], pair[1])
	}
	return "?" + values.Encode()
}

// list asks for one page as the user, and returns the displayNames and the token of the next.
func list(t *testing.T, user string, parameters ...string) (names []string, next string) {
	t.Helper()
	page := do(t, http.MethodGet, sessions+query(parameters...), nil, as(user)).ok(t)
	for _, item := range page["sessions"].([]any) {
		names = append(names, item.(object)["displayName"].(string))
	}
	return names, page["nextPageToken"].(string)
}

// listAll follows the pages, which may be short (AIP-158), to the end.
func listAll(t *testing.T, user string, parameters ...string) (names []string) {
	t.Helper()
	page, next := list(t, user, parameters...)
	for names = page; next != ""; names = append(names, page...) {
		page, next = list(t, user, append(slices.Clone(parameters), "pageToken", next)...)
	}
	return names
}

// fill makes private sessions of a fresh user, with the displayNames.
func fill(t *testing.T, names ...string) (user string, ids []string) {
	t.Helper()
	user = newID()
	for _, name := range names {
		id, _ := create(t, object{"owners": []any{user}, "sessionType": 2, "displayName": name})
		ids = append(ids, id)
	}
	return user, ids
}

// mine is the filter that leaves only what the user owns: PUBLIC sessions are everyone's.
func mine(user string) string { return fmt.Sprintf("owners:%q", user) }

func TestListIsEmptyForAUserWithoutSessions(t *testing.T) {
	page := do(t, http.MethodGet, sessions+query("filter", mine(newID())), nil).ok(t)
	if diff := cmp.Diff(object{"sessions": []any{}, "nextPageToken": ""}, page); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
}

func TestListOrders(t *testing.T) {
	user, ids := fill(t, "b", "a", "c")
	patch(t, ids[1], "", object{"description": "touched"}).ok(t)
	for order, want := range map[string][]string{
		"":                  {"c", "a", "b"},
		"createTime":        {"b", "a", "c"},
		"create_time":       {"b", "a", "c"},
		"createTime asc":    {"b", "a", "c"},
		"create_time desc":  {"c", "a", "b"},
		"updateTime":        {"b", "c", "a"},
		"update_time desc":  {"a", "c", "b"},
		"displayName":       {"a", "b", "c"},
		"display_name desc": {"c", "b", "a"},
	} {
		t.Run(order, func(t *testing.T) {
			if diff := cmp.Diff(want, listAll(t, user, "orderBy", order, "filter", mine(user))); diff != "" {
				t.Errorf("displayNames (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPagesHoldEverySessionOnce(t *testing.T) {
	names := []string{"a", "b", "b", "b", "c", "d", "e"}
	user, _ := fill(t, names...)
	for _, order := range []string{"createTime", "updateTime", "displayName"} {
		for _, size := range []string{"1", "2", "3", "7", "100"} {
			t.Run(order+" by "+size, func(t *testing.T) {
				if diff := cmp.Diff(names, listAll(t, user, "orderBy", order, "pageSize", size, "filter", mine(user))); diff != "" {
					t.Errorf("displayNames (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestWhatIsMadeWhilePagingHidesNothingOlder(t *testing.T) {
	user, _ := fill(t, "1", "2", "3", "4")
	filter := mine(user)
	first, next := list(t, user, "filter", filter, "pageSize", "2")
	create(t, object{"owners": []any{user}, "sessionType": 2, "displayName": "late"})
	rest := listAll(t, user, "filter", filter, "pageSize", "10", "pageToken", next)
	if diff := cmp.Diff([]string{"4", "3", "2", "1"}, append(first, rest...)); diff != "" {
		t.Errorf("displayNames (-want +got):\n%s", diff)
	}
}

func TestAPageTokenIsBoundToItsList(t *testing.T) {
	user, _ := fill(t, "1", "2", "3")
	filter := mine(user)
	_, token := list(t, user, "filter", filter, "pageSize", "1")
	if token == "" || strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:~-") != "" {
		t.Fatalf("nextPageToken = %q, want one of the characters that tokens use", token)
	}
	for name, test := range map[string]struct {
		user       string
		parameters []string
	}{
		"another filter":    {user, []string{"filter", mine("x"), "pageToken", token}},
		"no filter":         {user, []string{"pageToken", token}},
		"another order":     {user, []string{"filter", filter, "orderBy", "createTime", "pageToken", token}},
		"another caller":    {newID(), []string{"filter", filter, "pageToken", token}},
		"the operator":      {"", []string{"filter", filter, "pageToken", token}},
		"a changed one":     {user, []string{"filter", filter, "pageToken", "A" + token[1:] + "A"}},
		"a cut one":         {user, []string{"filter", filter, "pageToken", token[:len(token)-1]}},
		"an invented one":   {user, []string{"filter", filter, "pageToken", "x"}},
		"a long one":        {user, []string{"filter", filter, "pageToken", strings.Repeat("A", 5000)}},
		"one with trailing": {user, []string{"filter", filter, "pageToken", token + "\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			do(t, http.MethodGet, sessions+query(test.parameters...), nil, as(test.user)).invalid(t, "pageToken")
		})
	}
}

func TestPageSizeMayChangeBetweenPages(t *testing.T) {
	user, _ := fill(t, "1", "2", "3")
	_, token := list(t, user, "filter", mine(user), "pageSize", "1", "orderBy", "create_time desc")
	rest := listAll(t, user, "filter", mine(user), "pageSize", "50", "pageToken", token) // the default order is the same list
	if diff := cmp.Diff([]string{"2", "1"}, rest); diff != "" {
		t.Errorf("displayNames (-want +got):\n%s", diff)
	}
}

func TestPageSizes(t *testing.T) {
	names := make([]string, 51)
	for i := range names {
		names[i] = fmt.Sprintf("%02d", i)
	}
	user, _ := fill(t, names...)
	for size, want := range map[string]int{"": 50, "0": 50, "51": 51, "1001": 51, "2147483647": 51} {
		t.Run(size, func(t *testing.T) {
			if got, _ := list(t, user, "filter", mine(user), "pageSize", size); len(got) != want {
				t.Errorf("sessions = %d, want %d", len(got), want)
			}
		})
	}
}

func TestListRefusesBadParameters(t *testing.T) {
	for name, test := range map[string]struct{ parameter, value string }{
		"negative size":              {"pageSize", "-1"},
		"size beyond int32":          {"pageSize", "2147483648"},
		"size that is no number":     {"pageSize", "ten"},
		"size with a fraction":       {"pageSize", "1.5"},
		"unknown order":              {"orderBy", "owners"},
		"two orders":                 {"orderBy", "createTime, displayName"},
		"order with a wrong word":    {"orderBy", "createTime down"},
		"filter that is unfinished":  {"filter", "profile ="},
		"filter on an unknown field": {"filter", `colour = "red"`},
		"filter on the secretKey":    {"filter", `secretKey = "x"`},
		"filter on options":          {"filter", `options.ttl = "x"`},
		"filter with a function":     {"filter", `now() > createTime`},
		"filter with a star inside":  {"filter", `displayName = "a*b"`},
		"filter with a bad time":     {"filter", `createTime > "yesterday"`},
		"filter of 4097 bytes":       {"filter", `profile = "` + strings.Repeat("x", 4085) + `"`},
		"filter 33 levels deep":      {"filter", strings.Repeat("(", 33) + `profile = "x"` + strings.Repeat(")", 33)},
		"filter of 65 comparisons":   {"filter", strings.Repeat(`profile = "x" AND `, 64) + `profile = "x"`},
		"filter on an unknown type":  {"filter", `sessionType = SECRET`},
		"owners compared":            {"filter", `owners = "a"`},
		"filter of invalid UTF-8":    {"filter", "profile = \"\xff\""},
		"filter with NUL":            {"filter", "profile = \"\x00\""},
	} {
		t.Run(name, func(t *testing.T) {
			do(t, http.MethodGet, sessions+query(test.parameter, test.value), nil).invalid(t, test.parameter)
		})
	}
}

func TestListReportsEveryViolation(t *testing.T) {
	do(t, http.MethodGet, sessions+query("pageSize", "-1", "filter", "x", "orderBy", "y"), nil).
		invalid(t, "pageSize", "filter", "orderBy")
}
