// Package fault holds the errors that cross Parley's layers.
//
// A fault says what went wrong in the terms of the API (its Kind and Reason), where (its Violations), and, for the log
// alone, why (its cause). Only the edges render faults; everything else passes them on. An error that nobody classified
// is an Internal fault: "internal error" outside, the whole chain in the log.
package fault

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Kind classifies a fault. Each kind has one gRPC code and one HTTP status, given by the edge's table.
type Kind uint8

// The kinds. The zero Kind is Internal, so that a forgotten kind never leaks a cause.
const (
	Internal           Kind = iota // a defect or an unexpected failure of ours
	InvalidArgument                // the request is wrong, whatever the state
	FailedPrecondition             // the state does not allow the request
	Unauthenticated                // who is asking is not known
	PermissionDenied               // who is asking may not
	NotFound                       // no such thing, or none that the caller may know of
	MethodNotAllowed               // the path exists, the method does not
	Unimplemented                  // part of the contract, not built
	NotAcceptable                  // no representation that the client accepts
	TooLarge                       // the request's body is over its limit
	UnsupportedMedia               // the request's body is of the wrong type
	AlreadyExists                  // the name is taken
	Aborted                        // lost against a concurrent change: read again
	ResourceExhausted              // a limit or a quota of the caller
	Unavailable                    // the server cannot now; RetryAfter says when to ask again
	DeadlineExceeded               // the caller's time ran out
	Canceled                       // the caller went away
)

// Kinds is the number of kinds: every value below it is a Kind.
const Kinds = Canceled + 1

// Violation names one place in a request and the rule that it breaks. It never carries the value.
type Violation struct {
	Field       string // the place, as a camelCase JSON path: "owners[3]", "options.ttl"
	Description string // the rule, as the end of a sentence: "must be at most 255 bytes"
}

// Error is a fault.
type Error struct {
	Kind       Kind
	Reason     string        // stable UPPER_SNAKE identifier, see AIP-193
	Message    string        // for developers; names the place and the rule, never a value
	Violations []Violation   // every place at fault, for InvalidArgument
	RetryAfter time.Duration // when to ask again; 0: not said
	Allow      string        // the methods that the path has, for MethodNotAllowed
	Challenge  string        // what WWW-Authenticate says (RFC 6750 section 3), for Unauthenticated; empty: only the scheme

	cause error
}

// Error renders the message, the violations and the cause: for logs, not for clients.
func (e *Error) Error() string {
	text := e.Message
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// New returns a fault of the kind, with a stable reason and a message made as by fmt.Sprintf.
func New(kind Kind, reason, format string, args ...any) *Error {
	return &Error{Kind: kind, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Because attaches the cause, which clients never see, and returns the fault.
func (e *Error) Because(cause error) *Error {
	e.cause = cause
	return e
}

// After says when the caller may ask again, and returns the fault.
func (e *Error) After(wait time.Duration) *Error {
	e.RetryAfter = wait
	return e
}

// Invalid returns an InvalidArgument fault of one violation.
func Invalid(field, format string, args ...any) *Error {
	return InvalidAll([]Violation{{Field: field, Description: fmt.Sprintf(format, args...)}})
}

// InvalidAll returns an InvalidArgument fault of the violations, of which there is at least one.
// Its message names the first.
func InvalidAll(violations []Violation) *Error {
	first := violations[0]
	message := first.Field + ": " + first.Description
	if more := len(violations) - 1; more > 0 {
		message = fmt.Sprintf("%s (and %d more)", message, more)
	}
	return &Error{Kind: InvalidArgument, Reason: "INVALID_FIELDS", Message: message, Violations: violations}
}

// From returns the fault in err's chain; an error without one is an Internal fault that has err as its cause.
// From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	if fault, ok := errors.AsType[*Error](err); ok {
		return fault
	}
	return (&Error{Kind: Internal, Reason: "INTERNAL", Message: "internal error"}).Because(err)
}

// Is tells whether err is a fault of the kind.
func Is(err error, kind Kind) bool { return err != nil && From(err).Kind == kind }

// Violations collects what is wrong with a request, so that its sender learns of everything at once.
type Violations []Violation

// Addf notes that the rule, made as by fmt.Sprintf, does not hold at the place.
func (v *Violations) Addf(field, format string, args ...any) {
	*v = append(*v, Violation{Field: field, Description: fmt.Sprintf(format, args...)})
}

// Err is the InvalidArgument fault of all that was collected; nil if nothing was.
func (v *Violations) Err() error {
	if len(*v) == 0 {
		return nil
	}
	return InvalidAll(*v)
}

// maxShown is how many characters of a client's text a message shows.
const maxShown = 64

// Shown is a name that a client chose made fit for a message: printable, and cut.
func Shown(name string) string {
	var b strings.Builder
	count := 0
	for _, r := range name {
		if count++; count > maxShown {
			b.WriteString("...")
			break
		}
		if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
	}
	return b.String()
}
