package rpc

import (
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
)

// objectOf is the compact JSON of a Struct, which is at the field; nil if there is none.
func objectOf(object *structpb.Struct, field string) ([]byte, error) {
	if object == nil {
		return nil, nil
	}
	raw, ok := appendObject(nil, object)
	if !ok {
		return nil, fault.Invalid(field, "must be an object that JSON can hold")
	}
	var violations fault.Violations
	compact := session.CompactObject(raw, field, &violations)
	return compact, violations.Err()
}

// valueOf is the compact JSON of a Value, which is at the field; nil if there is none, or if it is null.
func valueOf(value *structpb.Value, field string) ([]byte, error) {
	if _, null := value.GetKind().(*structpb.Value_NullValue); value == nil || null {
		return nil, nil
	}
	raw, ok := appendValue(nil, value)
	if !ok {
		return nil, fault.Invalid(field, "must be a value that JSON can hold")
	}
	var violations fault.Violations
	compact := session.CompactValue(raw, field, &violations)
	return compact, violations.Err()
}

// appendValue appends a Value as JSON, by the rules of which the session's own encoder makes the canonical form. It is
// not ok if JSON has no such value: NaN, an infinity, a value without a kind.
//
// protojson writes a double of 1e20 as an integer, which is refused for its digits: a double has fewer. Here it stays
// a double.
func appendValue(b []byte, value *structpb.Value) (_ []byte, ok bool) {
	switch kind := value.GetKind().(type) {
	case *structpb.Value_NullValue:
		return append(b, "null"...), true
	case *structpb.Value_BoolValue:
		return strconv.AppendBool(b, kind.BoolValue), true
	case *structpb.Value_NumberValue:
		return appendNumber(b, kind.NumberValue)
	case *structpb.Value_StringValue:
		return appendText(b, kind.StringValue), true
	case *structpb.Value_ListValue:
		return appendList(b, kind.ListValue)
	case *structpb.Value_StructValue:
		return appendObject(b, kind.StructValue)
	default:
		return b, false
	}
}

func appendNumber(b []byte, number float64) (_ []byte, ok bool) {
	return strconv.AppendFloat(b, number, 'e', -1, 64), !math.IsNaN(number) && !math.IsInf(number, 0)
}

func appendText(b []byte, text string) []byte {
	b, _ = jsontext.AppendQuote(b, text) // fails for what is not UTF-8, which protobuf has none of
	return b
}

func appendList(b []byte, list *structpb.ListValue) (_ []byte, ok bool) {
	b = append(b, '[')
	for i, element := range list.GetValues() {
		if i > 0 {
			b = append(b, ',')
		}
		if b, ok = appendValue(b, element); !ok {
			return b, false
		}
	}
	return append(b, ']'), true
}

// appendObject appends the members in the order of their names, so that what is equal is written in one way.
func appendObject(b []byte, object *structpb.Struct) (_ []byte, ok bool) {
	fields := object.GetFields()
	b = append(b, '{')
	for i, name := range slices.Sorted(maps.Keys(fields)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, name), ':')
		if b, ok = appendValue(b, fields[name]); !ok {
			return b, false
		}
	}
	return append(b, '}'), true
}
