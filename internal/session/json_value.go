package session

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/parleyhq/parley/internal/fault"
)

// maxSafeInteger is the largest integer that every IEEE double around it can tell from its neighbours: 2^53 - 1.
const maxSafeInteger = 1<<53 - 1

// CompactOptions is the canonical form of the JSON of options: compact, in the order in which it came, with strings
// escaped no more than they must be and numbers as IEEE doubles in their shortest form. The raw JSON is valid, without
// duplicate names.
//
// Violations: not an object; more than MaxOptionsBytes of compact JSON; deeper than MaxOptionsDepth; an integer beyond
// 2^53-1 either way, or a number beyond the doubles; NUL in a name or a string. Each names its path.
func CompactOptions(raw []byte, v *fault.Violations) []byte {
	if len(raw) == 0 || raw[0] != '{' {
		report(v, "options", "must be an object")
		return nil
	}
	c := compactor{violations: v, root: "options"}
	c.json.Reset(bytes.NewBuffer(raw))
	out := c.value(make([]byte, 0, len(raw)), 0)
	if len(out) > MaxOptionsBytes {
		report(v, "options", "must be at most %d bytes of compact JSON", MaxOptionsBytes)
	}
	if c.failed {
		return nil
	}
	return out
}

// compactor rewrites one value.
type compactor struct {
	json       jsontext.Decoder
	violations *fault.Violations
	root       string
	failed     bool
}

func (c *compactor) value(b []byte, depth int) []byte {
	token, err := c.json.ReadToken()
	if err != nil {
		c.fail("must be valid JSON")
		return b
	}
	switch token.Kind() {
	case '"':
		return c.text(b, token.String())
	case '0':
		return c.number(b, token.String())
	case '{':
		return c.nested(b, depth+1, '{', '}')
	case '[':
		return c.nested(b, depth+1, '[', ']')
	default:
		return append(b, token.String()...) // null, true, false
	}
}

// nested rewrites the rest of an object or an array.
func (c *compactor) nested(b []byte, depth int, open, end jsontext.Kind) []byte {
	if depth > MaxOptionsDepth {
		c.fail("must be at most %d levels deep", MaxOptionsDepth)
		c.failed = true
		return b
	}
	b = append(b, byte(open))
	for first := true; c.json.PeekKind() != end && !c.failed; first = false {
		if !first {
			b = append(b, ',')
		}
		if open == '{' {
			b = append(c.value(b, depth), ':')
		}
		b = c.value(b, depth)
	}
	if c.failed {
		return b
	}
	if _, err := c.json.ReadToken(); err != nil {
		c.fail("must be valid JSON")
	}
	return append(b, byte(end))
}

func (c *compactor) text(b []byte, text string) []byte {
	if strings.IndexByte(text, 0) >= 0 {
		c.fail("must not hold NUL")
	}
	return appendString(b, text)
}

func (c *compactor) number(b []byte, text string) []byte {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) {
		c.fail("must be a number that an IEEE double holds")
		return b
	}
	if integer := !strings.ContainsAny(text, ".eE"); integer && math.Abs(f) > maxSafeInteger {
		c.fail("must be an integer of at most 2^53-1 either way, or a string")
		return b
	}
	if f == 0 {
		f = 0 // not -0
	}
	token := jsontext.Float(f)
	return append(b, token.String()...)
}

// fail reports what is wrong at the value that was read last.
func (c *compactor) fail(rule string, args ...any) {
	report(c.violations, c.root+pathOf(c.json.StackPointer()), rule, args...)
	if len(*c.violations) >= maxViolations || rule == "must be valid JSON" {
		c.failed = true
	}
}

// pathOf turns a JSON pointer (RFC 6901) into the end of a path as violations have it: ".theme.accents[2]".
func pathOf(pointer jsontext.Pointer) string {
	path, levels := "", 0
	for token := range pointer.Tokens() {
		if levels++; levels > 16 || len(path) > 256 {
			return path + "..."
		}
		if _, err := strconv.ParseUint(token, 10, 32); err == nil {
			path += "[" + token + "]"
		} else {
			path = memberPath(path, token)
		}
	}
	return path
}

// shown is a client's text made fit for a message: printable, and of at most 64 characters.
func shown(text string) string {
	var b strings.Builder
	count := 0
	for _, r := range text {
		if count++; count > 64 {
			b.WriteString("...")
			break
		}
		if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
	}
	return b.String()
}
