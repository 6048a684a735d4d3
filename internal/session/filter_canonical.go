package session

import "strconv"

// Canonical writes the filter so that its parser would read the same one from it, were it not for the limit on the
// length. Filters that differ only in how they were written have the same canonical text; page tokens are bound to it.
func (f *Filter) Canonical() string {
	if f == nil {
		return ""
	}
	return string(f.appendCanonical(nil))
}

func (f *Filter) appendCanonical(b []byte) []byte {
	switch f.Op {
	case FilterAnd:
		return f.appendJoined(b, " AND ")
	case FilterOr:
		return f.appendJoined(b, " OR ")
	case FilterNot:
		return f.appendArg(append(b, "NOT "...), f.Args[0])
	default:
		return f.appendComparison(b)
	}
}

func (f *Filter) appendJoined(b []byte, operator string) []byte {
	for i, arg := range f.Args {
		if i > 0 {
			b = append(b, operator...)
		}
		b = f.appendArg(b, arg)
	}
	return b
}

// appendArg puts parentheses around an argument that would otherwise be torn apart: OR binds more strongly than AND,
// and NOT more than both.
func (f *Filter) appendArg(b []byte, arg *Filter) []byte {
	if arg.Op >= f.Op || arg.Op == FilterOr && f.Op == FilterAnd {
		return arg.appendCanonical(b)
	}
	b = append(b, '(')
	b = arg.appendCanonical(b)
	return append(b, ')')
}

// filterFieldNames are the fields as the API names them.
var filterFieldNames = [...]string{
	FilterProfile:      "profile",
	FilterDisplayName:  "displayName",
	FilterType:         "sessionType",
	FilterOwners:       "owners",
	FilterAllowedUsers: "allowedUsers",
	FilterCreator:      "creator",
	FilterLabels:       "labels",
	FilterDescription:  "description",
	FilterCreateTime:   "createTime",
	FilterUpdateTime:   "updateTime",
	FilterExpireTime:   "expireTime",
	FilterChannel:      "channel",
	FilterSender:       "sender",
	FilterRole:         "role",
	FilterOnline:       "online",
}

var filterOperators = [...]string{
	FilterEqual:        " = ",
	FilterLess:         " < ",
	FilterLessEqual:    " <= ",
	FilterGreater:      " > ",
	FilterGreaterEqual: " >= ",
	FilterHas:          ":",
	FilterPresent:      ":*",
}

func (f *Filter) appendComparison(b []byte) []byte {
	b = append(b, filterFieldNames[f.Field]...)
	if f.Key != "" {
		b = append(b, '.')
		b = appendFilterText(b, f.Key, false)
	}
	b = append(b, filterOperators[f.Op]...)
	switch {
	case f.Op == FilterPresent:
		return b
	case f.Field == FilterType || f.Field == FilterChannel:
		return strconv.AppendInt(b, f.Number, 10)
	case f.Field.isTime():
		return append(Time(f.Number).Append(append(b, '"')), '"')
	default:
		return appendFilterText(b, f.Text, f.Prefix)
	}
}

// isTime tells whether the field is a time.
func (f FilterField) isTime() bool {
	return f == FilterCreateTime || f == FilterUpdateTime || f == FilterExpireTime
}

// appendFilterText appends a text in quotes, with a * after it if it is only a beginning. What would be read as
// something else is escaped; the parser turns a bare carriage return into a line feed.
func appendFilterText(b []byte, text string, prefix bool) []byte {
	b = append(b, '"')
	for i := range len(text) {
		switch c := text[i]; c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\r':
			b = append(b, `\r`...)
		case '*':
			b = append(b, `\x2a`...)
		default:
			b = append(b, c)
		}
	}
	if prefix {
		b = append(b, '*')
	}
	return append(b, '"')
}
