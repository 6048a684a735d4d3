package session

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/fault"
)

func TestDecodeDraftNamesThePlaceOfMalformedJSON(t *testing.T) {
	for name, test := range map[string]struct{ body, field, message string }{
		"empty":             {``, "body", "the body is empty"},
		"white space":       {" \n", "body", "the body is empty"},
		"null":              {`null`, "body", "the body must be a JSON object"},
		"array":             {`[{}]`, "body", "the body must be a JSON object"},
		"string":            {`"session"`, "body", "the body must be a JSON object"},
		"cut in an object":  {`{"profile":"p"`, "body", "the body's JSON ends too early at byte 14"},
		"cut in a string":   {`{"owners":["a`, "owners[0]", "the body's JSON ends too early at byte 13 (owners[0])"},
		"second object":     {`{} {}`, "body", "the body has data after its JSON object, at byte 4"},
		"trailing garbage":  {`{}x`, "body", "the body's JSON is malformed at byte 2"},
		"trailing comma":    {`{"profile":"p",}`, "body", "the body's JSON is malformed at byte 14"},
		"byte order mark":   {"\xef\xbb\xbf{}", "body", "the body's JSON is malformed at byte 0"},
		"bare word":         {`{"labels":{"a":hunter2}}`, "labels.a", "the body's JSON is malformed at byte 15 (labels.a)"},
		"raw NUL":           {"{\"profile\":\"p\x00\"}", "profile", "the body's JSON is malformed at byte 13 (profile)"},
		"leading zero":      {`{"defaultChannels":[1,01]}`, "defaultChannels", "the body's JSON is malformed at byte 23 (defaultChannels)"},
		"invalid UTF-8":     {"{\"profile\":\"\xff\"}", "profile", "the body's JSON is not valid UTF-8 at byte 12 (profile)"},
		"invalid UTF-8 key": {"{\"\xff\":1}", "body", "the body's JSON is not valid UTF-8 at byte 2"},
		"overlong UTF-8":    {"{\"profile\":\"\xc0\x80\"}", "profile", "the body's JSON is not valid UTF-8 at byte 12 (profile)"},
		"high surrogate":    {`{"profile":"\ud800"}`, "profile", "the body's JSON has half of a surrogate pair at byte 12 (profile)"},
		"low surrogate":     {`{"options":{"a":["\udc00x"]}}`, "options.a[0]", "the body's JSON has half of a surrogate pair at byte 18 (options.a[0])"},
		"surrogate ignored": {`{"uid":"\ud800"}`, "uid", "the body's JSON has half of a surrogate pair at byte 8 (uid)"},
		"field twice":       {`{"profile":"p","profile":"p"}`, "profile", "the body's JSON has a duplicate name at byte 15 (profile)"},
		"label twice":       {`{"labels":{"b":"1","\u0062":"2"}}`, "labels.b", "the body's JSON has a duplicate name at byte 19 (labels.b)"},
		"option twice":      {`{"options":{"a":[{"b":1,"b":2}]}}`, "options.a[0].b", "the body's JSON has a duplicate name at byte 24 (options.a[0].b)"},
		"unknown twice":     {`{"x":{"b":1,"b":2}}`, "x.b", "the body's JSON has a duplicate name at byte 12 (x.b)"},
		"two spellings":     {`{"displayName":"d","display_name":null}`, "displayName", "displayName: is there twice, in two spellings"},
	} {
		t.Run(name, func(t *testing.T) {
			draft, err := DecodeDraft([]byte(test.body))
			got := fault.From(err)
			if got == nil || draft != nil {
				t.Fatalf("the body was taken: %v", draft)
			}
			if got.Kind != fault.InvalidArgument || got.Reason != "MALFORMED_JSON" || got.Message != test.message {
				t.Errorf("fault = %d %s %q, want MALFORMED_JSON %q", got.Kind, got.Reason, got.Message, test.message)
			}
			if len(got.Violations) != 1 || got.Violations[0].Field != test.field {
				t.Errorf("violations = %v, want one at %s", got.Violations, test.field)
			}
		})
	}
}

