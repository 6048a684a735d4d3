// Package auth finds out who is asking.
package auth

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
)

// Request is what a transport knows of a request, before its content is looked at.
type Request struct {
	Host   string      // HTTP's Host, or HTTP/2's :authority
	Header http.Header // or gRPC's metadata, under canonical names
}

// Authenticator tells who is asking. Its faults are Unauthenticated and PermissionDenied.
type Authenticator interface {
	// Caller is who is asking. Beside a fault it is who it would be, if the credential is ours at all, or else nobody: for
	// records alone, since it may do nothing.
	Caller(ctx context.Context, r Request) (session.Caller, error)
}

// Operator is the user that a development server takes everyone for who does not say otherwise.
const Operator = "operator"

// HeaderUser names the user that a request acts as.
const HeaderUser = "Parley-User"

// Dev authenticates nobody: whoever reaches the server is its operator and may do everything, or is the user that the
// header Parley-User names, with that user's rights. It is for loopback alone, so it refuses what could come from
// elsewhere: a Host that is not this machine's (DNS rebinding), and whatever a proxy passed on.
type Dev struct{}

// Caller implements Authenticator.
func (Dev) Caller(_ context.Context, r Request) (session.Caller, error) {
	if !IsLoopbackHost(r.Host) {
		return session.Caller{}, fault.New(fault.PermissionDenied, "HOST_NOT_LOOPBACK",
			"the development server answers to localhost, 127.0.0.0/8 and [::1] only; use --auth jwt for any other host")
	}
	for name := range r.Header {
		if name == "Forwarded" || name == "Via" || strings.HasPrefix(name, "X-Forwarded-") {
			return session.Caller{}, fault.New(fault.PermissionDenied, "PROXIED",
				"the development server does not answer through a proxy (%s); use --auth jwt", name)
		}
	}
	user, named, err := namedUser(r.Header)
	if err != nil {
		return session.Caller{}, err
	}
	if !named {
		return session.Caller{User: Operator, Admin: true}, nil
	}
	return session.Caller{User: user}, nil
}

// IsLoopbackHost tells whether a host, with or without a port, is this machine: localhost, 127.0.0.0/8 or [::1].
func IsLoopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && address.Zone() == "" && address.IsLoopback() && !address.Is4In6()
}

// IsLoopbackListen tells whether an address to listen on, "host:port", is reached from this machine alone.
func IsLoopbackListen(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && host != "" && IsLoopbackHost(host)
}
