package session

import (
	"errors"
	"testing"
	"unicode/utf8"

	"github.com/parleyhq/parley/internal/fault"
)

// FuzzFilter holds that nothing breaks the parser, that refusals are refusals, and that the canonical text is one.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{
		``, ` `, `profile = "a"`, `display_name = "Front*" OR displayName:'x'`, `session_type = (1 OR SESSION_TYPE_PRIVATE)`,
		`owners:("u1" AND (NOT u2)) allowed_users:*`, `-labels."a-b" != "\x2a\u00e9\"*"`, `labels:tenant AND labels.t.x = 1`,
		`create_time >= timestamp("2026-01-31T00:00:00.5+02:00") AND expireTime:*`, `creator = (-5)`, `creator = -1.5 -profile = .5`,
		`NOT (profile = com.example.1 OR ( description < "\r\n" ) )`, `profile = "a`, `((((`, `AND()`, `FUZZY(a, b)`, `a = b = c`,
		`regex(profile, "a")`, "profile = \"\x00\"", "profile = \xff", `profile = 99999999999999999999`, `profile = 0x`,
		`-NOT a`, `profile = "a*'"`, `createTime < "0001-01-01T00:00:00+23:59"`, `profile = a."b"`, `labels."" = x`,
		`channel = (1 OR "2") sender = "user-*" create_time < "2026-01-31T00:00:00Z"`, `role != owner OR online:true`, `channel:* -online:*`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		checkFilter(t, sessionFilters, text)
		checkFilter(t, messageFilters, text)
		checkFilter(t, memberFilters, text)
	})
}

func checkFilter(t *testing.T, kind *filterKind, text string) {
	filter, err := parseFilter(kind, text)
	if err != nil {
		checkRefusal(t, err)
		return
	}
	canonical := filter.Canonical()
	scanned, err := scanFilter(kind, canonical) // not parseFilter: quoting may have made it too long
	if err != nil {
		t.Fatalf("%q is %q, which is refused: %v", text, canonical, err)
	}
	again, err := scanned.parse()
	if err != nil || again.Canonical() != canonical {
		t.Fatalf("%q is %q, which is %q, %v", text, canonical, again.Canonical(), err)
	}
	_ = filter.Match(&Record{}, &Spec{})
	_ = filter.MatchMessage(&Event{})
	_ = filter.MatchMember(MemberState{})
	_, _ = filter.RequiredUser()
	_, _ = filter.CreateTimeBounds()
}

func checkRefusal(t *testing.T, err error) {
	refused, ok := errors.AsType[*fault.Error](err)
	if !ok || refused.Kind != fault.InvalidArgument || len(refused.Violations) != 1 || refused.Violations[0].Field != "filter" {
		t.Fatalf("%v; want one violation of filter", err)
	}
	if refused.Unwrap() != nil || len(refused.Message) > 500 || !utf8.ValidString(refused.Message) {
		t.Fatalf("the refusal is no short text: %q", refused.Message)
	}
}
