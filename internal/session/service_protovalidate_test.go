package session

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
	"github.com/parleyhq/parley/internal/fault"
)

// The rules stand twice: as annotations in the .proto, for other languages, and in Go, where they are quick. What the
// annotations do not say, and these tests leave out:
//   - options: a Struct has no annotations;
//   - the limits of a label's key and value: they are the store's, and bytes;
//   - texts that are not UTF-8: protobuf has none.

// sized draws a text of about one of the lengths, of one character, and now and then with something odd in it.
func sized(t *rapid.T, name string, lengths ...int) string {
	length := rapid.SampledFrom(lengths).Draw(t, name+" length") + rapid.IntRange(-1, 1).Draw(t, name+" more")
	unit := rapid.SampledFrom([]string{"x", "x", "ü", "🙂"}).Draw(t, name+" unit")
	odd := rapid.SampledFrom([]string{"", "", "", "", "\x00", "\n", "\x7f", "\u0085", "\u2028", "\u200b", " "}).Draw(t, name+" odd")
	return strings.Repeat(unit, max(length, 0)) + odd
}

func sizedUsers(t *rapid.T, name string, most int) []string {
	count := rapid.SampledFrom([]int{0, 1, 1, 2, 3, 13, most, most + 1}).Draw(t, name+" count")
	users := make([]string, count)
	for i := range users {
		users[i] = "user-" + strings.Repeat("i", i%50) + string(rune('a'+i/50))
	}
	if count > 0 && count <= 3 {
		users[0] = sized(t, name+" first", 1, 5, 64, 128)
	}
	if count > 1 && rapid.IntRange(0, 3).Draw(t, name+" twice") == 0 {
		users[count-1] = users[0]
	}
	return users
}

func anySession(t *rapid.T) *conversationv1.Session {
	s := &conversationv1.Session{
		Profile:     sized(t, "profile", 1, 5, 127, 255),
		DisplayName: sized(t, "displayName", 1, 5, 255),
		SessionType: conversationv1.SessionType(rapid.Int32Range(-1, 5).Draw(t, "type")),
		Owners:      sizedUsers(t, "owners", MaxOwners),
		Description: sized(t, "description", 0, 5, 4096),
		SecretKey:   sized(t, "secretKey", 0, 0, 2, 4, 8, 128, 256),
		Name:        rapid.SampledFrom([]string{"", "sessions/a", "sessions/-a", "sessions/", "a", "sessions/" + strings.Repeat("a", 63), "sessions/" + strings.Repeat("a", 64), "sessions/a\n"}).Draw(t, "name"),
	}
	count := rapid.SampledFrom([]int{0, 1, 2, MaxChannels, MaxChannels + 1}).Draw(t, "channels")
	for i := range count {
		s.DefaultChannels = append(s.DefaultChannels, int32(i+1))
	}
	if count > 0 {
		s.DefaultChannels[0] = rapid.SampledFrom([]int32{1, 1, 2, 0, -1, 2147483647, -2147483648}).Draw(t, "channel")
	}
	if rapid.Bool().Draw(t, "more users") {
		s.AllowedUsers = sizedUsers(t, "allowed", MaxUsers)
		s.BlockedUsers = sizedUsers(t, "blocked", 20)
	}
	count = rapid.SampledFrom([]int{0, 1, MaxLabels, MaxLabels + 1}).Draw(t, "labels")
	s.Labels = map[string]string{}
	for i := range count {
		s.Labels["k"+strings.Repeat("i", i%60)+string(rune('a'+i/60))] = rapid.SampledFrom([]string{"v", "v", "v", "v", "", "\x00", "\n"}).Draw(t, "label")
	}
	return s
}

func TestTheRulesAreThoseOfTheProto(t *testing.T) {
	validator, err := protovalidate.New()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		s := anySession(t)
		want := map[string]bool{}
		if err := validator.Validate(s); err != nil {
			invalid, ok := errors.AsType[*protovalidate.ValidationError](err)
			if !ok {
				t.Fatal(err)
			}
			for _, violation := range invalid.Violations {
				path := protovalidate.FieldPathString(violation.Proto.GetField())
				want[CamelCase(path[:len(path)-len(strings.TrimLeft(path, "abcdefghijklmnopqrstuvwxyz_"))])] = true
			}
		}

		draft := draftOf(s)
		var violations fault.Violations
		idFrom("", draft.Name, &violations)
		draft.validate(&violations)
		if draft.SecretKey != "" {
			validateSecretKey(draft.SecretKey, &violations)
		}
		got := map[string]bool{}
		for _, violation := range violations {
			field, _, _ := strings.Cut(violation.Field, "[")
			field, _, _ = strings.Cut(field, ".")
			got[field] = true
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
			t.Fatalf("fields at fault (-protovalidate +got):\n%s\n%v", diff, violations)
		}
	})
}
