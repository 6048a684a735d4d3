package session

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/parleyhq/parley/internal/fault"
)

// maxSafeInteger is the largest integer that every IEEE double around it can tell from its neighbours: 2^53 - 1.
const maxSafeInteger = 1<<53 - 1

// CompactOptions is the canonical form of the JSON of options: compact, in the order in which it came, with strings
// escaped no more than they must be and numbers as IEEE doubles in their shortest form.
//
// Violations: not an object, or not valid JSON; more than MaxOptionsBytes of compact JSON; deeper than MaxOptionsDepth;
// an integer beyond 2^53-1 either way, or a number beyond the doubles; NUL in a name or a string. Each names its path.
func CompactOptions(raw []byte, v *fault.Violations) []byte {
	return CompactObject(raw, "options", v)
}

// CompactObject does the same for another field: its path takes the place of "options".
func CompactObject(raw []byte, field string, v *fault.Violations) []byte {
	return compactRaw(raw, compaction{field: field, root: field, object: true, most: MaxOptionsBytes}, v)
}

// CompactValue does the same for any JSON value, of at most MaxMessageBytes.
func CompactValue(raw []byte, field string, v *fault.Violations) []byte {
	return compactRaw(raw, compaction{field: field, root: field, most: MaxMessageBytes}, v)
}

func compactRaw(raw []byte, c compaction, v *fault.Violations) []byte {
	json := jsontext.NewDecoder(bytes.NewBuffer(raw))
	c.room = len(raw)
	value, err := compact(json, c, v)
	if err == nil {
		if _, err = json.ReadToken(); errors.Is(err, io.EOF) {
			return value
		}
	}
	rule := "must be valid JSON"
	if c.object {
		rule = "must be one valid JSON object"
	}
	report(v, c.field, "%s", rule)
	return nil
}

// compaction says what is to become of a value.
type compaction struct {
	field  string // where the value is
	root   string // what the decoder's own place in the document is added to; empty: the decoder knows all of the path
	outer  string // what paths leave out at their beginning
	object bool   // it must be an object
	most   int    // bytes of compact JSON
	room   int    // bytes that are likely to be enough
}

// compact reads a value from a decoder. It returns nil if something is wrong, and an error for malformed JSON alone.
func compact(json *jsontext.Decoder, how compaction, v *fault.Violations) ([]byte, error) {
	if how.object && json.PeekKind() != '{' {
		report(v, how.field, "must be an object")
		return nil, json.SkipValue()
	}
	c := compactor{compaction: how, json: json, violations: v}
	value, err := c.value(make([]byte, 0, min(how.room, how.most)), 0)
	if len(value) > how.most {
		report(v, how.field, "must be at most %d bytes of compact JSON", how.most)
		return nil, err
	}
	if err != nil || c.failures > 0 {
		return nil, err
	}
	return value, nil
}

// optionsRoom is as many bytes as the options of most sessions need.
const optionsRoom = 128

// compactor rewrites one value.
type compactor struct {
	compaction

	json       *jsontext.Decoder
	violations *fault.Violations
	failures   int
	placeBytes int // of the flaws that were named
}

func (c *compactor) value(b []byte, depth int) ([]byte, error) {
	kind := c.json.PeekKind()
	if kind == '{' || kind == '[' {
		return c.composite(b, depth+1, kind)
	}
	raw, err := c.json.ReadValue()
	if err != nil {
		return b, err
	}
	switch kind {
	case '"':
		return c.text(b, raw), nil
	case '0':
		return c.number(b, raw), nil
	default:
		return append(b, raw...), nil // null, true, false
	}
}

// composite rewrites an object or an array.
func (c *compactor) composite(b []byte, depth int, open jsontext.Kind) ([]byte, error) {
	if depth > MaxOptionsDepth {
		c.fail("must be at most %d levels deep", MaxOptionsDepth)
		return b, c.json.SkipValue()
	}
	_, err := c.json.ReadToken()
	end := jsontext.KindEndArray
	if open == jsontext.KindBeginObject {
		end = jsontext.KindEndObject
	}
	b = append(b, byte(open))
	for first := true; err == nil && c.json.PeekKind() != end; first = false {
		if !first {
			b = append(b, ',')
		}
		b, err = c.element(b, depth, open)
	}
	if err != nil {
		return b, err
	}
	_, err = c.json.ReadToken()
	return append(b, byte(end)), err
}

// element rewrites an element of an array, or a member of an object.
func (c *compactor) element(b []byte, depth int, in jsontext.Kind) ([]byte, error) {
	if in == jsontext.KindBeginObject {
		var err error
		if b, err = c.value(b, depth); err != nil {
			return b, err
		}
		b = append(b, ':')
	}
	return c.value(b, depth)
}

// text rewrites a string. One without escapes is already as it should be.
func (c *compactor) text(b []byte, raw jsontext.Value) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return append(b, raw...)
	}
	text := string(unquoted(raw))
	if strings.IndexByte(text, 0) >= 0 {
		c.fail(nulRule)
	}
	return appendString(b, text)
}

const nulRule = "must not hold NUL"