func TestDecodeDraftRefusesNUL(t *testing.T) {
	for body, want := range map[string]string{
		`{"profile":"\u0000"}`:                 "profile",
		`{"owners":["a","b\u0000"]}`:           "owners[1]",
		`{"labels":{"k":"\u0000"}}`:            "labels.k",
		`{"labels":{"k\u0000":"v"}}`:           `labels["k\x00"]`,
		`{"options":{"a":["\u0000"]}}`:         "options.a[0]",
		`{"options":{"a":{"k\u0000":1}}}`:      `options.a["k\x00"]`,
		`{"secretKey":"\u0000"}`:               "secretKey",
		`{"name":"sessions/\u0000"}`:           "name",
		`{"etag":"\u0000"}`:                    "etag",
		`{"colour\u0000":1}`:                   "colour\ufffd",
		`{"options":{"channels":{"4":1e999}}}`: "options.channels.4", // no NUL: a name that looks like an index
	} {
		t.Run(body, func(t *testing.T) {
			_, err := DecodeDraft([]byte(body))
			if diff := cmp.Diff([]string{want}, violatedFields(err)); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
}

func violatedFields(err error) []string {
	var fields []string
	if err != nil {
		for _, violation := range fault.From(err).Violations {
			fields = append(fields, violation.Field)
		}
	}
	return fields
}

// Nesting neither overflows a stack nor takes time that grows faster than the body.
func TestDecodeDraftOfDeepNesting(t *testing.T) {
	for name, test := range map[string]struct{ body, field string }{
		"options":        {`{"options":{"a":%s}}`, "options.a" + strings.Repeat("[0]", 14) + "..."},
		"profile":        {`{"profile":%s}`, "profile"},
		"owners":         {`{"owners":[%s]}`, "owners[0]"},
		"labels":         {`{"labels":{"a":%s}}`, "labels.a"},
		"sessionType":    {`{"sessionType":%s}`, "sessionType"},
		"unknown":        {`{"colour":%s}`, "colour"},
		"the whole body": {`%s`, "body"},
	} {
		t.Run(name, func(t *testing.T) {
			nested := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
			_, err := DecodeDraft(fmt.Appendf(nil, test.body, nested))
			if diff := cmp.Diff([]string{test.field}, violatedFields(err)); diff != "" {
				t.Errorf("9,000 levels: violations (-want +got):\n%s", diff)
			}
			nested = strings.Repeat("[", 500_000) + strings.Repeat("]", 500_000)
			_, err = DecodeDraft(fmt.Appendf(nil, test.body, nested))
			if got := fault.From(err); got == nil || !strings.Contains(got.Message, "is nested too deeply at byte ") {
				t.Errorf("500,000 levels: %v, want a fault that says where they are too many", err)
			}
		})
	}
}

// To name a place costs as much as its names are long, so that what has long names and many flaws must not have them
// all named.
func TestDecodeDraftOfManyFlawsTakesLittle(t *testing.T) {
	flaws := "[" + strings.Repeat("1e999,", 80_000) + "0]"
	for name, body := range map[string]string{
		"under one long name":   `{"options":{"` + strings.Repeat("k", 500_000) + `":` + flaws + `}}`,
		"under many long names": `{"options":` + strings.Repeat(`{"`+strings.Repeat("k", 5000)+`":`, 98) + flaws + strings.Repeat("}", 99),
		"in owners":             `{"owners":` + flaws + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := DecodeDraft([]byte(body))
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Fatal("the body was taken")
			}
			if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 32<<20 {
				t.Errorf("%d bytes were allocated for a body of %d", allocated, len(body))
			}
		})
	}
}

func TestOptionsAtTheirLimits(t *testing.T) {
	text := func(size int) string { return `{"a":"` + strings.Repeat("x", size-len(`{"a":""}`)) + `"}` }
	levels := func(n int) string { return `{"a":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}` }
	for name, test := range map[string]struct {
		options string
		taken   bool
	}{
		"64 KiB":                   {text(MaxOptionsBytes), true},
		"64 KiB and a byte":        {text(MaxOptionsBytes + 1), false},
		"64 KiB and white space":   {strings.Replace(text(MaxOptionsBytes), ":", " : ", 1), true},
		"64 KiB, with escapes":     {strings.ReplaceAll(text(MaxOptionsBytes), "x", `\u0078`), true},
		"more by writing it out":   {`{"a":[` + strings.Repeat("1e15,", 5000) + `0]}`, false},
		"100 levels":               {levels(MaxOptionsDepth), true},
		"101 levels":               {levels(MaxOptionsDepth + 1), false},
		"101 levels of objects":    {strings.Repeat(`{"a":`, 101) + "1" + strings.Repeat("}", 101), false},
		"101 levels, and data":     {strings.Repeat(`{"a":`, 101) + `1e999` + strings.Repeat("}", 101), false},
		"a huge exponent":          {`{"a":1e1000000000000}`, false},
		"a huge negative exponent": {`{"a":1e-1000000000000}`, true}, // as near to 0 as a double gets
	} {
		t.Run(name, func(t *testing.T) {
			draft, err := DecodeDraft([]byte(`{"options":` + test.options + `}`))
			if taken := err == nil; taken != test.taken {
				t.Fatalf("DecodeDraft: %v", err)
			}
			var violations fault.Violations
			compact := CompactOptions([]byte(test.options), &violations)
			if taken := violations == nil; taken != test.taken || taken != (compact != nil) {
				t.Errorf("CompactOptions: %v", violations)
			}
			if test.taken && !bytes.Equal(compact, draft.Options) {
				t.Errorf("options = %s, by themselves %s", draft.Options, compact)
			}
		})
	}
}
