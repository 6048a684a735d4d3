package session

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/parleyhq/parley/internal/fault"
)

func TestValidID(t *testing.T) {
	cases := map[string]bool{
		"a": true, "Z": true, "0": true, "a_b-c": true, "a-": true, "a_": true,
		strings.Repeat("x", 63): true,
		strings.Repeat("x", 64): false,
		uuid.NewString():        true,
		"":                      false,
		"-a":                    false, "_a": false, "a.b": false, "a b": false, "*": false, ">": false, "a/b": false,
		"é": false, "aé": false, "a\x00": false, "a\n": false, "\xff": false, "@": false, "[": false, "`": false, "{": false,
	}
	for id, want := range cases {
		if got := ValidID(id); got != want {
			t.Errorf("ValidID(%q) = %t", id, got)
		}
	}
}

func TestParseName(t *testing.T) {
	longest := strings.Repeat("x", 63)
	for name, want := range map[string]string{"sessions/a": "a", "sessions/" + longest: longest} {
		if got, err := ParseName(name); err != nil || got != want {
			t.Errorf("ParseName(%q) = %q, %v", name, got, err)
		}
	}
	for _, name := range []string{
		"", "sessions", "sessions/", "rooms/a", "Sessions/a", "sessions/a/b", "sessions/-",
		"/sessions/a", "sessions//a", "a", "sessions/" + longest + "x",
	} {
		_, err := ParseName(name)
		want := []fault.Violation{{Field: "name", Description: nameRule}}
		if diff := cmp.Diff(want, fault.From(err).Violations); diff != "" {
			t.Errorf("ParseName(%q): %s", name, diff)
		}
	}
}

func TestIDFrom(t *testing.T) {
	const contradiction = "must name the same session as sessionId, or be left out"
	cases := []struct {
		about, sessionID, name, want string
		violations                   fault.Violations
	}{
		{about: "neither: the server makes one"},
		{about: "the parameter", sessionID: "a", want: "a"},
		{about: "the name", name: "sessions/a", want: "a"},
		{about: "both, agreeing", sessionID: "a", name: "sessions/a", want: "a"},
		{about: "both, contradicting", sessionID: "a", name: "sessions/b", violations: fault.Violations{{Field: "name", Description: contradiction}}},
		{about: "in the case of a letter too", sessionID: "a", name: "sessions/A", violations: fault.Violations{{Field: "name", Description: contradiction}}},
		{about: "a bad parameter", sessionID: "a.b", violations: fault.Violations{{Field: "sessionId", Description: idRule}}},
		{about: "a name of another collection", name: "rooms/a", violations: fault.Violations{{Field: "name", Description: nameRule}}},
		{about: "a name without an id", name: "sessions/", violations: fault.Violations{{Field: "name", Description: nameRule}}},
		{about: "both bad", sessionID: "-", name: "a", violations: fault.Violations{{Field: "sessionId", Description: idRule}, {Field: "name", Description: nameRule}}},
	}
	for _, c := range cases {
		t.Run(c.about, func(t *testing.T) {
			var got fault.Violations
			id := idFrom(c.sessionID, c.name, &got)
			if diff := cmp.Diff(c.violations, got); diff != "" {
				t.Error(diff)
			}
			if len(c.violations) == 0 && id != c.want {
				t.Errorf("idFrom = %q, want %q", id, c.want)
			}
		})
	}
}

func TestCheckID(t *testing.T) {
	if err := checkID("a"); err != nil {
		t.Errorf("checkID(a) = %v", err)
	}
	if err := checkID("a.b"); !fault.Is(err, fault.InvalidArgument) {
		t.Errorf("checkID(a.b) = %v", err)
	}
}

func TestCheckRequestID(t *testing.T) {
	cases := map[string]bool{
		"": true, "a": true, ".": true, "-": true, "_": true, "Az09._-": true,
		strings.Repeat("x", 64): true,
		strings.Repeat("x", 65): false,
		"a b":                   false, "a/b": false, "a:b": false, "é": false, "a\x00": false, "\xff": false,
	}
	for id, valid := range cases {
		var got, want fault.Violations
		if !valid {
			want = fault.Violations{{Field: "requestId", Description: "must be 1 to 64 letters, digits, dots, underscores or hyphens"}}
		}
		checkRequestID(id, &got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("checkRequestID(%q): %s", id, diff)
		}
	}
}
