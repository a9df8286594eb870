package postgrest

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// cell is a value of a row as it came.
type cell struct {
	text         string
	null, quoted bool
}

var errRows = errors.New("the rows of the answer cannot be read")

// rowScanner reads a list of lists of plain values, such as
// [[1, "a", null], [2, "b", true]]. It exists for speed: a start reads hundreds
// of thousands of values.
type rowScanner struct {
	rest []byte
	used bool // the first row has been read
}

// row reads the next row into cells, whose number is that of the columns. It
// gives io.EOF behind the last.
func (s *rowScanner) row(cells []cell) error {
	if !s.used {
		s.used = true
		if !s.sign('[') {
			return errRows
		}
		if s.sign(']') {
			return s.end()
		}
	} else {
		if s.sign(']') {
			return s.end()
		}
		if !s.sign(',') {
			return errRows
		}
	}
	if !s.sign('[') {
		return errRows
	}
	for i := range cells {
		if i > 0 && !s.sign(',') {
			return errRows
		}
		if err := s.cell(&cells[i]); err != nil {
			return err
		}
	}
	if !s.sign(']') {
		return errRows
	}
	return nil
}

// end is called behind the list: nothing may follow, and nothing more is read.
func (s *rowScanner) end() error {
	s.blank()
	if len(s.rest) > 0 {
		return errRows
	}
	s.rest = []byte("]")
	return io.EOF
}

func (s *rowScanner) blank() {
	for len(s.rest) > 0 && (s.rest[0] == ' ' || s.rest[0] == '\n' || s.rest[0] == '\t' || s.rest[0] == '\r') {
		s.rest = s.rest[1:]
	}
}

// sign reads a sign, if it is the next.
func (s *rowScanner) sign(c byte) bool {
	s.blank()
	if len(s.rest) == 0 || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// cell reads a value.
func (s *rowScanner) cell(c *cell) error {
	s.blank()
	if len(s.rest) == 0 {
		return errRows
	}
	if s.rest[0] == '"' {
		return s.quoted(c)
	}
	n := 0
	for n < len(s.rest) && s.rest[n] != ',' && s.rest[n] != ']' && s.rest[n] != ' ' && s.rest[n] != '\n' {
		n++
	}
	*c = cell{text: string(s.rest[:n])}
	s.rest = s.rest[n:]
	switch c.text {
	case "null":
		c.null = true
		return nil
	case "true", "false":
		return nil
	}
	if _, err := strconv.ParseFloat(c.text, 64); err != nil && !errors.Is(err, strconv.ErrRange) {
		return errRows
	}
	return nil
}

// quoted reads a text.
func (s *rowScanner) quoted(c *cell) error {
	plain := true
	for i := 1; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '\\':
			plain = false
			i++
		case '"':
			*c = cell{quoted: true}
			if plain {
				c.text = string(s.rest[1:i])
			} else if err := json.Unmarshal(s.rest[:i+1], &c.text); err != nil {
				return fmt.Errorf("%w: %w", errRows, err)
			}
			s.rest = s.rest[i+1:]
			return nil
		}
	}
	return errRows
}

// rows implements driver.Rows over a result that is whole in memory.
type rows struct {
	names   []string
	types   []string
	scanner rowScanner
	cells   []cell
}

// newRows is for the rows of a query with so many columns.
func newRows(columns int, r *result) (*rows, error) {
	rs := &rows{names: make([]string, columns), types: r.Types, scanner: rowScanner{rest: r.Rows}, cells: make([]cell, columns)}
	for i := range rs.names {
		rs.names[i] = "c" + strconv.Itoa(i+1)
	}
	if r.Count > 0 && len(rs.types) != columns {
		return nil, fmt.Errorf("%w: %d columns have %d types", errRows, columns, len(rs.types))
	}
	return rs, nil
}

// Columns implements driver.Rows. The columns have numbers for names.
func (r *rows) Columns() []string { return r.names }

// Close implements driver.Rows.
func (r *rows) Close() error { return nil }

// Next implements driver.Rows.
func (r *rows) Next(dest []driver.Value) error {
	if err := r.scanner.row(r.cells); err != nil {
		return err
	}
	if len(r.types) != len(r.cells) {
		return fmt.Errorf("%w: a row where there was to be none", errRows)
	}
	for i := range dest {
		v, err := decode(r.cells[i], r.types[i])
		if err != nil {
			return fmt.Errorf("%w: %w", errRows, err)
		}
		dest[i] = v
	}
	return nil
}
