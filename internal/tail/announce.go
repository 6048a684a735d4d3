package tail

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"

	"github.com/parleyhq/parley/internal/session"
)

// An announcement is what a node tells the others. Its content, before it is sealed:
//
//	what | what is announced

// nodeID is one run of a server process.
type nodeID [16]byte

// announced is what an announcement is of.
type announced byte

const (
	anEvent   announced = iota + 1 // the event
	aSequence                      // that the log has come to a sequence
	aPresence                      // who watches, at the node
	noSuchThing
)

// maxAnnounced is the size from which on events of the log are announced as aSequence.
const maxAnnounced = 64 << 10

// announcement is a decoded one.
type announcement struct {
	what     announced
	node     nodeID
	number   uint64 // ascending by node
	uid      session.UID
	event    *session.Event // of anEvent
	sequence int64          // of aSequence
	body     []byte         // of aPresence
}

var errAnnouncement = errors.New("not an announcement of this server")

// encode makes the announcement fit for the bus, sealed by its node's cipher.
func (a *announcement) encode(sealer cipher.AEAD) []byte {
	b := make([]byte, 0, headerBytes+sealBytes+256+len(a.body)+a.eventBytes())
	b = appendHeader(b, a.node, a.number)
	b = append(b, byte(a.what))
	switch a.what {
	case anEvent:
		b = appendEvent(b, a.event)
	case aSequence:
		b = binary.AppendVarint(b, a.sequence)
	default:
		b = append(b, a.body...)
	}
	header, content := b[:headerBytes], b[headerBytes:]
	nonce, additional := bound(header, a.uid)
	return sealer.Seal(header, nonce, content, additional)
}

func (a *announcement) eventBytes() int {
	if a.event == nil {
		return 0
	}
	return len(a.event.Document)
}

// announcedAs is how an event is announced. Ephemeral events are never in the log, so they always go whole.
func announcedAs(e *session.Event) announced {
	if e.Sequence > 0 && len(e.Document) > maxAnnounced {
		return aSequence
	}
	return anEvent
}

// decode reads what was announced for a session. Whatever no node made for it is an error. It changes the data, of which
// the event keeps hold.
func (p *peers) decode(data []byte, uid session.UID) (*announcement, error) {
	node, number, content, err := p.open(data, uid)
	if err != nil {
		return nil, err
	}
	r := &reader{rest: content}
	a := &announcement{what: announced(r.byte()), node: node, number: number, uid: uid}
	switch a.what {
	case anEvent:
		a.event = r.event(uid)
	case aSequence:
		a.sequence = r.varint()
	default:
		a.body = r.rest
	}
	if r.failed || a.what < anEvent || a.what >= noSuchThing {
		return nil, errAnnouncement
	}
	return a, nil
}

// Marks of an encoded event.
const (
	markGap = 1 << iota
	markDocument
)

func appendEvent(b []byte, e *session.Event) []byte {
	var marks byte
	if e.Gap {
		marks |= markGap
	}
	if e.Document != nil {
		marks |= markDocument
	}
	b = append(b, byte(e.Kind), marks)
	b = binary.AppendVarint(b, e.Sequence)
	b = binary.AppendVarint(b, int64(e.Time))
	b = binary.AppendVarint(b, int64(e.Channel))
	for _, text := range [...]string{e.ID, e.Actor, e.MessageID} {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	return append(b, e.Document...)
}

// reader takes an announcement apart. Once something is missing, it fails and returns zeros.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) event(uid session.UID) *session.Event {
	e := &session.Event{UID: uid, Kind: session.EventKind(r.byte())}
	marks := r.byte()
	e.Gap = marks&markGap != 0
	e.Sequence = r.varint()
	e.Time = session.Time(r.varint())
	e.Channel = int32(r.varint())
	for _, text := range [...]*string{&e.ID, &e.Actor, &e.MessageID} {
		*text = string(r.take(int(r.uvarint())))
	}
	if marks&markDocument != 0 {
		e.Document = r.rest
		r.failed = r.failed || len(r.rest) == 0 // it is JSON
	}
	if e.Kind < session.SessionCreated || e.Kind > session.MessagePublished || e.Sequence < 0 {
		r.failed = true
	}
	return e
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.failed, r.rest = true, nil
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) byte() byte {
	b := r.take(1)
	if b == nil {
		return 0
	}
	return b[0]
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	r.skip(n)
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	r.skip(n)
	return v
}

// skip passes over a number; none was there if n is not positive.
func (r *reader) skip(n int) {
	if n <= 0 {
		r.failed, r.rest = true, nil
		return
	}
	r.rest = r.rest[n:]
}

// presenceKind says what an announcement of presence is.
type presenceKind byte

const (
	presenceHere  presenceKind = iota + 1 // those named watch now
	presenceGone                          // those named do not any more
	presenceAsked                         // all nodes are to tell who is there
)

// append appends the attendance to the body of an announcement of presence.
func (at attendance) append(b []byte) []byte {
	b = append(b, at.uid[:]...)
	b = binary.AppendUvarint(b, uint64(len(at.user)))
	return append(b, at.user...)
}

// decodePresence reads the body of an announcement of presence.
func decodePresence(body []byte) (presenceKind, []attendance, error) {
	r := &reader{rest: body}
	what := presenceKind(r.byte())
	var present []attendance
	for len(r.rest) > 0 {
		var at attendance
		copy(at.uid[:], r.take(len(at.uid)))
		at.user = string(r.take(int(r.uvarint())))
		present = append(present, at)
	}
	if r.failed || what < presenceHere || what > presenceAsked {
		return 0, nil, errAnnouncement
	}
	return what, present, nil
}
