package session

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/fault"
)

var (
	testTokens   = newPageTokens([]byte("0123456789abcdef0123456789abcdef"))
	testBinding  = tokenBinding{filter: `profile = "a"`, caller: Caller{User: "u1"}}
	testPosition = Position{UID: NewUID(1_700_000_000_000_001, 7), UpdateTime: 1_700_000_000_000_002, DisplayName: "Décor"}
)

func TestPageTokenRoundTrip(t *testing.T) {
	charset := regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	for _, by := range []OrderField{ByCreateTime, ByUpdateTime, ByDisplayName} {
		for _, descending := range []bool{false, true} {
			for _, p := range []Position{
				{}, testPosition, {UpdateTime: math.MaxInt64}, {DisplayName: strings.Repeat("🙂", MaxDisplayNameCharacters)},
			} {
				binding := tokenBinding{order: Order{By: by, Descending: descending}}
				token := testTokens.encode(&p, binding)
				if !charset.MatchString(token) {
					t.Errorf("token %q has other characters", token)
				}
				if got, err := testTokens.decode(token, binding); err != nil || *got != p {
					t.Errorf("%v: %v, %v; want %v", binding.order, got, err, p)
				}
			}
		}
	}
}

func TestPageTokenOfAnotherList(t *testing.T) {
	token := testTokens.encode(&testPosition, testBinding)
	for name, change := range map[string]func(b *tokenBinding){
		"filter":          func(b *tokenBinding) { b.filter = `profile = "b"` },
		"no filter":       func(b *tokenBinding) { b.filter = "" },
		"order":           func(b *tokenBinding) { b.order.By = ByUpdateTime },
		"direction":       func(b *tokenBinding) { b.order.Descending = true },
		"user":            func(b *tokenBinding) { b.caller.User = "u2" },
		"admin":           func(b *tokenBinding) { b.caller.Admin = true },
		"shifted by one":  func(b *tokenBinding) { b.filter += "u"; b.caller.User = "1" },
		"shifted to user": func(b *tokenBinding) { b.caller.User = b.filter + b.caller.User; b.filter = "" },
	} {
		b := testBinding
		change(&b)
		wantNoToken(t, name, testTokens, token, b)
	}
	wantNoToken(t, "another key", newPageTokens([]byte("fedcba9876543210fedcba9876543210")), token, testBinding)
}

func TestPageTokenForged(t *testing.T) {
	token := testTokens.encode(&testPosition, testBinding)
	for i := range len(token) {
		wantNoToken(t, "truncated", testTokens, token[:i], testBinding)
		changed := []byte(token)
		changed[i] = 'A'
		if changed[i] == token[i] {
			changed[i] = 'B'
		}
		wantNoToken(t, "changed", testTokens, string(changed), testBinding)
	}
	for _, forged := range []string{
		token + "A", token + "=", token + "\n", "\n" + token, " " + token, token + token, "é", "\xff", "\x00",
		strings.Repeat("A", 100), strings.Repeat("A", 1<<20),
	} {
		wantNoToken(t, "forged", testTokens, forged, testBinding)
	}
}

func wantNoToken(t *testing.T, what string, tokens *pageTokens, token string, b tokenBinding) {
	t.Helper()
	p, err := tokens.decode(token, b)
	if p != nil || !fault.Is(err, fault.InvalidArgument) {
		t.Errorf("%s: %v, %v; want an InvalidArgument fault", what, p, err)
		return
	}
	v := fault.From(err).Violations
	if len(v) != 1 || v[0].Field != "pageToken" {
		t.Errorf("%s: %v, want one of pageToken", what, v)
	}
}

// TestPageTokenHides: the position may be that of a session that the caller must not know of.
func TestPageTokenHides(t *testing.T) {
	raw, err := base64.RawURLEncoding.DecodeString(testTokens.encode(&testPosition, testBinding))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(raw, []byte(testPosition.DisplayName)) || bytes.Contains(raw, testPosition.UID[:6]) {
		t.Error("the token shows its position")
	}
}

func TestPageSize(t *testing.T) {
	for asked, want := range map[int32]int{0: 50, 1: 1, 1000: 1000, 1001: 1000, math.MaxInt32: 1000} {
		var v fault.Violations
		if got := pageSize(asked, &v); got != want || len(v) != 0 {
			t.Errorf("pageSize(%d) = %d, %v; want %d", asked, got, v, want)
		}
	}
	for _, asked := range []int32{-1, math.MinInt32} {
		var v fault.Violations
		if pageSize(asked, &v); len(v) != 1 || v[0].Field != "pageSize" {
			t.Errorf("pageSize(%d): %v, want a violation of pageSize", asked, v)
		}
	}
}

// FuzzPageToken holds that what was encoded comes back, that nothing else does, and that no change goes unnoticed.
func FuzzPageToken(f *testing.F) {
	key := make([]byte, keyBytes)
	rand.Read(key) // nobody knows it, so whatever is accepted and was not made here is forged
	tokens := newPageTokens(key)
	f.Add([]byte("0123456789abcdef"), int64(1), "Front desk", "", "u1", uint8(0), "", uint16(0), byte('A'))
	f.Add([]byte{}, int64(-1), strings.Repeat("ü", 127), `owners:"u1"`, "", uint8(7), testTokens.encode(&testPosition, testBinding),
		uint16(20), byte('\n'))
	f.Add([]byte{0xff}, int64(math.MaxInt64), "\xff\x00", "a", "b", uint8(3), "AAAAAAAA", uint16(60), byte('-'))
	f.Fuzz(func(t *testing.T, uid []byte, updated int64, name, filter, user string, order uint8, forged string, at uint16, c byte) {
		position := Position{UpdateTime: Time(updated), DisplayName: name[:min(len(name), MaxDisplayNameCharacters)]}
		copy(position.UID[:], uid)
		list := tokenBinding{
			filter: filter,
			order:  Order{By: OrderField(order / 4), Descending: order&1 == 1},
			caller: Caller{User: user, Admin: order&2 == 2},
		}
		token := tokens.encode(&position, list)
		if got, err := tokens.decode(token, list); err != nil || *got != position {
			t.Fatalf("%+v comes back as %+v, %v", position, got, err)
		}
		i := int(at) % len(token)
		for _, changed := range []string{
			forged, token[:i], token[:i] + token[i+1:], token[:i] + string([]byte{c}) + token[i:], token[:i] + string([]byte{c}) + token[i+1:],
		} {
			if _, err := tokens.decode(changed, list); err == nil && changed != token {
				t.Fatalf("%q is accepted for %q", changed, token)
			}
		}
		list.filter += " "
		if _, err := tokens.decode(token, list); err == nil {
			t.Fatal("the token is accepted for another filter")
		}
	})
}
