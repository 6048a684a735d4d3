package rest

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/gate"
)

func TestABodyIsReadWholeHoweverItComes(t *testing.T) {
	whole := strings.Repeat("x", 5000)
	for name, reader := range map[string]io.Reader{
		"at once":       strings.NewReader(whole),
		"byte by byte":  iotest.OneByteReader(strings.NewReader(whole)),
		"EOF with data": iotest.DataErrReader(strings.NewReader(whole)),
	} {
		t.Run(name, func(t *testing.T) {
			request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", reader)
			request.ContentLength = -1
			var b buffer
			if err := b.read(request, gate.MaxBody); err != nil || string(b.bytes) != whole {
				t.Errorf("read %d bytes, %v; want %d", len(b.bytes), err, len(whole))
			}
		})
	}
}

func TestABodyThatFails(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		kind fault.Kind
	}{
		"too slow": {os.ErrDeadlineExceeded, fault.DeadlineExceeded},
		"gone":     {errors.New("connection reset"), fault.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", iotest.ErrReader(test.err))
			if err := new(buffer).read(request, gate.MaxBody); !fault.Is(err, test.kind) {
				t.Errorf("read = %v, want kind %d", err, test.kind)
			}
		})
	}
}

func TestALargeBufferIsNotKept(t *testing.T) {
	b := &buffer{bytes: make([]byte, 0, maxKeptBuffer+1)}
	b.release()
	for range 100 {
		if got := buffers.Get().(*buffer); cap(got.bytes) > maxKeptBuffer {
			t.Fatalf("the pool holds a buffer of %d bytes", cap(got.bytes))
		}
	}
}

func TestABodyMayHaveExactlyAsManyBytesAsItsLimit(t *testing.T) {
	for _, length := range []int64{100, -1} {
		for size, fits := range map[int]bool{100: true, 101: false} {
			request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(strings.Repeat("x", size)))
			if length < 0 {
				request.ContentLength = -1
			}
			if err := new(buffer).read(request, 100); (err == nil) != fits || err != nil && !fault.Is(err, fault.TooLarge) {
				t.Errorf("%d of 100 bytes, Content-Length %d: %v", size, request.ContentLength, err)
			}
		}
	}
}

func TestARequestIDIsInTheQueryOrInTheBody(t *testing.T) {
	for _, test := range []struct {
		inQuery, inBody, want string
		wrong                 bool
	}{
		{"", "", "", false}, {"a", "", "a", false}, {"", "a", "a", false}, {"a", "a", "a", false}, {"a", "b", "", true},
	} {
		q := query{values: map[string][]string{"requestId": {test.inQuery}}}
		if got, err := q.requestID(test.inBody); got != test.want || fault.Is(err, fault.InvalidArgument) != test.wrong {
			t.Errorf("%q in the query, %q in the body: %q, %v; want %q", test.inQuery, test.inBody, got, err, test.want)
		}
	}
}

func TestABodyThatMayBeLeftOut(t *testing.T) {
	decode := func(body []byte) (*string, error) { text := string(body); return &text, nil }
	call, err := devGate().Arrive(gate.Arrival{})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		body, contentType, want string
		kind                    fault.Kind
	}{
		"none":               {"", "", "", 0},
		"none, and its type": {"", contentJSON, "", 0},
		"some":               {"{}", contentJSON, "{}", 0},
		"some without type":  {"{}", "", "", fault.UnsupportedMedia},
		"a form":             {"", "text/plain", "", fault.UnsupportedMedia},
	} {
		t.Run(name, func(t *testing.T) {
			request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(test.body))
			if test.contentType != "" {
				request.Header.Set("Content-Type", test.contentType)
			}
			got, err := readBodyIfAny(call, request, gate.MaxBody, decode)
			if test.kind != 0 {
				if !fault.Is(err, test.kind) {
					t.Errorf("%v, want kind %d", err, test.kind)
				}
				return
			}
			if err != nil || *got != test.want {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}
