package session

import (
	"bytes"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/parleyhq/parley/internal/fault"
)

// Limits and defaults of the options that have a meaning.
const (
	MaxDuration         = 10 * 365 * 24 * time.Hour // of ttl, idleTimeout, historyTtl
	MaxMessageBytes     = 512 << 10
	DefaultMessageBytes = 64 << 10
	DefaultTTL          = 24 * time.Hour  // of TEMPORARY sessions
	DefaultIdleTimeout  = 5 * time.Minute // of TEMPORARY sessions

	maxCount = 1<<53 - 1 // what a JSON number can count to
)

// Settings are the options that have a meaning. Zero values mean that the options do not say.
type Settings struct {
	TTL             time.Duration
	IdleTimeout     time.Duration
	HistoryTTL      time.Duration
	MaxMembers      int64
	MaxMessageBytes int64 // never 0
	HistorySize     int64
	Ephemeral       []int32 // the channels without a history
}

// ParseSettings reads the settings in the options of a Spec, and adds to v what is wrong with them. Other keys, and what
// else is in the object of a channel, are the application's. A setting that is null is not given.
//
// Durations are protobuf JSON's: seconds, with up to nine fractional digits, and an "s"; here from a microsecond, which
// is the finest that a Time has, to MaxDuration.
func ParseSettings(options []byte, v *fault.Violations) Settings {
	s := Settings{MaxMessageBytes: DefaultMessageBytes}
	for m := membersOf(options); m.next(); {
		if !isNull(m.value) {
			s.setOption(m.name(), m.value, v)
		}
	}
	return s
}

func (s *Settings) setOption(name, value []byte, v *fault.Violations) {
	switch string(name) {
	case "ttl":
		setDuration(&s.TTL, value, "options.ttl", v)
	case "idleTimeout":
		setDuration(&s.IdleTimeout, value, "options.idleTimeout", v)
	case "historyTtl":
		setDuration(&s.HistoryTTL, value, "options.historyTtl", v)
	case "maxMembers":
		setCount(&s.MaxMembers, value, maxCount, "options.maxMembers", v)
	case "maxMessageBytes":
		setCount(&s.MaxMessageBytes, value, MaxMessageBytes, "options.maxMessageBytes", v)
	case "historySize":
		setCount(&s.HistorySize, value, maxCount, "options.historySize", v)
	case "channels":
		s.setChannels(value, v)
	}
}

const durationRule = `must be a duration from 0.000001s to 315360000s, such as "3600s"` // MaxDuration

func setDuration(d *time.Duration, value []byte, field string, v *fault.Violations) {
	parsed, ok := parseDuration(string(value))
	if !ok {
		report(v, field, durationRule)
		return
	}
	*d = parsed
}

// parseDuration reads a duration as protobuf JSON has it, in its quotes.
func parseDuration(value string) (time.Duration, bool) {
	text, prefixed := strings.CutPrefix(value, `"`)
	text, suffixed := strings.CutSuffix(text, `s"`)
	whole, fraction, point := strings.Cut(text, ".")
	if !prefixed || !suffixed || !isDigits(whole, 9) || point && !isDigits(fraction, 9) {
		return 0, false
	}
	seconds, _ := strconv.ParseInt(whole, 10, 64)
	nanos, _ := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	d := time.Duration(seconds)*time.Second + time.Duration(nanos)
	return d, time.Microsecond <= d && d <= MaxDuration
}

// isDigits tells whether the text is 1 to most decimal digits.
func isDigits(text string, most int) bool {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return text != "" && len(text) <= most
}

// setCount reads an integer in any form that JSON has for it: 1000 is 1e3 too.
func setCount(n *int64, value []byte, most int64, field string, v *fault.Violations) {
	number, err := strconv.ParseFloat(string(value), 64)
	if err != nil || number != math.Trunc(number) || number < 1 || number > float64(most) {
		report(v, field, "must be an integer from 1 to %d", most)
		return
	}
	*n = int64(number)
}

