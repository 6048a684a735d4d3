package session

import (
	"slices"
	"strings"

	"go.einride.tech/aip/filtering"
	expr "google.golang.org/genproto/googleapis/api/expr/v1alpha1"

	"github.com/parleyhq/parley/internal/fault"
)

// Limits of a filter. The parser takes a few microseconds for each token, whatever comes of it, and nobody needs a
// thousand of them for 64 comparisons.
const (
	maxFilterBytes       = 4096
	maxFilterComparisons = 64
	maxFilterDepth       = 32
	maxFilterTokens      = 1024
)

// ParseFilter reads a filter (AIP-160). The empty text is nil, the filter that always holds.
//
// Comparisons are joined by AND, or side by side for the same; by OR, which binds more strongly; and negated by NOT or
// a minus. The fields are those of the API in camelCase or snake_case; a value is a word or a text in quotes, or
// several joined in parentheses: owners:("u1" OR "u2").
//   - Texts (profile, displayName, creator, description, labels.{key}) are compared bytewise with = != < <= > >=; one *
//     at the end, after = != or the colon, stands for any continuation. A * that is meant is written "\x2a".
//   - sessionType is compared with 1, 2 and 3, or with = and != with PUBLIC, PRIVATE and TEMPORARY.
//   - owners and allowedUsers are asked for one user by the colon; labels for a key.
//   - Times are RFC 3339 in quotes, or in timestamp(…). As everywhere, what is finer than a microsecond is dropped.
//   - The colon is = for what is no list. With a lone * it asks whether there is anything: expireTime:*, description:*.
//
// What a session does not have is equal to nothing, nor less nor greater. So != and NOT hold for it: they are true
// unless the comparison is.
//
// The fault of anything that cannot be served is InvalidArgument at filter, and says where and what can.
func ParseFilter(text string) (*Filter, error) { return parseFilter(sessionFilters, text) }

// parseFilter reads a filter on a kind of thing, by the rules of ParseFilter. The fields are those of the kind.
func parseFilter(kind *filterKind, text string) (*Filter, error) {
	if len(text) > maxFilterBytes {
		return nil, fault.Invalid("filter", "must be at most %d bytes", maxFilterBytes)
	}
	scanned, err := scanFilter(kind, text)
	if err != nil {
		return nil, err
	}
	return scanned.parse()
}

func (t *filterText) parse() (*Filter, error) {
	if len(t.tokens) == 0 {
		return nil, nil //nolint:nilnil // no filter is a filter
	}
	var parser filtering.Parser
	parser.Init(t.forParser())
	parsed, err := parser.Parse()
	if err != nil {
		return nil, t.malformed(err)
	}
	p := filterParser{filterText: t, positions: parsed.GetSourceInfo().GetPositions()}
	return p.condition(parsed.GetExpr())
}

// filterParser makes a Filter of the expression that the library's parser made of the text. The library's checker is
// of no use: it knows neither implicit AND, nor wildcards, nor where it found a flaw.
type filterParser struct {
	*filterText

	positions   map[int64]int32 // where each expression begins, in what the parser saw
	comparisons int
}

// token is the index of an expression's first token.
func (p *filterParser) token(e *expr.Expr) int { return p.tokenAt(int(p.positions[e.GetId()])) }

var filterOps = map[string]FilterOp{
	filtering.FunctionAnd:           FilterAnd,
	filtering.FunctionFuzzyAnd:      FilterAnd, // side by side
	filtering.FunctionOr:            FilterOr,
	filtering.FunctionNot:           FilterNot,
	filtering.FunctionEquals:        FilterEqual,
	filtering.FunctionNotEquals:     FilterEqual, // negated
	filtering.FunctionLessThan:      FilterLess,
	filtering.FunctionLessEquals:    FilterLessEqual,
	filtering.FunctionGreaterThan:   FilterGreater,
	filtering.FunctionGreaterEquals: FilterGreaterEqual,
	filtering.FunctionHas:           FilterHas,
}

// condition reads what is true or false.
func (p *filterParser) condition(e *expr.Expr) (*Filter, error) {
	call := e.GetCallExpr()
	switch op := filterOps[call.GetFunction()]; op {
	case 0:
		return nil, p.notACondition(e)
	case FilterAnd:
		return p.join(op, operands(e, filtering.FunctionAnd, filtering.FunctionFuzzyAnd), p.condition)
	case FilterOr:
		return p.join(op, operands(e, filtering.FunctionOr), p.condition)
	case FilterNot:
		return negated(p.condition(call.GetArgs()[0]))
	default:
		return p.comparison(op, call)
	}
}

func (p *filterParser) notACondition(e *expr.Expr) error {
	switch strings.ToUpper(e.GetIdentExpr().GetName()) {
	case filtering.FunctionAnd, filtering.FunctionOr, filtering.FunctionNot:
		return p.refuseTokenf(p.token(e), "must have AND, OR and NOT in capitals")
	}
	return p.refuseTokenf(p.token(e), "must compare a field here, and have text with spaces in quotes; %s", p.kind.example)
}

// operands lists what a chain of one operator joins. The parser nests chains as deep as they are long, so they are
// unrolled rather than descended. A chain that is too long is cut: join refuses it.
func operands(e *expr.Expr, functions ...string) []*expr.Expr {
	var list []*expr.Expr
	for slices.Contains(functions, e.GetCallExpr().GetFunction()) && len(list) <= maxFilterComparisons {
		list = append(list, e.GetCallExpr().GetArgs()[1])
		e = e.GetCallExpr().GetArgs()[0]
	}
	list = append(list, e)
	slices.Reverse(list)
	return list
}

