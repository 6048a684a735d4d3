package auth

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
)

// maxTokenBytes is how long a token may be.
const maxTokenBytes = 8 << 10

// JWTConfig says which bearer tokens are taken. At most one of the four key sources is given; without any, only API keys
// are taken.
type JWTConfig struct {
	SecretFile    string // the secret of HS256 tokens: the file's bytes less one trailing newline
	PublicKeyFile string // the key of RS256, ES256 or EdDSA tokens, or a certificate of it, in PEM
	JWKSURL       string // where a JSON Web Key Set is, over https, or over http on this machine
	JWKSFile      string // file with a JSON Web Key Set; read again when it changes

	// Issuer and Audience are what tokens must have as iss, and in aud. Empty: anything.
	Issuer, Audience string

	// Keys are the API keys. Nil: none are taken.
	Keys *Keys

	// JWKSEvery is how often the set is fetched from JWKSURL, besides for keys that it did not have. 0: every 5 minutes.
	JWKSEvery time.Duration

	// Revoked is called with the id of each key that leaves the key set, when its tokens are refused, and Restored with that
	// of each that enters it, before they are taken: it may have left before. The id is what session.Caller.Key is for
	// tokens of the key. One goroutine calls them, which reads nothing meanwhile; they may not call Close. Nil: nobody is
	// told.
	Revoked, Restored func(keyID string)

	// Log is told when a key set cannot be read, or has no key of use. Nil: nobody is.
	Log *slog.Logger

	// Now is the clock that tokens are judged by. Nil: the machine's.
	Now func() time.Time
}

// JWT takes callers for who their bearer token says that they are: a JSON Web Token (RFC 7519), or an API key. Any number
// of goroutines may use it.
type JWT struct {
	config JWTConfig
	source keySource // nil: there is none
	parser *jwt.Parser
	cache  cache
}

// NewJWT reads the keys of tokens. A key set must be there now, with a key of use; later the keys stay what they are while
// it cannot be read. Close ends the reading; the API keys are for their owner to close.
func NewJWT(ctx context.Context, config JWTConfig) (*JWT, error) {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.JWKSEvery == 0 {
		config.JWKSEvery = fetchEvery
	}
	if config.Revoked == nil {
		config.Revoked = func(string) {}
	}
	if config.Restored == nil {
		config.Restored = func(string) {}
	}
	j := &JWT{config: config}
	if err := j.openSource(ctx); err != nil {
		return nil, err
	}
	if j.source != nil {
		// The times, iss and aud are judged here, where what is cached can be judged in the same way.
		j.parser = jwt.NewParser(jwt.WithValidMethods(j.source.algorithms()), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())
	}
	return j, nil
}

func (j *JWT) openSource(ctx context.Context) error {
	given := 0
	for _, place := range []string{j.config.SecretFile, j.config.PublicKeyFile, j.config.JWKSURL, j.config.JWKSFile} {
		if place != "" {
			given++
		}
	}
	switch {
	case given > 1:
		return errors.New("the keys of tokens come from one place: a secret, a public key, a key set's URL or its file")
	case given == 0 && j.config.Keys == nil:
		return errors.New("tokens need a key: a secret, a public key, a key set's URL or its file")
	case given == 0:
		return nil
	}
	source, err := openSource(ctx, &j.config)
	if err == nil {
		j.source = source
	}
	return err
}

// openSource opens the one that is given.
func openSource(ctx context.Context, config *JWTConfig) (keySource, error) {
	switch {
	case config.SecretFile != "":
		secret, err := readSecret(config.SecretFile)
		return oneKey{&verifyKey{method: jwt.SigningMethodHS256, key: secret}}, err
	case config.PublicKeyFile != "":
		key, err := readPublicKey(config.PublicKeyFile)
		return oneKey{key}, err
	case config.JWKSURL != "":
		return openKeySetURL(ctx, config)
	default:
		return openKeySetFile(ctx, config)
	}
}

// Close ends what reads the keys of tokens again. The authenticator is not to be used after it.
func (j *JWT) Close() {
	if j.source != nil {
		j.source.close()
	}
}

