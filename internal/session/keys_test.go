package session

import (
	"bytes"
	"encoding/base64"
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
