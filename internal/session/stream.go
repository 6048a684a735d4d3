package session

import (
	"bytes"
	"context"
	"slices"

	"github.com/parleyhq/parley/internal/fault"
)

// SubscribeRequest asks for a stream of a session's events.
type SubscribeRequest struct {
	ID       string
	Channels []int32 // whose messages to deliver; none: all
	Cursor   string  // where to go on: empty: from now; Beginning; or a cursor
}

// Beginning is the cursor before the oldest event that is kept.
const Beginning = "beginning"

// Subscribe begins a stream. Wake is called, on some goroutine, after Next returned StreamIdle and there is something
// new; it must not block. It may be called once too often: while Subscribe, Next or another wake is under way, too. The
// stream must be closed.
//
// When the caller's credential ends, the stream ends with AccessRevoked, whatever it was about to deliver.
//
// The promise: a stream from a cursor delivers every later event of the log once and in order, or says StreamReset and
// goes on from the head; what is ephemeral comes in between, as long as the reader keeps up.
//
// Faults: Unauthenticated if the caller's credential has ended; InvalidArgument for channels and a cursor that none can
// be; NotFound; PermissionDenied NOT_A_MEMBER, BLOCKED.
func (s *Service) Subscribe(ctx context.Context, caller Caller, r SubscribeRequest, wake func()) (*Stream, error) {
	if err := s.credentials.check(caller, s.now); err != nil {
		return nil, err
	}
	var violations fault.Violations
	checkSomeChannels("channel", r.Channels, &violations)
	var cursor *Cursor
	if r.Cursor != "" && r.Cursor != Beginning {
		c, err := ParseCursor(r.Cursor)
		if err != nil {
			violations = append(violations, fault.From(err).Violations...)
		}
		cursor = &c
	}
	if err := violations.Err(); err != nil {
		return nil, err
	}
	record, _, err := s.readable(ctx, caller, r.ID)
	if err != nil {
		return nil, err
	}
	stream := &Stream{service: s, caller: caller, id: r.ID, uid: record.UID, channels: r.Channels}
	if stream.watch, err = s.tail.Watch(record.UID, caller.User, wake); err != nil {
		return nil, err
	}
	if stream.lease, err = s.credentials.begin(caller, wake); err == nil {
		err = stream.start(ctx, r.Cursor, cursor)
	}
	if err != nil {
		stream.Close()
		return nil, err
	}
	return stream, nil
}

// StreamState says what the reader of a stream is to do after Next.
type StreamState uint8

// What a reader is to do.
const (
	StreamIdle    StreamState = iota // wait until it is woken
	StreamMore                       // call Next again: there may be more
	StreamBlocked                    // call Advance, which may take its time
	StreamOver                       // deliver what there is, and end
)

// Stream is one subscriber's way through a session's log. It holds a place in the log, and at most one batch of events:
// however slow its reader is, nothing piles up. Its methods are for one goroutine at a time; Close may be called besides.
type Stream struct {
	service  *Service
	caller   Caller
	id       string
	uid      UID
	channels []int32
	watch    Watch
	lease    *lease

	place   Place
	pending []*Event // are to be delivered before anything else; the place is past them
	doubt   bool     // something may have ended the right to read
	settled int64    // the sequence of the last event that put it in doubt
	over    bool     // after pending, nothing comes any more
}

// batchBytes is how much of the log a stream takes at once.
const batchBytes = 64 << 10

// start finds the place to begin at. The tail is watched by now, so nothing falls between it and the log. The right to
// read is looked up once more: had it ended before the head was read, then nothing after the head would tell.
func (s *Stream) start(ctx context.Context, given string, cursor *Cursor) error {
	log, err := s.service.store.Log(ctx, s.uid, 0, 0, 0)
	if err != nil {
		return err
	}
	if log.Record == nil || log.Expired {
		return notFound()
	}
	if record, _, err := s.service.readable(ctx, s.caller, s.id); err != nil {
		return err
	} else if record.UID != s.uid {
		return notFound()
	}
	head := log.Record.Head.Sequence
	s.service.tail.Head(s.uid, head)
	s.place.Sequence = head
	switch {
	case given == Beginning:
		s.place.Sequence = log.First - 1
	case cursor == nil:
	case cursor.UID == s.uid && cursor.Sequence <= head && cursor.Sequence >= log.First-1:
		s.place.Sequence = cursor.Sequence
	default:
		// Until the reader has the reset, it must come back with the same cursor: so ready has that one.
		s.pending = []*Event{s.event(StreamReady, cursor, log.Record), s.reset(log.Record)}
		return nil
	}
	s.pending = []*Event{s.event(StreamReady, s.here(), log.Record)}
	return nil
}