// unquoted is the text of a JSON string that a decoder has read, and so has checked. It may be a part of raw.
func unquoted(raw jsontext.Value) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	text, _ := jsontext.AppendUnquote(nil, raw)
	return text
}

func (c *compactor) number(b []byte, raw jsontext.Value) []byte {
	if isSmallInteger(raw) {
		return append(b, raw...) // already as short as it gets
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || math.IsInf(f, 0) {
		c.fail("must be a number that an IEEE double holds")
		return b
	}
	if math.Abs(f) > maxSafeInteger {
		if !bytes.ContainsAny(raw, ".eE") {
			c.fail("must be an integer of at most 2^53-1 either way, or a string")
		}
		return strconv.AppendFloat(b, f, 'e', -1, 64) // written out it would look like such an integer
	}
	if f == 0 {
		f = 0 // not -0
	}
	return jsontext.AppendFloat(b, f, 64)
}

// isSmallInteger tells whether a number is written as digits alone, few enough for a double to hold it.
func isSmallInteger(raw jsontext.Value) bool {
	for _, c := range raw {
		if !isDigit(c) {
			return false
		}
	}
	return len(raw) < len("9007199254740991")
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// maxPlaceBytes is how long the places of all flaws in options may be together before no more of them are named.
const maxPlaceBytes = 64 << 10

// fail reports what is wrong at the value that was read last. To name its place takes as long as the names there are,
// and a body may have a name of 500,000 bytes and 80,000 flaws under it: so what is too much is only counted.
func (c *compactor) fail(rule string, args ...any) {
	c.failures++
	if c.failures > maxViolations || c.placeBytes > maxPlaceBytes {
		return
	}
	pointer := c.json.StackPointer()
	c.placeBytes += len(pointer)
	path := c.root + pathOf(pointer, func(level int, _ string) bool {
		kind, _ := c.json.StackIndex(level)
		return kind == jsontext.KindBeginArray
	})
	path = strings.TrimPrefix(path, c.outer)
	report(c.violations, strings.TrimPrefix(path, "."), rule, args...)
}

// place is where a value stands: a field, or an element of one. Its path is made only when something is wrong there.
type place struct {
	path  string
	index int    // of an element; else notAnElement, or ofAMember
	key   string // of a member
}

const (
	notAnElement = -1
	ofAMember    = -2
)

func at(path string) place { return place{path: path, index: notAnElement} }

func (p place) String() string {
	switch p.index {
	case notAnElement:
		return p.path
	case ofAMember:
		return memberPath(p.path, p.key)
	default:
		return elementPath(p.path, p.index)
	}
}

// pathOf turns a JSON pointer (RFC 6901) into the end of a path as violations have it: ".theme.accents[2]". A pointer
// does not say what is an index and what a name; isIndex does, for a token and its level, which is 1 for the first.
func pathOf(pointer jsontext.Pointer, isIndex func(level int, token string) bool) string {
	path, level := "", 0
	for token := range pointer.Tokens() {
		if level++; level > 16 || len(path) > 256 {
			return path + "..."
		}
		if isIndex(level, token) {
			path += "[" + token + "]"
		} else {
			path = memberPath(path, token)
		}
	}
	return path
}

// isArrayIndex guesses: a name may look like an index.
func isArrayIndex(_ int, token string) bool {
	_, err := strconv.ParseUint(token, 10, 32)
	return err == nil
}

// parseInt32 reads an integer as protobuf's JSON has it: a number of JSON's grammar, whose value is whole.
func parseInt32(text []byte) (int32, bool) {
	if len(text) == 1 && isDigit(text[0]) { // most channels are below 10
		return int32(text[0] - '0'), true
	}
	if !isNumber(text) {
		return 0, false
	}
	return parseWhole(string(text))
}

// parseWhole reads a number by its digits: a double would round 1.00000000000000000001 to 1.
func parseWhole(number string) (int32, bool) {
	mantissa, exponent := number, "0"
	if i := strings.IndexAny(number, "eE"); i >= 0 {
		mantissa, exponent = number[:i], number[i+1:]
	}
	unsigned, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(unsigned, ".")
	digits := strings.TrimRight(whole+fraction, "0")
	zeros := len(whole) - len(digits) // to be added to the digits; negative: so many of them are a fraction
	digits = strings.TrimLeft(digits, "0")
	if digits == "" {
		return 0, true
	}
	shift, err := strconv.ParseInt(exponent, 10, 32)
	zeros += int(shift)
	if err != nil || zeros < 0 || len(digits)+zeros > len("2147483647") {
		return 0, false
	}
	if negative {
		digits = "-" + digits
	}
	n, err := strconv.ParseInt(digits+strings.Repeat("0", zeros), 10, 32)
	return int32(n), err == nil
}

// isNumber tells whether the text is a number in JSON's grammar, with nothing around it.
func isNumber(text []byte) bool {
	if len(text) == 0 {
		return false
	}
	first, last := text[0], text[len(text)-1]
	return (first == '-' || isDigit(first)) && isDigit(last) && jsontext.Value(text).IsValid()
}
