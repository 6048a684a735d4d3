package session

import (
	"strconv"
	"sync"
)

// EventKind says what happened.
type EventKind uint8

// The kinds. The stores keep the numbers, so they never change. The last four are of a stream itself, and in no log.
const (
	SessionCreated EventKind = iota + 1
	SessionUpdated
	SessionDeleted
	SessionExpired
	MemberJoined
	MemberLeft
	MemberRemoved
	MessagePublished

	StreamReady
	StreamReset
	AccessRevoked
	ServerDraining
)

var eventNames = [...]string{
	SessionCreated:   "session.created",
	SessionUpdated:   "session.updated",
	SessionDeleted:   "session.deleted",
	SessionExpired:   "session.expired",
	MemberJoined:     "member.joined",
	MemberLeft:       "member.left",
	MemberRemoved:    "member.removed",
	MessagePublished: "message",
	StreamReady:      "ready",
	StreamReset:      "reset",
	AccessRevoked:    "access.revoked",
	ServerDraining:   "server.draining",
}

// String is the event's name in the API.
func (k EventKind) String() string { return eventNames[k] }

// Ends tells whether the event is the last one of its session.
func (k EventKind) Ends() bool { return k == SessionDeleted || k == SessionExpired }

// Event is something that happened in a session, or to a stream. An Event that was handed out is never changed, and is
// shared by everyone who reads it.
type Event struct {
	UID      UID    // of the session
	ID       string // of the session
	Kind     EventKind
	Sequence int64 // its place in the log; 0: it is not in the log (an ephemeral message, or an event of a stream)
	Time     Time
	Actor    string // who did it; empty: the server
	Channel  int32  // of a message; else 0

	// MessageID is the message's id; empty: the server made it, of the Time and the Sequence.
	MessageID string

	// Document is what the event is about, as JSON that is encoded once and kept: of a message what Message.AppendJSON
	// made; of a member, Member.AppendJSON; of a snapshot, Record.AppendJSON without a secretKey. Nil: nothing.
	Document []byte

	// At is the cursor of an event of a stream; nil: the event's own, or none if it has no Sequence.
	At *Cursor

	// Gap says of a session's last event that events before it may have been skipped.
	Gap bool

	once  sync.Once
	frame []byte // the event in SSE, with its JSON in it
	json  int    // where the JSON begins

	protobufOnce sync.Once
	protobuf     []byte
	protobufErr  error
}

// Cursor is where a stream goes on after the event; ok is false if it has no place.
func (e *Event) Cursor() (c Cursor, ok bool) {
	switch {
	case e.At != nil:
		return *e.At, true
	case e.Sequence > 0:
		return Cursor{UID: e.UID, Sequence: e.Sequence}, true
	default:
		return Cursor{}, false
	}
}

// Size is about how many bytes the event holds, its encoding included.
func (e *Event) Size() int {
	const itself = 320
	return itself + len(e.Document) + e.frameSize()
}

// frameSize is about how long the frame is, and not much less than that.
func (e *Event) frameSize() int {
	const fixed = 400 // names, punctuation, cursors and times
	names := len(e.ID) + len(e.Actor) + max(len(e.MessageID), uidTextBytes)
	return fixed + 2*names + len(e.Document)
}

// SSE is the event as text/event-stream has it. It is encoded once, for all who read it.
func (e *Event) SSE() []byte {
	e.once.Do(e.encode)
	return e.frame
}

// JSON is the event's envelope, on one line and without a line end.
func (e *Event) JSON() []byte {
	e.once.Do(e.encode)
	return e.frame[e.json : len(e.frame)-len("\n\n")]
}

// NDJSON is the event's envelope with a line end.
func (e *Event) NDJSON() []byte {
	e.once.Do(e.encode)
	return e.frame[e.json : len(e.frame)-len("\n")]
}

// Protobuf is what encode makes of the event: once, for all who read it.
func (e *Event) Protobuf(encode func(*Event) ([]byte, error)) ([]byte, error) {
	e.protobufOnce.Do(func() { e.protobuf, e.protobufErr = encode(e) })
	return e.protobuf, e.protobufErr
}

