package session

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/google/uuid"
)

// UID identifies a session for good: it is never used again, not even when its id is. It is a UUIDv7 (RFC 9562) whose
// time is the session's createTime to the microsecond, so that ordering by UID is ordering by createTime.
type UID [16]byte

// NewUID returns the UID of the session created at t. The low 64 bits of random make it unguessable.
//
// The layout is that of RFC 9562 section 6.2, method 3: 48 bits of milliseconds, the version, 10 bits of microseconds
// within the millisecond and 2 random bits in rand_a, the variant, and 62 random bits in rand_b.
func NewUID(t Time, random uint64) UID {
	var u UID
	millis, micros := uint64(t)/1000, uint64(t)%1000
	binary.BigEndian.PutUint64(u[:8], millis<<16|7<<12|micros<<2|random>>62)
	binary.BigEndian.PutUint64(u[8:], 1<<63|random&(1<<62-1))
	return u
}

// ParseUID reads a UUID in its canonical form.
func ParseUID(text string) (UID, error) {
	u, err := uuid.Parse(text)
	return UID(u), err
}

// Time is the instant that the UID was made for.
func (u UID) Time() Time {
	high := binary.BigEndian.Uint64(u[:8])
	return Time(high>>16*1000 + high&0xfff>>2)
}

func (u UID) random() uint64 { return binary.BigEndian.Uint64(u[8:]) & (1<<62 - 1) }

// Append appends the canonical form: 36 lower-case characters.
func (u UID) Append(b []byte) []byte {
	b = hex.AppendEncode(b, u[0:4])
	b = append(b, '-')
	b = hex.AppendEncode(b, u[4:6])
	b = append(b, '-')
	b = hex.AppendEncode(b, u[6:8])
	b = append(b, '-')
	b = hex.AppendEncode(b, u[8:10])
	b = append(b, '-')
	return hex.AppendEncode(b, u[10:16])
}

// uidTextBytes is the length of the canonical form.
const uidTextBytes = 36

// String is the canonical form.
func (u UID) String() string { return string(u.Append(make([]byte, 0, uidTextBytes))) }
