package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/parleyhq/parley/internal/session"
)

// TestFilterMeansTheSame holds the SQL of random filters, on random sessions, to what session.Filter says of itself.
func TestFilterMeansTheSame(t *testing.T) {
	c := filterConn(t)
	rapid.Check(t, func(t *rapid.T) {
		if err := c.exec("BEGIN"); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.exec("ROLLBACK") }()
		var records []*session.Record
		for i := range rapid.IntRange(1, 8).Draw(t, "sessions") {
			r := drawRecord(t, i)
			if err := c.insert(r); err != nil {
				t.Fatal(err)
			}
			records = append(records, r)
		}
		for range 10 {
			compareVerdicts(t, c, records, drawFilter(t, 3))
		}
	})
}

func compareVerdicts(t *rapid.T, c *conn, records []*session.Record, text string) {
	filter, err := session.ParseFilter(text)
	if err != nil {
		t.Fatalf("ParseFilter(%s): %v", text, err)
	}
	found, err := matches(c, filter)
	if err != nil {
		t.Fatalf("the SQL of %s: %v", text, err)
	}
	for _, r := range records {
		spec, err := r.Spec()
		if err != nil {
			t.Fatal(err)
		}
		want := filter.Match(r, spec)
		if got := slices.Contains(found, int64(r.CreateTime)); got != want {
			t.Fatalf("%s: SQL says %v, Match says %v, of %s by %q with %s", text, got, want, r.ID, r.Creator, r.Document)
		}
		if want {
			checkPromises(t, filter, r, spec)
		}
	}
}

// checkPromises makes sure that what a filter says of all matches is true of this one.
func checkPromises(t *rapid.T, filter *session.Filter, r *session.Record, spec *session.Spec) {
	user, ok := filter.RequiredUser()
	if ok && !slices.Contains(spec.Owners, user) && !slices.Contains(spec.AllowedUsers, user) {
		t.Fatalf("%s requires %q, and matches %s", filter.Canonical(), user, r.Document)
	}
	if from, to := filter.CreateTimeBounds(); r.CreateTime < from || to != 0 && r.CreateTime >= to {
		t.Fatalf("%s is between %d and %d, and matches %d", filter.Canonical(), from, to, r.CreateTime)
	}
}

// TestFilterSizes runs the SQL of the largest filters that are accepted.
func TestFilterSizes(t *testing.T) {
	c := filterConn(t)
	r := &session.Record{ID: "s", CreateTime: filterTime, UpdateTime: filterTime, Type: session.Public}
	spec := &session.Spec{Profile: "a", Type: session.Public, Owners: []string{"u1"}}
	r.Document = spec.AppendJSON(nil)
	if err := c.insert(r); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"deep": strings.Repeat("NOT (profile = b OR NOT (profile = a AND ", 16) + "profile = a" + strings.Repeat(")", 32),
		"long": strings.Repeat(`labels.tenant != "a" AND `, 63) + `owners:u1`,
		"wide": "profile = (" + strings.Repeat("b OR ", 63) + "a)",
		"text": `description != "` + strings.Repeat("a", 4000) + `"`,
	} {
		filter, err := session.ParseFilter(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		found, err := matches(c, filter)
		if want := filter.Match(r, spec); err != nil || len(found) == 1 != want {
			t.Errorf("%s: %v, %v; want %v", name, found, err, want)
		}
	}
}

// TestFilterBindsTexts makes sure that what clients write is never part of the SQL.
func TestFilterBindsTexts(t *testing.T) {
	const secret = `x'") OR 1 --`
	for _, text := range []string{
		`profile = %s`, `displayName != %s`, `labels.%s = %s`, `labels:%s`, `owners:%s`, `creator > %s`, `description = (%s OR "a*")`,
	} {
		text = strings.ReplaceAll(text, "%s", quoteFilter(secret))
		filter, err := session.ParseFilter(text)
		if err != nil {
			t.Error(err)
			continue
		}
		condition, args := filterSQL(filter)
		if strings.Contains(condition, "--") || strings.Count(condition, "?") != len(args) || !slices.Contains(args, driver.Value(secret)) {
			t.Errorf("%s: %s %q", text, condition, args)
		}
	}
	if condition, args := filterSQL(nil); condition != "" || args != nil {
		t.Errorf("no filter: %q %v", condition, args)
	}
}

