package session

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/fault"
)

// soundSpec is a Spec that breaks no rule.
func soundSpec() Spec {
	return Spec{
		Profile:         "profiles/concierge",
		DisplayName:     "Front desk",
		Type:            Public,
		Owners:          []string{"user-1"},
		DefaultChannels: []int32{1},
	}
}

// manyUsers is n users without a repeat.
func manyUsers(n int) []string {
	users := make([]string, n)
	for i := range users {
		users[i] = fmt.Sprintf("user-%d", i)
	}
	return users
}

func manyChannels(n int) []int32 {
	channels := make([]int32, n)
	for i := range channels {
		channels[i] = int32(math.MaxInt32 - i)
	}
	return channels
}

func manyLabels(n int) map[string]string {
	labels := make(map[string]string, n)
	for i := range n {
		labels[fmt.Sprintf("label-%d", i)] = "x"
	}
	return labels
}

// optionsOf is an options object of so many bytes.
func optionsOf(bytes int) []byte {
	return []byte(`{"x":"` + strings.Repeat("x", bytes-len(`{"x":""}`)) + `"}`)
}

// nested is an options object of so many levels.
func nested(levels int) []byte {
	return []byte(strings.Repeat(`{"a":`, levels-1) + "{}" + strings.Repeat("}", levels-1))
}

