package session

import (
	"errors"
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/fault"
)

// TestParseFilter reads what is accepted, and compares the canonical text, which has every decision in it.
func TestParseFilter(t *testing.T) {
	for text, want := range map[string]string{
		"":        "",
		" \t\r\n": "",

		// Texts.
		`profile = "assistant"`:               `profile = "assistant"`,
		`profile='assistant'`:                 `profile = "assistant"`,
		`profile = assistant`:                 `profile = "assistant"`,
		`profile = com.example.1.x`:           `profile = "com.example.1.x"`,
		`display_name = "Front*"`:             `displayName = "Front*"`,
		`displayName = Front*`:                `displayName = "Front*"`,
		`displayName:"Front desk"`:            `displayName = "Front desk"`,
		`displayName:"Front*"`:                `displayName = "Front*"`,
		`displayName != "Front*"`:             `NOT displayName = "Front*"`,
		`displayName = "*"`:                   `displayName = "*"`,
		`displayName = ""`:                    `displayName = ""`,
		`creator >= "b"`:                      `creator >= "b"`,
		`description:*`:                       `description:*`,
		`description:"*"`:                     `description:*`,
		`description = "AND"`:                 `description = "AND"`,
		`description = "a\"b\\c\n\u00e9\x2a"`: "description = \"a\\\"b\\\\c\né\\x2a\"",
		`description = 'it''s'`:               "", // see below: refused
		"description = \"a\\r\tb\r\nc\"":      "description = \"a\\r\tb\nc\"",
		`description = "\x2a*"`:               `description = "\x2a*"`,

		// What the parser takes for numbers.
		`creator = 42`:                `creator = "42"`,
		`creator = 007`:               `creator = "007"`,
		`creator = -1.50`:             `creator = "-1.50"`,
		`creator = (-"a")`:            `NOT creator = "a"`,
		`creator = 0x1F`:              `creator = "0x1F"`,
		`owners:(12 OR 13)`:           `owners:"12" OR owners:"13"`,
		`labels.1 = 2`:                `labels."1" = "2"`,
		`labels.NOT = x`:              `labels."NOT" = "x"`,
		`profile = a (creator = -2 )`: `profile = "a" AND creator = "-2"`,

		// Session types.
		`session_type = 1`:                   `sessionType = 1`,
		`sessionType = PRIVATE`:              `sessionType = 2`,
		`sessionType:SESSION_TYPE_TEMPORARY`: `sessionType = 3`,
		`sessionType != "PUBLIC"`:            `NOT sessionType = 1`,
		`sessionType >= 2`:                   `sessionType >= 2`,
		`sessionType = (1 OR TEMPORARY)`:     `sessionType = 1 OR sessionType = 3`,
		`sessionType:*`:                      `sessionType:*`,

		// Lists and labels.
		`owners:"user-1"`:                  `owners:"user-1"`,
		`owners : u1`:                      `owners:"u1"`,
		`owners:"\x2a"`:                    `owners:"\x2a"`,
		`allowed_users:*`:                  `allowedUsers:*`,
		`owners:("u1" AND (NOT "u2"))`:     `owners:"u1" AND NOT owners:"u2"`,
		`labels.tenant = "t7"`:             `labels."tenant" = "t7"`,
		`labels.tenant:t7`:                 `labels."tenant" = "t7"`,
		`labels."a-b" != "x*"`:             `NOT labels."a-b" = "x*"`,
		`labels."app.kubernetes.io/x" < b`: `labels."app.kubernetes.io/x" < "b"`,
		`labels."*" = "*"`:                 `labels."\x2a" = "*"`,
		`labels:tenant`:                    `labels."tenant":*`,
		`labels.tenant:*`:                  `labels."tenant":*`,
		`labels:"a b"`:                     `labels."a b":*`,
		`labels:(a OR b)`:                  `labels."a":* OR labels."b":*`,
		`labels:*`:                         `labels:*`,

		// Times.
		`create_time > "2026-01-31T00:00:00Z"`:                   `createTime > "2026-01-31T00:00:00.000000Z"`,
		`updateTime <= timestamp("2026-01-31T02:00:00.5+02:00")`: `updateTime <= "2026-01-31T00:00:00.500000Z"`,
		`createTime = "2026-01-31T00:00:00.123456789Z"`:          `createTime = "2026-01-31T00:00:00.123456Z"`,
		`expireTime:"2026-01-31T00:00:00Z"`:                      `expireTime = "2026-01-31T00:00:00.000000Z"`,
		`expire_time:*`:                                          `expireTime:*`,
		`NOT expireTime:*`:                                       `NOT expireTime:*`,
		`createTime > "0001-01-01T00:00:00Z"`:                    `createTime > "0001-01-01T00:00:00.000000Z"`,
		`createTime < ( timestamp('2026-01-31T00:00:00Z') )`:     `createTime < "2026-01-31T00:00:00.000000Z"`,

		// Operators. OR binds more strongly than AND.
		`profile = a AND profile = b AND profile = c`:   `profile = "a" AND profile = "b" AND profile = "c"`,
		`profile = a profile = b`:                       `profile = "a" AND profile = "b"`,
		`profile = a -profile = b`:                      `profile = "a" AND NOT profile = "b"`,
		`profile = a OR profile = b AND profile = c`:    `profile = "a" OR profile = "b" AND profile = "c"`,
		`profile = a OR (profile = b AND profile = c)`:  `profile = "a" OR (profile = "b" AND profile = "c")`,
		`(profile = a AND (profile = b profile = c))`:   `profile = "a" AND profile = "b" AND profile = "c"`,
		`NOT (profile = a OR profile = b)`:              `NOT (profile = "a" OR profile = "b")`,
		`NOT (NOT profile = a)`:                         `profile = "a"`,
		`-profile != a`:                                 `profile = "a"`,
		`profile != (a OR b)`:                           `NOT (profile = "a" OR profile = "b")`,
		" ( \n( profile = a )\tAND\n( creator = b ) ) ": `profile = "a" AND creator = "b"`,
	} {
		got, err := ParseFilter(text)
		if strings.Contains(text, "''") {
			if err == nil {
				t.Errorf("ParseFilter(%s) accepts two texts side by side", text)
			}
			continue
		}
		if err != nil || got.Canonical() != want {
			t.Errorf("ParseFilter(%s) = %s, %v; want %s", text, got.Canonical(), err, want)
			continue
		}
		again, err := ParseFilter(want)
		if err != nil || again.Canonical() != want {
			t.Errorf("ParseFilter(%s) = %s, %v; want the same again", want, again.Canonical(), err)
		}
	}
}

