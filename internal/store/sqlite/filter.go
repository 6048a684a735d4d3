package sqlite

import (
	"database/sql/driver"
	"strings"

	"github.com/parleyhq/parley/internal/session"
)

// filterSQL turns a filter into a condition on the session s, and its parameters; the nil filter into "". The
// condition is never NULL, so that NOT means what it says.
func filterSQL(f *session.Filter) (string, []driver.Value) {
	if f == nil {
		return "", nil
	}
	var w filterWriter
	w.write(f)
	return w.text.String(), w.args
}

type filterWriter struct {
	text strings.Builder
	args []driver.Value
}

func (w *filterWriter) write(f *session.Filter) {
	switch f.Op {
	case session.FilterAnd:
		w.join(f.Args, " AND ")
	case session.FilterOr:
		w.join(f.Args, " OR ")
	case session.FilterNot:
		w.text.WriteString("NOT ")
		w.write(f.Args[0])
	default:
		w.compare(f)
	}
}

func (w *filterWriter) join(filters []*session.Filter, operator string) {
	w.text.WriteByte('(')
	for i, f := range filters {
		if i > 0 {
			w.text.WriteString(operator)
		}
		w.write(f)
	}
	w.text.WriteByte(')')
}

// The fields that have one value. Those in the document are always in it.
var (
	filterTexts = map[session.FilterField]string{
		session.FilterProfile:     `(s.doc ->> '$.profile')`,
		session.FilterDisplayName: `s.display_name`,
		session.FilterCreator:     `s.creator`,
		session.FilterDescription: `(s.doc ->> '$.description')`,
	}
	filterNumbers = map[session.FilterField]string{
		session.FilterType:       `s.type`,
		session.FilterCreateTime: `s.created`,
		session.FilterUpdateTime: `s.updated`,
		session.FilterExpireTime: `s.expires`,
	}
)

// filterLists are the fields that have many values: conditions that there is an element j, to be gone on with.
var filterLists = map[session.FilterField]string{
	session.FilterOwners:       `EXISTS (SELECT 1 FROM json_each(s.doc, '$.owners') j WHERE 1`,
	session.FilterAllowedUsers: `EXISTS (SELECT 1 FROM json_each(s.doc, '$.allowedUsers') j WHERE 1`,
	session.FilterLabels:       `EXISTS (SELECT 1 FROM json_each(s.doc, '$.labels') j WHERE 1`,
}

func (w *filterWriter) compare(f *session.Filter) {
	if list, ok := filterLists[f.Field]; ok {
		w.text.WriteString(list)
		w.element(f)
		w.text.WriteByte(')')
		return
	}
	if column, ok := filterNumbers[f.Field]; ok {
		w.number(column, f)
		return
	}
	w.value(filterTexts[f.Field], f)
}

// element says which element of a list there has to be.
func (w *filterWriter) element(f *session.Filter) {
	if f.Key != "" {
		w.text.WriteString(` AND j.key = ?`)
		w.args = append(w.args, f.Key)
	}
	if f.Op != session.FilterPresent {
		w.text.WriteString(` AND `)
		w.value(`j.value`, f)
	}
}

var filterOperators = map[session.FilterOp]string{
	session.FilterEqual:        ` = ?`,
	session.FilterHas:          ` = ?`,
	session.FilterLess:         ` < ?`,
	session.FilterLessEqual:    ` <= ?`,
	session.FilterGreater:      ` > ?`,
	session.FilterGreaterEqual: ` >= ?`,
}

// number compares a session type or a time. The time 0 is none, and not one before all others.
func (w *filterWriter) number(column string, f *session.Filter) {
	if f.Op == session.FilterPresent {
		w.text.WriteString(column + ` <> 0`)
		return
	}
	w.text.WriteString(`(` + column + ` <> 0 AND ` + column + filterOperators[f.Op] + `)`)
	w.args = append(w.args, f.Number)
}

// value compares a text, bytewise by SQLite's BINARY collation.
func (w *filterWriter) value(column string, f *session.Filter) {
	switch {
	case f.Op == session.FilterPresent:
		w.text.WriteString(column + ` <> ''`)
	case f.Prefix:
		w.text.WriteString(`substr(` + column + `, 1, length(?)) = ?`) // LIKE would ignore case
		w.args = append(w.args, f.Text, f.Text)
	default:
		w.text.WriteString(column + filterOperators[f.Op])
		w.args = append(w.args, f.Text)
	}
}