func TestValidateAccepts(t *testing.T) {
	cases := map[string]func(s *Spec){
		"the least":            func(*Spec) {},
		"profile of 255 bytes": func(s *Spec) { s.Profile = strings.Repeat("x", 255) },
		"profile of 1 byte":    func(s *Spec) { s.Profile = "x" },
		"displayName of 255 characters, more bytes": func(s *Spec) { s.DisplayName = strings.Repeat("🤖", 255) },
		"displayName of 1 character":                func(s *Spec) { s.DisplayName = "ü" },
		"PRIVATE":                                   func(s *Spec) { s.Type = Private },
		"TEMPORARY":                                 func(s *Spec) { s.Type = Temporary },
		"100 owners":                                func(s *Spec) { s.Owners = manyUsers(100) },
		"a user of 128 bytes":                       func(s *Spec) { s.Owners = []string{strings.Repeat("x", 128)} },
		"a user with spaces and slashes":            func(s *Spec) { s.Owners = []string{"tenants/a b/ü"} },
		"64 channels up to the largest int32":       func(s *Spec) { s.DefaultChannels = manyChannels(64) },
		"description of 4096 characters":            func(s *Spec) { s.Description = strings.Repeat("ü", 4096) },
		"description with lines":                    func(s *Spec) { s.Description = "a\r\n\tb\x7f" },
		"1000 allowed and blocked users":            func(s *Spec) { s.AllowedUsers, s.BlockedUsers = manyUsers(1000), manyUsers(1000) },
		"one user in several lists":                 func(s *Spec) { s.AllowedUsers, s.BlockedUsers = s.Owners, s.Owners },
		"64 labels":                                 func(s *Spec) { s.Labels = manyLabels(64) },
		"label of the longest key and value":        func(s *Spec) { s.Labels = map[string]string{strings.Repeat("k", 63): strings.Repeat("v", 255)} },
		"label with an empty value":                 func(s *Spec) { s.Labels = map[string]string{"k": ""} },
		"label with odd characters":                 func(s *Spec) { s.Labels = map[string]string{"a.b/c ü": "x\ny"} },
		"no-break space, not a control character":   func(s *Spec) { s.DisplayName = "a\u00a0b" },
		"options of 64 KiB":                         func(s *Spec) { s.Options = optionsOf(64 << 10) },
		"options of 100 levels":                     func(s *Spec) { s.Options = nested(100) },
		"options, empty":                            func(s *Spec) { s.Options = []byte("{}") },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			spec := soundSpec()
			change(&spec)
			var got fault.Violations
			spec.validate(&got)
			if diff := cmp.Diff(fault.Violations(nil), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestValidateRefuses(t *testing.T) {
	const (
		utf8Rule    = "must be valid UTF-8"
		nulRule     = "must not have NUL characters"
		controlRule = "must not have control characters"
		userRule    = "must be 1 to 128 bytes"
		keyRule     = "must have a key of 1 to 63 bytes"
		keyTextRule = "must have a key that is valid UTF-8 and has no NUL"
	)
	type cases map[string]struct {
		change func(s *Spec)
		want   []string // field: description
	}
	for name, c := range (cases{
		"no profile":                   {func(s *Spec) { s.Profile = "" }, []string{"profile: is required"}},
		"profile of 256 bytes":         {func(s *Spec) { s.Profile = strings.Repeat("ü", 128) }, []string{"profile: must be at most 255 bytes"}},
		"profile with C0":              {func(s *Spec) { s.Profile = "a\nb" }, []string{"profile: " + controlRule}},
		"profile with DEL":             {func(s *Spec) { s.Profile = "a\x7f" }, []string{"profile: " + controlRule}},
		"profile with C1":              {func(s *Spec) { s.Profile = "a\u0085" }, []string{"profile: " + controlRule}},
		"profile with NUL":             {func(s *Spec) { s.Profile = "\x00" }, []string{"profile: " + nulRule}},
		"profile of bad UTF-8":         {func(s *Spec) { s.Profile = "\xff" }, []string{"profile: " + utf8Rule}},
		"no displayName":               {func(s *Spec) { s.DisplayName = "" }, []string{"displayName: is required"}},
		"displayName of 256":           {func(s *Spec) { s.DisplayName = strings.Repeat("ü", 256) }, []string{"displayName: must be at most 255 characters"}},
		"displayName with C1":          {func(s *Spec) { s.DisplayName = "\u0080ü" }, []string{"displayName: " + controlRule}},
		"displayName, two flaws":       {func(s *Spec) { s.DisplayName = strings.Repeat("\t", 256) }, []string{"displayName: must be at most 255 characters", "displayName: " + controlRule}},
		"no sessionType":               {func(s *Spec) { s.Type = 0 }, []string{"sessionType: is required"}},
		"sessionType 4":                {func(s *Spec) { s.Type = 4 }, []string{"sessionType: must be 1 (PUBLIC), 2 (PRIVATE) or 3 (TEMPORARY)"}},
		"sessionType -1":               {func(s *Spec) { s.Type = -1 }, []string{"sessionType: must be 1 (PUBLIC), 2 (PRIVATE) or 3 (TEMPORARY)"}},
		"no owners":                    {func(s *Spec) { s.Owners = nil }, []string{"owners: is required"}},
		"101 owners":                   {func(s *Spec) { s.Owners = manyUsers(101) }, []string{"owners: must be at most 100 users"}},
		"an empty owner":               {func(s *Spec) { s.Owners = []string{"a", ""} }, []string{"owners[1]: " + userRule}},
		"an owner of 129 bytes":        {func(s *Spec) { s.Owners[0] = strings.Repeat("x", 129) }, []string{"owners[0]: " + userRule}},
		"an owner with NUL":            {func(s *Spec) { s.Owners[0] = "a\x00" }, []string{"owners[0]: " + nulRule}},
		"an owner of bad UTF-8":        {func(s *Spec) { s.Owners[0] = "a\xc3" }, []string{"owners[0]: " + utf8Rule}},
		"an owner twice":               {func(s *Spec) { s.Owners = []string{"a", "b", "a", "a"} }, []string{"owners[2]: " + repeatRule, "owners[3]: " + repeatRule}},
		"an owner twice among many":    {func(s *Spec) { s.Owners = append(manyUsers(98), "user-0", "user-97") }, []string{"owners[98]: " + repeatRule, "owners[99]: " + repeatRule}},
		"no channels":                  {func(s *Spec) { s.DefaultChannels = nil }, []string{"defaultChannels: is required"}},
		"65 channels":                  {func(s *Spec) { s.DefaultChannels = manyChannels(65) }, []string{"defaultChannels: must be at most 64 channels"}},
		"channels that are none":       {func(s *Spec) { s.DefaultChannels = []int32{1, 0, -1} }, []string{"defaultChannels[1]: must be positive", "defaultChannels[2]: must be positive"}},
		"a channel twice":              {func(s *Spec) { s.DefaultChannels = []int32{1, 2, 1} }, []string{"defaultChannels[2]: " + repeatRule}},
		"description of 4097":          {func(s *Spec) { s.Description = strings.Repeat("ü", 4097) }, []string{"description: must be at most 4096 characters"}},
		"description with NUL":         {func(s *Spec) { s.Description = "a\x00b" }, []string{"description: " + nulRule}},
		"description of bad UTF-8":     {func(s *Spec) { s.Description = "\xed\xa0\x80" }, []string{"description: " + utf8Rule}},
		"1001 allowed users":           {func(s *Spec) { s.AllowedUsers = manyUsers(1001) }, []string{"allowedUsers: must be at most 1000 users"}},
		"an allowed user twice":        {func(s *Spec) { s.AllowedUsers = append(manyUsers(999), "user-500") }, []string{"allowedUsers[999]: " + repeatRule}},
		"an allowed user with C0":      {func(s *Spec) { s.AllowedUsers = []string{"\x1b"} }, []string{"allowedUsers[0]: " + controlRule}},
		"1001 blocked users":           {func(s *Spec) { s.BlockedUsers = manyUsers(1001) }, []string{"blockedUsers: must be at most 1000 users"}},
		"a blocked user twice":         {func(s *Spec) { s.BlockedUsers = []string{"a", "a"} }, []string{"blockedUsers[1]: " + repeatRule}},
		"an empty blocked user":        {func(s *Spec) { s.BlockedUsers = []string{""} }, []string{"blockedUsers[0]: " + userRule}},
		"65 labels":                    {func(s *Spec) { s.Labels = manyLabels(65) }, []string{"labels: must be at most 64 labels"}},
		"label without a key":          {func(s *Spec) { s.Labels = map[string]string{"": "x"} }, []string{`labels[""]: ` + keyRule}},
		"label key of 64 bytes":        {func(s *Spec) { s.Labels = map[string]string{strings.Repeat("k", 64): ""} }, []string{"labels." + strings.Repeat("k", 64) + ": " + keyRule}},
		"label key of 65 bytes":        {func(s *Spec) { s.Labels = map[string]string{strings.Repeat("k", 65): ""} }, []string{`labels["` + strings.Repeat("k", 64) + `..."]: ` + keyRule}},
		"label key with NUL":           {func(s *Spec) { s.Labels = map[string]string{"a\x00": ""} }, []string{`labels["a\x00"]: ` + keyTextRule}},
		"label key of bad UTF-8":       {func(s *Spec) { s.Labels = map[string]string{"\xff": ""} }, []string{`labels["\xff"]: ` + keyTextRule}},
		"label value of 256 bytes":     {func(s *Spec) { s.Labels = map[string]string{"tenant": strings.Repeat("v", 256)} }, []string{"labels.tenant: must be at most 255 bytes"}},
		"label value with NUL":         {func(s *Spec) { s.Labels = map[string]string{"a.b": "\x00"} }, []string{`labels["a.b"]: ` + nulRule}},
		"labels in order":              {func(s *Spec) { s.Labels = map[string]string{"b": "\xff", "c": "\xff", "a": "\xff", "d": ""} }, []string{"labels.a: " + utf8Rule, "labels.b: " + utf8Rule, "labels.c: " + utf8Rule}},
		"label key and value":          {func(s *Spec) { s.Labels = map[string]string{"": "\xff"} }, []string{`labels[""]: ` + keyRule, `labels[""]: ` + utf8Rule}},
		"options of 64 KiB and 1 byte": {func(s *Spec) { s.Options = optionsOf(64<<10 + 1) }, []string{"options: must be at most 65536 bytes as compact JSON"}},
		"options of 101 levels":        {func(s *Spec) { s.Options = nested(101) }, []string{"options: must be at most 100 levels deep"}},
		"options with a bad setting":   {func(s *Spec) { s.Options = []byte(`{"ttl":"soon"}`) }, []string{"options.ttl: " + durationRule}},
	}) {
		t.Run(name, func(t *testing.T) {
			spec := soundSpec()
			c.change(&spec)
			var got fault.Violations
			spec.validate(&got)
			if diff := cmp.Diff(c.want, lines(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// lines is the violations as text, one each.
func lines(v fault.Violations) []string {
	var all []string
	for _, violation := range v {
		all = append(all, violation.Field+": "+violation.Description)
	}
	return all
}

func TestValidateReportsEverything(t *testing.T) {
	var got fault.Violations
	(&Spec{}).validate(&got)
	want := []string{
		"profile: is required", "displayName: is required", "sessionType: is required", "owners: is required",
		"defaultChannels: is required",
	}
	if diff := cmp.Diff(want, lines(got)); diff != "" {
		t.Error(diff)
	}
}

func TestViolationsAreBounded(t *testing.T) {
	spec := soundSpec()
	spec.AllowedUsers = make([]string, 1000)
	spec.BlockedUsers = make([]string, 1000)
	var got fault.Violations
	spec.validate(&got)
	if len(got) != 100 {
		t.Errorf("%d violations, want 100", len(got))
	}
}

func TestOneViolationIsReportedOnce(t *testing.T) {
	spec := soundSpec()
	spec.Options = []byte(`{"ttl":1}`)
	var got fault.Violations
	spec.validate(&got)
	ParseSettings(spec.Options, &got)
	if len(got) != 1 {
		t.Errorf("%q, want one", lines(got))
	}
}

func TestViolationsShowNoValuesAndAreText(t *testing.T) {
	spec := Spec{
		Profile:     "hunter2\xff" + strings.Repeat("x", 300),
		DisplayName: "hunter2\x00",
		Owners:      []string{"hunter2\x00", "hunter2\x00"},
		Description: "hunter2\xff",
		Labels:      map[string]string{"a\xff": "hunter2\xff"},
		Options:     []byte(`{"ttl":"hunter2","channels":{"\u00e9":"hunter2"}}`),
	}
	var got fault.Violations
	spec.validate(&got)
	validateSecretKey("hunter2", &got)
	for _, line := range lines(got) {
		if strings.Contains(line, "hunter2") || !utf8.ValidString(line) {
			t.Errorf("%q", line)
		}
	}
}

func TestValidateSecretKey(t *testing.T) {
	cases := map[string][]string{
		"12345678":               nil,
		strings.Repeat("x", 256): nil,
		"open sesame,\n1001":     nil,
		"pässword":               nil,
		"":                       {"secretKey: must be 8 to 256 bytes"},
		"1234567":                {"secretKey: must be 8 to 256 bytes"},
		strings.Repeat("x", 257): {"secretKey: must be 8 to 256 bytes"},
		"1234567\x00":            {"secretKey: must not have NUL characters"},
		"1234567\xff":            {"secretKey: must be valid UTF-8"},
		"\xff":                   {"secretKey: must be 8 to 256 bytes", "secretKey: must be valid UTF-8"},
	}
	for secret, want := range cases {
		var got fault.Violations
		validateSecretKey(secret, &got)
		if diff := cmp.Diff(want, lines(got)); diff != "" {
			t.Errorf("%q: %s", secret, diff)
		}
	}
}

// fullSpec is a sound Spec with something in every field.
func fullSpec() Spec {
	spec := soundSpec()
	spec.DisplayName = "Fröhliche Réception 🤖"
	spec.Owners = []string{"user-1", "user-2"}
	spec.DefaultChannels = []int32{1, 2, 7}
	spec.Description = "who helps whom"
	spec.AllowedUsers = []string{"user-3"}
	spec.Labels = map[string]string{"tenant": "acme", "floor": "2"}
	spec.Options = []byte(`{"theme":{"dark":true,"accents":["#fff",null,1.5]},"locale":"de-CH"}`)
	return spec
}

func TestValidateDoesNotAllocate(t *testing.T) {
	full, large := fullSpec(), soundSpec()
	large.Owners, large.AllowedUsers, large.BlockedUsers = manyUsers(100), manyUsers(1000), manyUsers(1000)
	for name, spec := range map[string]*Spec{"full": &full, "large": &large} {
		allocs := testing.AllocsPerRun(100, func() {
			var v fault.Violations
			spec.validate(&v)
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	small, full, large, settled := soundSpec(), fullSpec(), soundSpec(), soundSpec()
	large.AllowedUsers, large.BlockedUsers = manyUsers(1000), manyUsers(1000)
	large.Options = optionsOf(64 << 10)
	settled.Options = []byte(`{"ttl":"3600s","maxMembers":12,"channels":{"4":{"history":true}}}`)
	for _, c := range []struct {
		name string
		spec *Spec
	}{{"small", &small}, {"full", &full}, {"settings", &settled}, {"2000-users-64KiB", &large}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var v fault.Violations
				c.spec.validate(&v)
			}
		})
	}
}
