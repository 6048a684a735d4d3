//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
)

// The echo's rows that several are held against.
const (
	echoOfGet     = "echoget64"
	echoOfPublish = "echopublish64"
)

// row is one line of the table: an action with a number of connections, and
// the echo's row that it is held against.
type row struct {
	name   string
	action action
	conns  int
	base   string // empty for the echo's own
	ids    int    // rooms or messages that it draws from; 0: the sessions that it is given
}

func (r row) onEcho() bool { return r.base == "" }

// followed tells whether each room that the row publishes to has a follower,
// which must get all that is acknowledged.
func (r row) followed() bool { return r.action == publish }

// inRooms tells whether the row needs the rooms and what is in them.
func (r row) inRooms() bool {
	switch r.action {
	case publish, joinLeave, getMessage, listMessages:
		return true
	default:
		return false
	}
}

// allRows lists every row of the table. Each follows the echo's row that it is
// divided by, so that both meet the machine in the same mood.
func allRows() []row {
	return []row{
		{"echo1", echoCreate, 1, "", 0},
		{"create1", create, 1, "echo1", 0},
		{"echo32", echoCreate, 32, "", 0},
		{"create32", create, 32, "echo32", 0},
		{"echo64", echoCreate, 64, "", 0},
		{"create64", create, 64, "echo64", 0},
		{"update64", update, 64, "echo64", 0},
		{"echo256", echoCreate, 256, "", 0},
		{"create256", create, 256, "echo256", 0},
		{echoOfGet, echoGet, 64, "", 0},
		{"get64", get, 64, echoOfGet, 0},
		{"list64", list, 64, echoOfGet, 0},
		{"getmessage64", getMessage, 64, echoOfGet, seeded},
		{"listmessages64", listMessages, 64, echoOfGet, 0},
		{echoOfPublish, echoPublish, 64, "", 0},
		{"publish64x1", publish, 64, echoOfPublish, 1},
		{"publish64x1000", publish, 64, echoOfPublish, rooms},
		{"joinleave64", joinLeave, 64, echoOfPublish, rooms},
	}
}

// scaleRows are those that a comparison of stores measures. Creating comes
// last, because it changes the size.
func scaleRows() []string { return []string{"get64", "list64", "create64"} }

// selectRows returns the named rows, or all if none is named, with the echo's rows
// that these need.
func selectRows(list string, haveServer bool) ([]row, error) {
	all := allRows()
	names, err := namesOf(list, all)
	if err != nil {
		return nil, err
	}
	wanted := func(name string) bool { return len(names) == 0 || slices.Contains(names, name) }
	needed := map[string]bool{}
	for _, r := range all {
		if wanted(r.name) && (haveServer || r.onEcho()) {
			needed[r.name] = true
			needed[r.base] = true
		}
	}
	return slices.DeleteFunc(all, func(r row) bool { return !needed[r.name] }), nil
}

func namesOf(list string, all []row) ([]string, error) {
	names := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	for _, name := range names {
		if !slices.ContainsFunc(all, func(r row) bool { return r.name == name }) {
			return nil, fmt.Errorf("no row is called %q; there are %s", name, rowNames(all))
		}
	}
	return names, nil
}

// selectServerRows returns the named rows, or the usual ones if none is named, for a
// comparison of servers with one another: the echo has no part in it.
func selectServerRows(list string, usual []string) ([]row, error) {
	all := allRows()
	names, err := namesOf(list, all)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		names = usual
	}
	var rows []row
	for _, name := range names {
		r := all[slices.IndexFunc(all, func(r row) bool { return r.name == name })]
		if r.onEcho() {
			return nil, fmt.Errorf("%s is the echo's, and servers are compared with one another", name)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func rowNames(rows []row) string {
	names := make([]string, len(rows))
	for i, r := range rows {
		names[i] = r.name
	}
	return strings.Join(names, ", ")
}
