package session

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/parleyhq/parley/internal/fault"
)

// TestOptionsMergeAsByMaps holds the rewriting of JSON text to the plain meaning of the rules, on maps.
func TestOptionsMergeAsByMaps(t *testing.T) {
	object := objects(3)
	path := rapid.SliceOfN(optionKeys, 1, 3)
	rapid.Check(t, func(t *rapid.T) {
		current, given := object.Draw(t, "current"), object.Draw(t, "given")
		paths := rapid.SliceOfN(path, 1, 5).Draw(t, "paths")
		want, fits := mergedByMaps(current, given, paths)
		texts := make([]string, 0, len(paths))
		for _, keys := range paths {
			texts = append(texts, "options"+quotedKeys(keys))
		}
		mask, err := ParseMask(texts)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := mask.Apply(&Spec{Options: encoded(t, current)}, &Draft{Spec: Spec{Options: encoded(t, given)}})
		if !fits {
			if !fault.Is(err, fault.InvalidArgument) {
				t.Fatalf("%s, %v, want a fault", got.Options, err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		var decoded any
		if err := json.Unmarshal(got.Options, &decoded); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(any(want), decoded); diff != "" {
			t.Fatal(diff)
		}
	})
}

var optionKeys = rapid.SampledFrom([]string{"a", "b", "c", "a.b", "", "`", "ü"})

// objects are JSON objects of at most so many levels.
func objects(levels int) *rapid.Generator[map[string]any] {
	scalar := rapid.SampledFrom([]any{nil, 1.0, "x{}", true, []any{map[string]any{"a": 1.0}}})
	if levels == 1 {
		return rapid.MapOfN(optionKeys, scalar, 0, 4)
	}
	inner := rapid.Map(objects(levels-1), func(object map[string]any) any { return object })
	return rapid.MapOfN(optionKeys, rapid.OneOf(inner, inner, scalar), 0, 4)
}

func encoded(t *rapid.T, object map[string]any) []byte {
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// mergedByMaps is what the options become; or false if a path leads through something else than an object.
func mergedByMaps(current, given map[string]any, paths [][]string) (map[string]any, bool) {
	merged := copied(current).(map[string]any)
	for _, keys := range paths {
		if slices.ContainsFunc(paths, func(p []string) bool { return len(p) < len(keys) && hasPrefix(keys, p) }) {
			continue
		}
		_, _, fits := lookup(current, keys)
		value, found, fitsGiven := lookup(given, keys)
		if !fits || !fitsGiven {
			return nil, false
		}
		put(merged, keys, value, found)
	}
	return merged, true
}

// lookup follows the keys; fits is false if they lead through something else than an object.
func lookup(in any, keys []string) (value any, found, fits bool) {
	for _, key := range keys {
		object, ok := in.(map[string]any)
		if !ok {
			return nil, false, false
		}
		if in, found = object[key]; !found {
			return nil, false, true
		}
	}
	return in, true, true
}

func put(object map[string]any, keys []string, value any, found bool) {
	key := keys[0]
	switch inner, ok := object[key].(map[string]any); {
	case len(keys) == 1 && found:
		object[key] = copied(value)
	case len(keys) == 1:
		delete(object, key)
	case ok:
		put(inner, keys[1:], value, found)
	case found:
		inner = map[string]any{}
		object[key] = inner
		put(inner, keys[1:], value, found)
	}
}

func copied(value any) any {
	object, ok := value.(map[string]any)
	if !ok {
		return value
	}
	made := make(map[string]any, len(object))
	for key, inner := range object {
		made[key] = copied(inner)
	}
	return made
}

func FuzzMask(f *testing.F) {
	f.Add("", `{}`, `{}`)
	f.Add("*", `{"a":1}`, `{"b":2}`)
	f.Add("options.theme.dark,display_name", `{"theme":{"dark":true}}`, `{"theme":{"dark":null}}`)
	f.Add("options.`a.b`.`c,``d`,labels.`x/y`", "{\"a.b\":{\"c,`d\":[1,{}]}}", `{}`)
	f.Add("options.a.b.c,options.a,options", `{"a":[1]}`, `{"a":{"b":{"c":"\u0061"}}}`)
	f.Add("options.a.0", `{"\u0061":{"0":1.5e3}}`, `{"a":{"0":"}\""}}`)
	f.Add("options.,options..a,options.`", `{"":{"":{}}}`, `{"":null}`)
	f.Add("secretKey,owners.0,etag,name,\xff,\x00", `{}`, ``)
	f.Fuzz(func(t *testing.T, text, current, given string) {
		mask, err := ParseMask(SplitMask(text))
		if err != nil {
			checkMaskFault(t, err)
			return
		}
		again, err := ParseMask(SplitMask(mask.String()))
		if err != nil || again.String() != mask.String() {
			t.Fatalf("%q is not the mask %q again: %v", mask, text, err)
		}
		before, draft := compactObject(current), compactObject(given)
		if before == nil || draft == nil {
			return
		}
		checkApply(t, mask, &Spec{Options: before}, &Draft{Spec: Spec{Options: draft}, Given: FieldOptions})
	})
}

func checkMaskFault(t *testing.T, err error) {
	t.Helper()
	violations := fault.From(err).Violations
	if !fault.Is(err, fault.InvalidArgument) || len(violations) == 0 || len(violations) > maxViolations {
		t.Fatalf("%v, with %d violations", err, len(violations))
	}
	for _, v := range violations {
		if v.Field != "updateMask" || !utf8.ValidString(v.Description) || utf8.RuneCountInString(v.Description) > 200 {
			t.Fatalf("%s: %q", v.Field, v.Description)
		}
	}
}

func checkApply(t *testing.T, mask *Mask, current *Spec, draft *Draft) {
	t.Helper()
	once, _, err := mask.Apply(current, draft)
	if err != nil {
		checkMaskFault(t, err)
		return
	}
	if text := jsontext.Value(once.Options); len(text) > 0 && !bytes.Equal(compactObject(string(text)), text) {
		t.Fatalf("%q is not a compact JSON object", text)
	}
	twice, _, err := mask.Apply(&once, draft)
	if err != nil || !bytes.Equal(once.Options, twice.Options) {
		t.Fatalf("once %q, twice %q: %v", once.Options, twice.Options, err)
	}
	var violations fault.Violations
	once.validate(&violations)
}

// compactObject is the text as compact JSON, or nil if it is not a JSON object.
func compactObject(text string) []byte {
	value := jsontext.Value(text)
	if value.Kind() != '{' || value.Compact() != nil {
		return nil
	}
	return value
}
