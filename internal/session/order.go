package session

import (
	"strings"

	"github.com/parleyhq/parley/internal/fault"
)

var orderFields = map[string]OrderField{
	"createTime":  ByCreateTime,
	"updateTime":  ByUpdateTime,
	"displayName": ByDisplayName,
}

// ParseOrder reads an order (AIP-132): one field in camelCase or snake_case, and "desc" for the other way round. The
// empty text is "create_time desc". There is no second field, because sessions that are equal in the first are in the
// order of their creation anyway. The fault of any other text is InvalidArgument at orderBy.
func ParseOrder(text string) (Order, error) {
	field, descending, ok := cutOrder(text)
	if field == "" && ok {
		return Order{By: ByCreateTime, Descending: true}, nil
	}
	by, known := orderFields[field]
	if !known || !ok {
		return Order{}, fault.Invalid("orderBy",
			`must be one of createTime, updateTime and displayName, with " desc" after it for the other way round`)
	}
	return Order{By: by, Descending: descending}, nil
}

// parseDirection reads the order of a list that can be sorted by one field alone, one way or the other. The empty text
// is the field.
func parseDirection(text, only string) (descending bool, err error) {
	field, descending, ok := cutOrder(text)
	if !ok || field != only && field != "" {
		return false, fault.Invalid("orderBy", `must be %s, with " desc" after it for the other way round`, only)
	}
	return descending, nil
}

// cutOrder splits an order into its field, in camelCase, and its direction. It is ok for the empty text too.
func cutOrder(text string) (field string, descending, ok bool) {
	words := strings.Fields(text)
	switch len(words) {
	case 0:
		return "", false, true
	case 1:
		return CamelCase(words[0]), false, true
	case 2:
		return CamelCase(words[0]), words[1] == "desc", words[1] == "desc" || words[1] == "asc"
	default:
		return "", false, false
	}
}