// filterConn is a connection to an empty database of its own.
func filterConn(t *testing.T) *conn {
	path := filepath.Join(t.TempDir(), FileName)
	if err := migrate(context.Background(), path); err != nil {
		t.Fatal(err)
	}
	c, err := open(path, "synchronous(OFF)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// matches are the createTimes of the sessions for which the filter's SQL holds.
func matches(c *conn, filter *session.Filter) (found []int64, err error) {
	condition, args := filterSQL(filter)
	statement, err := c.prepare(`SELECT s.created FROM sessions s WHERE ` + condition)
	if err != nil {
		return nil, err
	}
	defer func() { _ = statement.close() }()
	err = statement.query(args, func(row []driver.Value) error {
		found = append(found, row[0].(int64))
		return nil
	})
	return found, err
}

// filterTime is when the sessions begin to be made.
const filterTime session.Time = 1_767_225_600_000_000

// textsToFilter are few, so that sessions and filters meet, and among them is what SQL, JSON and filters could misread.
var textsToFilter = []string{
	"", "a", "A", "ab", "abc", "b", "ä", "äb", "Ä", "a*", "*", "a b", `"`, `\`, `a"\'b`, "\n", "\r\n", "\x1f", "\x7f", "\u2028",
	"\ufeff", "\uffff", "\ufffd", "\U0001F600", "\U0001F600b", "1", "01", "1.0", "true", "null", "%", "_", "a.b", "$.a", "[0]", "{}", "';--",
}

func drawText(t *rapid.T, label string) string {
	return rapid.SampledFrom(textsToFilter).Draw(t, label)
}

func drawRecord(t *rapid.T, i int) *session.Record {
	users := rapid.SliceOfNDistinct(rapid.SampledFrom(textsToFilter[1:]), 0, 4, rapid.ID)
	spec := &session.Spec{
		Profile:      drawText(t, "profile"),
		DisplayName:  drawText(t, "display name"),
		Type:         session.Type(rapid.Int32Range(1, 3).Draw(t, "type")),
		Owners:       users.Draw(t, "owners"),
		Description:  drawText(t, "description"),
		AllowedUsers: users.Draw(t, "allowed users"),
		BlockedUsers: users.Draw(t, "blocked users"),
		Labels:       rapid.MapOfN(rapid.SampledFrom(textsToFilter[1:]), rapid.SampledFrom(textsToFilter), 0, 4).Draw(t, "labels"),
		Options:      []byte(`{"owners":["a"],"labels":{"a":"a"}}`),
	}
	created := filterTime + session.Time(i)
	r := &session.Record{
		UID: session.NewUID(created, uint64(i)), ID: fmt.Sprint("s", i), Type: spec.Type, DisplayName: spec.DisplayName,
		Creator: drawText(t, "creator"), CreateTime: created,
		UpdateTime: created + session.Time(rapid.IntRange(0, 3).Draw(t, "updated")), Document: spec.AppendJSON(nil),
	}
	if rapid.Bool().Draw(t, "expires") {
		r.ExpireTime = filterTime + session.Time(rapid.IntRange(0, 8).Draw(t, "expire time"))
	}
	return r
}

// drawFilter writes a filter of at most so many levels.
func drawFilter(t *rapid.T, levels int) string {
	kind := 0
	if levels > 0 {
		kind = rapid.IntRange(0, 5).Draw(t, "kind")
	}
	switch kind {
	case 1:
		return "(" + drawFilter(t, levels-1) + " AND " + drawFilter(t, levels-1) + ")"
	case 2:
		return "(" + drawFilter(t, levels-1) + " OR " + drawFilter(t, levels-1) + " )"
	case 3:
		return drawFilter(t, levels-1) + " " + drawFilter(t, levels-1)
	case 4:
		return "NOT (" + drawFilter(t, levels-1) + ")"
	case 5:
		return "-(" + drawFilter(t, levels-1) + ")"
	default:
		return drawComparison(t)
	}
}

var (
	filterComparators = []string{" = ", " != ", " < ", " <= ", " > ", " >= ", ":"}
	filterEquals      = []string{" = ", " != ", ":"}
)

func drawComparison(t *rapid.T) string {
	pick := func(from ...string) string { return rapid.SampledFrom(from).Draw(t, "pick") }
	text := func() string { return quoteFilter(drawText(t, "text")) }
	name := func() string { return quoteFilter(rapid.SampledFrom(textsToFilter[1:]).Draw(t, "name")) }
	prefix := func() string { return strings.TrimSuffix(text(), `"`) + `*"` }
	when := func() string {
		return quoteFilter((filterTime + session.Time(rapid.IntRange(-1, 10).Draw(t, "time"))).String())
	}
	field := func() string {
		return pick("profile", "displayName", "display_name", "creator", "description", "labels."+name())
	}
	switch rapid.IntRange(0, 8).Draw(t, "comparison") {
	case 0:
		return pick("owners:", "allowed_users:", "allowedUsers:") + name()
	case 1:
		return pick("labels:"+name(), "labels."+name()+":*", "labels:*")
	case 2:
		return "sessionType" + pick(filterComparators...) + pick("1", "2", "3")
	case 3:
		return "session_type" + pick(filterEquals...) + pick("PUBLIC", "SESSION_TYPE_PRIVATE", `"TEMPORARY"`)
	case 4:
		return pick("create_time", "updateTime", "expire_time") + pick(filterComparators...) + pick(when(), "timestamp("+when()+")")
	case 5:
		return pick("profile", "displayName", "creator", "description", "owners", "allowedUsers", "sessionType",
			"createTime", "updateTime", "expireTime") + ":*"
	case 6:
		return field() + pick(filterEquals...) + prefix()
	case 7:
		return field() + pick(filterComparators...) + "(" + text() + " OR " + text() + ")"
	default:
		return field() + pick(filterComparators...) + text()
	}
}

// quoteFilter writes a text so that a filter means all of it as it is.
func quoteFilter(text string) string {
	return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`, "\r", `\r`, "*", `\x2a`).Replace(text) + `"`
}
