package session

import (
	"errors"
	"testing"

	"github.com/parleyhq/parley/internal/fault"
)

func TestParseOrder(t *testing.T) {
	for text, want := range map[string]Order{
		"":                     {By: ByCreateTime, Descending: true},
		"  ":                   {By: ByCreateTime, Descending: true},
		"create_time":          {By: ByCreateTime},
		"createTime desc":      {By: ByCreateTime, Descending: true},
		"update_time desc":     {By: ByUpdateTime, Descending: true},
		"updateTime":           {By: ByUpdateTime},
		"display_name asc":     {By: ByDisplayName},
		" displayName   desc ": {By: ByDisplayName, Descending: true},
	} {
		if got, err := ParseOrder(text); err != nil || got != want {
			t.Errorf("ParseOrder(%q) = %+v, %v; want %+v", text, got, err, want)
		}
	}
}

func TestParseOrderRefuses(t *testing.T) {
	for _, text := range []string{
		"profile", "uid", "desc", "createTime up", "createTime DESC", "create_time desc asc", "create_time,display_name",
		"displayName, createTime", "createTime,", ",", "-createTime", "createTime.x", "CreateTime", "create__time", "create_Time",
		"create_time\x00", "create_time\xff", "`createTime`",
	} {
		_, err := ParseOrder(text)
		refused, ok := errors.AsType[*fault.Error](err)
		if !ok || refused.Kind != fault.InvalidArgument || len(refused.Violations) != 1 || refused.Violations[0].Field != "orderBy" {
			t.Errorf("ParseOrder(%q): %v; want one violation of orderBy", text, err)
		}
	}
}
