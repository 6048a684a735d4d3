package rest

import (
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/parleyhq/parley/internal/auth"
	"github.com/parleyhq/parley/internal/gate"
)

// headerRequestID is the header by which a client gives its request an id, and by which it learns of ours.
const headerRequestID = "X-Request-Id"

// What all answers have in common. The values are shared, which saves making them for each: nothing changes them.
var (
	headerNoSniff    = []string{"nosniff"}
	headerNoContent  = []string{"default-src 'none'; frame-ancestors 'none'"} // for a browser that shows an answer as a page
	headerNoReferrer = []string{"no-referrer"}
	headerNoStore    = []string{"no-store"} // what is answered is for one caller
)

// prepare sets the fields that every answer has.
func (h *handler) prepare(header http.Header, r *http.Request) {
	header[headerRequestID] = []string{gate.RequestID(r.Header[headerRequestID])}
	header["X-Content-Type-Options"] = headerNoSniff
	header["Content-Security-Policy"] = headerNoContent
	header["Referrer-Policy"] = headerNoReferrer
	header["Cache-Control"] = headerNoStore
	if origins := r.Header["Origin"]; len(origins) == 1 {
		h.allowOrigin(header, origins)
	}
}

// requestIDOf is the id of the request that the answer is to.
func requestIDOf(header http.Header) string { return header[headerRequestID][0] }

// arrive begins a call.
func (h *handler) arrive(w http.ResponseWriter, r *http.Request, method gate.Method) (*gate.Call, error) {
	connection, _ := netip.ParseAddrPort(r.RemoteAddr)
	return h.Gate.Arrive(gate.Arrival{
		ID:        requestIDOf(w.Header()),
		Transport: "rest",
		Method:    method,
		Session:   r.PathValue("session"),
		Address:   connection.Addr(),
		Forwarded: r.Header["X-Forwarded-For"],
	})
}

// authRequest is the request as far as it says who is asking.
func authRequest(r *http.Request) auth.Request { return auth.Request{Host: r.Host, Header: r.Header} }

// appendOthers appends the fields of a header, less those that are there already.
func appendOthers(b []byte, header http.Header, there []headerField) []byte {
	for _, name := range slices.Sorted(maps.Keys(header)) {
		if slices.ContainsFunc(there, func(field headerField) bool { return field.name == name }) {
			continue
		}
		b = append(b, name+": "+strings.Join(header[name], ", ")+"\r\n"...)
	}
	return b
}