// Next appends to the events what is to be delivered next. It does not block.
func (s *Stream) Next(events []*Event) ([]*Event, StreamState) {
	if s.lease.isCut(s.service.now) {
		return s.cutOff(events), StreamOver
	}
	if s.doubt {
		return events, StreamBlocked
	}
	if len(s.pending) > 0 {
		return s.deliver(events, s.takePending()), s.state(StreamMore)
	}
	if s.over {
		return events, StreamOver
	}
	found, progress := s.watch.Next(events, &s.place, batchBytes)
	events = s.deliver(events, found[len(events):])
	switch progress {
	case Idle:
		return events, s.state(StreamIdle)
	case Behind:
		return events, s.state(StreamBlocked)
	case Draining:
		s.over = true
		return append(events, s.event(ServerDraining, s.here(), nil)), StreamOver
	default:
		return events, s.state(StreamMore)
	}
}

// cutOff is the end of a stream whose credential has ended: what was yet to be delivered is not for its reader any more.
func (s *Stream) cutOff(events []*Event) []*Event {
	if s.over && len(s.pending) == 0 {
		return events // it was told, or the stream had come to its end before
	}
	s.pending, s.doubt, s.over = nil, false, true
	return append(events, s.event(AccessRevoked, nil, nil))
}

// Ended tells whether the credential that opened the stream has ended. Who takes long to deliver what Next returned asks
// in between: the rest is not to be delivered, and Next tells why.
func (s *Stream) Ended() bool { return s.lease.isCut(s.service.now) }

// state is what the reader is to do, unless the events that were just delivered say otherwise.
func (s *Stream) state(otherwise StreamState) StreamState {
	switch {
	case s.doubt:
		return StreamBlocked
	case len(s.pending) > 0:
		return StreamMore
	case s.over:
		return StreamOver
	default:
		return otherwise
	}
}

func (s *Stream) takePending() []*Event {
	taken := s.pending
	s.pending = nil
	return taken
}

// deliver appends those that the reader wants, up to the first that puts the right to read in doubt or is the last. The
// user's own departure is told before the doubt is settled; another version of the session only after it, because who
// may not read it any more is not to see it. What is found may lie in the memory that it appends to.
func (s *Stream) deliver(events, found []*Event) []*Event {
	for i, e := range found {
		if e.Kind == MessagePublished && len(s.channels) > 0 && !slices.Contains(s.channels, e.Channel) {
			continue
		}
		if s.raisesDoubt(e) {
			s.doubt, s.settled = true, e.Sequence
			if e.Kind != SessionUpdated {
				events = append(events, e)
				i++
			}
			s.pending = append(s.pending, found[i:]...)
			return events
		}
		events = append(events, e)
		if e.Kind.Ends() || e.Kind == AccessRevoked {
			s.over = true
			return events
		}
	}
	return events
}

// raisesDoubt tells whether the caller's right to read may have ended with the event.
func (s *Stream) raisesDoubt(e *Event) bool {
	if s.caller.Admin || e.Sequence <= s.settled {
		return false
	}
	switch e.Kind {
	case SessionUpdated:
		return true
	case MemberLeft, MemberRemoved:
		mine := appendString([]byte(`{"user":`), s.caller.User)
		return bytes.HasPrefix(e.Document, append(mine, ','))
	default:
		return false
	}
}

// Advance does what Next was blocked by: it reads the log, or looks the caller's rights up. An error ends the stream,
// whose reader may come back with its last cursor.
func (s *Stream) Advance(ctx context.Context) error {
	if s.lease == nil {
		return s.advance(ctx)
	}
	within, done := s.lease.within(ctx)
	defer done()
	err := s.advance(within)
	if s.lease.isCut(s.service.now) {
		return nil // Next says so
	}
	return err
}