func (p *filterParser) join(op FilterOp, list []*expr.Expr, read func(*expr.Expr) (*Filter, error)) (*Filter, error) {
	if len(list) > maxFilterComparisons {
		return nil, p.tooMany(list[0])
	}
	joined := &Filter{Op: op}
	for _, e := range list {
		f, err := read(e)
		if err != nil {
			return nil, err
		}
		if f.Op == op {
			joined.Args = append(joined.Args, f.Args...)
		} else {
			joined.Args = append(joined.Args, f)
		}
	}
	return joined, nil
}

func (p *filterParser) tooMany(e *expr.Expr) error {
	return p.refuseTokenf(p.token(e), "must have at most %d comparisons", maxFilterComparisons)
}

func negated(f *Filter, err error) (*Filter, error) {
	switch {
	case err != nil:
		return nil, err
	case f.Op == FilterNot:
		return f.Args[0], nil
	default:
		return &Filter{Op: FilterNot, Args: []*Filter{f}}, nil
	}
}

// comparison reads a field, an operator and a value.
func (p *filterParser) comparison(op FilterOp, call *expr.Expr_Call) (*Filter, error) {
	left, err := p.field(call.GetArgs()[0])
	if err != nil {
		return nil, err
	}
	left.Op = op
	if call.GetFunction() == filtering.FunctionNotEquals {
		return negated(p.compare(left, call.GetArgs()[1]))
	}
	return p.compare(left, call.GetArgs()[1])
}

// field reads what is compared: a Filter with its Field, and its Key.
func (p *filterParser) field(e *expr.Expr) (Filter, error) {
	name, key := e, ""
	if selected := e.GetSelectExpr(); selected != nil {
		name, key = selected.GetOperand(), selected.GetField()
	}
	camel := CamelCase(name.GetIdentExpr().GetName())
	field := FilterField(max(0, slices.Index(filterFieldNames[:], camel)))
	switch {
	case name.GetSelectExpr() != nil:
		return Filter{}, p.refuseTokenf(p.token(e), `must have keys with dots in quotes, as in labels."a.b"`)
	case !slices.Contains(p.kind.fields, field):
		return Filter{}, p.refuseTokenf(p.token(e), "must have a field here, without quotes; %s", p.kind.help)
	case e != name && field != FilterLabels:
		return Filter{}, p.refuseTokenf(p.token(e), "must have %s; %s", p.kind.keys, p.kind.help)
	case e != name && key == "":
		return Filter{}, p.refuseTokenf(p.token(e), "must not have an empty key")
	}
	return Filter{Field: field, Key: key}, nil
}

// compare reads a value, or several that are joined, and compares the field on the left with each.
func (p *filterParser) compare(left Filter, value *expr.Expr) (*Filter, error) {
	each := func(one *expr.Expr) (*Filter, error) { return p.compare(left, one) }
	call := value.GetCallExpr()
	switch op := filterOps[call.GetFunction()]; {
	case op == FilterNot:
		return negated(each(call.GetArgs()[0]))
	case op == FilterOr, call.GetFunction() == filtering.FunctionAnd:
		return p.join(op, operands(value, call.GetFunction()), each)
	case op != 0:
		return nil, p.refuseTokenf(p.token(value), "must have a value here, and text with spaces in quotes")
	}
	if p.comparisons++; p.comparisons > maxFilterComparisons {
		return nil, p.tooMany(value)
	}
	read, err := p.value(value)
	if err != nil {
		return nil, err
	}
	return p.compareOne(left, read)
}

// filterValue is what a field is compared with.
type filterValue struct {
	text      string
	prefix    bool // a * followed
	timestamp bool // it was within timestamp(…)
	token     int
}

// value reads a value.
func (p *filterParser) value(e *expr.Expr) (filterValue, error) {
	call := e.GetCallExpr()
	if call == nil {
		return p.literal(p.token(e))
	}
	args := call.GetArgs()
	if call.GetFunction() != filtering.FunctionTimestamp || len(args) != 1 || args[0].GetConstExpr() == nil {
		return filterValue{}, p.refuseTokenf(p.token(e), "must have no function but timestamp, of one text in quotes")
	}
	value, err := p.literal(p.token(args[0]))
	value.timestamp = true
	return value, err
}

// literal reads what is in quotes, or a word as the client wrote it, whatever the parser took it for: 007 stays so.
func (p *filterParser) literal(first int) (filterValue, error) {
	raw, tokens := p.word(first)
	text := raw
	quoted := p.tokens[first].Type == filtering.TokenTypeString
	number := !quoted && p.tokens[first].Type != filtering.TokenTypeText
	// In parentheses the parser takes the minus of a number for one of its own.
	if tokens > 1 && strings.ContainsAny(raw, `"'`) || number && p.tokens[first-1].Type == filtering.TokenTypeMinus {
		return filterValue{}, p.refuseTokenf(first, "must have this value in quotes as a whole")
	}
	if quoted {
		text, _ = p.tokens[first].Unquote() // the scan has seen that it can be
		raw = raw[1 : len(raw)-1]
	}
	// What is escaped is no star in the raw text.
	before, prefix := strings.CutSuffix(raw, "*")
	if strings.Contains(before, "*") {
		return filterValue{}, p.refuseTokenf(first, `must have a * only at the end of a text; a * that is meant is "\x2a"`)
	}
	if prefix {
		text = strings.TrimSuffix(text, "*")
	}
	return filterValue{text: text, prefix: prefix, token: first}, nil
}
