package session

import (
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.einride.tech/aip/filtering"

	"github.com/parleyhq/parley/internal/fault"
)

// filterText is a filter, cut into tokens, before anything is made of them. It keeps the way back from what the parser
// sees to what the client wrote, for errors that say where, and for the words that the parser takes for numbers.
type filterText struct {
	kind   *filterKind
	source string
	tokens []filtering.Token // without the white space that the parser does not expect
	starts []int             // where each token begins in what the parser sees
	depth  int
}

// scanFilter refuses, before it is parsed, what the parser would descend into without end, and what it would read
// otherwise than it was meant.
func scanFilter(kind *filterKind, source string) (*filterText, error) {
	t := &filterText{kind: kind, source: source}
	if flaw := textFlaw(source); flaw != "" {
		return nil, fault.Invalid("filter", "%s", flaw)
	}
	var lexer filtering.Lexer
	lexer.Init(source)
	for {
		token, err := lexer.Lex()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, t.refusef(int(lexer.Position().Offset), "has a quote that is not closed")
		}
		if err := t.add(token); err != nil {
			return nil, err
		}
	}
	t.dropSpace()
	return t, nil
}

// add appends a token.
func (t *filterText) add(token filtering.Token) error {
	if flaw := t.flaw(token); flaw != "" {
		return t.refusef(int(token.Position.Offset), "%s", flaw)
	}
	switch token.Type {
	case filtering.TokenTypeWhitespace:
		if len(t.tokens) == 0 {
			return nil
		}
	case filtering.TokenTypeLeftParen:
		t.depth++
	case filtering.TokenTypeRightParen:
		t.depth--
		t.dropSpace()
	default:
	}
	if len(t.tokens) == maxFilterTokens {
		return t.refusef(int(token.Position.Offset), "must have at most %d words and signs", maxFilterTokens)
	}
	t.tokens = append(t.tokens, token)
	return nil
}

// flaw is what is wrong with a token by itself, or where it stands; empty: nothing.
func (t *filterText) flaw(token filtering.Token) string {
	switch token.Type {
	case filtering.TokenTypeLeftParen:
		return t.parenthesisFlaw()
	case filtering.TokenTypeString:
		text, err := token.Unquote()
		if err != nil {
			return `must have a backslash only in \" \' \\ \n \r \t \xhh \uhhhh and their like`
		}
		return textFlaw(text)
	case filtering.TokenTypeText:
		if strings.ContainsAny(token.Value, "\"'\\") {
			return "must have quotes around the whole of a text"
		}
	default:
	}
	return ""
}

func (t *filterText) parenthesisFlaw() string {
	if t.depth == maxFilterDepth {
		return "must be at most 32 parentheses deep"
	}
	if len(t.tokens) == 0 {
		return ""
	}
	switch before := t.tokens[len(t.tokens)-1]; {
	case before.Type.IsKeyword():
		return "must have a space after AND, OR and NOT"
	case before.Type == filtering.TokenTypeText && before.Value != filtering.FunctionTimestamp:
		return "must have no function but timestamp"
	}
	return ""
}

// dropSpace drops white space at the end.
func (t *filterText) dropSpace() {
	if last := len(t.tokens) - 1; last >= 0 && t.tokens[last].Type == filtering.TokenTypeWhitespace {
		t.tokens = t.tokens[:last]
	}
}

// forParser is the text that the parser is to see.
func (t *filterText) forParser() string {
	var b strings.Builder
	t.starts = make([]int, len(t.tokens))
	for i, token := range t.tokens {
		t.starts[i] = b.Len()
		b.WriteString(token.Value)
	}
	return b.String()
}

// tokenAt is the index of the token that the parser saw at the offset; at the end it is that of none.
func (t *filterText) tokenAt(offset int) int {
	i, _ := slices.BinarySearch(t.starts, offset)
	return i
}

// word is what the client wrote from the token up to the next white space, closing parenthesis or comma.
func (t *filterText) word(first int) (word string, tokens int) {
	end := func(token filtering.Token) bool {
		return token.Type == filtering.TokenTypeWhitespace || token.Type == filtering.TokenTypeRightParen ||
			token.Type == filtering.TokenTypeComma
	}
	tokens = slices.IndexFunc(t.tokens[first:], end)
	if tokens < 0 {
		tokens = len(t.tokens) - first
	}
	last := t.tokens[first+tokens-1]
	return t.source[t.tokens[first].Position.Offset : int(last.Position.Offset)+len(last.Value)], tokens
}

// refusef is the fault of breaking a rule at the offset in the source.
func (t *filterText) refusef(offset int, rule string, args ...any) error {
	character := utf8.RuneCountInString(t.source[:offset]) + 1
	return fault.Invalid("filter", rule+" (at character %d)", append(args, character)...)
}

// refuseTokenf is the fault of breaking a rule at a token.
func (t *filterText) refuseTokenf(i int, rule string, args ...any) error {
	if i >= len(t.tokens) {
		return t.refusef(len(t.source), rule, args...)
	}
	return t.refusef(int(t.tokens[i].Position.Offset), rule, args...)
}

// malformed is the fault of a text that the parser could not read. The parser's own error quotes the text once for
// each level that it descended, so only the place is taken from it.
func (t *filterText) malformed(err error) error {
	type placed interface {
		error
		Position() filtering.Position
	}
	offset := 0
	for ; err != nil; err = errors.Unwrap(err) {
		if at, ok := errors.AsType[placed](err); ok {
			offset = int(at.Position().Offset)
		}
	}
	at := t.tokenAt(offset)
	if at >= len(t.tokens) {
		return t.refuseTokenf(at, "must go on here; %s", t.kind.example)
	}
	return t.refuseTokenf(at, "must be as AIP-160 has it, and anything but letters, digits and _ must be in quotes; %s",
		t.kind.example)
}
