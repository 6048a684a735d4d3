package session

import (
	"testing"
	"time"
)

// TestFilterMatch is the meaning of filters, on one session.
func TestFilterMatch(t *testing.T) {
	at := func(text string) Time {
		parsed, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return TimeOf(parsed)
	}
	record := &Record{
		Type: Private, Creator: "u1",
		CreateTime: at("2026-03-01T12:00:00.000001Z"), UpdateTime: at("2026-03-02T12:00:00Z"),
	}
	spec := &Spec{
		Profile: "assistant", DisplayName: "Front desk", Type: Private, Owners: []string{"u1", "u*"},
		Labels: map[string]string{"tenant": "t7", "empty": "", "a.b": "c*d"},
	}
	for text, want := range map[string]bool{
		"": true,

		`profile = assistant`:      true,
		`profile = Assistant`:      false, // case counts
		`profile = assist`:         false,
		`profile = "assist*"`:      true,
		`profile = "assistant*"`:   true,
		`profile = "assistants*"`:  false,
		`profile = "ASSIST*"`:      false,
		`profile != "assist*"`:     false,
		`profile > "assis"`:        true,
		`profile < "b"`:            true,
		`profile < "assistant"`:    false,
		`profile <= "assistant"`:   true,
		`profile >= "assistant"`:   true,
		`profile > "Z"`:            true, // bytes, not an alphabet
		`displayName:"Front"`:      false,
		`displayName = "Front d*"`: true,
		`description = ""`:         true,
		`description = "*"`:        true,
		`description:*`:            false,
		`profile:*`:                true,
		`creator = u1`:             true,

		`sessionType = PRIVATE`: true,
		`sessionType != 2`:      false,
		`sessionType > 1`:       true,
		`sessionType:*`:         true,

		`owners:u1`:          true,
		`owners:u`:           false,
		`owners:"u\x2a"`:     true,
		`owners:(u1 OR u9)`:  true,
		`owners:(u1 AND u9)`: false,
		`owners:*`:           true,
		`allowedUsers:*`:     false,
		`allowedUsers:u1`:    false,

		`labels.tenant = t7`:      true,
		`labels.tenant = "t*"`:    true,
		`labels.tenant < t8`:      true,
		`labels.tenant != t7`:     false,
		`labels.Tenant = t7`:      false,
		`labels."a.b" = "c\x2ad"`: true,
		`labels.empty = ""`:       true,
		`labels.empty:*`:          true,
		`labels:empty`:            true,
		`labels:*`:                true,

		// What is not there is equal to nothing, nor before or after it.
		`labels.none = ""`:                     false,
		`labels.none = "*"`:                    false,
		`labels.none < "z"`:                    false,
		`labels.none >= ""`:                    false,
		`labels.none != "y"`:                   true,
		`NOT labels.none = "y"`:                true,
		`labels.none:*`:                        false,
		`NOT labels:none`:                      true,
		`expireTime:*`:                         false,
		`expireTime < "2100-01-01T00:00:00Z"`:  false,
		`expireTime > "1969-01-01T00:00:00Z"`:  false,
		`expireTime = "1970-01-01T00:00:00Z"`:  false,
		`expireTime != "1970-01-01T00:00:00Z"`: true,
		`-expireTime < "2100-01-01T00:00:00Z"`: true,

		`createTime = "2026-03-01T12:00:00.000001Z"`:            true,
		`createTime:"2026-03-01T13:00:00.000001999+01:00"`:      true,
		`createTime > "2026-03-01T12:00:00Z"`:                   true,
		`createTime > "2026-03-01T12:00:00.000001Z"`:            false,
		`createTime >= "2026-03-01T12:00:00.000001Z"`:           true,
		`createTime < timestamp("2026-03-01T12:00:00.000002Z")`: true,
		`updateTime <= "2026-03-02T12:00:00Z"`:                  true,
		`updateTime:*`:                                          true,

		`profile = x AND profile = assistant OR creator = u1`: false, // OR binds more strongly
		`profile = x OR profile = assistant AND creator = u1`: true,
		`profile = assistant creator = u2`:                    false,
		`profile = assistant -creator = u2`:                   true,
		`NOT (profile = x OR creator = u1)`:                   false,
	} {
		filter, err := ParseFilter(text)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := filter.Match(record, spec); got != want {
			t.Errorf("%s matches: %v, want %v", text, got, want)
		}
	}
}

