package rpc

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/parleyhq/parley/internal/fault"
)

func TestEveryKindHasAStatusOnBothProtocols(t *testing.T) {
	want := map[fault.Kind]struct {
		code codes.Code
		http int
	}{
		fault.Internal:           {codes.Internal, 500},
		fault.InvalidArgument:    {codes.InvalidArgument, 400},
		fault.FailedPrecondition: {codes.FailedPrecondition, 400},
		fault.Unauthenticated:    {codes.Unauthenticated, 401},
		fault.PermissionDenied:   {codes.PermissionDenied, 403},
		fault.NotFound:           {codes.NotFound, 404},
		fault.MethodNotAllowed:   {codes.Unimplemented, 405},
		fault.Unimplemented:      {codes.Unimplemented, 501},
		fault.NotAcceptable:      {codes.InvalidArgument, 406},
		fault.TooLarge:           {codes.InvalidArgument, 413},
		fault.UnsupportedMedia:   {codes.InvalidArgument, 415},
		fault.AlreadyExists:      {codes.AlreadyExists, 409},
		fault.Aborted:            {codes.Aborted, 409},
		fault.ResourceExhausted:  {codes.ResourceExhausted, 429},
		fault.Unavailable:        {codes.Unavailable, 503},
		fault.DeadlineExceeded:   {codes.DeadlineExceeded, 504},
		fault.Canceled:           {codes.Canceled, 499},
	}
	for kind := range fault.Kinds {
		expected, ok := want[kind]
		if !ok {
			t.Errorf("kind %d is not in this table", kind)
			continue
		}
		if got := Status(fault.New(kind, "REASON", "message")).Code(); got != expected.code {
			t.Errorf("Status(%d).Code() = %s, want %s", kind, got, expected.code)
		}
		if got := HTTPStatus(kind); got != expected.http {
			t.Errorf("HTTPStatus(%d) = %d, want %d", kind, got, expected.http)
		}
		if got, known := CodeName(kind), code.Code_name[int32(expected.code)]; got != known {
			t.Errorf("CodeName(%d) = %q, want google.rpc's %q", kind, got, known)
		}
	}
}

// The zero kind must be the one that tells nothing.
func TestAnUnclassifiedErrorTellsNothing(t *testing.T) {
	f := fault.From(errors.New("dsn=secret"))
	if text := Status(f).Proto().String(); strings.Contains(text, "secret") {
		t.Errorf("status = %s, and shows the cause", text)
	}
	if got := HTTPStatus(f.Kind); got != http.StatusInternalServerError {
		t.Errorf("HTTPStatus = %d, want 500", got)
	}
}

func TestStatusHasTheDetailsOfAFault(t *testing.T) {
	info := &errdetails.ErrorInfo{Reason: "REASON", Domain: "parley"}
	for name, test := range map[string]struct {
		fault *fault.Error
		want  []any
	}{
		"plain": {fault.New(fault.NotFound, "REASON", "m"), []any{info}},
		"cause": {fault.New(fault.NotFound, "REASON", "m").Because(errors.New("secret")), []any{info}},
		"retry": {
			fault.New(fault.Unavailable, "REASON", "m").After(1500 * time.Millisecond),
			[]any{info, &errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)}},
		},
		"violations": {
			&fault.Error{Kind: fault.InvalidArgument, Reason: "REASON", Violations: []fault.Violation{{Field: "a", Description: "x"}, {Field: "b[1]", Description: "y"}}},
			[]any{info, &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
				{Field: "a", Description: "x"}, {Field: "b[1]", Description: "y"},
			}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, Status(test.fault).Details(), protocmp.Transform()); diff != "" {
				t.Errorf("details (-want +got):\n%s", diff)
			}
		})
	}
}

// A text that protobuf cannot hold must not cost the client the code.
func TestStatusOfAFaultThatCannotBeEncoded(t *testing.T) {
	s := Status(fault.Invalid("a\xff", "is bad"))
	if s.Code() != codes.InvalidArgument {
		t.Errorf("code = %s, want InvalidArgument", s.Code())
	}
	if _, err := proto.Marshal(s.Proto()); err == nil {
		return
	}
	t.Log("the message holds what protobuf cannot: faults must be made of valid UTF-8")
}
