package contract_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFilters(t *testing.T) {
	user, friend := newID(), newID()
	for _, change := range []object{
		{"displayName": "one", "profile": "alpha", "sessionType": 2, "labels": object{"tenant": "t1", "tier": ""}},
		{"displayName": "two", "profile": "alphabet", "sessionType": 3, "description": "Second", "allowedUsers": []any{friend}},
		{"displayName": "three", "profile": "beta", "sessionType": 1, "labels": object{"tenant": "t2"}, "options": object{"ttl": "3600s"}},
	} {
		create(t, change, object{"owners": []any{user}})
	}
	for filter, want := range map[string][]string{
		``:                                          {"one", "two", "three"},
		`profile = "alpha"`:                         {"one"},
		`profile = "alpha*"`:                        {"one", "two"},
		`profile : "alpha*"`:                        {"one", "two"},
		`profile != "alpha"`:                        {"two", "three"},
		`NOT profile = "alpha*"`:                    {"three"},
		`-profile = "alpha*"`:                       {"three"},
		`profile > "alpha"`:                         {"two", "three"},
		`profile <= "alpha"`:                        {"one"},
		`displayName = "two"`:                       {"two"},
		`display_name = "t*"`:                       {"two", "three"},
		`sessionType = 1`:                           {"three"},
		`session_type = PRIVATE`:                    {"one"},
		`sessionType = "TEMPORARY"`:                 {"two"},
		`sessionType = SESSION_TYPE_PRIVATE`:        {"one"},
		`allowedUsers:"` + friend + `"`:             {"two"},
		`allowed_users:"` + friend + `"`:            {"two"},
		`owners:"nobody"`:                           nil,
		`creator = "operator"`:                      {"one", "two", "three"},
		`labels.tenant = "t1"`:                      {"one"},
		`labels.tenant:*`:                           {"one", "three"},
		`labels:tenant`:                             {"one", "three"},
		`labels.tenant = "t*"`:                      {"one", "three"},
		`labels.tier = ""`:                          {"one"},
		`labels.tenant != "t1"`:                     {"two", "three"},
		`description = "Second"`:                    {"two"},
		`description = ""`:                          {"one", "three"},
		`createTime > "2000-01-01T00:00:00Z"`:       {"one", "two", "three"},
		`create_time < "2000-01-01T00:00:00Z"`:      nil,
		`updateTime >= "2000-01-01T00:00:00+02:00"`: {"one", "two", "three"},
		`expireTime:*`:                              {"two", "three"},
		`NOT expireTime:*`:                          {"one"},
		`expire_time > "2000-01-01T00:00:00Z"`:      {"two", "three"},
		`profile = "beta" OR displayName = "one"`:   {"one", "three"},
		`profile = "alpha*" AND sessionType = 3`:    {"two"},
		`profile = "alpha*" sessionType = 3`:        {"two"},
		// OR binds more tightly than AND (AIP-160).
		`sessionType = 1 AND profile = "beta" OR profile = "alpha"`:   {"three"},
		`(sessionType = 1 AND profile = "beta") OR profile = "alpha"`: {"one", "three"},
	} {
		t.Run(filter, func(t *testing.T) {
			whole := mine(user)
			if filter != "" {
				whole = fmt.Sprintf("%s AND (%s)", whole, filter)
			}
			got := listAll(t, user, "orderBy", "createTime", "filter", whole)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("displayNames (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAFilterIsNoWayAroundTheRights(t *testing.T) {
	user, ids := fill(t, "secret")
	for name, filter := range map[string]string{
		"by owner": mine(user), "by name": `displayName = "secret"`, "by anything": `profile = "*" OR NOT profile = "x"`,
	} {
		t.Run(name, func(t *testing.T) {
			if slices.Contains(listAll(t, newID(), "filter", filter, "pageSize", "1000"), "secret") {
				t.Errorf("a stranger sees %s", ids[0])
			}
		})
	}
}
