package session

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/fault"
)

func TestParseSettings(t *testing.T) {
	cases := map[string]Settings{
		``:                            {},
		`{}`:                          {},
		`{"theme":{"ttl":1},"TTL":1}`: {},
		`{"ttl":"3600s"}`:             {TTL: time.Hour},
		`{"ttl":"1.5s"}`:              {TTL: 1500 * time.Millisecond},
		`{"ttl":"0.000001s"}`:         {TTL: time.Microsecond},
		`{"ttl":"0.123456789s"}`:      {TTL: 123456789},
		`{"ttl":"315360000s"}`:        {TTL: MaxDuration},
		`{"\u0074tl":"1s"}`:           {TTL: time.Second},
		`{"ttl":null,"maxMembers":null,"channels":null}`:     {},
		`{"a":"}","ttl":"1s"}`:                               {TTL: time.Second},
		`{"a":"\\\"}","ttl":"1s"}`:                           {TTL: time.Second},
		`{"a":"\\\\","ttl":"1s"}`:                            {TTL: time.Second},
		`{"a":[{},[1]],"ttl":"1s"}`:                          {TTL: time.Second},
		`{"idleTimeout":"300s"}`:                             {IdleTimeout: 5 * time.Minute},
		`{"historyTtl":"86400s"}`:                            {HistoryTTL: 24 * time.Hour},
		`{"maxMembers":1}`:                                   {MaxMembers: 1},
		`{"maxMembers":1e3}`:                                 {MaxMembers: 1000},
		`{"maxMembers":12.0}`:                                {MaxMembers: 12},
		`{"maxMembers":9007199254740991}`:                    {MaxMembers: 1<<53 - 1},
		`{"maxMessageBytes":1}`:                              {MaxMessageBytes: 1},
		`{"maxMessageBytes":524288}`:                         {MaxMessageBytes: 524288},
		`{"historySize":1000}`:                               {HistorySize: 1000},
		`{"channels":{}}`:                                    {},
		`{"channels":{"4":{}}}`:                              {},
		`{"channels":{"4":null}}`:                            {},
		`{"channels":{"4":{"history":true,"codec":"opus"}}}`: {},
		`{"channels":{"4":{"history":null}}}`:                {},
		`{"channels":{"4":{"x":[1,2],"history":false},"2147483647":{"history":false}}}`: {Ephemeral: []int32{4, 2147483647}},
		`{"ttl":"60s","x":1,"idleTimeout":"5s","maxMembers":3,"historySize":4}`: {
			TTL: time.Minute, IdleTimeout: 5 * time.Second, MaxMembers: 3, HistorySize: 4,
		},
	}
	for options, want := range cases {
		var violations fault.Violations
		if want.MaxMessageBytes == 0 {
			want.MaxMessageBytes = DefaultMessageBytes
		}
		got := ParseSettings([]byte(options), &violations)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", options, diff)
		}
		if diff := cmp.Diff(fault.Violations(nil), violations); diff != "" {
			t.Errorf("%s: %s", options, diff)
		}
	}
}

func TestParseSettingsRefuses(t *testing.T) {
	for _, key := range []string{"ttl", "idleTimeout", "historyTtl"} {
		for _, value := range []string{
			`"0s"`, `"-1s"`, `"+1s"`, `"3600"`, `3600`, `""`, `"s"`, `"1.s"`, `".5s"`, `"1h"`, `"1 s"`,
			`"1e3s"`, `"0.0000009s"`, `"1.1234567890s"`, `"315360000.000000001s"`, `"315360001s"`, `"99999999999999999999s"`,
			`true`, `{}`, `["1s"]`, `"1s`,
		} {
			refuses(t, `{"x":1,"`+key+`":`+value+`}`, "options."+key, durationRule)
		}
	}
	for key, most := range map[string]string{
		"maxMembers": "9007199254740991", "historySize": "9007199254740991",
		"maxMessageBytes": "524288",
	} {
		for _, value := range []string{`0`, `-1`, `1.5`, `"12"`, `true`, `{}`, `[1]`, `1e300`, `1e999`, `9007199254740992`} {
			refuses(t, `{"`+key+`":`+value+`}`, "options."+key, "must be an integer from 1 to "+most)
		}
	}
	refuses(t, `{"maxMessageBytes":524289}`, "options.maxMessageBytes", "must be an integer from 1 to 524288")
	for _, value := range []string{`[]`, `"4"`, `4`, `true`} {
		refuses(t, `{"channels":`+value+`}`, "options.channels", "must be an object")
		refuses(t, `{"channels":{"4":`+value+`}}`, "options.channels.4", "must be an object")
	}
	for _, value := range []string{`0`, `"false"`, `{}`, `[]`} {
		refuses(t, `{"channels":{"4":{"history":`+value+`}}}`, "options.channels.4.history", "must be true or false")
	}
	for key, shown := range map[string]string{
		"0": ".0", "-1": ".-1", "04": ".04", "text": ".text", "2147483648": ".2147483648",
		"": `[""]`, "4.0": `["4.0"]`, "+4": `["+4"]`, "99999999999999999999": ".99999999999999999999",
	} {
		refuses(t, `{"channels":{"`+key+`":{}}}`, "options.channels"+shown, "must be named by a channel's number, 1 to 2147483647")
	}
}

