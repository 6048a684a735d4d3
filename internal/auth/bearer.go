package auth

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
)

// HeaderAuthorization carries the credential of a request.
const HeaderAuthorization = "Authorization"

// challenge is what WWW-Authenticate says to a request without a credential (RFC 6750 section 3).
const challenge = `Bearer realm="parley"`

// refused is the Unauthenticated fault of a credential. The message is a constant: it has nothing of the credential,
// and neither quotes nor backslashes, so that it can be the challenge's description. For the same reason there is no
// cause: what libraries say of a token can have parts of it.
func refused(reason, message string) *fault.Error {
	return unauthenticated(reason, "invalid_token", message)
}

func unauthenticated(reason, code, message string) *fault.Error {
	f := fault.New(fault.Unauthenticated, reason, "%s", message)
	f.Challenge = challenge + `, error="` + code + `", error_description="` + message + `"`
	return f
}

func missing(message string) *fault.Error {
	f := fault.New(fault.Unauthenticated, "CREDENTIALS_MISSING", "%s", message)
	f.Challenge = challenge
	return f
}

// bearer returns the credential in the header.
func bearer(header http.Header) (string, error) {
	values := header[HeaderAuthorization]
	switch len(values) {
	case 0:
		return "", missing("a credential is needed: send Authorization: Bearer and a token or an API key")
	case 1:
	default:
		return "", unauthenticated("TOKEN_MALFORMED", "invalid_request", "the header Authorization must be given once")
	}
	scheme, credential, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", missing("only the scheme Bearer is taken: send Authorization: Bearer and a token or an API key")
	}
	credential = strings.Trim(credential, " ")
	if credential == "" {
		return "", unauthenticated("TOKEN_MALFORMED", "invalid_request", "there is no token after Bearer")
	}
	return credential, nil
}

// namedUser is the user that the header Parley-User names; named is false if it is not there. An empty one is a fault:
// it asks for less than what the credential gives.
func namedUser(header http.Header) (user string, named bool, err error) {
	users := header[HeaderUser]
	switch len(users) {
	case 0:
		return "", false, nil
	case 1:
		return users[0], true, session.CheckUser(HeaderUser, users[0])
	default:
		return "", false, fault.Invalid(HeaderUser, "must be given once")
	}
}

// actingAs is the caller that a request is of: the credential's, or the user whom the request names, with that user's
// rights and no more. Only the roles may name another user; anyone else is told so, and returned beside the fault.
func actingAs(credential session.Caller, header http.Header) (session.Caller, error) {
	user, named, err := namedUser(header)
	if err != nil {
		return session.Caller{}, err
	}
	if !named {
		return credential, nil
	}
	if user != credential.User && !credential.Service && !credential.Admin {
		return credential, fault.New(fault.PermissionDenied, "ACTING_AS_ANOTHER",
			"%s: must be the token's sub, unless the token has the role service or admin", HeaderUser)
	}
	return session.Caller{User: user, Named: true, Until: credential.Until, Key: credential.Key}, nil
}

// TokenInQuery tells whether a query has a parameter in which clients send credentials, whatever its value.
func TokenInQuery(rawQuery string) bool {
	for part := range strings.SplitSeq(rawQuery, "&") {
		name, _, _ := strings.Cut(part, "=")
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		if isCredentialName(name) {
			return true
		}
	}
	return false
}

func isCredentialName(name string) bool {
	for _, known := range [...]string{"access_token", "token", "authorization", "jwt", "bearer", "api_key", "apikey", "key"} {
		if strings.EqualFold(name, known) {
			return true
		}
	}
	return false
}

// TokenInURL is the fault of a request whose URL has a credential.
func TokenInURL() *fault.Error {
	return unauthenticated("TOKEN_IN_URL", "invalid_request",
		"a token in a URL ends up in logs: send it as Authorization: Bearer, and replace the one that was sent")
}
