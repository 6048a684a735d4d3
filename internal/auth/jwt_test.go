package auth

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
)

func TestJWTTakesTheCallerFromTheToken(t *testing.T) {
	until := session.TimeOf(noon.Add(time.Hour))
	for name, test := range map[string]struct {
		claims jwt.MapClaims
		want   session.Caller
	}{
		"a user":              {nil, session.Caller{User: "u1", Until: until}},
		"of 128 bytes":        {jwt.MapClaims{"sub": strings.Repeat("u", 128)}, session.Caller{User: strings.Repeat("u", 128), Until: until}},
		"not ASCII":           {jwt.MapClaims{"sub": "jürgen"}, session.Caller{User: "jürgen", Until: until}},
		"an admin":            {jwt.MapClaims{"roles": []string{"admin"}}, session.Caller{User: "u1", Admin: true, Until: until}},
		"a service":           {jwt.MapClaims{"roles": []string{"service"}}, session.Caller{User: "u1", Service: true, Until: until}},
		"both":                {jwt.MapClaims{"roles": []string{"service", "admin", "service"}}, session.Caller{User: "u1", Service: true, Admin: true, Until: until}},
		"no roles":            {jwt.MapClaims{"roles": []string{}}, session.Caller{User: "u1", Until: until}},
		"other roles":         {jwt.MapClaims{"roles": []string{"Admin", "admin ", "ADMIN", "editor", ""}}, session.Caller{User: "u1", Until: until}},
		"a role, not roles":   {jwt.MapClaims{"role": "admin", "Roles": []string{"admin"}, "admin": true}, session.Caller{User: "u1", Until: until}},
		"sub in capitals too": {jwt.MapClaims{"SUB": "u2", "Sub": "u3"}, session.Caller{User: "u1", Until: until}},
		"exp with a fraction": {jwt.MapClaims{"exp": float64(noon.Unix()) + 0.5}, session.Caller{User: "u1", Until: session.TimeOf(noon.Add(500 * time.Millisecond))}},
		"nbf and iat":         {jwt.MapClaims{"nbf": noon.Unix(), "iat": noon.Unix()}, session.Caller{User: "u1", Until: until}},
		"other claims":        {jwt.MapClaims{"jti": "x", "iss": "someone", "aud": []string{"anything"}, "scope": map[string]any{"a": 1}}, session.Caller{User: "u1", Until: until}},
	} {
		t.Run(name, func(t *testing.T) {
			j := open(t, withSecret(t))
			token := hs256(t, good(test.claims))
			for _, state := range []string{"verified", "cached"} {
				got, err := callerOf(j, bearerOf(token))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("%s: caller (-want +got):\n%s", state, diff)
				}
			}
		})
	}
}

func TestTheSchemeIsBearerInAnyCase(t *testing.T) {
	j := open(t, withSecret(t))
	token := hs256(t, good(nil))
	for _, value := range []string{"Bearer " + token, "bearer " + token, "BEARER " + token, "Bearer   " + token, "Bearer " + token + " "} {
		if _, err := callerOf(j, http.Header{"Authorization": {value}}); err != nil {
			t.Errorf("%.10q: %v", value, err)
		}
	}
}

func TestJWTRefusesHeaders(t *testing.T) {
	token := hs256(t, good(nil))
	for name, test := range map[string]struct {
		header http.Header
		reason string
	}{
		"nothing":              {nil, "CREDENTIALS_MISSING"},
		"only a user":          {header("Parley-User", "u1"), "CREDENTIALS_MISSING"},
		"an empty header":      {header("Authorization", ""), "CREDENTIALS_MISSING"},
		"Basic":                {header("Authorization", "Basic dTE6cGFzc3dvcmQ="), "CREDENTIALS_MISSING"},
		"no scheme":            {header("Authorization", token), "CREDENTIALS_MISSING"},
		"a scheme like Bearer": {header("Authorization", "Bearer2 "+token), "CREDENTIALS_MISSING"},
		"a tab":                {header("Authorization", "Bearer\t"+token), "CREDENTIALS_MISSING"},
		"no token":             {header("Authorization", "Bearer"), "TOKEN_MALFORMED"},
		"only blanks":          {header("Authorization", "Bearer   "), "TOKEN_MALFORMED"},
		"two headers":          {header("Authorization", "Bearer "+token, "Authorization", "Bearer "+token), "TOKEN_MALFORMED"},
		"two in one":           {header("Authorization", "Bearer "+token+", Bearer "+token), "TOKEN_MALFORMED"},
		"two tokens":           {header("Authorization", "Bearer "+token+" "+token), "TOKEN_MALFORMED"},
		"a cookie":             {header("Cookie", "access_token="+token), "CREDENTIALS_MISSING"},
		"another header":       {header("X-Authorization", "Bearer "+token), "CREDENTIALS_MISSING"},
	} {
		t.Run(name, func(t *testing.T) {
			rejected(t, open(t, withSecret(t)), test.header, test.reason)
		})
	}
}

