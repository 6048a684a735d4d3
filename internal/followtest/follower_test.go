package followtest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWhatIsWrongWithWhatCame(t *testing.T) {
	at := func(sequence int64, text string) Event {
		e := Event{Event: "message", Sequence: sequence, CreateTime: time.Unix(sequence, 0).UTC()}
		e.Message.Text = text
		return e
	}
	created := Event{Event: "session.created", Sequence: 1, CreateTime: time.Unix(1, 0).UTC()}
	early := at(3, "b")
	early.CreateTime = time.Unix(0, 0).UTC()
	for _, c := range []struct {
		name         string
		events       []Event
		acknowledged map[string]int64
		wrong        []string
	}{
		{"nothing", []Event{created, at(2, "a"), at(3, "b")}, map[string]int64{"a": 2, "b": 3}, nil},
		{"a hole", []Event{created, at(3, "b")}, nil, []string{"event 2 has the sequence 3"}},
		{"no beginning", []Event{at(2, "a")}, nil, []string{"event 1 has the sequence 2"}},
		{"once more", []Event{created, at(2, "a"), at(2, "a")}, nil, []string{"event 3 has the sequence 2"}},
		{"twice", []Event{created, at(2, "a"), at(3, "a")}, nil, []string{`"a" came twice, at 2 and 3`}},
		{
			"lost",
			[]Event{created, at(2, "a")},
			map[string]int64{"a": 2, "b": 3},
			[]string{`"b" was acknowledged at 3, and came at 0 (0: never)`},
		},
		{
			"elsewhere",
			[]Event{created, at(2, "a")},
			map[string]int64{"a": 3},
			[]string{`"a" was acknowledged at 3, and came at 2 (0: never)`},
		},
		{
			"back in time",
			[]Event{created, at(2, "a"), early},
			nil,
			[]string{"event 3 is of 1970-01-01 00:00:00 +0000 UTC, and the one before of 1970-01-01 00:00:02 +0000 UTC"},
		},
	} {
		if diff := cmp.Diff(c.wrong, compare(c.events, c.acknowledged)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}
