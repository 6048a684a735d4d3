package session

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/parleyhq/parley/internal/fault"
)

// DecodeDraft reads a session from the body of a request: one JSON object, with camelCase or snake_case names.
//
// Everything that is wrong in well-formed JSON is reported at once: unknown fields, wrong types, numbers out of range.
// Malformed JSON (RFC 8259, and I-JSON's rules of RFC 7493: valid UTF-8, no duplicate names) ends the reading, with the
// reason MALFORMED_JSON. The rules of a session are not checked here.
func DecodeDraft(body []byte) (*Draft, error) {
	draft := new(Draft)
	given, err := decode(body, draftFields, draft)
	if err != nil {
		return nil, err
	}
	draft.Given = givenFields(given)
	return draft, nil
}

// givenFields are the mutable ones among the fields that a draft gave.
func givenFields(given fieldSet) Fields { return Fields(given) & (AllFields | FieldSecretKey) }

// Spec decodes the record's document.
func (r *Record) Spec() (*Spec, error) {
	draft, err := DecodeDraft(r.Document)
	if err != nil {
		return nil, fmt.Errorf("session %s has a damaged document: %s", r.UID, err.Error())
	}
	return &draft.Spec, nil
}

// decode reads a body that is one JSON object into what it is to become, and returns which of the fields it gave.
func decode[T any](body []byte, fields *fields[T], to *T) (given fieldSet, err error) {
	d := decoders.Get().(*decoder)
	defer d.release()
	d.reset(body)
	if given, err = document(d, fields, to); err != nil {
		return 0, malformed(err)
	}
	return given, d.violations.Err()
}

// decoder reads one document. It is used again, for its buffers.
type decoder struct {
	source     bytes.Buffer // jsontext reads from a Buffer without copying
	json       jsontext.Decoder
	violations fault.Violations
	outer      string // the field that all of the document is in; paths leave it out
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

func (d *decoder) reset(body []byte) {
	d.source = *bytes.NewBuffer(body)
	d.json.Reset(&d.source)
	d.violations, d.outer = nil, ""
}

func (d *decoder) release() {
	d.source = bytes.Buffer{}
	d.violations = nil
	decoders.Put(d)
}

// malformed says where a body stops to be JSON, but not what stands there.
func malformed(err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	syntax, ok := errors.AsType[*jsontext.SyntacticError](err)
	if !ok { // the end of the body, before anything
		return malformedAt("body", "must be a JSON object", "the body is empty")
	}
	field, message := "body", fmt.Sprintf("the body's JSON %s at byte %d", whyMalformed(syntax), syntax.ByteOffset)
	if place := strings.TrimPrefix(pathOf(syntax.JSONPointer, isArrayIndex), "."); place != "" {
		field = fault.Shown(place)
		message += " (" + field + ")"
	}
	return malformedAt(field, "must be well-formed JSON", message)
}

// whyMalformed says in our words what the decoder found: its own may quote the body.
func whyMalformed(err *jsontext.SyntacticError) string {
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return "has a duplicate name"
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "ends too early"
	}
	switch text := err.Err.Error(); {
	case strings.HasPrefix(text, "invalid UTF-8"):
		return "is not valid UTF-8"
	case strings.HasPrefix(text, "invalid surrogate pair"):
		return "has half of a surrogate pair"
	case strings.HasPrefix(text, "exceeded max depth"):
		return "is nested too deeply"
	default:
		return "is malformed"
	}
}

func malformedAt(field, rule, message string) error {
	f := fault.New(fault.InvalidArgument, "MALFORMED_JSON", "%s", message)
	f.Violations = []fault.Violation{{Field: field, Description: rule}}
	return f
}

// document reads the whole body.
func document[T any](d *decoder, fields *fields[T], to *T) (fieldSet, error) {
	if kind := d.json.PeekKind(); kind != '{' {
		if _, err := d.json.ReadValue(); err != nil {
			return 0, err
		}
		return 0, notAnObject()
	}
	given, err := object(d, fields, to)
	if err != nil {
		return 0, err
	}
	return given, d.end()
}

// object reads an object, which is what comes next, and returns which fields it gave: those that are not null.
func object[T any](d *decoder, fields *fields[T], to *T) (given fieldSet, err error) {
	if _, err := d.json.ReadToken(); err != nil {
		return 0, err
	}
	var seen fieldSet
	for d.json.PeekKind() != '}' {
		place, err := d.fieldName(fields.places, fields.prefix)
		if err != nil {
			return 0, err
		}
		if place < 0 {
			continue
		}
		field := &fields.list[place]
		if seen.has(place) {
			return 0, malformedAt(field.path, "must be there once, in one spelling", field.path+": is there twice, in two spellings")
		}
		seen = seen.with(place)
		if field.read == nil || d.json.PeekKind() == 'n' {
			err = d.json.SkipValue()
		} else {
			given = given.with(place)
			err = field.read(d, to, field.path)
		}
		if err != nil {
			return 0, err
		}
	}
	_, err = d.json.ReadToken()
	return given, err
}