// TestParseFilterRefuses asks of each refusal to name the place and the rule.
func TestParseFilterRefuses(t *testing.T) {
	const (
		grammar = "must be as AIP-160 has it"
		goOn    = "must go on here"
		compare = "must compare a field here"
		field   = "must have a field here"
		times   = "must compare times with RFC 3339 in quotes"
		types   = "must compare sessionType with 1, 2 or 3"
		users   = "must ask owners and allowedUsers by :"
		stars   = "must have a * only"
	)
	for _, test := range []struct {
		text, rule string
		at         string // the character; empty: the place is the whole
	}{
		// Text that is no text.
		{"profile = \"a\xff\"", "must be valid UTF-8", ""},
		{"profile = \"a\x00\"", "must not have NUL characters", ""},
		{`profile = "a\000"`, "must not have NUL characters", "11"},
		{`labels."\u0000" = x`, "must not have NUL characters", "8"},
		{`profile = "a\q"`, "must have a backslash only in", "11"},
		{`profile = "\ud800"`, "must have a backslash only in", "11"},
		{`profile = "a`, "has a quote that is not closed", "11"},
		{`profile = 'a"`, "has a quote that is not closed", "11"},
		{`profile = "a\"`, "has a quote that is not closed", "11"},
		{`profile = a"`, "must have quotes around the whole", "11"},
		{`profile = a\"b`, "must have quotes around the whole", "11"},
		{`profile = "ü" AND creator = "b`, "has a quote that is not closed", "29"},

		// Grammar.
		{`(profile = a`, goOn, "13"},
		{`profile = a)`, grammar, "12"},
		{`profile = (a`, goOn, "13"},
		{`profile =`, goOn, "10"},
		{`profile`, compare, "1"},
		{`= a`, grammar, "1"},
		{`profile == a`, grammar, "10"},
		{`profile <> a`, grammar, "10"},
		{`profile = a AND`, grammar, "12"},
		{`profile = a OR`, grammar, "13"},
		{`AND profile = a`, grammar, "1"},
		{`-NOT profile = a`, grammar, "2"},
		{`()`, grammar, "2"},
		{`profile = ()`, grammar, "12"},
		{`profile = front-desk`, grammar, "16"},
		{`profile = a:b`, grammar, "12"},
		{`profile = "a" "b"`, compare, "15"},
		{`profile = a."b c"`, "in quotes as a whole", "11"},
		{`profile = Front Desk`, compare, "17"},
		{`profile = (Front Desk)`, "text with spaces in quotes", "12"},
		{`profile = (creator = b)`, "must have a value here", "12"},
		{`profile = a and creator = b`, "AND, OR and NOT in capitals", "13"},
		{`(profile = a)AND profile = b`, grammar, "14"},
		{`NOT(profile = a)`, "must have a space after AND, OR and NOT", "4"},
		{`profile = a AND(creator = b)`, "must have a space after AND, OR and NOT", "16"},
		{`owners:(-5)`, "in quotes as a whole", "10"},
		{`owners:(--5)`, "in quotes as a whole", "10"},
		{`creator = 99999999999999999999`, grammar, "11"},

		// Fields.
		{`frontDesk = "a"`, field, "1"},
		{`profile = a AND front_desk = b`, "the fields are profile, displayName, sessionType, owners, allowedUsers, creator, labels.{key}, " +
			"description, createTime, updateTime and expireTime", "17"},
		{`blockedUsers:u1`, field, "1"},
		{`secretKey:*`, field, "1"},
		{`Profile = a`, field, "1"},
		{`"profile" = a`, field, "1"},
		{`1 = 1`, field, "1"},
		{`timestamp("2026-01-31T00:00:00Z") = createTime`, field, "1"},
		{`profile.x = a`, "must have keys below labels only", "1"},
		{`owners.0 = a`, "must have keys below labels only", "1"},
		{`labels.a.b = x`, "must have keys with dots in quotes", "1"},
		{`labels.a-b = x`, grammar, "9"},
		{`labels."" = x`, "must not have an empty key", "1"},
		{`"labels" = x`, field, "1"},

		// Functions.
		{`regex(profile, "a")`, "must have no function but timestamp", "6"},
		{`createTime > now()`, "must have no function but timestamp", "17"},
		{`createTime > time.now()`, "must have no function but timestamp", "22"},
		{`createTime > a.timestamp("2026-01-31T00:00:00Z")`, "must have no function but timestamp", "14"},
		{`createTime > timestamp()`, "must have no function but timestamp, of one text", "14"},
		{`createTime > timestamp("a", "b")`, "must have no function but timestamp, of one text", "14"},
		{`createTime > timestamp(timestamp("2026-01-31T00:00:00Z"))`, "of one text", "14"},
		{`createTime > timestamp(2026)`, times, "24"},
		{`profile = timestamp("2026-01-31T00:00:00Z")`, "must have timestamp with createTime", "21"},
		{`timestamp("2026-01-31T00:00:00Z")`, compare, "1"},
		{`FUZZY(a, b)`, "must have no function but timestamp", "6"},
		{`AND()`, "must have a space after AND, OR and NOT", "4"},
		{`OR(a, b, c)`, "must have a space after AND, OR and NOT", "3"},

		// Values.
		{`createTime > 2026-01-31T00:00:00Z`, grammar, "18"},
		{`createTime > "2026-01-31"`, times, "14"},
		{`createTime > "2026-02-30T00:00:00Z"`, times, "14"},
		{`createTime > "0000-01-01T00:00:00Z"`, times, "14"},
		{`createTime > "9999-12-31T23:59:59-01:00"`, times, "14"},
		{`createTime > "2026*"`, times, "14"},
		{`createTime > *`, times, "14"},
		{`createTime > 1`, times, "14"},
		{`expireTime = null`, times, "14"},
		{`sessionType = 0`, types, "15"},
		{`sessionType = 4`, types, "15"},
		{`sessionType = 1.0`, types, "15"},
		{`sessionType = 1.5`, types, "15"},
		{`sessionType = UNSPECIFIED`, types, "15"},
		{`sessionType = public`, types, "15"},
		{`sessionType = "PUB*"`, types, "15"},
		{`sessionType > PUBLIC`, types, "15"},
		{`owners = u1`, users, "10"},
		{`owners != u1`, users, "11"},
		{`owners:"u*"`, users, "8"},
		{`allowedUsers > u1`, users, "16"},
		{`labels = x`, "must ask labels by a key", "10"},
		{`labels:"a*"`, "must ask labels by a key", "8"},
		{`labels:""`, "must ask labels by a key", "8"},
		{`profile = "*a"`, stars, "11"},
		{`profile = "a*b"`, stars, "11"},
		{`profile = "a**"`, stars, "11"},
		{`profile = "a*'"`, stars, "11"},
		{`profile = "a*\""`, stars, "11"},
		{`profile > "a*"`, stars, "11"},
		{`owners:"a*b"`, stars, "8"},
	} {
		_, err := ParseFilter(test.text)
		refused, ok := errors.AsType[*fault.Error](err)
		if !ok || refused.Kind != fault.InvalidArgument || len(refused.Violations) != 1 || refused.Violations[0].Field != "filter" {
			t.Errorf("ParseFilter(%q): %v; want one violation of filter", test.text, err)
			continue
		}
		place := ""
		if test.at != "" {
			place = "(at character " + test.at + ")"
		}
		if got := refused.Violations[0].Description; !strings.HasPrefix(got, test.rule) && !strings.Contains(got, test.rule) ||
			!strings.HasSuffix(got, place) {
			t.Errorf("ParseFilter(%q): %q; want %q %s", test.text, got, test.rule, place)
		}
	}
}

