package session

import (
	"bytes"
	"errors"
	"io"
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
// escaped no more than they must be and numbers as IEEE doubles in their shortest form.
//
// Violations: not an object, or not valid JSON; more than MaxOptionsBytes of compact JSON; deeper than MaxOptionsDepth;
// an integer beyond 2^53-1 either way, or a number beyond the doubles; NUL in a name or a string. Each names its path.
func CompactOptions(raw []byte, v *fault.Violations) []byte {
	json := jsontext.NewDecoder(bytes.NewBuffer(raw))
	compact, err := compactOptions(json, "options", len(raw), v)
	if err == nil {
		if _, err = json.ReadToken(); errors.Is(err, io.EOF) {
			return compact
		}
	}
	report(v, "options", "must be one valid JSON object")
	return nil
}

// compactOptions reads options from a decoder. What the decoder's own place in the document adds to root is the path
// of what is wrong. It returns nil if something is, and an error for malformed JSON alone.
func compactOptions(json *jsontext.Decoder, root string, size int, v *fault.Violations) ([]byte, error) {
	if json.PeekKind() != '{' {
		report(v, "options", "must be an object")
		return nil, json.SkipValue()
	}
	before := len(*v)
	c := compactor{json: json, violations: v, root: root}
	compact, err := c.value(make([]byte, 0, min(size, MaxOptionsBytes)), 0)
	if len(compact) > MaxOptionsBytes {
		report(v, "options", "must be at most %d bytes of compact JSON", MaxOptionsBytes)
	}
	if err != nil || len(*v) > before {
		return nil, err
	}
	return compact, nil
}

// compactor rewrites one value.
type compactor struct {
	json       *jsontext.Decoder
	violations *fault.Violations
	root       string
}

func (c *compactor) value(b []byte, depth int) ([]byte, error) {
	if kind := c.json.PeekKind(); depth == MaxOptionsDepth && (kind == '{' || kind == '[') {
		c.fail("must be at most %d levels deep", MaxOptionsDepth)
		return b, c.json.SkipValue()
	}
	token, err := c.json.ReadToken()
	if err != nil {
		return b, err
	}
	switch token.Kind() {
	case '"':
		return c.text(b, token.String()), nil
	case '0':
		return c.number(b, token.String()), nil
	case '{':
		return c.nested(b, depth+1, '{', '}')
	case '[':
		return c.nested(b, depth+1, '[', ']')
	default:
		return append(b, token.String()...), nil // null, true, false
	}
}

// nested rewrites the rest of an object or an array.
func (c *compactor) nested(b []byte, depth int, open, end jsontext.Kind) (_ []byte, err error) {
	b = append(b, byte(open))
	for first := true; c.json.PeekKind() != end; first = false {
		if !first {
			b = append(b, ',')
		}
		if open == '{' {
			if b, err = c.value(b, depth); err != nil {
				return b, err
			}
			b = append(b, ':')
		}
		if b, err = c.value(b, depth); err != nil {
			return b, err
		}
	}
	_, err = c.json.ReadToken()
	return append(b, byte(end)), err
}

func (c *compactor) text(b []byte, text string) []byte {
	if strings.IndexByte(text, 0) >= 0 {
		c.fail("must not hold NUL")
	}
	return appendString(b, text)
}

func (c *compactor) number(b []byte, text string) []byte {
	if len(text) < len("1000000000000000") && isDigits(text, len(text)) && (text[0] != '0' || len(text) == 1) {
		return append(b, text...) // small and whole: already as short as it gets
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) {
		c.fail("must be a number that an IEEE double holds")
		return b
	}
	if math.Abs(f) > maxSafeInteger {
		if !strings.ContainsAny(text, ".eE") {
			c.fail("must be an integer of at most 2^53-1 either way, or a string")
		}
		return strconv.AppendFloat(b, f, 'e', -1, 64) // written out it would look like such an integer
	}
	if f == 0 {
		f = 0 // not -0
	}
	token := jsontext.Float(f)
	return append(b, token.String()...)
}

// fail reports what is wrong at the value that was read last.
func (c *compactor) fail(rule string, args ...any) {
	path := c.root + pathOf(c.json.StackPointer())
	report(c.violations, strings.TrimPrefix(path, "."), rule, args...)
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