func part(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// signedParts is a token of a header and claims as they are written, with a good signature.
func signedParts(t *testing.T, header, claims string) string {
	t.Helper()
	text := part(header) + "." + part(claims)
	signature, err := jwt.SigningMethodHS256.Sign(text, []byte(secretText))
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func TestJWTRefusesWhatIsNoToken(t *testing.T) {
	j := open(t, withSecret(t))
	token := hs256(t, good(nil))
	parts := strings.Split(token, ".")
	claims := fmt.Sprintf(`{"sub":"u1","exp":%d}`, noon.Unix()+60)
	for name, test := range map[string]struct{ token, reason string }{
		"a word":                  {"garbage", "TOKEN_MALFORMED"},
		"dots":                    {"..", "TOKEN_MALFORMED"},
		"no base64":               {"%%%.%%%.%%%", "TOKEN_MALFORMED"},
		"two parts":               {parts[0] + "." + parts[1], "TOKEN_MALFORMED"},
		"four parts":              {token + ".", "TOKEN_MALFORMED"},
		"five parts":              {"a.b.c.d.e", "TOKEN_MALFORMED"},
		"a megabyte":              {strings.Repeat("a", 1<<20), "TOKEN_MALFORMED"},
		"a good megabyte":         {hs256(t, good(jwt.MapClaims{"x": strings.Repeat("x", 1<<20)})), "TOKEN_MALFORMED"},
		"over 8 KiB":              {hs256(t, good(jwt.MapClaims{"x": strings.Repeat("x", 6<<10)})), "TOKEN_MALFORMED"},
		"header no JSON":          {part("nope") + "." + parts[1] + "." + parts[2], "TOKEN_MALFORMED"},
		"header a list":           {part("[]") + "." + parts[1] + "." + parts[2], "TOKEN_MALFORMED"},
		"header null":             {part("null") + "." + parts[1] + "." + parts[2], "TOKEN_INVALID"},
		"alg a number":            {signedParts(t, `{"alg":1}`, claims), "TOKEN_INVALID"},
		"no alg":                  {signedParts(t, `{"typ":"JWT"}`, claims), "TOKEN_INVALID"},
		"alg unknown":             {signedParts(t, `{"alg":"HS1"}`, claims), "TOKEN_INVALID"},
		"alg in small letters":    {signedParts(t, `{"alg":"hs256"}`, claims), "TOKEN_INVALID"},
		"kid a number":            {signedParts(t, `{"alg":"HS256","kid":1}`, claims), "TOKEN_MALFORMED"},
		"crit":                    {signedParts(t, `{"alg":"HS256","crit":["b64"],"b64":false}`, claims), "TOKEN_INVALID"},
		"claims no JSON":          {signedParts(t, `{"alg":"HS256"}`, `nope`), "TOKEN_MALFORMED"},
		"claims a list":           {signedParts(t, `{"alg":"HS256"}`, `[]`), "TOKEN_MALFORMED"},
		"claims null":             {signedParts(t, `{"alg":"HS256"}`, `null`), "TOKEN_MALFORMED"},
		"claims empty":            {signedParts(t, `{"alg":"HS256"}`, `{}`), "TOKEN_MALFORMED"},
		"two subs":                {signedParts(t, `{"alg":"HS256"}`, `{"sub":"u2",`+claims[1:]), "TOKEN_MALFORMED"},
		"two roles":               {signedParts(t, `{"alg":"HS256"}`, `{"roles":[],"roles":["admin"],`+claims[1:]), "TOKEN_MALFORMED"},
		"invalid UTF-8":           {signedParts(t, `{"alg":"HS256"}`, "{\"sub\":\"u\xff\",\"exp\":99999999999}"), "TOKEN_MALFORMED"},
		"something after":         {signedParts(t, `{"alg":"HS256"}`, claims+"{}"), "TOKEN_MALFORMED"},
		"exp out of range":        {signedParts(t, `{"alg":"HS256"}`, `{"sub":"u1","exp":1e999}`), "TOKEN_MALFORMED"},
		"nested without end":      {signedParts(t, `{"alg":"HS256"}`, `{"x":`+strings.Repeat("[", 5000)), "TOKEN_MALFORMED"},
		"no signature":            {parts[0] + "." + parts[1] + ".", "TOKEN_INVALID"},
		"a cut signature":         {token[:len(token)-3], "TOKEN_INVALID"},
		"tampered claims":         {parts[0] + "." + part(`{"sub":"u2","exp":99999999999}`) + "." + parts[2], "TOKEN_INVALID"},
		"tampered header":         {part(`{"typ":"JWT","alg":"HS256"}`) + "." + parts[1] + "." + parts[2], "TOKEN_INVALID"},
		"another's signature":     {parts[0] + "." + parts[1] + "." + strings.Split(hs256(t, good(jwt.MapClaims{"sub": "u2"})), ".")[2], "TOKEN_INVALID"},
		"another secret":          {sign(t, jwt.SigningMethodHS256, []byte(secretText+"x"), good(nil)), "TOKEN_INVALID"},
		"the empty secret":        {sign(t, jwt.SigningMethodHS256, []byte{}, good(nil)), "TOKEN_INVALID"},
		"the secret and its line": {sign(t, jwt.SigningMethodHS256, []byte(secretText+"\n"), good(nil)), "TOKEN_INVALID"},
		"alg none":                {sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good(nil)), "TOKEN_INVALID"},
		"alg none and signed":     {signedParts(t, `{"alg":"none"}`, claims), "TOKEN_INVALID"},
		"alg None":                {part(`{"alg":"None"}`) + "." + part(claims) + ".", "TOKEN_INVALID"},
		"HS384":                   {sign(t, jwt.SigningMethodHS384, []byte(secretText), good(nil)), "TOKEN_INVALID"},
		"HS512":                   {sign(t, jwt.SigningMethodHS512, []byte(secretText), good(nil)), "TOKEN_INVALID"},
		"RS256":                   {sign(t, jwt.SigningMethodRS256, rsaKey(), good(nil)), "TOKEN_INVALID"},
		"an API key":              {"pk_" + strings.Repeat("a", 43), "KEY_INVALID"},
		"a token as an API key":   {"pk_" + token, "KEY_INVALID"},
	} {
		t.Run(name, func(t *testing.T) { rejected(t, j, bearerOf(test.token), test.reason) })
	}
}

func TestJWTRefusesClaims(t *testing.T) {
	config := withSecret(t)
	config.Issuer, config.Audience = "https://id.example.com", "parley"
	j := open(t, config)
	for name, test := range map[string]struct {
		changes jwt.MapClaims
		reason  string
	}{
		"no sub":                {jwt.MapClaims{"sub": nil}, "TOKEN_MALFORMED"},
		"an empty sub":          {jwt.MapClaims{"sub": ""}, "TOKEN_MALFORMED"},
		"sub of 129 bytes":      {jwt.MapClaims{"sub": strings.Repeat("u", 129)}, "TOKEN_MALFORMED"},
		"sub with a newline":    {jwt.MapClaims{"sub": "u1\nadmin"}, "TOKEN_MALFORMED"},
		"sub with NUL":          {jwt.MapClaims{"sub": "u1\x00"}, "TOKEN_MALFORMED"},
		"sub a number":          {jwt.MapClaims{"sub": 1}, "TOKEN_MALFORMED"},
		"sub a list":            {jwt.MapClaims{"sub": []string{"u1"}}, "TOKEN_MALFORMED"},
		"no exp":                {jwt.MapClaims{"exp": nil}, "TOKEN_MALFORMED"},
		"exp a string":          {jwt.MapClaims{"exp": "99999999999"}, "TOKEN_MALFORMED"},
		"exp 0":                 {jwt.MapClaims{"exp": 0}, "TOKEN_MALFORMED"},
		"exp before all time":   {jwt.MapClaims{"exp": -1}, "TOKEN_MALFORMED"},
		"exp after all time":    {jwt.MapClaims{"exp": 1e300}, "TOKEN_MALFORMED"},
		"exp in milliseconds":   {jwt.MapClaims{"exp": noon.Add(time.Hour).UnixMilli()}, "TOKEN_MALFORMED"},
		"nbf a string":          {jwt.MapClaims{"nbf": "0"}, "TOKEN_MALFORMED"},
		"nbf after all time":    {jwt.MapClaims{"nbf": 1e18}, "TOKEN_MALFORMED"},
		"iat a string":          {jwt.MapClaims{"iat": "now"}, "TOKEN_MALFORMED"},
		"roles a string":        {jwt.MapClaims{"roles": "admin"}, "TOKEN_MALFORMED"},
		"roles an object":       {jwt.MapClaims{"roles": map[string]bool{"admin": true}}, "TOKEN_MALFORMED"},
		"roles with a number":   {jwt.MapClaims{"roles": []any{"admin", 1}}, "TOKEN_MALFORMED"},
		"roles with null":       {jwt.MapClaims{"roles": []any{nil}}, "TOKEN_MALFORMED"},
		"roles true":            {jwt.MapClaims{"roles": true}, "TOKEN_MALFORMED"},
		"roles null":            {jwt.MapClaims{"roles": []string(nil)}, "TOKEN_MALFORMED"},
		"expired":               {jwt.MapClaims{"exp": noon.Add(-time.Hour).Unix()}, "TOKEN_EXPIRED"},
		"nbf later":             {jwt.MapClaims{"nbf": noon.Add(time.Hour).Unix()}, "TOKEN_NOT_YET_VALID"},
		"iat later":             {jwt.MapClaims{"iat": noon.Add(time.Hour).Unix()}, "TOKEN_NOT_YET_VALID"},
		"no iss":                {jwt.MapClaims{"iss": nil}, "TOKEN_WRONG_ISSUER"},
		"another iss":           {jwt.MapClaims{"iss": "https://id.example.com/"}, "TOKEN_WRONG_ISSUER"},
		"iss a list":            {jwt.MapClaims{"iss": []string{"https://id.example.com"}}, "TOKEN_WRONG_ISSUER"},
		"no aud":                {jwt.MapClaims{"aud": nil}, "TOKEN_WRONG_AUDIENCE"},
		"another aud":           {jwt.MapClaims{"aud": "Parley"}, "TOKEN_WRONG_AUDIENCE"},
		"an aud that begins so": {jwt.MapClaims{"aud": "parley2"}, "TOKEN_WRONG_AUDIENCE"},
		"other auds":            {jwt.MapClaims{"aud": []string{"a", "b"}}, "TOKEN_WRONG_AUDIENCE"},
		"no auds":               {jwt.MapClaims{"aud": []string{}}, "TOKEN_WRONG_AUDIENCE"},
		"aud a number":          {jwt.MapClaims{"aud": 1}, "TOKEN_WRONG_AUDIENCE"},
		"auds of objects":       {jwt.MapClaims{"aud": []any{map[string]any{"parley": 1}, []any{"parley"}, nil}}, "TOKEN_WRONG_AUDIENCE"},
	} {
		t.Run(name, func(t *testing.T) {
			claims := jwt.MapClaims{"iss": config.Issuer, "aud": config.Audience}
			maps.Copy(claims, test.changes)
			rejected(t, j, bearerOf(hs256(t, good(claims))), test.reason)
		})
	}
	for name, aud := range map[string]any{"a string": "parley", "a list": []string{"a", "parley"}} {
		t.Run("good: "+name, func(t *testing.T) {
			accepted(t, j, hs256(t, good(jwt.MapClaims{"iss": config.Issuer, "aud": aud})))
		})
	}
}

func TestClocksMayDifferByTheLeeway(t *testing.T) {
	for name, test := range map[string]struct {
		claims jwt.MapClaims
		at     time.Duration // after noon
		reason string        // empty: it is good
	}{
		"just before exp":        {jwt.MapClaims{"exp": noon.Unix()}, -time.Second, ""},
		"exp within the leeway":  {jwt.MapClaims{"exp": noon.Unix()}, 30*time.Second - time.Microsecond, ""},
		"exp at the leeway":      {jwt.MapClaims{"exp": noon.Unix()}, 30 * time.Second, "TOKEN_EXPIRED"},
		"nbf within the leeway":  {jwt.MapClaims{"nbf": noon.Unix()}, -30 * time.Second, ""},
		"nbf outside the leeway": {jwt.MapClaims{"nbf": noon.Unix()}, -30*time.Second - time.Microsecond, "TOKEN_NOT_YET_VALID"},
		"iat within the leeway":  {jwt.MapClaims{"iat": noon.Unix()}, -30 * time.Second, ""},
		"iat outside the leeway": {jwt.MapClaims{"iat": noon.Unix()}, -30*time.Second - time.Microsecond, "TOKEN_NOT_YET_VALID"},
		"nbf after iat":          {jwt.MapClaims{"iat": noon.Add(-time.Hour).Unix(), "nbf": noon.Unix()}, -time.Minute, "TOKEN_NOT_YET_VALID"},
		"iat after nbf":          {jwt.MapClaims{"nbf": noon.Add(-time.Hour).Unix(), "iat": noon.Unix()}, -time.Minute, "TOKEN_NOT_YET_VALID"},
	} {
		t.Run(name, func(t *testing.T) {
			clock := newClock()
			clock.set(noon.Add(test.at))
			config := withSecret(t)
			config.Now = clock.now
			j := open(t, config)
			token := hs256(t, good(test.claims))
			if test.reason == "" {
				accepted(t, j, token)
			} else {
				rejected(t, j, bearerOf(token), test.reason)
			}
		})
	}
}

func TestACachedTokenIsJudgedByTheClock(t *testing.T) {
	clock := newClock()
	config := withSecret(t)
	config.Now = clock.now
	j := open(t, config)
	token := hs256(t, good(jwt.MapClaims{"nbf": noon.Unix()}))
	for _, step := range []struct {
		after  time.Duration
		reason string
	}{
		{0, ""},
		{time.Hour + 29*time.Second, ""},
		{time.Hour + 30*time.Second, "TOKEN_EXPIRED"},
		{time.Hour, ""},
		{-31 * time.Second, "TOKEN_NOT_YET_VALID"},
		{time.Minute, ""},
	} {
		clock.set(noon.Add(step.after))
		if step.reason == "" {
			accepted(t, j, token)
		} else {
			rejected(t, j, bearerOf(token), step.reason)
		}
	}
}

func TestACachedTokenIsFoundByAllOfIt(t *testing.T) {
	j := open(t, withSecret(t))
	token := hs256(t, good(nil))
	accepted(t, j, token)
	last := token[len(token)-1]
	rejected(t, j, bearerOf(token[:len(token)-1]+string(last^1)), "TOKEN_MALFORMED") // the same signature, with bits that say nothing
	rejected(t, j, bearerOf(token[:len(token)-3]), "TOKEN_INVALID")
	rejected(t, j, bearerOf(strings.ToUpper(token)), "TOKEN_MALFORMED")
	accepted(t, j, token)
}

func TestTheCacheIsBounded(t *testing.T) {
	var c cache
	for i := range 3 * cacheTokens {
		hash := hashCredential(strconv.Itoa(i))
		c.put(&hash, &verified{})
		if c.get(&hash) == nil {
			t.Fatal("what was kept last is gone")
		}
	}
	kept := 0
	for i := range c.shards {
		kept += len(c.shards[i].tokens)
	}
	if kept > cacheTokens || kept < cacheTokens*9/10 {
		t.Errorf("%d tokens are kept, want about %d", kept, cacheTokens)
	}
}

func TestACachedTokenAllocatesNothing(t *testing.T) {
	j := open(t, withSecret(t))
	request := Request{Header: bearerOf(hs256(t, good(nil)))}
	ctx := t.Context()
	allocations := testing.AllocsPerRun(100, func() {
		if _, err := j.Caller(ctx, request); err != nil {
			t.Fatal(err)
		}
	})
	if allocations > 0 {
		t.Errorf("%v allocations", allocations)
	}
}

func BenchmarkCachedToken(b *testing.B) {
	path := filepath.Join(b.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secretText), 0o600); err != nil {
		b.Fatal(err)
	}
	j, err := NewJWT(b.Context(), JWTConfig{SecretFile: path})
	if err != nil {
		b.Fatal(err)
	}
	token, err := Mint(path, TokenSpec{User: "u1", TTL: time.Hour, Now: time.Now()})
	if err != nil {
		b.Fatal(err)
	}
	request := Request{Header: bearerOf(token)}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := j.Caller(b.Context(), request); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestManyAskAtOnce(t *testing.T) {
	j := open(t, withSecret(t))
	var work sync.WaitGroup
	for i := range 8 {
		work.Go(func() {
			for n := range 200 {
				user := fmt.Sprintf("u%d", (i+n)%50)
				caller, err := callerOf(j, bearerOf(hs256(t, good(jwt.MapClaims{"sub": user}))))
				if err != nil || caller.User != user {
					t.Errorf("caller = %+v, %v, want %s", caller, err, user)
				}
			}
		})
	}
	work.Wait()
}

func certificateOf(t *testing.T) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, ecKey.Public(), ecKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestThePublicKeySaysTheAlgorithm(t *testing.T) {
	tokens := map[string]string{
		"RS256":  sign(t, jwt.SigningMethodRS256, rsaKey(), good(nil)),
		"RS384":  sign(t, jwt.SigningMethodRS384, rsaKey(), good(nil)),
		"RS512":  sign(t, jwt.SigningMethodRS512, rsaKey(), good(nil)),
		"PS256":  sign(t, jwt.SigningMethodPS256, rsaKey(), good(nil)),
		"ES256":  sign(t, jwt.SigningMethodES256, ecKey, good(nil)),
		"ES256b": sign(t, jwt.SigningMethodES256, otherECKey, good(nil)),
		"ES384":  sign(t, jwt.SigningMethodES384, p384Key, good(nil)),
		"EdDSA":  sign(t, jwt.SigningMethodEdDSA, edKey, good(nil)),
		"EdDSAb": sign(t, jwt.SigningMethodEdDSA, edKey2, good(nil)),
		"none":   sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good(nil)),
	}
	for want, text := range map[string]string{
		"RS256":               pemOf(t, rsaKey().Public()),
		"ES256":               pemOf(t, ecKey.Public()),
		"EdDSA":               pemOf(t, edKey.Public()),
		"ES256 (certificate)": certificateOf(t),
	} {
		want, _, _ := strings.Cut(want, " ")
		j := open(t, JWTConfig{PublicKeyFile: temporary(t, text)})
		for name, token := range tokens {
			t.Run(name+" against "+want, func(t *testing.T) {
				if name == want {
					accepted(t, j, token)
				} else {
					rejected(t, j, bearerOf(token), "TOKEN_INVALID")
				}
			})
		}
		block, _ := pem.Decode([]byte(text))
		for name, secret := range map[string][]byte{"PEM": []byte(text), "DER": block.Bytes, "trimmed PEM": []byte(strings.TrimSpace(text))} {
			t.Run("HMAC with the "+name+" of "+want, func(t *testing.T) {
				rejected(t, j, bearerOf(sign(t, jwt.SigningMethodHS256, secret, good(nil))), "TOKEN_INVALID")
			})
		}
	}
}