// end makes sure that nothing follows.
func (d *decoder) end() error {
	_, err := d.json.ReadToken()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		return malformedAt("body", "must be one JSON object",
			fmt.Sprintf("the body has data after its JSON object, at byte %d", d.json.InputOffset()))
	}
	return err
}

func notAnObject() error {
	return malformedAt("body", "must be a JSON object", "the body must be a JSON object")
}

// fieldName reads a field's name and returns the field's place; of an unknown one it passes over the value, and the
// place is negative.
func (d *decoder) fieldName(places map[string]int, prefix string) (int, error) {
	raw, err := d.json.ReadValue()
	if err != nil {
		return 0, err
	}
	name := unquoted(raw)
	if place, known := places[string(name)]; known {
		return place, nil
	}
	if len(d.violations) < maxViolations { // a body may have 100,000 of them
		report(&d.violations, prefix+fault.Shown(string(name)), "unknown field")
	}
	return -1, d.json.SkipValue()
}

// fieldSet is a set of fields, as bits of their places.
type fieldSet uint32

func (s fieldSet) has(place int) bool { return s&(1<<place) != 0 }

func (s fieldSet) with(place int) fieldSet { return s | 1<<place }

// fields are all fields that an object may have, and how they are read into a T.
type fields[T any] struct {
	prefix string // of the paths
	list   []field[T]
	places map[string]int // of a field, by either spelling of its name
}

// field is how one field is read. One without a reader is the server's: whatever a request says of it is ignored.
type field[T any] struct {
	name string // camelCase
	read func(d *decoder, to *T, path string) error
	path string // newFields sets it
}

// newFields returns the fields of an object whose own path is the prefix, with a dot after it; empty: of the document.
func newFields[T any](prefix string, list ...field[T]) *fields[T] {
	f := &fields[T]{prefix: prefix, list: list, places: make(map[string]int, 2*len(list))}
	for i := range list {
		list[i].path = prefix + list[i].name
		f.places[list[i].name] = i
		f.places[snakeCase(list[i].name)] = i
	}
	return f
}

// draftFields are the fields of a session. Those that a client may change come first, in the order of Fields.
var draftFields = newFields("",
	field[Draft]{name: "profile", read: func(d *decoder, s *Draft, path string) error { return d.text(&s.Profile, at(path)) }},
	field[Draft]{name: "displayName", read: func(d *decoder, s *Draft, path string) error { return d.text(&s.DisplayName, at(path)) }},
	field[Draft]{name: "sessionType", read: (*decoder).sessionType},
	field[Draft]{name: "owners", read: func(d *decoder, s *Draft, path string) error { return d.texts(&s.Owners, path) }},
	field[Draft]{name: "defaultChannels", read: func(d *decoder, s *Draft, path string) error { return d.channels(&s.DefaultChannels, path) }},
	field[Draft]{name: "description", read: func(d *decoder, s *Draft, path string) error { return d.text(&s.Description, at(path)) }},
	field[Draft]{name: "allowedUsers", read: func(d *decoder, s *Draft, path string) error { return d.texts(&s.AllowedUsers, path) }},
	field[Draft]{name: "blockedUsers", read: func(d *decoder, s *Draft, path string) error { return d.texts(&s.BlockedUsers, path) }},
	field[Draft]{name: "options", read: (*decoder).options},
	field[Draft]{name: "labels", read: (*decoder).labels},
	field[Draft]{name: "secretKey", read: func(d *decoder, s *Draft, path string) error { return d.text(&s.SecretKey, at(path)) }},
	field[Draft]{name: "name", read: func(d *decoder, s *Draft, path string) error { return d.text(&s.Name, at(path)) }},
	field[Draft]{name: "etag", read: func(d *decoder, s *Draft, path string) error { return d.text(&s.ETag, at(path)) }},
	field[Draft]{name: "sessionId"},
	field[Draft]{name: "uid"},
	field[Draft]{name: "creator"},
	field[Draft]{name: "hasSecretKey"},
	field[Draft]{name: "headSequence"},
	field[Draft]{name: "memberCount"},
	field[Draft]{name: "lastMessageTime"},
	field[Draft]{name: "expireTime"},
	field[Draft]{name: "createTime"},
	field[Draft]{name: "updateTime"},
)

