package session

import (
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/fault"
)

func TestACursorHasOneSpelling(t *testing.T) {
	uid := NewUID(1_767_225_600_000_000, 7)
	for _, c := range []Cursor{{uid, 0}, {uid, 1}, {uid, 1<<63 - 1}} {
		got, err := ParseCursor(c.String())
		if err != nil || got != c {
			t.Errorf("ParseCursor(%s) = %v, %v", c, got, err)
		}
	}
	good := Cursor{uid, 12}.String()
	for _, text := range []string{
		"", ":", "12", uid.String(), uid.String() + ":", uid.String() + ":-1", uid.String() + ":+12", uid.String() + ":012", uid.String() + ": 12",
		uid.String() + ":12:", uid.String() + ":9223372036854775808", strings.ToUpper(good), "{" + uid.String() + "}:12", good + "\n",
		strings.ReplaceAll(uid.String(), "-", "") + ":12",
	} {
		_, err := ParseCursor(text)
		if !fault.Is(err, fault.InvalidArgument) || fault.From(err).Violations[0].Field != "cursor" {
			t.Errorf("ParseCursor(%q) = %v, want a violation at cursor", text, err)
		}
	}
}

func FuzzParseCursor(f *testing.F) {
	f.Add(Cursor{NewUID(1, 1), 5}.String())
	f.Add("beginning")
	f.Add("00000000-0000-0000-0000-000000000000:0")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCursor(text)
		if err == nil && c.String() != text {
			t.Errorf("ParseCursor(%q) = %v, which is written otherwise", text, c)
		}
	})
}

func TestAMadeMessageIDLeadsToItsEvent(t *testing.T) {
	at := Time(1_767_225_600_123_456)
	for _, sequence := range []int64{0, 2, 1 << 40} {
		e := &Event{Kind: MessagePublished, Time: at, Sequence: sequence}
		gotTime, gotSequence, ok := MadeMessageID(e.MessageName())
		if !ok || gotTime != at || gotSequence != sequence {
			t.Errorf("MadeMessageID(%s) = %v, %d, %t; want %v, %d", e.MessageName(), gotTime, gotSequence, ok, at, sequence)
		}
	}
	chosen := &Event{Kind: MessagePublished, Time: at, Sequence: 2, MessageID: "mine"}
	if chosen.MessageName() != "mine" {
		t.Errorf("MessageName = %q, want the publisher's", chosen.MessageName())
	}
	for _, id := range []string{"", "mine", "01a20da1-60dc-44c7-8e21-d74dd3b9de8b", strings.ToUpper((&Event{Time: at}).MessageName())} {
		if _, _, ok := MadeMessageID(id); ok {
			t.Errorf("MadeMessageID(%q) is ok", id)
		}
	}
}