func TestRequiredUser(t *testing.T) {
	for text, want := range map[string]string{
		``:                                    "",
		`owners:u1`:                           "u1",
		`allowedUsers:u1`:                     "u1",
		`profile = a AND (owners:u1)`:         "u1",
		`profile = a (creator = b owners:u1)`: "u1",
		`NOT (NOT owners:u1)`:                 "u1",
		`owners:u1 AND allowedUsers:u2`:       "u1",
		`owners:*`:                            "",
		`NOT owners:u1`:                       "",
		`creator = u1`:                        "",
		`labels:u1`:                           "",
		`owners:u1 OR owners:u2`:              "",
		`owners:u1 OR profile = a`:            "",
		`profile = a AND (owners:u1 OR owners:u2)`: "",
	} {
		filter, err := ParseFilter(text)
		if err != nil {
			t.Error(err)
			continue
		}
		if got, ok := filter.RequiredUser(); got != want || ok != (want != "") {
			t.Errorf("%s requires %q, %v; want %q", text, got, ok, want)
		}
	}
}

func TestCreateTimeBounds(t *testing.T) {
	const (
		one = Time(1_767_225_600_000_000) // 2026-01-01
		two = Time(1_767_312_000_000_000) // 2026-01-02
	)
	for text, want := range map[string][2]Time{
		``:                                     {0, 0},
		`profile = a`:                          {0, 0},
		`createTime > "2026-01-01T00:00:00Z"`:  {one + 1, 0},
		`createTime >= "2026-01-01T00:00:00Z"`: {one, 0},
		`createTime < "2026-01-01T00:00:00Z"`:  {0, one},
		`createTime <= "2026-01-01T00:00:00Z"`: {0, one + 1},
		`createTime = "2026-01-01T00:00:00Z"`:  {one, one + 1},
		`createTime != "2026-01-01T00:00:00Z"`: {0, 0},
		`createTime:*`:                         {0, 0},
		`createTime < "1960-01-01T00:00:00Z"`:  {0, 1},
		`createTime <= "1960-01-01T00:00:00Z"`: {0, 1},
		`createTime = "1960-01-01T00:00:00Z"`:  {0, 1},
		`createTime > "1960-01-01T00:00:00Z"`:  {1, 0},
		`updateTime > "2026-01-01T00:00:00Z"`:  {0, 0},

		`createTime >= "2026-01-01T00:00:00Z" AND createTime < "2026-01-02T00:00:00Z"`:              {one, two},
		`createTime >= "2026-01-01T00:00:00Z" createTime >= "2026-01-02T00:00:00Z"`:                 {two, 0},
		`createTime < "2026-01-02T00:00:00Z" AND (profile = a createTime < "2026-01-01T00:00:00Z")`: {0, one},
		`createTime > "2026-01-02T00:00:00Z" AND createTime < "2026-01-01T00:00:00Z"`:               {two + 1, one},
		`createTime >= "2026-01-01T00:00:00Z" OR profile = a`:                                       {0, 0},
		`createTime = ("2026-01-01T00:00:00Z" OR "2026-01-02T00:00:00Z")`:                           {0, 0},
		`NOT createTime < "2026-01-01T00:00:00Z"`:                                                   {0, 0},
	} {
		filter, err := ParseFilter(text)
		if err != nil {
			t.Error(err)
			continue
		}
		if from, to := filter.CreateTimeBounds(); [2]Time{from, to} != want {
			t.Errorf("%s is between %d and %d, want %d", text, from, to, want)
		}
	}
}
