package session

import (
	"crypto/rand"
	"errors"
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/fault"
)

func TestPageSize(t *testing.T) {
	for asked, want := range map[int32]int{0: 50, 1: 1, 50: 50, 999: 999, 1000: 1000, 1001: 1000, math.MaxInt32: 1000} {
		var violations fault.Violations
		if got := pageSize(asked, &violations); got != want || violations != nil {
			t.Errorf("pageSize(%d) = %d, %v; want %d", asked, got, violations, want)
		}
	}
	for _, asked := range []int32{-1, math.MinInt32} {
		var violations fault.Violations
		pageSize(asked, &violations)
		if len(violations) != 1 || violations[0].Field != "pageSize" {
			t.Errorf("pageSize(%d): %v; want one violation of pageSize", asked, violations)
		}
	}
}

var (
	somePosition = Position{UID: NewUID(1_767_225_600_123_456, 42), UpdateTime: 1_767_225_600_123_457, DisplayName: "Front desk"}
	someList     = tokenBinding{
		filter: `owners:"u1"`,
		order:  Order{By: ByDisplayName, Descending: true},
		caller: Caller{User: "u1"},
	}
)

func TestPageTokenRoundTrip(t *testing.T) {
	tokens := newPageTokens([]byte("key"))
	charset := regexp.MustCompile(`^[A-Za-z0-9_.:~-]+$`)
	for _, want := range []Position{
		somePosition,
		{},
		{UID: somePosition.UID},
		{UpdateTime: math.MinInt64},
		{UpdateTime: math.MaxInt64, DisplayName: strings.Repeat("\U0001F600", MaxDisplayNameCharacters)},
		{DisplayName: "\"\\\r\n ü"},
	} {
		token := tokens.encode(&want, someList)
		if !charset.MatchString(token) {
			t.Errorf("the token %q has characters that tokens do not have", token)
		}
		got, err := tokens.decode(token, someList)
		if err != nil {
			t.Errorf("%+v: %v", want, err)
			continue
		}
		if diff := cmp.Diff(want, *got); diff != "" {
			t.Error(diff)
		}
	}
}

// TestPageTokenBinding makes sure that a token is good for its own list only.
func TestPageTokenBinding(t *testing.T) {
	tokens := newPageTokens([]byte("key"))
	token := tokens.encode(&somePosition, someList)
	for name, change := range map[string]func(b *tokenBinding){
		"filter":        func(b *tokenBinding) { b.filter = `owners:"u2"` },
		"no filter":     func(b *tokenBinding) { b.filter = "" },
		"order":         func(b *tokenBinding) { b.order.By = ByUpdateTime },
		"direction":     func(b *tokenBinding) { b.order.Descending = false },
		"caller":        func(b *tokenBinding) { b.caller.User = "u2" },
		"no caller":     func(b *tokenBinding) { b.caller.User = "" },
		"rights":        func(b *tokenBinding) { b.caller.Admin = true },
		"where it ends": func(b *tokenBinding) { b.filter, b.caller.User = b.filter+"u", "1" },
	} {
		list := someList
		change(&list)
		if _, err := tokens.decode(token, list); err == nil {
			t.Errorf("another %s: the token is accepted", name)
		}
	}
	if _, err := newPageTokens([]byte("another key")).decode(token, someList); err == nil {
		t.Error("another key: the token is accepted")
	}
}

func TestPageTokenForged(t *testing.T) {
	tokens := newPageTokens([]byte("key"))
	token := tokens.encode(&somePosition, someList)
	forged := []string{
		"", "a", "AAAA", "null", "\x00", "\xff", strings.Repeat("A", 100), strings.Repeat("A", 10<<20),
		token + "A", token + "=", token + "\n", "\r\n" + token, token[:9] + "\n" + token[9:], " " + token,
		token[1:], token[:len(token)-1], token[:len(token)/2], strings.ToLower(token), token + token,
		strings.NewReplacer("-", "+", "_", "/").Replace(token) + "+",
	}
	for i := range token {
		for _, c := range []byte("Ax-_.~") {
			if token[i] != c {
				forged = append(forged, token[:i]+string(c)+token[i+1:])
			}
		}
	}
	for _, token := range forged {
		position, err := tokens.decode(token, someList)
		refused, ok := errors.AsType[*fault.Error](err)
		if !ok || refused.Kind != fault.InvalidArgument || len(refused.Violations) != 1 || refused.Violations[0].Field != "pageToken" {
			t.Errorf("%.80q: %+v, %v; want one violation of pageToken", token, position, err)
		}
	}
}

// FuzzPageToken holds that what was encoded comes back, that nothing else does, and that no change goes unnoticed.
func FuzzPageToken(f *testing.F) {
	key := make([]byte, keyBytes)
	rand.Read(key) // nobody knows it, so whatever else is accepted is forged
	tokens := newPageTokens(key)
	other := newPageTokens([]byte("key"))
	f.Add([]byte("0123456789abcdef"), int64(1), "Front desk", "", "u1", uint8(0), "", uint16(0), byte('A'))
	f.Add([]byte{}, int64(-1), strings.Repeat("ü", 255), `owners:"u1"`, "", uint8(7), other.encode(&somePosition, someList), uint16(20), byte('\n'))
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
		got, err := tokens.decode(token, list)
		if err != nil || *got != position {
			t.Fatalf("%+v comes back as %+v, %v", position, got, err)
		}
		if _, err := tokens.decode(forged, list); err == nil && forged != token {
			t.Fatalf("%q is accepted", forged)
		}
		i := int(at) % (len(token) + 1)
		for _, changed := range []string{token[:i] + string([]byte{c}) + token[i:], token[:i], token[:i] + token[min(i+1, len(token)):]} {
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