func (e *Event) encode() {
	b := make([]byte, 0, e.frameSize())
	b = append(b, "event: "...)
	b = append(b, e.Kind.String()...)
	cursor, ok := e.Cursor()
	if ok {
		b = append(b, "\nid: "...)
		b = cursor.Append(b)
	}
	b = append(b, "\ndata: "...)
	e.json = len(b)
	b = e.appendJSON(b, cursor, ok)
	b = append(b, "\n\n"...)
	e.frame = b
}

func (e *Event) appendJSON(b []byte, cursor Cursor, ok bool) []byte {
	b = append(b, `{"event":"`...)
	b = append(b, e.Kind.String()...)
	b = append(b, `","cursor":"`...)
	if ok {
		b = cursor.Append(b)
	}
	b = append(b, `","sequence":"`...)
	b = strconv.AppendInt(b, e.Sequence, 10)
	b = append(b, `","session":"`+NamePrefix...)
	b = append(b, e.ID...)
	b = append(b, `","channel":`...)
	b = strconv.AppendInt(b, int64(e.Channel), 10)
	b = appendTime(b, "createTime", e.Time)
	b = append(b, `,"actor":`...)
	b = appendString(b, e.Actor)
	if e.Gap {
		b = append(b, `,"gap":true`...)
	}
	if name := e.Payload(); name != "" {
		b = append(b, `,"`...)
		b = append(b, name...)
		b = append(b, `":`...)
		b = e.AppendPayload(b)
	}
	return append(b, '}')
}

// Payload is the name of the field that AppendPayload is the value of: message, member, snapshot; empty: there is none.
func (e *Event) Payload() string {
	switch {
	case e.Document == nil:
		return ""
	case e.Kind == MessagePublished:
		return "message"
	case e.Kind == MemberJoined, e.Kind == MemberLeft, e.Kind == MemberRemoved:
		return "member"
	default:
		return "snapshot"
	}
}

// AppendPayload appends the JSON of what the event is about, as the API answers it.
func (e *Event) AppendPayload(b []byte) []byte {
	if e.Kind != MessagePublished {
		return append(b, e.Document...)
	}
	id := e.MessageName()
	b = append(b, `{"name":"`+NamePrefix...)
	b = append(b, e.ID...)
	b = append(b, messagesInfix...)
	b = append(b, id...)
	b = append(b, `","messageId":"`...)
	b = append(b, id...)
	b = append(b, `","sender":`...)
	b = appendString(b, e.Actor)
	b = append(b, `,"channel":`...)
	b = strconv.AppendInt(b, int64(e.Channel), 10)
	b = append(b, `,"sequence":"`...)
	b = strconv.AppendInt(b, e.Sequence, 10)
	b = append(b, '"')
	b = appendTime(b, "createTime", e.Time)
	b = append(b, ',')
	return append(b, e.Document[1:]...)
}

// messagesInfix is what stands between the ids of a session and of a message in the message's name.
const messagesInfix = "/messages/"

// MessageName is the message's id, whoever made it.
func (e *Event) MessageName() string {
	if e.MessageID != "" {
		return e.MessageID
	}
	return NewUID(e.Time, uint64(e.Sequence)).String()
}

// MadeMessageID tells which event a message id belongs to, if the server made it: the one with the sequence, if that
// has the time. It is a UUIDv7 of both, so that finding a message by it needs no index.
func MadeMessageID(id string) (t Time, sequence int64, ok bool) {
	uid, err := ParseUID(id)
	if err != nil || NewUID(uid.Time(), uid.random()).String() != id {
		return 0, 0, false
	}
	return uid.Time(), int64(uid.random()), true
}

// Created is the first event of every session. It is made of the session's row, and in no log.
func (r *Record) Created() *Event {
	return &Event{UID: r.UID, ID: r.ID, Kind: SessionCreated, Sequence: 1, Time: r.CreateTime, Actor: r.Creator}
}

// Ended is the last event of the session, with the sequence after its head's.
func (r *Record) Ended(kind EventKind, actor string, now Time) *Event {
	return &Event{UID: r.UID, ID: r.ID, Kind: kind, Sequence: r.Head.Sequence + 1, Time: now, Actor: actor}
}