func refuses(t *testing.T, options, field, rule string) {
	t.Helper()
	var got fault.Violations
	ParseSettings([]byte(options), &got)
	if diff := cmp.Diff(fault.Violations{{Field: field, Description: rule}}, got); diff != "" {
		t.Errorf("%s: %s", options, diff)
	}
}

func TestParseSettingsReportsEverything(t *testing.T) {
	var got fault.Violations
	ParseSettings([]byte(`{"ttl":1,"maxMembers":"x","channels":{"4":{"history":1},"x":{}}}`), &got)
	var fields []string
	for _, violation := range got {
		fields = append(fields, violation.Field)
	}
	want := []string{"options.ttl", "options.maxMembers", "options.channels.4.history", "options.channels.x"}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Error(diff)
	}
}

func TestDurationRuleNamesTheLimit(t *testing.T) {
	if limit := fmt.Sprintf("%ds,", MaxDuration/time.Second); !strings.Contains(durationRule, limit) {
		t.Errorf("%q lacks %q", durationRule, limit)
	}
}

func TestDeadline(t *testing.T) {
	const (
		created = Time(1_000_000_000_000_000)
		hour    = time.Hour
	)
	cases := []struct {
		about    string
		settings Settings
		kind     Type
		idle     Time
		want     Time
	}{
		{"PUBLIC has none", Settings{}, Public, created, 0},
		{"PRIVATE has none", Settings{}, Private, created, 0},
		{"PUBLIC with ttl", Settings{TTL: hour}, Public, created, created.Add(hour)},
		{"PRIVATE with ttl", Settings{TTL: hour}, Private, created, created.Add(hour)},
		{"PUBLIC has no idleTimeout", Settings{IdleTimeout: time.Second}, Public, created, 0},
		{"TEMPORARY idles", Settings{}, Temporary, created, created.Add(5 * time.Minute)},
		{"TEMPORARY with idleTimeout", Settings{IdleTimeout: hour}, Temporary, created, created.Add(hour)},
		{"TEMPORARY, ttl first", Settings{TTL: time.Minute}, Temporary, created, created.Add(time.Minute)},
		{"TEMPORARY, idleTimeout first", Settings{TTL: hour}, Temporary, created, created.Add(5 * time.Minute)},
		{"TEMPORARY, ttl by default", Settings{IdleTimeout: 48 * hour}, Temporary, created, created.Add(24 * hour)},
		{"TEMPORARY with members", Settings{}, Temporary, 0, created.Add(24 * hour)},
		{"TEMPORARY, idle since later", Settings{}, Temporary, created.Add(hour), created.Add(hour + 5*time.Minute)},
		{"the longest", Settings{TTL: MaxDuration}, Public, created, created.Add(MaxDuration)},
	}
	for _, c := range cases {
		t.Run(c.about, func(t *testing.T) {
			if got := c.settings.deadlineSince(c.kind, created, c.idle); got != c.want {
				t.Errorf("deadlineSince = %s, want %s", got, c.want)
			}
			if got := c.settings.deadline(c.kind, created); c.idle == created && got != c.want {
				t.Errorf("deadline = %s, want %s", got, c.want)
			}
		})
	}
}

func TestDeeper(t *testing.T) {
	cases := map[string]bool{
		`{}`:                       false,
		`{"a":{"b":1}}`:            false,
		`{"a":{"b":[]}}`:           true,
		`[[[]]]`:                   true,
		`[[]]`:                     false,
		`{"a":"[[[[","b":{"c":1}}`: false,
		`{"a":[1],"b":[1]}`:        false,
		`{"a":"\"[[[{","b":"}]"}`:  false,
	}
	for text, want := range cases {
		if got := deeper([]byte(text), 2); got != want {
			t.Errorf("deeper(%s, 2) = %t", text, got)
		}
	}
}

func TestMembersOfBrokenJSON(t *testing.T) {
	whole := `{"a":"x\"","b":{"c":[1,{}]},"d":null}`
	texts := []string{`{"`, `{"a"x:1}`, `{a:1}`, `{"a":}`, `{,"a":1}`, `{"a":1,,}`, `{]`, `{"a":]`, `{"\`, `{"\":`, `{"\":1`}
	for end := range len(whole) {
		texts = append(texts, whole[:end])
	}
	for _, text := range texts {
		count := 0
		for m := membersOf([]byte(text)); m.next(); count++ {
			m.name() // no panic, and an end, are all that is promised
		}
		if count > 3 {
			t.Errorf("%s: %d members", text, count)
		}
	}
}
