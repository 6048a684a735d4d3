package session

import (
	"slices"
	"strconv"
	"strings"
)

// Filter is a condition on sessions, or on the messages or the members of one (AIP-160), parsed and checked. A nil
// Filter holds for everything. A Filter is never changed after it was parsed.
type Filter struct {
	Op FilterOp

	// Args are what And, Or and Not are about: at least two; at least two; one. And has no And among them, nor Or an
	// Or, nor Not a Not.
	Args []*Filter

	// The rest is for comparisons. Text is what text, users, labels, roles and truths are compared with; Number is what
	// session types, channels and times are (in microseconds since 1970).
	Field  FilterField
	Key    string // of the label; empty: Present is about any label
	Text   string
	Number int64
	Prefix bool // for Equal: Text is how the value begins
}

// FilterOp is what a Filter does.
type FilterOp uint8

// The operations. A comparison with something that is not there is false.
const (
	FilterAnd FilterOp = iota + 1
	FilterOr
	FilterNot
	FilterEqual
	FilterLess
	FilterLessEqual
	FilterGreater
	FilterGreaterEqual
	FilterHas     // the list has Text
	FilterPresent // the field is not empty, the label or the time is there
)

// FilterField is a field that a Filter can compare.
type FilterField uint8

// The fields: of sessions, then of messages, then of members. Messages have a FilterCreateTime too.
const (
	FilterProfile FilterField = iota + 1
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

	FilterChannel
	FilterSender

	FilterRole
	FilterOnline
)

// RequiredUser is a user that every session for which f holds has among its owners or allowedUsers; ok is false if no
// such user is plain to see.
func (f *Filter) RequiredUser() (user string, ok bool) {
	for _, must := range f.conjuncts() {
		if must.Op == FilterHas {
			return must.Text, true
		}
	}
	return "", false
}

// CreateTimeBounds are times that every session for which f holds was created between: from <= createTime < to.
// A from of 0 is no bound, and so is a to of 0. If from is not before to then no session matches.
func (f *Filter) CreateTimeBounds() (from, to Time) {
	for _, must := range f.conjuncts() {
		if must.Field != FilterCreateTime {
			continue
		}
		first, end := must.interval()
		from = max(from, first)
		if end != 0 && (to == 0 || end < to) {
			to = end
		}
	}
	return from, to
}

// interval is where the times lie for which a comparison holds, as CreateTimeBounds has it.
func (f *Filter) interval() (from, to Time) {
	// createTime is at least 1, so a bound before that is as good as 1, and is not taken for "none".
	at := max(Time(f.Number), 0)
	switch f.Op {
	case FilterEqual:
		return at, at + 1
	case FilterGreater:
		return at + 1, 0
	case FilterGreaterEqual:
		return at, 0
	case FilterLess:
		return 0, max(at, 1)
	case FilterLessEqual:
		return 0, at + 1
	default:
		return 0, 0
	}
}

// conjuncts are conditions that all hold where f does.
func (f *Filter) conjuncts() []*Filter {
	switch {
	case f == nil:
		return nil
	case f.Op == FilterAnd:
		return f.Args
	default:
		return []*Filter{f}
	}
}

// Match tells whether the filter holds for the session, whose document s is. It is the meaning that every store's own
// way of filtering has.
func (f *Filter) Match(r *Record, s *Spec) bool {
	return f.match(func(comparison *Filter) bool { return comparison.matchField(r, s) })
}

// MatchMessage tells whether the filter, which is one on messages, holds for the message that the event is of.
func (f *Filter) MatchMessage(e *Event) bool {
	return f.match(func(comparison *Filter) bool {
		switch comparison.Field {
		case FilterChannel:
			return comparison.matchNumber(int64(e.Channel))
		case FilterSender:
			return comparison.matchText(e.Actor)
		case FilterCreateTime:
			return comparison.matchNumber(int64(e.Time))
		default:
			return false
		}
	})
}

// MatchMember tells whether the filter, which is one on members, holds for the member.
func (f *Filter) MatchMember(m MemberState) bool {
	return f.match(func(comparison *Filter) bool {
		switch comparison.Field {
		case FilterRole:
			return comparison.matchText(m.Role)
		case FilterOnline:
			return comparison.matchText(strconv.FormatBool(m.Online))
		default:
			return false
		}
	})
}

// match tells whether the filter holds where the comparisons do that holds says.
func (f *Filter) match(holds func(comparison *Filter) bool) bool {
	if f == nil {
		return true
	}
	switch f.Op {
	case FilterAnd:
		return !slices.ContainsFunc(f.Args, func(arg *Filter) bool { return !arg.match(holds) })
	case FilterOr:
		return slices.ContainsFunc(f.Args, func(arg *Filter) bool { return arg.match(holds) })
	case FilterNot:
		return !f.Args[0].match(holds)
	default:
		return holds(f)
	}
}

func (f *Filter) matchField(r *Record, s *Spec) bool {
	switch f.Field {
	case FilterProfile:
		return f.matchText(s.Profile)
	case FilterDisplayName:
		return f.matchText(s.DisplayName)
	case FilterType:
		return f.matchNumber(int64(r.Type))
	case FilterOwners:
		return f.matchList(s.Owners)
	case FilterAllowedUsers:
		return f.matchList(s.AllowedUsers)
	case FilterCreator:
		return f.matchText(r.Creator)
	case FilterLabels:
		return f.matchLabels(s.Labels)
	case FilterDescription:
		return f.matchText(s.Description)
	case FilterCreateTime:
		return f.matchNumber(int64(r.CreateTime))
	case FilterUpdateTime:
		return f.matchNumber(int64(r.UpdateTime))
	case FilterExpireTime:
		return f.matchNumber(int64(r.ExpireTime))
	default:
		return false
	}
}

func (f *Filter) matchList(users []string) bool {
	if f.Op == FilterPresent {
		return len(users) > 0
	}
	return slices.Contains(users, f.Text)
}

func (f *Filter) matchLabels(labels map[string]string) bool {
	if f.Op == FilterPresent && f.Key == "" {
		return len(labels) > 0
	}
	value, has := labels[f.Key]
	return has && (f.Op == FilterPresent || f.matchText(value))
}

func (f *Filter) matchText(value string) bool {
	switch {
	case f.Op == FilterPresent:
		return value != ""
	case f.Prefix:
		return strings.HasPrefix(value, f.Text)
	default:
		return f.holds(strings.Compare(value, f.Text))
	}
}

// matchNumber compares a session type, a channel or a time, of which 0 means that there is none.
func (f *Filter) matchNumber(value int64) bool {
	switch {
	case value == 0:
		return false
	case f.Op == FilterPresent:
		return true
	case value < f.Number:
		return f.holds(-1)
	case value > f.Number:
		return f.holds(1)
	default:
		return f.holds(0)
	}
}

// holds tells whether the comparison holds for a value that is before what it is compared with (order < 0), after it,
// or the same (0).
func (f *Filter) holds(order int) bool {
	switch f.Op {
	case FilterEqual:
		return order == 0
	case FilterLess:
		return order < 0
	case FilterLessEqual:
		return order <= 0
	case FilterGreater:
		return order > 0
	case FilterGreaterEqual:
		return order >= 0
	default:
		return false
	}
}
