package session

import (
	"slices"
	"strconv"
	"strings"
)

// Filter is a condition on sessions (AIP-160), parsed and checked. A nil Filter holds for every session.
type Filter struct {
	Op FilterOp

	// For And, Or and Not.
	Args []*Filter

	// For the comparisons. Text is what text, users and labels are compared with, Number what the session type and
	// times are (in microseconds since 1970).
	Field  FilterField
	Key    string // of the label
	Text   string
	Number int64
	Prefix bool // Equal: Text is how the value begins
}

// FilterOp is what a Filter does.
type FilterOp uint8

// The operations. A comparison with something that a session does not have is false.
const (
	FilterAnd FilterOp = iota
	FilterOr
	FilterNot
	FilterEqual
	FilterLess
	FilterLessEqual
	FilterGreater
	FilterGreaterEqual
	FilterHas // the list has Text; the label, or the time, is there
)

// FilterField is a field that a Filter can compare.
type FilterField uint8

// The fields.
const (
	FilterProfile FilterField = iota
	FilterDisplayName
	FilterType
	FilterOwners
	FilterAllowedUsers
	FilterCreator
	FilterLabels
	FilterDescription
	FilterCreateTime
	FilterUpdateTime
	FilterExpireTime
)

// Canonical is the same for filters that mean the same by their form, and different for all others.
func (f *Filter) Canonical() string {
	if f == nil {
		return ""
	}
	return string(f.appendCanonical(nil))
}

func (f *Filter) appendCanonical(b []byte) []byte {
	b = append(b, '(')
	b = strconv.AppendUint(b, uint64(f.Op), 10)
	if f.Op <= FilterNot {
		for _, arg := range f.Args {
			b = arg.appendCanonical(b)
		}
		return append(b, ')')
	}
	b = append(b, ' ')
	b = strconv.AppendUint(b, uint64(f.Field), 10)
	b = strconv.AppendQuote(b, f.Key)
	b = strconv.AppendQuote(b, f.Text)
	b = strconv.AppendInt(b, f.Number, 10)
	b = strconv.AppendBool(b, f.Prefix)
	return append(b, ')')
}

// RequiredUser is a user that every session for which f holds has among its owners or allowedUsers; ok is false if no
// such user is plain to see.
func (f *Filter) RequiredUser() (user string, ok bool) {
	if f == nil {
		return "", false
	}
	switch f.Op {
	case FilterHas:
		return f.Text, f.Field == FilterOwners || f.Field == FilterAllowedUsers
	case FilterAnd:
		for _, arg := range f.Args {
			if user, ok := arg.RequiredUser(); ok {
				return user, true
			}
		}
	}
	return "", false
}

// Match tells whether the filter holds for the session. It is the meaning that every store's own way of filtering has.
func (f *Filter) Match(r *Record, s *Spec) bool {
	if f == nil {
		return true
	}
	holds := func(arg *Filter) bool { return arg.Match(r, s) }
	switch f.Op {
	case FilterAnd:
		return !slices.ContainsFunc(f.Args, func(arg *Filter) bool { return !holds(arg) })
	case FilterOr:
		return slices.ContainsFunc(f.Args, holds)
	case FilterNot:
		return !holds(f.Args[0])
	default:
		return f.compare(r, s)
	}
}

func (f *Filter) compare(r *Record, s *Spec) bool {
	switch f.Field {
	case FilterOwners:
		return slices.Contains(s.Owners, f.Text)
	case FilterAllowedUsers:
		return slices.Contains(s.AllowedUsers, f.Text)
	case FilterType:
		return f.compareNumber(int64(r.Type))
	case FilterCreateTime:
		return f.compareNumber(int64(r.CreateTime))
	case FilterUpdateTime:
		return f.compareNumber(int64(r.UpdateTime))
	case FilterExpireTime:
		return r.ExpireTime != 0 && f.compareNumber(int64(r.ExpireTime))
	case FilterLabels:
		value, has := s.Labels[f.Key]
		return has && f.compareText(value)
	case FilterProfile:
		return f.compareText(s.Profile)
	case FilterDisplayName:
		return f.compareText(s.DisplayName)
	case FilterCreator:
		return f.compareText(r.Creator)
	default:
		return f.compareText(s.Description)
	}
}

func (f *Filter) compareText(value string) bool {
	if f.Prefix {
		return strings.HasPrefix(value, f.Text)
	}
	return f.decide(strings.Compare(value, f.Text))
}

func (f *Filter) compareNumber(value int64) bool {
	switch {
	case value < f.Number:
		return f.decide(-1)
	case value > f.Number:
		return f.decide(1)
	default:
		return f.decide(0)
	}
}

// decide turns an order into an answer.
func (f *Filter) decide(order int) bool {
	switch f.Op {
	case FilterLess:
		return order < 0
	case FilterLessEqual:
		return order <= 0
	case FilterGreater:
		return order > 0
	case FilterGreaterEqual:
		return order >= 0
	case FilterHas:
		return true
	default:
		return order == 0
	}
}