// TestRefusalsDoNotQuote makes sure that what a client sends does not come back to it, or into a log.
func TestRefusalsDoNotQuote(t *testing.T) {
	for _, text := range []string{
		`hunter2 = "a"`, `owners = hunter2`, `hunter2`, `profile = "hunter2`, `createTime > "hunter2"`, `labels.hunter2.x = 1`,
		`hunter2("a")`, `sessionType = hunter2`, `profile = hunter2-x`, `profile = "hunter2*x"`, `profile = "hunter2\q"`,
	} {
		_, err := ParseFilter(text)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("ParseFilter(%s): %v", text, err)
		}
	}
}

// TestHostileFilters are made to be expensive. All end soon, in a filter or in a short refusal.
func TestHostileFilters(t *testing.T) {
	fill := func(piece string) string { return strings.Repeat(piece, maxFilterBytes/len(piece)) }
	some := func(piece string) string { return strings.Repeat(piece, 250) }
	nested := func(levels int) string {
		return strings.Repeat("NOT (profile = a OR ", levels) + "profile = b" + strings.Repeat(")", levels)
	}
	chain := func(comparisons int, operator string) string {
		return strings.Repeat("profile = a"+operator, comparisons-1) + "profile = a"
	}
	for name, test := range map[string]struct {
		text, rule string
	}{
		"longest":                {`profile = "` + strings.Repeat("a", maxFilterBytes-12) + `"`, ""},
		"too long":               {`profile = "` + strings.Repeat("a", maxFilterBytes-11) + `"`, "must be at most 4096 bytes"},
		"spaces":                 {fill(" "), ""},
		"deepest":                {nested(32), ""},
		"too deep":               {nested(33), "must be at most 32 parentheses deep"},
		"10,000 parentheses":     {strings.Repeat("(", 10_000), "must be at most 4096 bytes"},
		"parentheses":            {fill("("), "must be at most 32 parentheses deep"},
		"closing parentheses":    {some(")"), "must be as AIP-160 has it"},
		"parentheses in a word":  {`a"` + strings.Repeat("(", 4000) + `"`, "must have quotes around the whole"},
		"functions":              {fill("a("), "must have no function"},
		"timestamps":             {fill("timestamp("), "must be at most 32 parentheses deep"},
		"arguments":              {"createTime > timestamp(" + some(`"",`) + `"")`, "must have no function but timestamp, of one text"},
		"words":                  {some("a "), "must have at most 64 comparisons"},
		"too many words":         {fill("a "), "must have at most 1024 words and signs"},
		"too many signs":         {fill(")"), "must have at most 1024 words and signs"},
		"minuses":                {some("-"), "must be as AIP-160 has it"},
		"negations":              {some("NOT "), "must be as AIP-160 has it"},
		"dots":                   {"labels" + some(".a") + ":*", "must have keys with dots in quotes"},
		"most comparisons":       {chain(64, " AND "), ""},
		"too many comparisons":   {chain(65, " AND "), "must have at most 64 comparisons"},
		"too many alternatives":  {chain(65, " OR "), "must have at most 64 comparisons"},
		"too many side by side":  {chain(65, " "), "must have at most 64 comparisons"},
		"too many in two chains": {"(" + chain(64, " AND ") + ") OR profile = a", "must have at most 64 comparisons"},
		"too many values":        {"profile = (" + strings.Repeat("a OR ", 64) + "a)", "must have at most 64 comparisons"},
		"values":                 {"profile = (" + strings.Repeat("a OR ", 63) + "a)", ""},
		"a long bare value":      {"profile = a" + some(".a"), ""},
		"quotes":                 {some(`"`), "must be as AIP-160 has it"},
		"backslashes":            {`profile = "` + strings.Repeat(`\`, 4000) + `"`, ""},
		"lines":                  {strings.Repeat("profile = a\n", 100), "must have at most 64 comparisons"},
	} {
		_, err := ParseFilter(test.text)
		switch {
		case test.rule == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.rule != "" && (err == nil || !strings.Contains(err.Error(), test.rule)):
			t.Errorf("%s: %v; want %q", name, err, test.rule)
		case err != nil && len(err.Error()) > 500:
			t.Errorf("%s: the refusal has %d bytes", name, len(err.Error()))
		}
	}
}

func BenchmarkParseFilter(b *testing.B) {
	for name, text := range map[string]string{
		"one":    `owners:"user-1"`,
		"usual":  `owners:"user-1" AND (displayName = "Front*" OR labels.tenant = "t7") AND createTime > "2026-01-31T00:00:00Z"`,
		"most":   strings.Repeat(`labels.tenant = "t7" AND `, 63) + `profile = "a"`,
		"refuse": strings.Repeat("a ", maxFilterTokens/2),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = ParseFilter(text)
			}
		})
	}
}