func (s *Stream) advance(ctx context.Context) error {
	if s.doubt {
		return s.settleDoubt(ctx)
	}
	log, err := s.watch.Load(ctx, s.place.Sequence)
	if err != nil {
		return err
	}
	next := s.place.Sequence + 1
	switch {
	case len(log.Events) > 0 && log.Events[0].Sequence == next:
		s.take(log.Events)
	case log.End != nil:
		s.end(log.End)
	case log.Record == nil:
		s.over = true
	case log.First > next, log.Record.Head.Sequence < s.place.Sequence:
		return s.startOver(ctx)
	}
	return nil
}

// startOver goes on from the present head, because the log has a gap. In the gap the right to read may have ended.
func (s *Stream) startOver(ctx context.Context) error {
	log, err := s.service.store.Log(ctx, s.uid, s.place.Sequence, 0, 0)
	if err != nil {
		return err
	}
	if log.Record == nil {
		return nil // it has just ended: the next Load tells
	}
	if log.Expired { // and so nobody can tell any more who may see it
		return notFound()
	}
	s.pending = append(s.pending, s.reset(log.Record))
	if s.caller.Admin {
		return nil
	}
	return s.settleDoubt(ctx)
}

// take takes as many of the events as a batch has room for, and at least one. The rest is read again.
func (s *Stream) take(found []*Event) {
	size := 0
	for i, e := range found {
		if size += e.Size(); i > 0 && size > batchBytes {
			break
		}
		s.pending = append(s.pending, e)
		s.place.Sequence = e.Sequence
	}
}

// end delivers the last event of a session, which may come after others that are lost.
func (s *Stream) end(last *Event) {
	gap := last.Sequence != s.place.Sequence+1
	s.pending = append(s.pending, &Event{
		UID: last.UID, ID: last.ID, Kind: last.Kind, Sequence: last.Sequence, Time: last.Time, Actor: last.Actor, Gap: gap,
	})
	s.place.Sequence = last.Sequence
}

// settleDoubt ends the stream if the caller may no longer read.
func (s *Stream) settleDoubt(ctx context.Context) error {
	record, _, err := s.service.readable(ctx, s.caller, s.id)
	same := record != nil && record.UID == s.uid
	switch {
	case err == nil && same:
	case err == nil || fault.Is(err, fault.NotFound), fault.Is(err, fault.PermissionDenied) && !same:
		// The session may have ended, and then its last event is on its way.
		log, err := s.service.store.Log(ctx, s.uid, s.place.Sequence, 0, 0)
		if err != nil {
			return err
		}
		if log.Record != nil && !log.Expired {
			s.revoke()
		}
	case fault.Is(err, fault.PermissionDenied):
		s.revoke()
	default:
		return err
	}
	s.doubt = false
	return nil
}

func (s *Stream) revoke() {
	s.pending = []*Event{s.event(AccessRevoked, nil, nil)}
}

// reset moves the stream to the head, and says so.
func (s *Stream) reset(record *Record) *Event {
	s.place.Sequence = record.Head.Sequence
	return s.event(StreamReset, s.here(), record)
}

func (s *Stream) here() *Cursor { return &Cursor{UID: s.uid, Sequence: s.place.Sequence} }

// Cursor is how far the stream has come, when Next has returned StreamIdle: all events up to it were delivered, or are
// of channels that the reader does not want.
func (s *Stream) Cursor() Cursor { return *s.here() }

// Filtered tells whether the stream leaves events out, so that its reader learns of its place only by being told.
func (s *Stream) Filtered() bool { return len(s.channels) > 0 }

// event is an event of the stream itself.
func (s *Stream) event(kind EventKind, at *Cursor, record *Record) *Event {
	e := &Event{UID: s.uid, ID: s.id, Kind: kind, Time: s.service.now(), At: at}
	if record != nil {
		e.Document = record.AppendJSON(nil, "")
	}
	return e
}

// Close ends the stream. A call of wake that was under way may still begin; Next has nothing for it.
func (s *Stream) Close() {
	s.service.credentials.end(s.lease)
	s.watch.Close()
}