func TestTheSecretIsTheFileLessOneNewline(t *testing.T) {
	for name, test := range map[string]struct{ file, secret string }{
		"none":      {secretText, secretText},
		"LF":        {secretText + "\n", secretText},
		"CRLF":      {secretText + "\r\n", secretText},
		"two LF":    {secretText + "\n\n", secretText + "\n"},
		"blanks":    {" " + secretText + " \n", " " + secretText + " "},
		"any bytes": {secretText + "\x00\xff", secretText + "\x00\xff"},
	} {
		t.Run(name, func(t *testing.T) {
			j := open(t, JWTConfig{SecretFile: temporary(t, test.file)})
			accepted(t, j, sign(t, jwt.SigningMethodHS256, []byte(test.secret), good(nil)))
		})
	}
}

func TestOneKeyIsThatOfTokensOfAnyKid(t *testing.T) {
	j := open(t, withSecret(t))
	accepted(t, j, hs256(t, good(nil), "kid", "k1"))
	accepted(t, j, hs256(t, good(nil), "kid", ""))
}

func TestNewJWTRefuses(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(ecKey))}))
	const hidden = "a secret, and too short"
	for name, config := range map[string]JWTConfig{
		"no source":            {},
		"two sources":          {SecretFile: temporary(t, secretText), JWKSURL: "https://127.0.0.1/"},
		"no secret file":       {SecretFile: filepath.Join(t.TempDir(), "missing")},
		"a short secret":       {SecretFile: temporary(t, hidden)},
		"31 bytes and newline": {SecretFile: temporary(t, secretText[1:]+"\n")},
		"an empty secret":      {SecretFile: temporary(t, "")},
		"a huge secret":        {SecretFile: temporary(t, strings.Repeat("x", 2<<20))},
		"a public key secret":  {SecretFile: temporary(t, pemOf(t, rsaKey().Public()))},
		"no key file":          {PublicKeyFile: filepath.Join(t.TempDir(), "missing")},
		"no PEM":               {PublicKeyFile: temporary(t, hidden)},
		"a private key":        {PublicKeyFile: temporary(t, private)},
		"a small RSA key":      {PublicKeyFile: temporary(t, pemOf(t, small.Public()))},
		"P-384":                {PublicKeyFile: temporary(t, pemOf(t, p384Key.Public()))},
		"two keys":             {PublicKeyFile: temporary(t, pemOf(t, ecKey.Public())+pemOf(t, edKey.Public()))},
		"broken DER":           {PublicKeyFile: temporary(t, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")},
		"no set file":          {JWKSFile: filepath.Join(t.TempDir(), "missing")},
		"no set":               {JWKSFile: temporary(t, hidden)},
		"no URL":               {JWKSURL: "://"},
		"http elsewhere":       {JWKSURL: "http://id.example.com/keys"},
		"http at a name alike": {JWKSURL: "http://localhost.example.com/keys"},
		"a file's URL":         {JWKSURL: "file:///etc/keys"},
		"no host":              {JWKSURL: "https:///keys"},
		"nobody there":         {JWKSURL: "http://127.0.0.1:1/keys"},
	} {
		t.Run(name, func(t *testing.T) {
			j, err := NewJWT(t.Context(), config)
			if err == nil {
				j.Close()
				t.Fatal("it was taken")
			}
			for _, path := range []string{config.SecretFile, config.PublicKeyFile, config.JWKSFile} {
				if path != "" && name != "two sources" && !strings.Contains(err.Error(), path) {
					t.Errorf("error = %q, does not name the file", err)
				}
			}
			if strings.Contains(err.Error(), "secret, and") || strings.Contains(err.Error(), secretText[1:]) {
				t.Errorf("error = %q, has what the file holds", err)
			}
		})
	}
}

func TestTheHeaderNamesTheUser(t *testing.T) {
	until := session.TimeOf(noon.Add(time.Hour))
	for name, test := range map[string]struct {
		roles []string
		user  []string
		want  session.Caller
		kind  fault.Kind // 0: none; beside one, want is for the record
	}{
		"nobody":             {[]string{"admin", "service"}, nil, session.Caller{User: "u1", Admin: true, Service: true, Until: until}, 0},
		"themself":           {nil, []string{"u1"}, session.Caller{User: "u1", Named: true, Until: until}, 0},
		"another":            {nil, []string{"u2"}, session.Caller{User: "u1", Until: until}, fault.PermissionDenied},
		"another, in case":   {nil, []string{"U1"}, session.Caller{User: "u1", Until: until}, fault.PermissionDenied},
		"service":            {[]string{"service"}, []string{"u2"}, session.Caller{User: "u2", Named: true, Until: until}, 0},
		"admin":              {[]string{"admin"}, []string{"u2"}, session.Caller{User: "u2", Named: true, Until: until}, 0},
		"admin, themself":    {[]string{"admin", "service"}, []string{"u1"}, session.Caller{User: "u1", Named: true, Until: until}, 0},
		"an unknown role":    {[]string{"editor"}, []string{"u2"}, session.Caller{User: "u1", Until: until}, fault.PermissionDenied},
		"two":                {[]string{"admin"}, []string{"u1", "u1"}, session.Caller{}, fault.InvalidArgument},
		"the empty one":      {[]string{"admin"}, []string{""}, session.Caller{}, fault.InvalidArgument},
		"of 129 bytes":       {[]string{"admin"}, []string{strings.Repeat("u", 129)}, session.Caller{}, fault.InvalidArgument},
		"with a control":     {[]string{"admin"}, []string{"u\t1"}, session.Caller{}, fault.InvalidArgument},
		"with invalid UTF-8": {[]string{"admin"}, []string{"u\xff"}, session.Caller{}, fault.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			j := open(t, withSecret(t))
			claims := good(nil)
			if test.roles != nil {
				claims["roles"] = test.roles
			}
			h := bearerOf(hs256(t, claims))
			h[HeaderUser] = test.user
			if test.user == nil {
				delete(h, HeaderUser)
			}
			got, err := callerOf(j, h)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("caller (-want +got):\n%s", diff)
			}
			if test.kind == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			f := fault.From(err)
			if f == nil || f.Kind != test.kind {
				t.Fatalf("fault = %v, want of kind %d", f, test.kind)
			}
			if test.kind == fault.PermissionDenied && f.Reason != "ACTING_AS_ANOTHER" {
				t.Errorf("reason = %s", f.Reason)
			}
		})
	}
}

