package session

import (
	"math"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

const lastMoment = 1<<48*1000 - 1 // that 48 bits of milliseconds hold

func TestAUIDIsAUUIDOfItsTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		moment := Time(rapid.Int64Range(0, lastMoment).Draw(t, "time"))
		uid := NewUID(moment, rapid.Uint64().Draw(t, "random"))
		if parsed := uuid.UUID(uid); parsed.Version() != 7 || parsed.Variant() != uuid.RFC4122 || parsed.String() != uid.String() {
			t.Fatalf("%s is version %d, variant %s; as text %s", parsed, parsed.Version(), parsed.Variant(), uid)
		}
		if uid.Time() != moment {
			t.Fatalf("time = %d, want %d", uid.Time(), moment)
		}
		if again, err := ParseUID(uid.String()); err != nil || again != uid {
			t.Fatalf("ParseUID(%s) = %s, %v", uid, again, err)
		}
	})
}

func TestUIDsAreInTheOrderOfTheirTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		moment := rapid.Int64Range(0, lastMoment-2000).Draw(t, "time")
		later := moment + rapid.Int64Range(1, 2000).Draw(t, "more")
		before, after := NewUID(Time(moment), math.MaxUint64), NewUID(Time(later), 0)
		if strings.Compare(before.String(), after.String()) >= 0 {
			t.Fatalf("%s is not before %s", before, after)
		}
	})
}

func TestEveryRandomBitMakesAnotherUID(t *testing.T) {
	seen := map[UID]int{NewUID(1, 0): -1}
	for bit := range 64 {
		uid := NewUID(1, 1<<bit)
		if other, ok := seen[uid]; ok {
			t.Errorf("bits %d and %d make the same uid", bit, other)
		}
		seen[uid] = bit
	}
}

func TestParseUIDRefuses(t *testing.T) {
	for _, text := range []string{"", "x", "0190163d-8694-739b-aea5-966c26f8ad9", "0190163d-8694-739b-aea5-966c26f8ad91x"} {
		t.Run(text, func(t *testing.T) {
			if uid, err := ParseUID(text); err == nil {
				t.Errorf("ParseUID(%q) = %s, want an error", text, uid)
			}
		})
	}
}