func (s *Settings) setChannels(value []byte, v *fault.Violations) {
	if !isObject(value) {
		report(v, "options.channels", "must be an object")
	}
	for m := membersOf(value); m.next(); {
		s.setChannel(string(m.name()), m.value, v)
	}
}

func (s *Settings) setChannel(key string, value []byte, v *fault.Violations) {
	path := memberPath("options.channels", key)
	channel, ok := parseChannel(key)
	switch {
	case !ok:
		report(v, path, "must be named by a channel's number, 1 to %d", math.MaxInt32)
	case !isObject(value) && !isNull(value):
		report(v, path, "must be an object")
	}
	for m := membersOf(value); ok && m.next(); {
		if string(m.name()) == "history" {
			s.setHistory(channel, m.value, path, v)
		}
	}
}

// parseChannel reads a channel's number in its one decimal form.
func parseChannel(key string) (int32, bool) {
	channel, err := strconv.ParseInt(key, 10, 32)
	return int32(channel), err == nil && channel > 0 && strconv.FormatInt(channel, 10) == key
}

func (s *Settings) setHistory(channel int32, value []byte, path string, v *fault.Violations) {
	switch string(value) {
	case "false":
		s.Ephemeral = append(s.Ephemeral, channel)
	case "true", "null":
	default:
		report(v, path+".history", "must be true or false")
	}
}

// deadline is the ExpireTime of a session, created at that time, that nobody has joined. 0: it has none.
func (s *Settings) deadline(t Type, created Time) Time { return s.deadlineSince(t, created, created) }

// deadlineSince is the ExpireTime of a session that has had no members since the time idle; 0: it has members now.
//
// The ttl counts from createTime, whatever happens: an update that makes it shorter than the session's age ends the
// session at once. The idleTimeout is only for TEMPORARY sessions. Whoever computes the deadline anew, at an update,
// chooses what the idle time counts from: from the update itself, as a rule, because a session that becomes TEMPORARY
// long after its creation would otherwise end on the spot.
func (s *Settings) deadlineSince(t Type, created, idle Time) Time {
	ttl := s.TTL
	if ttl == 0 && t == Temporary {
		ttl = DefaultTTL
	}
	var end Time
	if ttl != 0 {
		end = created.Add(ttl)
	}
	if t != Temporary || idle == 0 {
		return end
	}
	timeout := s.IdleTimeout
	if timeout == 0 {
		timeout = DefaultIdleTimeout
	}
	return min(end, idle.Add(timeout))
}

// members walks through the members of an object in compact JSON. It takes the JSON to be valid, because everything in
// a Spec was checked when it came in; what is not valid gives other members than it should, and no panic.
type members struct {
	quoted []byte // the name as it is written
	value  []byte
	rest   []byte
}

// membersOf begins at the first member; what is not an object has none.
func membersOf(object []byte) members {
	if !isObject(object) {
		return members{}
	}
	return members{rest: object[1:]}
}

func (m *members) next() bool {
	rest := m.rest
	if len(rest) > 0 && rest[0] == ',' {
		rest = rest[1:]
	}
	end := valueLength(rest)
	if end < len(`""`) || end >= len(rest) || rest[0] != '"' || rest[end] != ':' {
		return false
	}
	m.quoted, rest = rest[:end], rest[end+1:]
	end = valueLength(rest)
	m.value, m.rest = rest[:end], rest[end:]
	return end > 0
}

// name is the member's name without quotes and escapes.
func (m *members) name() []byte {
	if bytes.IndexByte(m.quoted, '\\') < 0 {
		return m.quoted[1 : len(m.quoted)-1]
	}
	name, _ := jsontext.AppendUnquote(nil, m.quoted)
	return name
}

// valueLength is the length of the value, or the name, that the compact JSON begins with.
func valueLength(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i += stringLength(b[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth <= 1 {
				return i + depth
			}
			depth--
		case ',', ':':
			if depth == 0 {
				return i
			}
		}
	}
	return len(b)
}

