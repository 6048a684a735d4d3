package session

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// filterKind is what a filter may be about, and what every refusal can say of it.
type filterKind struct {
	fields  []FilterField
	example string
	help    string // which fields there are
	times   string // what a timestamp is for
	keys    string // what may have keys
}

var sessionFilters = &filterKind{
	fields: []FilterField{
		FilterProfile, FilterDisplayName, FilterType, FilterOwners, FilterAllowedUsers, FilterCreator, FilterLabels,
		FilterDescription, FilterCreateTime, FilterUpdateTime, FilterExpireTime,
	},
	example: `a filter is like owners:"user-1" AND (displayName = "Front*" OR labels.tenant = "t7") AND ` +
		`createTime > "2026-01-31T00:00:00Z"`,
	help: "the fields are profile, displayName, sessionType, owners, allowedUsers, creator, labels.{key}, " +
		"description, createTime, updateTime and expireTime",
	times: "must have timestamp with createTime, updateTime and expireTime only",
	keys:  "keys below labels only",
}

var messageFilters = &filterKind{
	fields:  []FilterField{FilterChannel, FilterSender, FilterCreateTime},
	example: `a filter is like channel = 1 AND sender = "user-*" AND createTime > "2026-01-31T00:00:00Z"`,
	help:    "the fields are channel, sender and createTime",
	times:   "must have timestamp with createTime only",
	keys:    "no keys",
}

var memberFilters = &filterKind{
	fields:  []FilterField{FilterRole, FilterOnline},
	example: `a filter is like role = "owner" AND online = true`,
	help:    "the fields are role and online",
	times:   "must have no timestamp",
	keys:    "no keys",
}

// compareOne checks the operator and the value by the field's type.
func (p *filterParser) compareOne(f Filter, value filterValue) (*Filter, error) {
	if f.Op == FilterHas && value.prefix && value.text == "" && !value.timestamp {
		f.Op = FilterPresent
		return &f, nil
	}
	rule := p.kind.times
	if !value.timestamp || f.Field.isTime() {
		rule = f.set(value)
	}
	if rule != "" {
		return nil, p.refuseTokenf(value.token, "%s", rule)
	}
	return &f, nil
}

// set takes a value into a comparison, or says which rule it breaks; so do those that it calls.
func (f *Filter) set(value filterValue) (broken string) {
	switch f.Field {
	case FilterCreateTime, FilterUpdateTime, FilterExpireTime:
		return f.setTime(value)
	case FilterType:
		return f.setType(value)
	case FilterOwners, FilterAllowedUsers:
		return f.setUser(value)
	case FilterChannel:
		return f.setChannel(value)
	case FilterRole:
		return f.setOneOf(value, "must compare role by = or != with owner or member", RoleOwner, RoleMember)
	case FilterOnline:
		return f.setOneOf(value, "must compare online by = or != with true or false", "true", "false")
	default:
		if f.Field == FilterLabels && f.Key == "" {
			return f.setKey(value)
		}
		return f.setText(value)
	}
}

func (f *Filter) setText(value filterValue) (broken string) {
	f.equalIfHas()
	f.Text, f.Prefix = value.text, value.prefix
	if f.Prefix && f.Op != FilterEqual {
		return "must have a * only after = != and :"
	}
	return ""
}

// equalIfHas turns the colon into what it means for a single value.
func (f *Filter) equalIfHas() {
	if f.Op == FilterHas {
		f.Op = FilterEqual
	}
}

func (f *Filter) setType(value filterValue) (broken string) {
	f.equalIfHas()
	number, err := strconv.Atoi(value.text)
	byName := err != nil
	if byName {
		number = int(typeNames[strings.TrimPrefix(value.text, typeNamePrefix)])
	}
	if number < int(Public) || number > int(Temporary) || value.prefix || byName && f.Op != FilterEqual {
		return "must compare sessionType with 1, 2 or 3, or by = or != with PUBLIC, PRIVATE or TEMPORARY"
	}
	f.Number = int64(number)
	return ""
}

func (f *Filter) setTime(value filterValue) (broken string) {
	f.equalIfHas()
	t, err := time.Parse(time.RFC3339Nano, value.text)
	if year := t.UTC().Year(); err != nil || year < 1 || year > 9999 || value.prefix {
		return `must compare times with RFC 3339 in quotes, as in createTime > "2026-01-31T00:00:00Z"`
	}
	f.Number = int64(TimeOf(t))
	return ""
}

func (f *Filter) setUser(value filterValue) (broken string) {
	f.Text = value.text
	if f.Op != FilterHas || value.prefix {
		return `must ask owners and allowedUsers by : for a whole user, as in owners:"user-1"`
	}
	return ""
}

func (f *Filter) setKey(value filterValue) (broken string) {
	f.Key = value.text
	if f.Op != FilterHas || value.prefix || f.Key == "" {
		return `must ask labels by a key, as in labels.tenant = "t7" or labels:tenant`
	}
	f.Op = FilterPresent
	return ""
}

func (f *Filter) setChannel(value filterValue) (broken string) {
	f.equalIfHas()
	number, err := strconv.ParseInt(value.text, 10, 32)
	if err != nil || number < 0 || value.prefix {
		return "must compare channel with an integer from 0 to " + strconv.Itoa(math.MaxInt32)
	}
	f.Number = number
	return ""
}

// setOneOf takes one of few texts; what else is said breaks the rule.
func (f *Filter) setOneOf(value filterValue, rule string, texts ...string) (broken string) {
	f.equalIfHas()
	f.Text = value.text
	if f.Op != FilterEqual || value.prefix || !slices.Contains(texts, value.text) {
		return rule
	}
	return ""
}
