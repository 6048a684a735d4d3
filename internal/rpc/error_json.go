package rpc

import (
	"encoding/json"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/parleyhq/parley/internal/fault"
)

// ErrorJSON is an error as AIP-193 has it in JSON.
type ErrorJSON struct {
	Code    int               `json:"code"` // HTTP's
	Status  string            `json:"status"`
	Message string            `json:"message"`
	Details []json.RawMessage `json:"details"`
}

// ErrorOf is a fault as clients get to see it.
func ErrorOf(f *fault.Error) ErrorJSON {
	shown := ErrorJSON{Code: HTTPStatus(f.Kind), Status: CodeName(f.Kind), Message: f.Message}
	for _, detail := range Status(f).Proto().GetDetails() {
		if encoded, err := protojson.Marshal(detail); err == nil { // our own details always encode
			shown.Details = append(shown.Details, encoded)
		}
	}
	return shown
}

// InternalErrorJSON is the answer when even the error cannot be encoded.
const InternalErrorJSON = `{"error":{"code":500,"status":"INTERNAL","message":"internal error","details":[]}}`

// AppendErrorJSON appends the answer that a fault is: {"error": …}.
func AppendErrorJSON(b []byte, f *fault.Error) []byte {
	encoded, err := json.Marshal(struct {
		Error ErrorJSON `json:"error"`
	}{ErrorOf(f)})
	if err != nil {
		return append(b, InternalErrorJSON...)
	}
	return append(b, encoded...)
}