// stringLength is the length of the string that b begins with, with its quotes.
func stringLength(b []byte) int {
	for end := 1; ; {
		quote := bytes.IndexByte(b[end:], '"')
		if quote < 0 {
			return len(b)
		}
		end += quote + 1
		if !isEscaped(b, end-1) {
			return end
		}
	}
}

// isEscaped tells whether an odd number of backslashes comes before the place.
func isEscaped(b []byte, place int) bool {
	escaped := false
	for place--; place >= 0 && b[place] == '\\'; place-- {
		escaped = !escaped
	}
	return escaped
}

// deeper tells whether the JSON has more than so many objects and arrays within each other.
func deeper(b []byte, levels int) bool {
	if len(b) <= 2*levels { // too short for it
		return false
	}
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i += stringLength(b[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		if depth > levels {
			return true
		}
	}
	return false
}

func isObject(value []byte) bool { return len(value) > 0 && value[0] == '{' }

func isNull(value []byte) bool { return string(value) == "null" }

// optionsMerge rewrites one options object.
type optionsMerge struct {
	violations fault.Violations
}

func mergeOptions(current, given []byte, paths []maskPath) ([]byte, error) {
	var merge optionsMerge
	merged := merge.object(make([]byte, 0, len(current)+len(given)+len("{}")), current, given, paths, 0)
	if err := merge.violations.Err(); err != nil {
		return nil, err
	}
	if len(current) == 0 && string(merged) == "{}" {
		return current, nil
	}
	return merged, nil
}

// object appends the current object with the members that the paths lead to, by their keys at the level, as given has
// them. Those that current does not have come after the others, in given's order.
func (o *optionsMerge) object(b, current, given []byte, paths []maskPath, level int) []byte {
	type target struct {
		given []byte
		met   bool
	}
	targets := make([]target, len(paths)) // each at the first of its paths
	for m := membersOf(given); m.next(); {
		if first, end := leading(paths, level, m.name()); first < end {
			targets[first].given = m.value
		}
	}
	b = append(b, '{')
	for m := membersOf(current); m.next(); {
		first, end := leading(paths, level, m.name())
		if first == end {
			b = appendMember(b, m.quoted, m.value)
			continue
		}
		targets[first].met = true
		b = o.member(b, m.quoted, m.value, targets[first].given, paths[first:end], level)
	}
	for m := membersOf(given); m.next(); {
		if first, end := leading(paths, level, m.name()); first < end && !targets[first].met {
			b = o.member(b, m.quoted, nil, m.value, paths[first:end], level)
		}
	}
	return append(b, '}')
}

// member appends the member that all the paths lead to, or into, if it is to be there. Current or given is nil if it
// has no such member.
func (o *optionsMerge) member(b, quoted, current, given []byte, paths []maskPath, level int) []byte {
	if len(paths[0].keys) == level+1 { // to: then it is the only path
		if given == nil {
			return b
		}
		return appendMember(b, quoted, given)
	}
	if current != nil && !isObject(current) || given != nil && !isObject(given) {
		report(&o.violations, "updateMask", "%s leads through a value that is not an object", `"`+fault.Shown(paths[0].text)+`"`)
		return b
	}
	before := len(b)
	b = appendMember(b, quoted, nil)
	empty := len(b) + len("{}")
	b = o.object(b, current, given, paths, level+1)
	if current == nil && len(b) == empty { // nothing below it, so it is not made
		return b[:before]
	}
	return b
}

// appendMember appends a member to an object that is not closed yet.
func appendMember(b, quoted, value []byte) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b = append(b, quoted...)
	b = append(b, ':')
	return append(b, value...)
}

// leading is the range of the paths whose key at the level is the name.
func leading(paths []maskPath, level int, name []byte) (first, end int) {
	first = sort.Search(len(paths), func(i int) bool { return paths[i].keys[level] >= string(name) })
	end = first + sort.Search(len(paths)-first, func(i int) bool { return paths[first+i].keys[level] > string(name) })
	return first, end
}