func snakeCase(name string) string {
	var b strings.Builder
	for _, r := range name {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// skip reports a value of the wrong type, and passes over it.
func (d *decoder) skip(at place, rule string) error {
	report(&d.violations, at.String(), "%s", rule)
	return d.json.SkipValue()
}

// text reads a string.
func (d *decoder) text(to *string, at place) error {
	if d.json.PeekKind() != '"' {
		return d.skip(at, "must be a string")
	}
	raw, err := d.json.ReadValue()
	if err != nil {
		return err
	}
	*to = string(unquoted(raw))
	if strings.IndexByte(*to, 0) >= 0 {
		report(&d.violations, at.String(), nulRule)
	}
	return nil
}

// list reads an array, an element at a time. Of too long an array it passes over the end: one element more than is
// allowed is enough for the rules to see that there are too many.
func (d *decoder) list(path string, most int, element func(at place) error) error {
	if d.json.PeekKind() != '[' {
		return d.skip(at(path), "must be an array")
	}
	if _, err := d.json.ReadToken(); err != nil {
		return err
	}
	for i := 0; d.json.PeekKind() != ']'; i++ {
		var err error
		if i <= most {
			err = element(place{path: path, index: i})
		} else {
			err = d.json.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	_, err := d.json.ReadToken()
	return err
}

// few is how many elements most lists have at most.
const few = 4

func (d *decoder) texts(to *[]string, path string) error {
	return d.list(path, MaxUsers, func(at place) error {
		var text string
		err := d.text(&text, at)
		if *to == nil {
			*to = make([]string, 0, few)
		}
		*to = append(*to, text)
		return err
	})
}

func (d *decoder) channels(to *[]int32, path string) error {
	return d.list(path, MaxChannels, func(at place) error {
		channel, err := d.int32(at, int32Rule)
		if *to == nil {
			*to = make([]int32, 0, few)
		}
		*to = append(*to, channel)
		return err
	})
}

const int32Rule = "must be an integer of 32 bits"

// int32 reads an integer as protobuf's JSON has it: a number with an integral value, or a string of one.
func (d *decoder) int32(at place, rule string) (int32, error) {
	kind := d.json.PeekKind()
	if kind != '0' && kind != '"' {
		return 0, d.skip(at, rule)
	}
	raw, err := d.json.ReadValue()
	if err != nil {
		return 0, err
	}
	text := []byte(raw)
	if kind == '"' {
		text = unquoted(raw)
	}
	n, ok := parseInt32(text)
	if !ok {
		report(&d.violations, at.String(), "%s", rule)
	}
	return n, nil
}

// typeNames are the names of the session types; the prefix that the enum's values have in protobuf may be left out.
var typeNames = map[string]Type{"UNSPECIFIED": TypeUnspecified, "PUBLIC": Public, "PRIVATE": Private, "TEMPORARY": Temporary}

const typeNamePrefix = "SESSION_TYPE_"

const typeRule = "must be 1 (PUBLIC), 2 (PRIVATE) or 3 (TEMPORARY)"

func (d *decoder) sessionType(draft *Draft, path string) error {
	if d.json.PeekKind() != '"' {
		n, err := d.int32(at(path), typeRule)
		draft.Type = Type(n)
		return err
	}
	raw, err := d.json.ReadValue()
	if err != nil {
		return err
	}
	t, known := typeNames[strings.TrimPrefix(string(unquoted(raw)), typeNamePrefix)]
	if !known {
		report(&d.violations, path, typeRule)
	}
	draft.Type = t
	return nil
}

func (d *decoder) labels(draft *Draft, path string) error {
	if d.json.PeekKind() != '{' {
		return d.skip(at(path), "must be an object of strings")
	}
	if _, err := d.json.ReadToken(); err != nil {
		return err
	}
	draft.Labels = make(map[string]string)
	for d.json.PeekKind() != '}' {
		var key, value string
		if err := d.labelKey(&key, path); err != nil {
			return err
		}
		if err := d.text(&value, place{path: path, index: ofAMember, key: key}); err != nil {
			return err
		}
		if len(draft.Labels) <= MaxLabels { // one more than is allowed, so that the rules see that there are too many
			draft.Labels[key] = value
		}
	}
	_, err := d.json.ReadToken()
	return err
}

func (d *decoder) labelKey(to *string, path string) error {
	raw, err := d.json.ReadValue()
	if err != nil {
		return err
	}
	*to = string(unquoted(raw))
	if strings.IndexByte(*to, 0) >= 0 {
		report(&d.violations, memberPath(path, *to), nulRule)
	}
	return nil
}

func (d *decoder) options(draft *Draft, path string) (err error) {
	draft.Options, err = d.compactObject(path)
	return err
}

// compactObject reads an object whose canonical form has at most MaxOptionsBytes.
func (d *decoder) compactObject(path string) ([]byte, error) {
	return compact(&d.json, compaction{field: path, outer: d.outer, object: true, most: MaxOptionsBytes, room: optionsRoom}, &d.violations)
}
