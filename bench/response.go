//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

const (
	maxLine      = 8 << 10 // of a header line
	keptOfErrors = 512     // bytes of an unexpected answer that are kept to be shown
)

// part is where in a response the next byte belongs.
type part int

const (
	statusLine part = iota
	headerLines
	fixedBody
	chunkSize
	chunkBody
	chunkEnd
	trailerLines
)

// response reads one HTTP/1.1 response after the other from whatever pieces the
// socket delivers. It understands just enough to know where a response ends and
// allocates nothing unless an answer is unexpected.
type response struct {
	part    part
	line    []byte // beginning of a line whose end has not arrived yet
	status  int
	closes  bool // the server will close the connection after this response
	chunked bool
	length  int64  // from Content-Length, -1 without one
	left    int64  // bytes of the body or chunk that are still to come
	body    []byte // beginning of the body, only of an unexpected status
}

const (
	expectedStatus = 200
	refusedStatus  = 429
)

func (r *response) reset() {
	*r = response{line: r.line[:0], body: r.body[:0], length: -1}
}

// feed takes the next bytes and reports whether they complete the response.
func (r *response) feed(p []byte) (done bool, err error) {
	for len(p) > 0 && !done {
		if r.part == fixedBody || r.part == chunkBody {
			p, done = r.skipBody(p)
			continue
		}
		line, rest, ok := r.cutLine(p)
		if !ok {
			return false, r.checkLine()
		}
		p = rest
		done, err = r.takeLine(line)
		r.line = r.line[:0]
		if err != nil {
			return false, err
		}
	}
	if len(p) > 0 {
		return false, errors.New("bytes after the end of the response")
	}
	return done, nil
}

func (r *response) skipBody(p []byte) (rest []byte, done bool) {
	n := min(r.left, int64(len(p)))
	if r.status != expectedStatus {
		keep := min(int(n), keptOfErrors-len(r.body))
		r.body = append(r.body, p[:keep]...)
	}
	r.left -= n
	if r.left > 0 {
		return p[n:], false
	}
	if r.part == fixedBody {
		return p[n:], true
	}
	r.part = chunkEnd
	return p[n:], false
}

// cutLine returns the next whole line without its end. An unfinished one is
// kept until the rest of it arrives.
func (r *response) cutLine(p []byte) (line, rest []byte, ok bool) {
	line, rest, ok = bytes.Cut(p, []byte{'\n'})
	if !ok {
		r.line = append(r.line, p...)
		return nil, nil, false
	}
	if len(r.line) > 0 {
		r.line = append(r.line, line...)
		line = r.line
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, rest, true
}

func (r *response) checkLine() error {
	if len(r.line) > maxLine {
		return fmt.Errorf("a header line of more than %d bytes", maxLine)
	}
	return nil
}

func (r *response) takeLine(line []byte) (done bool, err error) {
	switch r.part {
	case statusLine:
		return false, r.takeStatus(line)
	case headerLines:
		if len(line) == 0 {
			return r.endHeader()
		}
		return false, r.takeHeader(line)
	case chunkSize:
		return false, r.takeChunkSize(line)
	case chunkEnd:
		r.part = chunkSize
		return false, nil
	case trailerLines:
		return len(line) == 0, nil
	default:
		return false, fmt.Errorf("a line in part %d of a response", r.part)
	}
}

func (r *response) takeStatus(line []byte) error {
	// "HTTP/1.1 200 OK"
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return fmt.Errorf("not an HTTP/1 status line: %.60q", line)
	}
	for _, digit := range line[9:12] {
		if digit < '0' || digit > '9' {
			return fmt.Errorf("not an HTTP/1 status line: %.60q", line)
		}
		r.status = r.status*10 + int(digit-'0')
	}
	r.part = headerLines
	return nil
}

// takeHeader looks at the three headers that say where the response ends. All
// begin with c or t, which spares most lines the comparison.
func (r *response) takeHeader(line []byte) error {
	if first := line[0] | 0x20; first != 'c' && first != 't' {
		return nil
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimSpace(value)
	switch {
	case bytes.EqualFold(name, []byte("Content-Length")):
		n, err := number(value, 10)
		r.length = n
		return err
	case bytes.EqualFold(name, []byte("Transfer-Encoding")):
		r.chunked = bytes.EqualFold(value, []byte("chunked"))
	case bytes.EqualFold(name, []byte("Connection")):
		r.closes = bytes.EqualFold(value, []byte("close"))
	}
	return nil
}

func (r *response) endHeader() (done bool, err error) {
	switch {
	case r.status == 204 || r.status == 304:
		return true, nil
	case r.chunked:
		r.part = chunkSize
		return false, nil
	case r.length < 0:
		return false, fmt.Errorf("status %d with neither Content-Length nor chunks", r.status)
	}
	r.part, r.left = fixedBody, r.length
	return r.left == 0, nil
}

func (r *response) takeChunkSize(line []byte) error {
	size, _, _ := bytes.Cut(line, []byte(";"))
	n, err := number(bytes.TrimSpace(size), 16)
	if err != nil {
		return err
	}
	r.part, r.left = chunkBody, n
	if n == 0 {
		r.part = trailerLines
	}
	return nil
}

// number parses without the string that strconv would make of the bytes.
func number(digits []byte, base int64) (int64, error) {
	var n int64
	for _, c := range digits {
		d := digitValue(c)
		if d >= base || n > 1<<40 {
			return 0, errors.New("not a length: " + strconv.Quote(string(digits)))
		}
		n = n*base + d
	}
	if len(digits) == 0 {
		return 0, errors.New("an empty length")
	}
	return n, nil
}

func digitValue(c byte) int64 {
	switch {
	case '0' <= c && c <= '9':
		return int64(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int64(c|0x20-'a') + 10
	}
	return 1 << 8
}
