package session

import (
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/fault"
)

func TestParseOrder(t *testing.T) {
	for text, want := range map[string]Order{
		"":                   {By: ByCreateTime, Descending: true},
		"  ":                 {By: ByCreateTime, Descending: true},
		"create_time":        {By: ByCreateTime},
		"createTime asc":     {By: ByCreateTime},
		"create_time desc":   {By: ByCreateTime, Descending: true},
		"update_time":        {By: ByUpdateTime},
		" updateTime  desc ": {By: ByUpdateTime, Descending: true},
		"display_name":       {By: ByDisplayName},
		"displayName desc":   {By: ByDisplayName, Descending: true},
	} {
		if got, err := ParseOrder(text); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestParseOrderFaults(t *testing.T) {
	for _, text := range []string{
		"sEcret", "desc", "expire_time", "create_time DESC", "create_time sEcret", "create_time desc desc", "Create_time",
		"create_time,update_time", "create_time, update_time desc", "-create_time", "create_time\x00", "\xff", "create__time",
	} {
		_, err := ParseOrder(text)
		if !fault.Is(err, fault.InvalidArgument) {
			t.Errorf("%q: %v, want an InvalidArgument fault", text, err)
			continue
		}
		v := fault.From(err).Violations
		if len(v) != 1 || v[0].Field != "orderBy" || strings.Contains(v[0].Description, "sEcret") {
			t.Errorf("%q: %v", text, v)
		}
		for _, field := range []string{"createTime", "updateTime", "displayName"} {
			if !strings.Contains(v[0].Description, field) {
				t.Errorf("%q: %v, want it to list %s", text, v, field)
			}
		}
	}
}
