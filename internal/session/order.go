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
	words := strings.Fields(text)
	if len(words) == 0 {
		return Order{By: ByCreateTime, Descending: true}, nil
	}
	by, known := orderFields[CamelCase(words[0])]
	if !known || len(words) > 2 || len(words) == 2 && words[1] != "desc" && words[1] != "asc" {
		return Order{}, fault.Invalid("orderBy",
			`must be one of createTime, updateTime and displayName, with " desc" after it for the other way round`)
	}
	return Order{By: by, Descending: len(words) == 2 && words[1] == "desc"}, nil
}
