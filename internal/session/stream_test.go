package session

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/fault"
)

// streamStore is a store of one session, as a stream reads it.
type streamStore struct {
	Store

	record  *Record // nil: it has ended
	member  bool    // the reader is one
	asked   func()  // is called after the reader was looked up
	expired bool    // the record is past its deadline
}

func (s *streamStore) Get(context.Context, string, string) (*Record, *Member, error) {
	if s.expired {
		return nil, nil, nil
	}
	record := s.record
	var member *Member
	if s.member {
		member = &Member{User: "reader"}
	}
	if s.asked != nil {
		s.asked()
	}
	return record, member, nil
}

func (s *streamStore) Log(context.Context, UID, int64, int, int) (*Log, error) {
	return &Log{Record: s.record, Expired: s.expired, First: 1}, nil
}

// scriptedWatch does what it is told.
type scriptedWatch struct {
	events []*Event // that are near the head
	log    *Log     // what Load brings; not nil: the tail does not reach back
}

func (t *scriptedWatch) Next(events []*Event, place *Place, _ int) ([]*Event, Progress) {
	if t.log != nil {
		return events, Behind
	}
	if len(t.events) == 0 {
		return events, Idle
	}
	for _, e := range t.events {
		place.Sequence = e.Sequence
	}
	events, t.events = append(events, t.events...), nil
	return events, More
}

func (t *scriptedWatch) Load(context.Context, int64) (*Log, error) {
	log := t.log
	t.log = nil
	return log, nil
}

func (*scriptedWatch) Close() {}

// tailOf is the Tail that gives out the scripted watch.
type tailOf struct {
	Tail

	script *scriptedWatch
}

func (tailOf) Head(UID, int64) {}

func (t tailOf) Watch(UID, string, func()) (Watch, error) { return t.script, nil }

// readAll is what a stream delivers until it has nothing more, as the events' names.
func readAll(t *testing.T, s *Stream) string {
	t.Helper()
	var names []string
	for {
		events, state := s.Next(nil)
		for _, e := range events {
			name := e.Kind.String()
			if e.Gap {
				name += "(gap)"
			}
			names = append(names, name)
		}
		switch state {
		case StreamIdle:
			return strings.Join(names, " ")
		case StreamOver:
			return strings.Join(append(names, "over"), " ")
		case StreamBlocked:
			if err := s.Advance(t.Context()); err != nil {
				return strings.Join(append(names, "failed"), " ")
			}
		case StreamMore:
		}
	}
}

// Whatever ends the right to read, nothing is shown after it; and what ends a session is told to those who may know.
func TestWhatAStreamDeliversWhenSomethingEnds(t *testing.T) {
	spec := Spec{Profile: "p", DisplayName: "d", Type: Private, Owners: []string{"ada"}, DefaultChannels: []int32{1}}
	record := &Record{UID: NewUID(1_767_225_600_000_000, 7), ID: "s", Type: Private, Document: spec.AppendJSON(nil), Head: Head{Sequence: 4}}
	event := func(kind EventKind, sequence int64) *Event {
		return &Event{UID: record.UID, ID: "s", Kind: kind, Sequence: sequence, Document: []byte(`{}`)}
	}
	removed := event(MemberRemoved, 5)
	removed.Document = (&Member{User: "reader"}).AppendJSON(nil, RoleMember, false)
	trimmed := &Log{Record: record, First: 9, Events: []*Event{event(MessagePublished, 9)}}

	const alive, expired, ended = "alive", "expired", "ended"
	for name, test := range map[string]struct {
		events      []*Event
		log         *Log
		stillMember bool
		state       string
		want        string
	}{
		"nothing":                        {[]*Event{event(MessagePublished, 5)}, nil, true, alive, "message"},
		"an update that takes the right": {[]*Event{event(SessionUpdated, 5), event(MessagePublished, 6)}, nil, false, alive, "access.revoked over"},
		"an update that does not": {
			[]*Event{event(SessionUpdated, 5), event(MessagePublished, 6), event(SessionUpdated, 7)},
			nil, true, alive,
			"session.updated message session.updated",
		},
		"a removal":               {[]*Event{removed, event(MessagePublished, 6)}, nil, false, alive, "member.removed access.revoked over"},
		"a gap in the log":        {nil, trimmed, true, alive, "reset"},
		"a gap with the removal":  {nil, trimmed, false, alive, "access.revoked over"},
		"the end after an update": {[]*Event{event(SessionUpdated, 5), event(SessionDeleted, 6)}, nil, false, ended, "session.updated session.deleted over"},
		"the end, next":           {nil, &Log{End: event(SessionExpired, 5)}, false, ended, "session.expired over"},
		"the end, after others":   {nil, &Log{End: event(SessionExpired, 7)}, false, ended, "session.expired(gap) over"},
		"an update, then the end": {[]*Event{event(SessionUpdated, 5)}, nil, true, expired, "session.updated"},
		"the end, but not yet":    {nil, &Log{Record: record, First: 1, Expired: true}, true, expired, ""},
		"a gap, then the end":     {nil, trimmed, true, expired, "failed"},
		"nothing is known":        {nil, &Log{}, false, ended, "over"},
	} {
		t.Run(name, func(t *testing.T) {
			store, script := &streamStore{record: record, member: true}, new(scriptedWatch)
			service := NewService(store, tailOf{script: script}, NewKeyRing())
			stream, err := service.Subscribe(t.Context(), Caller{User: "reader"}, SubscribeRequest{ID: "s"}, func() {})
			if err != nil {
				t.Fatal(err)
			}
			if got := readAll(t, stream); got != "ready" {
				t.Fatalf("at first it delivers %q, want ready", got)
			}
			script.events, script.log, store.member = test.events, test.log, test.stillMember
			switch test.state {
			case ended:
				store.record = nil
			case expired:
				store.expired = true
			}
			if diff := cmp.Diff(test.want, readAll(t, stream)); diff != "" {
				t.Errorf("delivered (-want +got):\n%s", diff)
			}
		})
	}
}

// A right that ends between being looked up and the head being read must not slip through.
func TestARightThatEndsWhileAStreamBegins(t *testing.T) {
	spec := Spec{Profile: "p", DisplayName: "d", Type: Private, Owners: []string{"ada"}, DefaultChannels: []int32{1}}
	record := &Record{UID: NewUID(1_767_225_600_000_000, 7), ID: "s", Type: Private, Document: spec.AppendJSON(nil), Head: Head{Sequence: 4}}
	store := &streamStore{record: record, member: true}
	store.asked = func() { store.member = false }
	service := NewService(store, tailOf{script: new(scriptedWatch)}, NewKeyRing())
	_, err := service.Subscribe(t.Context(), Caller{User: "reader"}, SubscribeRequest{ID: "s"}, func() {})
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("Subscribe = %v, want NotFound", err)
	}
}
