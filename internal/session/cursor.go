package session

import (
	"strconv"
	"strings"

	"github.com/parleyhq/parley/internal/fault"
)

// Cursor is a place in a session's log: a stream from it delivers what comes after Sequence. Clients get it as text,
// "{uid}:{sequence}", and need not know what it means.
type Cursor struct {
	UID      UID
	Sequence int64
}

// Append appends the cursor's text.
func (c Cursor) Append(b []byte) []byte {
	b = c.UID.Append(b)
	b = append(b, ':')
	return strconv.AppendInt(b, c.Sequence, 10)
}

// String is the cursor's text.
func (c Cursor) String() string { return string(c.Append(make([]byte, 0, 48))) }

// ParseCursor reads a cursor. It may still be another session's, or lie beyond the head: that is for the stream to
// say. The fault of another text is InvalidArgument at cursor.
func ParseCursor(text string) (Cursor, error) {
	id, number, _ := strings.Cut(text, ":")
	uid, err := ParseUID(id)
	sequence, notNumber := strconv.ParseInt(number, 10, 64)
	c := Cursor{UID: uid, Sequence: sequence}
	if err != nil || notNumber != nil || sequence < 0 || c.String() != text { // one spelling only
		return Cursor{}, fault.Invalid("cursor", `must be empty, "beginning", or a cursor as an event, a join or a publish gave it`)
	}
	return c, nil
}
