package session

import (
	"strings"
	"time"
	"unicode/utf8"

	"go.einride.tech/aip/filtering"
	expr "google.golang.org/genproto/googleapis/api/expr/v1alpha1"

	"github.com/parleyhq/parley/internal/fault"
)

// Limits of a filter.
const (
	maxFilterBytes       = 4096
	maxFilterComparisons = 64
	maxFilterLevels      = 32
)

// ParseFilter reads a filter (AIP-160). The empty text is nil, the filter that always holds.
//
// Text is compared bytewise; a `*` at its end stands for any ending. `!=` is NOT and `=`, so it holds where there is
// nothing to compare. Times are RFC 3339 in quotes. The fault of anything that cannot be served is InvalidArgument at
// filter, and says what can.
func ParseFilter(text string) (*Filter, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil //nolint:nilnil // no filter is a filter
	}
	if flaw := filterFlaw(text); flaw != "" {
		return nil, fault.Invalid("filter", "%s", flaw)
	}
	var parser filtering.Parser
	parser.Init(text)
	parsed, err := parser.Parse()
	if err != nil {
		return nil, fault.Invalid("filter", "is malformed; %s", filterHelp).Because(err)
	}
	c := filterChecker{}
	filter := c.check(parsed.GetExpr(), 0)
	if c.flaw != "" {
		return nil, fault.Invalid("filter", "%s", c.flaw)
	}
	return filter, nil
}

const filterHelp = `a filter is like: owners:"user-1" AND (displayName = "Front*" OR labels.tenant = "t7") AND ` +
	`createTime > "2026-01-31T00:00:00Z"`

const filterFieldHelp = "fields are profile, displayName, sessionType, owners, allowedUsers, creator, labels.{key}, " +
	"description, createTime, updateTime and expireTime"

// filterFlaw finds what the parser had better not see: it descends once for each parenthesis, and tries each word
// before one as a function.
func filterFlaw(text string) string {
	if len(text) > maxFilterBytes {
		return "must be at most 4096 bytes"
	}
	if !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
		return "must be valid UTF-8 without NUL"
	}
	depth, quote, before := 0, byte(0), byte(' ')
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0:
			if c == '\\' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '(' && strings.IndexByte(" \t\n(-:=<>", before) < 0:
			return "has no functions; write times as RFC 3339 in quotes"
		case c == '(':
			if depth++; depth > maxFilterLevels {
				return "must be at most 32 levels deep"
			}
		case c == ')':
			depth--
		}
		before = c
	}
	return ""
}

// filterChecker turns the parser's expression into a Filter, until it finds a flaw.
type filterChecker struct {
	comparisons int
	flaw        string
}

func (c *filterChecker) fail(flaw string) *Filter {
	if c.flaw == "" {
		c.flaw = flaw
	}
	return nil
}

var filterOps = map[string]FilterOp{
	filtering.FunctionAnd:           FilterAnd,
	filtering.FunctionFuzzyAnd:      FilterAnd, // words side by side
	filtering.FunctionOr:            FilterOr,
	filtering.FunctionNot:           FilterNot,
	filtering.FunctionEquals:        FilterEqual,
	filtering.FunctionLessThan:      FilterLess,
	filtering.FunctionLessEquals:    FilterLessEqual,
	filtering.FunctionGreaterThan:   FilterGreater,
	filtering.FunctionGreaterEquals: FilterGreaterEqual,
	filtering.FunctionHas:           FilterHas,
}

func (c *filterChecker) check(e *expr.Expr, level int) *Filter {
	call := e.GetCallExpr()
	if call == nil {
		return c.fail("must compare fields; " + filterHelp)
	}
	if level > 2*maxFilterComparisons {
		return c.fail("must have at most 64 comparisons")
	}
	if call.GetFunction() == filtering.FunctionNotEquals {
		equal := c.comparison(FilterEqual, call.GetArgs())
		return &Filter{Op: FilterNot, Args: []*Filter{equal}}
	}
	op, known := filterOps[call.GetFunction()]
	if !known {
		return c.fail("has no functions; write times as RFC 3339 in quotes")
	}
	if op > FilterNot {
		return c.comparison(op, call.GetArgs())
	}
	filter := &Filter{Op: op}
	for _, arg := range call.GetArgs() {
		if c.flaw == "" {
			filter.Args = append(filter.Args, c.check(arg, level+1))
		}
	}
	return filter
}

