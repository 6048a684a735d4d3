package session

import "time"

// Time is an instant in microseconds since 1970, UTC: the resolution that the API shows and the stores keep.
// The zero Time means "none".
type Time int64

// Now is the time of the machine's clock.
func Now() Time { return TimeOf(time.Now()) }

// TimeOf converts, dropping what is finer than a microsecond.
func TimeOf(t time.Time) Time { return Time(t.UnixMicro()) }

// Std converts to the standard library's time, in UTC.
func (t Time) Std() time.Time { return time.UnixMicro(int64(t)).UTC() }

// Add returns the instant d later.
func (t Time) Add(d time.Duration) Time { return t + Time(d.Microseconds()) }

// timeBytes is the length of an encoded Time.
const timeBytes = len("2006-01-02T15:04:05.000000Z")

// Append appends the time as RFC 3339 with six fractional digits, in UTC.
func (t Time) Append(b []byte) []byte { return t.Std().AppendFormat(b, "2006-01-02T15:04:05.000000Z") }

// String is the time as Append has it.
func (t Time) String() string { return string(t.Append(make([]byte, 0, timeBytes))) }
