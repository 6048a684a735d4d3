package session

import (
	"bytes"
	"encoding/base64"
	"os"
	"strings"
	"testing"
)

// line is a key as a ring's file has it.
func line(number string, fill byte) string {
	return number + " " + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, keyBytes)) + "\n"
}

func TestAKeyRingIsReadAsItWasWritten(t *testing.T) {
	made := NewKeyRing()
	read, err := ParseKeyRing(made.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(made.Encode(), read.Encode()) || !bytes.Equal(made.Fingerprint(), read.Fingerprint()) {
		t.Error("the ring that was read is another")
	}
}

func TestParseKeyRing(t *testing.T) {
	for name, text := range map[string]string{
		"one":                   line("1", 'a'),
		"two":                   line("1", 'a') + line("7", 'b'),
		"comments and no lines": "# a\n\n  # b\n" + line("1", 'a') + "\n",
		"white space":           "  1\t" + line("", 'a')[1:],
		"no line feed":          strings.TrimSpace(line("1", 'a')),
		"line feeds of Windows": strings.ReplaceAll(line("1", 'a')+line("2", 'b'), "\n", "\r\n"),
		"the largest number":    line("4294967295", 'a'),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseKeyRing([]byte(text)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestParseKeyRingNamesTheLineAndNotItsContent(t *testing.T) {
	const secret = "c2VjcmV0"
	for name, test := range map[string]struct{ text, place string }{
		"empty":          {"", "no key"},
		"comments":       {"# " + secret + "\n", "no key"},
		"no number":      {line("1", 'a') + secret + "\n", "line 2"},
		"a wrong number": {"x" + line("1", 'a'), "line 1"},
		"zero":           {line("0", 'a'), "line 1"},
		"negative":       {line("-1", 'a'), "line 1"},
		"a large number": {line("4294967296", 'a'), "line 1"},
		"a short key":    {"# x\n\n1 " + secret + "\n", "line 3"},
		"a long key":     {"1 " + strings.Repeat(secret, 9) + "\n", "line 1"},
		"no base64":      {"1 " + secret + "!\n", "line 1"},
		"a third field":  {strings.TrimSpace(line("1", 'a')) + " " + secret + "\n", "line 1"},
		"the same twice": {line("1", 'a') + line("1", 'b'), "line 2"},
		"descending":     {line("2", 'a') + line("1", 'b'), "line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseKeyRing([]byte(test.text))
			if err == nil || !strings.Contains(err.Error(), test.place) {
				t.Fatalf("error = %v, want one that names %q", err, test.place)
			}
			if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "YWFh") {
				t.Errorf("error = %v, and shows a key", err)
			}
		})
	}
}

func parse(t *testing.T, text string) *KeyRing {
	t.Helper()
	ring, err := ParseKeyRing([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func TestASecretOpensWithItsOwnTextAndSessionOnly(t *testing.T) {
	ring, uid := NewKeyRing(), NewUID(1, 1)
	sealed := ring.seal(uid, "open-sesame")
	for name, test := range map[string]struct {
		ring   *KeyRing
		sealed Secret
		uid    UID
		text   string
		want   bool
	}{
		"right":              {ring, sealed, uid, "open-sesame", true},
		"another text":       {ring, sealed, uid, "open-sesamo", false},
		"no text":            {ring, sealed, uid, "", false},
		"another session":    {ring, sealed, NewUID(1, 2), "open-sesame", false},
		"another ring":       {NewKeyRing(), sealed, uid, "open-sesame", false},
		"no secret":          {ring, Secret{}, uid, "", false},
		"a key that is gone": {ring, Secret{KeyID: 9, Hash: sealed.Hash}, uid, "open-sesame", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.ring.opens(test.sealed, test.uid, test.text); got != test.want {
				t.Errorf("opens = %t, want %t", got, test.want)
			}
		})
	}
}

func TestANewKeyLeavesOldSecretsGood(t *testing.T) {
	before, after, uid := parse(t, line("1", 'a')), parse(t, line("1", 'a')+line("2", 'b')), NewUID(1, 1)
	if !after.opens(before.seal(uid, "12345678"), uid, "12345678") {
		t.Error("a secret of the old key does not open")
	}
	if got := after.seal(uid, "12345678").KeyID; got != 2 {
		t.Errorf("sealed with key %d, want the newest", got)
	}
	if !bytes.Equal(before.Fingerprint(), after.Fingerprint()) {
		t.Error("the ring has another fingerprint")
	}
}

func TestEachPurposeHasItsOwnKey(t *testing.T) {
	ring := NewKeyRing()
	if bytes.Equal(ring.current("requests"), ring.current("page tokens")) {
		t.Error("two purposes share a key")
	}
}

func rotate(t *testing.T, ring *KeyRing) *KeyRing {
	t.Helper()
	rotated, err := ring.Rotate()
	if err != nil {
		t.Fatal(err)
	}
	return rotated
}

func TestRotatingAddsAFreshKey(t *testing.T) {
	ring := parse(t, line("1", 'a')+line("7", 'b'))
	before := ring.Encode()
	one, two := rotate(t, ring), rotate(t, ring)
	if !bytes.Equal(ring.Encode(), before) {
		t.Error("the ring itself has changed")
	}
	if got := parse(t, string(one.Encode())).keys; len(got) != 3 || got[2].id != 8 || !bytes.Equal(got[2].secret, one.keys[2].secret) {
		t.Errorf("written and read again it has %d keys, the newest is %d", len(got), got[len(got)-1].id)
	}
	if !bytes.HasPrefix(one.Encode(), before) {
		t.Error("the earlier keys are not as they were")
	}
	if bytes.Equal(one.keys[2].secret, two.keys[2].secret) {
		t.Error("two rotations made the same key")
	}
	if !bytes.Equal(ring.Fingerprint(), one.Fingerprint()) {
		t.Error("a store would take it for another ring")
	}
	if bytes.Equal(ring.Derive("announcements"), one.Derive("announcements")) {
		t.Error("announcements still go by the earlier key")
	}
	if _, err := parse(t, line("4294967295", 'a')).Rotate(); err == nil {
		t.Error("a key got the number after the last")
	}
}

// TestARingFollowsThoseWhoseKeysItHas: it verifies all that was made with them.
func TestARingFollowsThoseWhoseKeysItHas(t *testing.T) {
	one, two := parse(t, line("1", 'a')), parse(t, line("1", 'a')+line("2", 'b'))
	for name, test := range map[string]struct {
		ring        *KeyRing
		fingerprint []byte
		newest      []byte
		want        string // "": it follows
	}{
		"the same":                  {two, two.Fingerprint(), two.Newest(), ""},
		"rotated":                   {two, one.Fingerprint(), one.Newest(), ""},
		"rotated twice":             {rotate(t, two), one.Fingerprint(), one.Newest(), ""},
		"nothing of the newest":     {two, one.Fingerprint(), nil, ""},
		"a key between is gone":     {parse(t, line("1", 'a')+line("3", 'c')), two.Fingerprint(), parse(t, line("1", 'a')+line("3", 'c')).Newest(), ""},
		"an older ring":             {one, two.Fingerprint(), two.Newest(), "lacks the key 2"},
		"the newest is gone":        {parse(t, line("1", 'a')+line("3", 'c')), two.Fingerprint(), two.Newest(), "lacks the key 2"},
		"rotated apart":             {parse(t, line("1", 'a')+line("2", 'c')), two.Fingerprint(), two.Newest(), "rotated apart"},
		"apart, and further":        {parse(t, line("1", 'a')+line("2", 'c')+line("3", 'd')), two.Fingerprint(), two.Newest(), "rotated apart"},
		"another number":            {parse(t, line("1", 'a')+line("3", 'b')), two.Fingerprint(), two.Newest(), "lacks the key 2"},
		"another ring":              {parse(t, line("1", 'x')+line("2", 'b')), two.Fingerprint(), two.Newest(), "another server key"},
		"another ring, and nothing": {parse(t, line("1", 'x')), two.Fingerprint(), nil, "another server key"},
		"a damaged memory":          {two, two.Fingerprint(), two.Newest()[:3], "3 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.ring.Follows(test.fingerprint, test.newest)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("Follows = %v, want %q", err, test.want)
			}
		})
	}
}

func TestARotationLeavesSecretKeysGood(t *testing.T) {
	w := newWorld()
	w.create(t, "old", Private, openSesame)
	w.keys = rotate(t, rotate(t, w.keys))
	w.Service = NewService(w.store, w.tail, w.keys)
	w.create(t, "new", Private, openSesame)
	if id := w.store.sessions["new"].Secret.KeyID; id != 3 {
		t.Errorf("a new secretKey is sealed with key %d, want the newest", id)
	}
	for _, id := range []string{"old", "new"} {
		if _, err := w.Join(t.Context(), Caller{User: "bob"}, JoinRequest{ID: id, SecretKey: openSesame}); err != nil {
			t.Errorf("%s: the right secretKey is answered %v", id, err)
		}
		if _, err := w.Join(t.Context(), Caller{User: "cy"}, JoinRequest{ID: id, SecretKey: "wrong one"}); saidBy(err) != "SESSION_NOT_FOUND" {
			t.Errorf("%s: a wrong secretKey is answered %v", id, err)
		}
	}
}

func TestARotationLeavesPageTokensGood(t *testing.T) {
	before := NewKeyRing()
	after := rotate(t, rotate(t, before))
	old, fresh := newPageTokens(before.all("page tokens")...), newPageTokens(after.all("page tokens")...)
	token := old.encode(&testPosition, testBinding)
	if got, err := fresh.decode(token, testBinding); err != nil || *got != testPosition {
		t.Errorf("a token of the oldest key: %v, %v", got, err)
	}
	token = fresh.encode(&testPosition, testBinding)
	if got, err := fresh.decode(token, testBinding); err != nil || *got != testPosition {
		t.Errorf("a token of the newest key: %v, %v", got, err)
	}
	wantNoToken(t, "a ring without the key", old, token, testBinding)
	other := testBinding
	other.caller.User = "u2"
	wantNoToken(t, "another caller", fresh, old.encode(&testPosition, testBinding), other)
}

func TestARotationLeavesRequestIDsGood(t *testing.T) {
	w := newWorld()
	w.create(t, "room", Public, "")
	w.enter(t, "bob")
	bob, request := Caller{User: "bob"}, PublishRequest{ID: "room", Message: hello, RequestID: "r1"}
	if _, err := w.Publish(t.Context(), bob, request); err != nil {
		t.Fatal(err)
	}
	head := w.store.sessions["room"].Head.Sequence
	w.Service = NewService(w.store, w.tail, rotate(t, w.keys))
	if _, err := w.Publish(t.Context(), bob, request); err != nil {
		t.Errorf("the repeat is answered %v", err)
	}
	if got := w.store.sessions["room"].Head.Sequence; got != head {
		t.Errorf("the repeat was published: the head is %d, want %d", got, head)
	}
	request.Message = &Message{Kind: ContentText, Text: "more", Contents: 1}
	if _, err := w.Publish(t.Context(), bob, request); saidBy(err) != "REQUEST_ID_REUSED" {
		t.Errorf("another message under the same id is answered %v", err)
	}
}

// Comparing in constant time is hmac.Equal's; this is that nothing answers before it.
func TestASecretThatCannotOpenIsComparedLikeOneThatCan(t *testing.T) {
	ring, uid := rotate(t, NewKeyRing()), NewUID(1, 1)
	sealed := ring.seal(uid, openSesame)
	work := func(s Secret, text string) float64 {
		return testing.AllocsPerRun(100, func() { ring.opens(s, uid, text) })
	}
	want := work(sealed, openSesame)
	for what, s := range map[string]Secret{"no secret": {}, "a key that is gone": {KeyID: 9, Hash: sealed.Hash}} {
		if got := work(s, openSesame); got != want || want == 0 {
			t.Errorf("%s: %v allocations, want %v", what, got, want)
		}
	}
	if got := work(sealed, "wrong one!!"); got != want {
		t.Errorf("a wrong secret: %v allocations, want %v", got, want)
	}
	source, err := os.ReadFile("keys.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(source, []byte("return hmac.Equal(sealed.Hash, ")) {
		t.Error("opens does not compare by hmac.Equal")
	}
}
