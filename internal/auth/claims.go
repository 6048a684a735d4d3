package auth

import (
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
)

// leeway is how far the clock of a token's maker may be off.
const leeway = session.Time(30 * time.Second / time.Microsecond)

// maxDate is the end of the year 9999, in seconds: what comes after it is no time.
const maxDate = 253402300799

// claims are those of a token. They are read more strictly than by the library: names count as they are written, none
// may come twice, and the text is valid UTF-8, so that no other reader of the token can see another sub.
type claims struct{ jwt.MapClaims }

// UnmarshalJSON is how the library has them read.
func (c *claims) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &c.MapClaims) }

// verified is what a token that is good says.
type verified struct {
	caller session.Caller
	from   session.Time // from when it is good; 0: always
	key    *verifyKey   // which verified it
}

// check is a fault unless the token is good at the time.
func (v *verified) check(now session.Time) error {
	switch {
	case now >= v.caller.Until+leeway:
		return refused("TOKEN_EXPIRED", "the token has expired")
	case now < v.from-leeway:
		return refused("TOKEN_NOT_YET_VALID", "the token is not valid yet")
	default:
		return nil
	}
}

// read makes out what the claims say, of whatever time.
func (c *claims) read() (*verified, error) {
	user, ok := c.MapClaims["sub"].(string)
	if !ok || session.CheckUser("sub", user) != nil {
		return nil, malformed("sub must be 1 to 128 bytes of UTF-8 without control characters")
	}
	until, ok := c.date("exp")
	if !ok || until == 0 {
		return nil, malformed("exp must be there, and be a time in seconds")
	}
	notBefore, ok := c.date("nbf")
	if !ok {
		return nil, malformed("nbf must be a time in seconds, or be left out")
	}
	issued, ok := c.date("iat")
	if !ok {
		return nil, malformed("iat must be a time in seconds, or be left out")
	}
	v := &verified{caller: session.Caller{User: user, Until: until}, from: max(notBefore, issued)}
	return v, c.readRoles(&v.caller)
}

func malformed(message string) *fault.Error {
	return refused("TOKEN_MALFORMED", "the token is malformed: "+message)
}

// date is a claim that is a time; 0 if it is not there.
func (c *claims) date(name string) (at session.Time, ok bool) {
	value, there := c.MapClaims[name]
	if !there {
		return 0, true
	}
	seconds, ok := value.(float64)
	if !ok || seconds < 0 || seconds > maxDate {
		return 0, false
	}
	return session.Time(seconds * 1e6), true
}

// readRoles gives the caller the roles that the token has. Those that are not known are another system's.
func (c *claims) readRoles(caller *session.Caller) error {
	value, there := c.MapClaims["roles"]
	if !there {
		return nil
	}
	roles, ok := value.([]any)
	if !ok {
		return malformed("roles must be a list of strings")
	}
	for _, role := range roles {
		name, ok := role.(string)
		if !ok {
			return malformed("roles must be a list of strings")
		}
		give(caller, session.Role(name))
	}
	return nil
}

// give lets the caller do what the role may.
func give(caller *session.Caller, role session.Role) {
	switch role {
	case session.RoleService:
		caller.Service = true
	case session.RoleAdmin:
		caller.Admin = true
	}
}

// isFor tells whether the token is for one of this audience.
func (c *claims) isFor(audience string) bool {
	switch of := c.MapClaims["aud"].(type) {
	case string:
		return of == audience
	case []any:
		return slices.Contains(of, any(audience))
	default:
		return false
	}
}

// isBy tells whether the token is this issuer's.
func (c *claims) isBy(issuer string) bool { return c.MapClaims["iss"] == any(issuer) }