var filterFields = map[string]FilterField{
	"profile":      FilterProfile,
	"displayName":  FilterDisplayName,
	"sessionType":  FilterType,
	"owners":       FilterOwners,
	"allowedUsers": FilterAllowedUsers,
	"creator":      FilterCreator,
	"labels":       FilterLabels,
	"description":  FilterDescription,
	"createTime":   FilterCreateTime,
	"updateTime":   FilterUpdateTime,
	"expireTime":   FilterExpireTime,
}

func (c *filterChecker) comparison(op FilterOp, args []*expr.Expr) *Filter {
	if c.comparisons++; c.comparisons > maxFilterComparisons {
		return c.fail("must have at most 64 comparisons")
	}
	if len(args) != 2 {
		return c.fail("is malformed; " + filterHelp)
	}
	name, key, ok := fieldName(args[0])
	field, known := filterFields[camelCase(name)]
	if !ok || !known {
		return c.fail("compares what is not a field; " + filterFieldHelp)
	}
	if key != "" && field != FilterLabels {
		return c.fail("only labels have keys; " + filterFieldHelp)
	}
	f := &Filter{Op: op, Field: field, Key: key}
	switch field {
	case FilterOwners, FilterAllowedUsers:
		return c.list(f, args[1])
	case FilterLabels:
		return c.label(f, args[1])
	case FilterType:
		return c.sessionType(f, args[1])
	case FilterCreateTime, FilterUpdateTime, FilterExpireTime:
		return c.time(f, args[1])
	default:
		return c.text(f, args[1])
	}
}

// fieldName reads a field, and the key below it.
func fieldName(e *expr.Expr) (name, key string, ok bool) {
	if ident := e.GetIdentExpr(); ident != nil {
		return ident.GetName(), "", true
	}
	selected := e.GetSelectExpr()
	ident := selected.GetOperand().GetIdentExpr()
	if ident == nil || selected.GetField() == "" {
		return "", "", false
	}
	return ident.GetName(), selected.GetField(), true
}

// argument reads a value: a string, or a bare word.
func argument(e *expr.Expr) (text string, ok bool) {
	if ident := e.GetIdentExpr(); ident != nil {
		return ident.GetName(), true
	}
	if constant, is := e.GetConstExpr().GetConstantKind().(*expr.Constant_StringValue); is {
		return constant.StringValue, true
	}
	return "", false
}

func (c *filterChecker) list(f *Filter, value *expr.Expr) *Filter {
	text, ok := argument(value)
	if !ok || f.Op != FilterHas || strings.Contains(text, "*") {
		return c.fail(`owners and allowedUsers are asked by :, as in owners:"user-1"`)
	}
	f.Text = text
	return f
}

func (c *filterChecker) label(f *Filter, value *expr.Expr) *Filter {
	if f.Key != "" {
		if text, ok := argument(value); ok && f.Op == FilterHas && text == "*" {
			return f
		}
		return c.text(f, value)
	}
	text, ok := argument(value)
	if !ok || f.Op != FilterHas {
		return c.fail(`labels are asked by key, as in labels.tenant = "t7" or labels:tenant`)
	}
	f.Key = text
	return f
}

func (c *filterChecker) text(f *Filter, value *expr.Expr) *Filter {
	text, ok := argument(value)
	if !ok {
		return c.fail("text must be in quotes")
	}
	if f.Op == FilterHas {
		f.Op = FilterEqual
	}
	f.Text, f.Prefix = strings.CutSuffix(text, "*")
	if strings.Contains(f.Text, "*") || f.Prefix && f.Op != FilterEqual {
		return c.fail("a * may stand only at the end of text that is compared with = or :")
	}
	return f
}

func (c *filterChecker) sessionType(f *Filter, value *expr.Expr) *Filter {
	if f.Op == FilterHas {
		f.Op = FilterEqual
	}
	if constant, is := value.GetConstExpr().GetConstantKind().(*expr.Constant_Int64Value); is {
		f.Number = constant.Int64Value
		return f
	}
	text, _ := argument(value)
	t, known := typeNames[strings.TrimPrefix(text, typeNamePrefix)]
	if !known || f.Op != FilterEqual {
		return c.fail("sessionType is compared with 1, 2, 3, or for equality with PUBLIC, PRIVATE, TEMPORARY")
	}
	f.Number = int64(t)
	return f
}

func (c *filterChecker) time(f *Filter, value *expr.Expr) *Filter {
	text, ok := argument(value)
	if ok && text == "*" && f.Op == FilterHas {
		return f
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if !ok || err != nil || f.Op == FilterHas || t.Year() < 1970 {
		return c.fail(`times are compared with RFC 3339 in quotes, as in createTime > "2026-01-31T00:00:00Z"`)
	}
	f.Number = int64(TimeOf(t))
	return f
}