// Caller implements Authenticator. Its faults are Unauthenticated CREDENTIALS_MISSING, TOKEN_MALFORMED, TOKEN_EXPIRED,
// TOKEN_NOT_YET_VALID, TOKEN_INVALID, TOKEN_WRONG_AUDIENCE, TOKEN_WRONG_ISSUER and KEY_INVALID, PermissionDenied
// ACTING_AS_ANOTHER, and InvalidArgument of the header Parley-User. Beside TOKEN_EXPIRED, TOKEN_NOT_YET_VALID and
// ACTING_AS_ANOTHER there is the credential's caller.
func (j *JWT) Caller(ctx context.Context, r Request) (session.Caller, error) {
	credential, err := bearer(r.Header)
	if err != nil {
		return session.Caller{}, err
	}
	caller, err := j.callerOf(ctx, credential)
	if err != nil {
		return caller, err
	}
	return actingAs(caller, r.Header)
}

func (j *JWT) callerOf(ctx context.Context, credential string) (session.Caller, error) {
	switch {
	case strings.HasPrefix(credential, apiKeyPrefix):
		return j.config.Keys.caller(ctx, credential)
	case j.source == nil:
		return session.Caller{}, refused("TOKEN_INVALID", "no keys of tokens are configured: this server takes API keys only")
	case len(credential) > maxTokenBytes:
		return session.Caller{}, malformed("it must be at most 8 KiB")
	default:
		return j.tokenCaller(ctx, credential)
	}
}

// tokenCaller is who a token is of; also who one is of that is good at another time, beside the fault.
func (j *JWT) tokenCaller(ctx context.Context, token string) (session.Caller, error) {
	hash := hashCredential(token)
	v, known := j.cached(&hash)
	if !known {
		var err error
		if v, err = j.verify(ctx, token); err != nil {
			return session.Caller{}, err
		}
	}
	if err := v.check(session.TimeOf(j.config.Now())); err != nil {
		j.cache.drop(&hash)
		return v.caller, err
	}
	if !known {
		j.cache.put(&hash, v)
	}
	return v.caller, nil
}

// cached is what is kept of a token, if the key that verified it is still good.
func (j *JWT) cached(hash *session.CredentialHash) (v *verified, known bool) {
	if v = j.cache.get(hash); v == nil {
		return nil, false
	}
	if !j.source.has(v.key) {
		j.cache.drop(hash)
		return nil, false
	}
	return v, true
}

// verify makes out what a token says, of whatever time, if a key of ours has signed it.
func (j *JWT) verify(ctx context.Context, token string) (*verified, error) {
	var key *verifyKey
	var c claims
	_, err := j.parser.ParseWithClaims(token, &c, func(t *jwt.Token) (found any, err error) {
		if key, err = j.keyOf(ctx, t); err != nil {
			return nil, err
		}
		return key.key, nil
	})
	if err != nil {
		return nil, refusedBy(err)
	}
	v, err := c.read()
	if err != nil {
		return nil, err
	}
	v.key, v.caller.Key = key, key.id
	switch {
	case j.config.Issuer != "" && !c.isBy(j.config.Issuer):
		return nil, refused("TOKEN_WRONG_ISSUER", "the token's iss is not the one that this server takes")
	case j.config.Audience != "" && !c.isFor(j.config.Audience):
		return nil, refused("TOKEN_WRONG_AUDIENCE", "the token's aud does not have this server's")
	default:
		return v, nil
	}
}

// keyOf finds the key that is to verify a token. The algorithm is the key's: a token of another one is refused.
func (j *JWT) keyOf(ctx context.Context, t *jwt.Token) (*verifyKey, error) {
	if _, there := t.Header["crit"]; there { // RFC 7515 section 4.1.11: what must be understood, and is not
		return nil, refused("TOKEN_INVALID", "the token has a header crit, of which this server understands nothing")
	}
	value, named := t.Header["kid"]
	kid, ok := value.(string)
	if named && !ok {
		return nil, malformed("kid must be a string")
	}
	key := j.source.find(ctx, kid, named)
	if key == nil && !named {
		return nil, refused("TOKEN_INVALID", "the token must name its key by kid: there is not just one")
	}
	if key == nil {
		return nil, refused("TOKEN_INVALID", "the token's kid is none of the keys that this server takes")
	}
	if t.Method.Alg() != key.method.Alg() {
		return nil, refused("TOKEN_INVALID", "the token's alg is not that of its key")
	}
	return key, nil
}

// refusedBy is the fault of a token that the library refuses. The error itself goes nowhere: it can have parts of the
// token.
func refusedBy(err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok { // keyOf's
		return f
	}
	if errors.Is(err, jwt.ErrTokenMalformed) {
		return malformed("it must be a signed JWT: three parts in base64url, of which two are JSON objects")
	}
	return refused("TOKEN_INVALID", "the token's signature, or its algorithm, is not one that this server takes")
}