func TestTheCredentialIsJudgedBeforeTheUser(t *testing.T) {
	h := bearerOf("garbage")
	h[HeaderUser] = []string{"", ""}
	rejected(t, open(t, withSecret(t)), h, "TOKEN_MALFORMED")
}

func TestTokenInQuery(t *testing.T) {
	for query, want := range map[string]bool{
		"":                               false,
		"pageSize=5&filter=token%3D1":    false,
		"ticket=abc":                     false,
		"pageToken=abc":                  false,
		"tokens=abc":                     false,
		"x=access_token=1":               false,
		"access_token=x":                 true,
		"a=b&access_token=x":             true,
		"ACCESS_TOKEN=x":                 true,
		"Access_Token":                   true,
		"token=":                         true,
		"authorization=Bearer+x":         true,
		"jwt=x":                          true,
		"bearer=x":                       true,
		"api_key=x":                      true,
		"apiKey=x":                       true,
		"key=x":                          true,
		"access%5Ftoken=x":               true,
		"%74oken=x":                      true,
		"token=%zz":                      true,
		"a=b&&token=x":                   true,
		"sessionId=token&key%20=":        false,
		"filter=a%26token%3Dx&a=b&c=d&e": false,
	} {
		if got := TokenInQuery(query); got != want {
			t.Errorf("TokenInQuery(%q) = %t, want %t", query, got, want)
		}
	}
}

func TestTokenInURL(t *testing.T) {
	f := TokenInURL()
	if f.Kind != fault.Unauthenticated || f.Reason != "TOKEN_IN_URL" {
		t.Errorf("fault = %d %s", f.Kind, f.Reason)
	}
	checkChallenge(t, f)
}
