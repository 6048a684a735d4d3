package rest

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/session"
)

const contentJSON = "application/json"

// readBody reads the request's body, and decodes it into something that holds nothing of the buffer. The body counts as in
// flight until the call ends.
func readBody[T any](call *gate.Call, r *http.Request, most int, decode func(body []byte) (*T, error)) (*T, error) {
	if err := checkContentType(r.Header); err != nil {
		return nil, err
	}
	if err := call.TakeBody(bodyLength(r, most)); err != nil {
		return nil, err
	}
	b := buffers.Get().(*buffer)
	defer b.release()
	if err := b.read(r, most); err != nil {
		return nil, err
	}
	return decode(b.bytes)
}

// readBodyIfAny does the same where the body may be left out: then nothing has to say what it is.
func readBodyIfAny[T any](call *gate.Call, r *http.Request, most int, decode func(body []byte) (*T, error)) (*T, error) {
	if _, said := r.Header["Content-Type"]; !said && r.ContentLength == 0 {
		return decode(nil)
	}
	return readBody(call, r, most, decode)
}

// bodyLength is how many bytes of a body are read: if its length is not said, all that it may have.
func bodyLength(r *http.Request, most int) int64 {
	if r.ContentLength < 0 {
		return int64(most)
	}
	return min(r.ContentLength, int64(most))
}

// checkContentType insists on JSON: a form that another website posts cannot say so without asking first.
func checkContentType(header http.Header) error {
	media, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	if strings.EqualFold(strings.TrimSpace(media), contentJSON) {
		return nil
	}
	return fault.New(fault.UnsupportedMedia, "UNSUPPORTED_MEDIA_TYPE", "Content-Type must be application/json")
}

// read reads the whole body, which may have at most so many bytes.
func (b *buffer) read(r *http.Request, most int) error {
	if r.ContentLength > int64(most) {
		return tooLarge(most)
	}
	b.bytes = slices.Grow(b.bytes[:0], int(max(r.ContentLength, 511))+1)
	for {
		n, err := r.Body.Read(b.bytes[len(b.bytes):cap(b.bytes)])
		b.bytes = b.bytes[:len(b.bytes)+n]
		switch {
		case len(b.bytes) > most:
			return tooLarge(most)
		case err == io.EOF:
			return nil
		case err != nil:
			return bodyFault(err)
		case len(b.bytes) == cap(b.bytes):
			b.bytes = slices.Grow(b.bytes, len(b.bytes))
		}
	}
}

func tooLarge(most int) error {
	return fault.New(fault.TooLarge, "BODY_TOO_LARGE", "the body must be at most %d bytes", most)
}

func bodyFault(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fault.New(fault.DeadlineExceeded, "BODY_TOO_SLOW", "the body took too long to arrive").Because(err)
	}
	return fault.New(fault.InvalidArgument, "BODY_INCOMPLETE", "the body did not arrive whole").Because(err)
}

// query holds a request's query parameters, each at most once.
type query struct {
	values     url.Values
	violations fault.Violations
}

// parseQuery reads the parameters; those that the method does not have are violations. Names are camelCase, and
// snake_case is taken too.
func parseQuery(r *http.Request, known ...string) (query, error) {
	if r.URL.RawQuery == "" {
		return query{}, nil
	}
	raw, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return query{}, fault.New(fault.InvalidArgument, "MALFORMED_QUERY", "the query is malformed").Because(err)
	}
	q := query{values: make(url.Values, len(raw))}
	for name, values := range raw {
		camel := session.CamelCase(name)
		switch {
		case !slices.Contains(known, camel):
			q.violations.Addf(fault.Shown(name), "unknown query parameter; %s", knownParameters(known))
		case len(values) > 1 || q.values.Has(camel):
			q.violations.Addf(camel, "must be given once")
		default:
			q.values[camel] = values
		}
	}
	return q, q.violations.Err()
}

func knownParameters(known []string) string {
	if len(known) == 0 {
		return "this method has none"
	}
	return "known are " + strings.Join(known, ", ")
}

func (q query) get(name string) string { return q.values.Get(name) }

// int32 reads an integer parameter; 0 if it is not there.
func (q query) int32(name string) (int32, error) {
	text := q.get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, fault.Invalid(name, "must be an integer of 32 bits")
	}
	return int32(n), nil
}

// requestID is the requestId, which may stand in the query or in the body; in both, if it is the same.
func (q query) requestID(inBody string) (string, error) {
	switch inQuery := q.get("requestId"); {
	case inQuery == "" || inQuery == inBody:
		return inBody, nil
	case inBody == "":
		return inQuery, nil
	default:
		return "", fault.Invalid("requestId", "must be the same in the query and in the body, or be in one of them")
	}
}
