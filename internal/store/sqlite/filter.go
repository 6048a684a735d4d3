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

// filterColumns are the fields that are compared as they are.
var filterColumns = map[session.FilterField]string{
	session.FilterProfile:     `(s.doc ->> '$.profile')`,
	session.FilterDisplayName: `s.display_name`,
	session.FilterType:        `s.type`,
	session.FilterCreator:     `s.creator`,
	session.FilterDescription: `(s.doc ->> '$.description')`,
	session.FilterCreateTime:  `s.created`,
	session.FilterUpdateTime:  `s.updated`,
}

func (w *filterWriter) compare(f *session.Filter) {
	switch f.Field {
	case session.FilterOwners:
		w.text.WriteString(`EXISTS (SELECT 1 FROM json_each(s.doc, '$.owners') j WHERE j.value = ?)`)
		w.args = append(w.args, f.Text)
	case session.FilterAllowedUsers:
		w.text.WriteString(`EXISTS (SELECT 1 FROM json_each(s.doc, '$.allowedUsers') j WHERE j.value = ?)`)
		w.args = append(w.args, f.Text)
	case session.FilterLabels:
		w.text.WriteString(`EXISTS (SELECT 1 FROM json_each(s.doc, '$.labels') j WHERE j.key = ?`)
		w.args = append(w.args, f.Key)
		if f.Op != session.FilterHas {
			w.text.WriteString(` AND `)
			w.value(`j.value`, f)
		}
		w.text.WriteByte(')')
	case session.FilterExpireTime:
		w.text.WriteString(`(s.expires <> 0`)
		if f.Op != session.FilterHas {
			w.text.WriteString(` AND `)
			w.value(`s.expires`, f)
		}
		w.text.WriteByte(')')
	default:
		w.value(filterColumns[f.Field], f)
	}
}

var filterOperators = map[session.FilterOp]string{
	session.FilterEqual:        ` = ?`,
	session.FilterLess:         ` < ?`,
	session.FilterLessEqual:    ` <= ?`,
	session.FilterGreater:      ` > ?`,
	session.FilterGreaterEqual: ` >= ?`,
	session.FilterHas:          ` IS NOT NULL`,
}

// value compares one value. Text compares bytewise, by SQLite's BINARY collation.
func (w *filterWriter) value(column string, f *session.Filter) {
	if f.Prefix {
		w.text.WriteString(`substr(` + column + `, 1, length(?)) = ?`)
		w.args = append(w.args, f.Text, f.Text)
		return
	}
	w.text.WriteString(column + filterOperators[f.Op])
	switch {
	case f.Op == session.FilterHas:
	case f.Field == session.FilterType || f.Field >= session.FilterCreateTime:
		w.args = append(w.args, f.Number)
	default:
		w.args = append(w.args, f.Text)
	}
}
