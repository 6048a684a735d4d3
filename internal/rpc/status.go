package rpc

import (
	"net/http"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/parleyhq/parley/internal/fault"
)

// errorDomain is the domain of every ErrorInfo (AIP-193).
const errorDomain = "parley"

// mapping is what a kind of fault is on each protocol.
type mapping struct {
	code codes.Code
	http int
}

// mappings is the one table from faults to statuses.
var mappings = [fault.Kinds]mapping{
	fault.Internal:           {codes.Internal, http.StatusInternalServerError},
	fault.InvalidArgument:    {codes.InvalidArgument, http.StatusBadRequest},
	fault.FailedPrecondition: {codes.FailedPrecondition, http.StatusBadRequest},
	fault.Unauthenticated:    {codes.Unauthenticated, http.StatusUnauthorized},
	fault.PermissionDenied:   {codes.PermissionDenied, http.StatusForbidden},
	fault.NotFound:           {codes.NotFound, http.StatusNotFound},
	fault.MethodNotAllowed:   {codes.Unimplemented, http.StatusMethodNotAllowed},
	fault.Unimplemented:      {codes.Unimplemented, http.StatusNotImplemented},
	fault.NotAcceptable:      {codes.InvalidArgument, http.StatusNotAcceptable},
	fault.TooLarge:           {codes.InvalidArgument, http.StatusRequestEntityTooLarge},
	fault.UnsupportedMedia:   {codes.InvalidArgument, http.StatusUnsupportedMediaType},
	fault.AlreadyExists:      {codes.AlreadyExists, http.StatusConflict},
	fault.Aborted:            {codes.Aborted, http.StatusConflict},
	fault.ResourceExhausted:  {codes.ResourceExhausted, http.StatusTooManyRequests},
	fault.Unavailable:        {codes.Unavailable, http.StatusServiceUnavailable},
	fault.DeadlineExceeded:   {codes.DeadlineExceeded, http.StatusGatewayTimeout},
	fault.Canceled:           {codes.Canceled, 499}, // as nginx has it: the client is gone, nobody reads this
}

// HTTPStatus is the HTTP status of a kind of fault.
func HTTPStatus(kind fault.Kind) int { return mappings[kind].http }

// CodeName is the name of the google.rpc.Code of a kind of fault, such as INVALID_ARGUMENT.
func CodeName(kind fault.Kind) string { return codeNames[mappings[kind].code] }

var codeNames = map[codes.Code]string{
	codes.Internal:           "INTERNAL",
	codes.InvalidArgument:    "INVALID_ARGUMENT",
	codes.FailedPrecondition: "FAILED_PRECONDITION",
	codes.Unauthenticated:    "UNAUTHENTICATED",
	codes.PermissionDenied:   "PERMISSION_DENIED",
	codes.NotFound:           "NOT_FOUND",
	codes.Unimplemented:      "UNIMPLEMENTED",
	codes.AlreadyExists:      "ALREADY_EXISTS",
	codes.Aborted:            "ABORTED",
	codes.ResourceExhausted:  "RESOURCE_EXHAUSTED",
	codes.Unavailable:        "UNAVAILABLE",
	codes.DeadlineExceeded:   "DEADLINE_EXCEEDED",
	codes.Canceled:           "CANCELLED",
}

// Status is a fault as clients get to see it: its message, one ErrorInfo, a BadRequest with every violation, and a
// RetryInfo where asking again makes sense. The cause is not in it.
func Status(f *fault.Error) *status.Status {
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: f.Reason, Domain: errorDomain}}
	if len(f.Violations) > 0 {
		bad := new(errdetails.BadRequest)
		for _, v := range f.Violations {
			bad.FieldViolations = append(bad.FieldViolations,
				&errdetails.BadRequest_FieldViolation{Field: v.Field, Description: v.Description})
		}
		details = append(details, bad)
	}
	if f.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(f.RetryAfter)})
	}
	s := status.New(mappings[f.Kind].code, f.Message)
	if full, err := s.WithDetails(details...); err == nil { // fails only for details that cannot be encoded
		return full
	}
	return s
}
