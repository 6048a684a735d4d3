package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"modernc.org/sqlite"
)

// conn is one connection, used by one goroutine at a time. It speaks to the driver directly: database/sql would add
// locks, conversions and a goroutine for each statement that has a context, and no statement here has one, because
// interrupting a statement would roll back everybody's group.
type conn struct {
	driver.Conn

	statements map[string]*statement
}

type statement struct {
	driver.StmtExecContext
	driver.StmtQueryContext

	close func() error
	args  []driver.NamedValue // used again for every run
	row   []driver.Value      // likewise
}

// open opens a connection to the file with the pragmas, each as "name(value)".
func open(path string, pragmas ...string) (*conn, error) { return openAddress(address(path, pragmas)) }

func openAddress(address string) (*conn, error) {
	raw, err := new(sqlite.Driver).Open(address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: raw, statements: make(map[string]*statement)}, nil
}

// prepared returns the statement of the text, prepared once for the connection.
func (c *conn) prepared(text string) (*statement, error) {
	if s := c.statements[text]; s != nil {
		return s, nil
	}
	s, err := c.prepare(text)
	if err == nil {
		c.statements[text] = s
	}
	return s, err
}

func (c *conn) prepare(text string) (*statement, error) {
	raw, err := c.Prepare(text)
	if err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	exec, canExec := raw.(driver.StmtExecContext)
	query, canQuery := raw.(driver.StmtQueryContext)
	if !canExec || !canQuery {
		return nil, errors.New("prepare: the driver's statements do not take a context")
	}
	return &statement{StmtExecContext: exec, StmtQueryContext: query, close: raw.Close}, nil
}

// exec runs a statement.
func (c *conn) exec(text string, args ...driver.Value) error {
	s, err := c.prepared(text)
	if err != nil {
		return err
	}
	_, err = s.ExecContext(context.Background(), s.bind(args))
	return err
}

// query runs a statement, and gives each row to visit, until that returns errStop or another error. The row's memory
// is used again; the values in it are the visitor's.
func (c *conn) query(text string, args []driver.Value, visit func(row []driver.Value) error) error {
	s, err := c.prepared(text)
	if err != nil {
		return err
	}
	return s.query(args, visit)
}

// errStop ends a query early, without an error.
var errStop = errors.New("stop")

func (s *statement) query(args []driver.Value, visit func(row []driver.Value) error) error {
	rows, err := s.QueryContext(context.Background(), s.bind(args))
	if err != nil {
		return err
	}
	if s.row == nil {
		s.row = make([]driver.Value, len(rows.Columns()))
	}
	for err == nil {
		if err = rows.Next(s.row); err == nil {
			err = visit(s.row)
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, errStop) {
		err = nil
	}
	return errors.Join(err, rows.Close())
}

func (s *statement) bind(args []driver.Value) []driver.NamedValue {
	s.args = s.args[:0]
	for i, value := range args {
		s.args = append(s.args, driver.NamedValue{Ordinal: i + 1, Value: value})
	}
	return s.args
}

// integer runs a statement whose one row has one integer; no row, or NULL, is 0.
func (c *conn) integer(text string, args ...driver.Value) (n int64, err error) {
	err = c.query(text, args, func(row []driver.Value) error {
		n, _ = row[0].(int64)
		return errStop
	})
	return n, err
}

// integers runs a statement whose rows each have one integer.
func (c *conn) integers(text string, args ...driver.Value) (list []int64, err error) {
	err = c.query(text, args, func(row []driver.Value) error {
		list = append(list, row[0].(int64))
		return nil
	})
	return list, err
}

// close closes the statements and the connection.
func (c *conn) close() error {
	var errs []error
	for _, s := range c.statements {
		errs = append(errs, s.close())
	}
	return errors.Join(append(errs, c.Close())...)
}

// blob runs a statement whose one row has one blob; no row is nil.
func (c *conn) blob(text string, args ...driver.Value) (b []byte, err error) {
	err = c.query(text, args, func(row []driver.Value) error {
		b, _ = row[0].([]byte)
		return errStop
	})
	return b, err
}
