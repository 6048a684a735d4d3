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
			if err := b.read(request); err != nil || string(b.bytes) != whole {
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
			if err := new(buffer).read(request); !fault.Is(err, test.kind) {
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
