package session

import (
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/fault"
)

func TestFilterMatchMessage(t *testing.T) {
	const created Time = 1_767_225_600_000_000 // 2026-01-01T00:00:00Z
	event := &Event{Kind: MessagePublished, Channel: 4, Actor: "user-1", Time: created}
	for text, want := range map[string]bool{
		"":                                      true,
		`channel = 4`:                           true,
		`channel:4`:                             true,
		`channel != 4`:                          false,
		`channel > 3`:                           true,
		`channel >= 5`:                          false,
		`channel > 0`:                           true,
		`channel = (1 OR 4)`:                    true,
		`channel:*`:                             true,
		`sender = "user-1"`:                     true,
		`sender:"user-*"`:                       true,
		`sender = "other*"`:                     false,
		`sender > "user-0"`:                     true,
		`sender < "user-0"`:                     false,
		`sender != "user-2"`:                    true,
		`NOT sender = "user-1"`:                 false,
		`-channel = 5 channel=4`:                true,
		`channel = 5 OR sender:*`:               true,
		`create_time >= "2026-01-01T00:00:00Z"`: true,
		`createTime > "2026-01-01T00:00:00Z"`:   false,
		`createTime < timestamp("2026-01-01T01:00:00+00:00") AND channel = (4)`: true,
	} {
		filter, err := parseFilter(messageFilters, text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := filter.MatchMessage(event); got != want {
			t.Errorf("%s = %t, want %t", text, got, want)
		}
		again, err := parseFilter(messageFilters, filter.Canonical())
		if err != nil || again.Canonical() != filter.Canonical() {
			t.Errorf("%s is %s, which is %s, %v", text, filter.Canonical(), again.Canonical(), err)
		}
	}
}

func TestFilterMatchMember(t *testing.T) {
	for text, want := range map[string][4]bool{ // of an owner and a member who are online, and of two who are not
		"":                                {true, true, true, true},
		`role = "owner"`:                  {true, false, true, false},
		`role:member`:                     {false, true, false, true},
		`role != owner`:                   {false, true, false, true},
		`online = true`:                   {true, true, false, false},
		`online:false`:                    {false, false, true, true},
		`NOT online = true`:               {false, false, true, true},
		`role = owner AND online = false`: {false, false, true, false},
		`role = owner OR online = "true"`: {true, true, true, false},
		`role:*`:                          {true, true, true, true},
	} {
		filter, err := parseFilter(memberFilters, text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var got [4]bool
		for i := range got {
			got[i] = filter.MatchMember(MemberState{Role: []string{RoleOwner, RoleMember}[i%2], Online: i < 2})
		}
		if got != want {
			t.Errorf("%s = %v, want %v", text, got, want)
		}
		again, err := parseFilter(memberFilters, filter.Canonical())
		if err != nil || again.Canonical() != filter.Canonical() {
			t.Errorf("%s is %s, which is %s, %v", text, filter.Canonical(), again.Canonical(), err)
		}
	}
}

func TestEachKindOfFilterRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, test := range []struct {
		kind       *filterKind
		text, rule string
	}{
		{messageFilters, `profile = a`, "the fields are channel, sender and createTime"},
		{messageFilters, `sequence > 1`, "the fields are channel, sender and createTime"},
		{messageFilters, `updateTime > "2026-01-01T00:00:00Z"`, "the fields are channel, sender and createTime"},
		{messageFilters, `role = owner`, "must have a field here"},
		{messageFilters, `sender.a = b`, "must have no keys"},
		{messageFilters, `channel = a`, "must compare channel with an integer"},
		{messageFilters, `channel = -1`, "must compare channel with an integer"},
		{messageFilters, `channel = 2147483648`, "must compare channel with an integer"},
		{messageFilters, `channel = "4*"`, "must compare channel with an integer"},
		{messageFilters, `sender > "a*"`, "must have a * only after"},
		{messageFilters, `sender = timestamp("2026-01-01T00:00:00Z")`, "must have timestamp with createTime only"},
		{messageFilters, `createTime > 5`, "must compare times"},
		{messageFilters, `channel =`, "a filter is like channel"},
		{messageFilters, `hello`, "a filter is like channel"},
		{memberFilters, `user = "a"`, "the fields are role and online"},
		{memberFilters, `online`, "must compare a field here"},
		{memberFilters, `role = admin`, "must compare role"},
		{memberFilters, `role > member`, "must compare role"},
		{memberFilters, `role = "own*"`, "must compare role"},
		{memberFilters, `online = yes`, "must compare online"},
		{memberFilters, `online >= true`, "must compare online"},
		{memberFilters, `role = timestamp("2026-01-01T00:00:00Z")`, "must have no timestamp"},
		{sessionFilters, `channel = 1`, "must have a field here"},
		{sessionFilters, `online = true`, "must have a field here"},
	} {
		_, err := parseFilter(test.kind, test.text)
		violations := fault.From(err).Violations
		if len(violations) != 1 || violations[0].Field != "filter" || !strings.Contains(violations[0].Description, test.rule) {
			t.Errorf("%s: %v, want one that says %q", test.text, err, test.rule)
		}
	}
}
