package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

// jwk is a key of a set, with members changed as given: pairs of names and values; nil: the member is left out.
func jwk(t *testing.T, public crypto.PublicKey, kid string, changes ...any) map[string]any {
	t.Helper()
	made, err := jwkset.NewJWKFromKey(public, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(made.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	members := map[string]any{}
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(changes); i += 2 {
		members[changes[i].(string)] = changes[i+1]
		if changes[i+1] == nil {
			delete(members, changes[i].(string))
		}
	}
	return members
}

func setOf(t *testing.T, keys ...map[string]any) []byte {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// es256 is a token of u1 by an ECDSA key that is called kid.
func es256(t *testing.T, key *ecdsa.PrivateKey, kid string) string {
	t.Helper()
	return sign(t, jwt.SigningMethodES256, key, good(nil), "kid", kid)
}

func TestAKeySetSaysKeysAndAlgorithms(t *testing.T) {
	j := open(t, JWTConfig{JWKSFile: temporary(t, string(setOf(t,
		jwk(t, rsaKey().Public(), "rsa", "use", "sig", "alg", "RS256"),
		jwk(t, ecKey.Public(), "ec", "key_ops", []string{"verify"}),
		jwk(t, edKey.Public(), "ed"),
	)))})
	tokens := map[string]func(header ...any) string{
		"rsa": func(header ...any) string {
			return sign(t, jwt.SigningMethodRS256, rsaKey(), good(nil), header...)
		},
		"ec": func(header ...any) string { return sign(t, jwt.SigningMethodES256, ecKey, good(nil), header...) },
		"ed": func(header ...any) string { return sign(t, jwt.SigningMethodEdDSA, edKey, good(nil), header...) },
		"RS512": func(header ...any) string {
			return sign(t, jwt.SigningMethodRS512, rsaKey(), good(nil), header...)
		},
		"PS256": func(header ...any) string {
			return sign(t, jwt.SigningMethodPS256, rsaKey(), good(nil), header...)
		},
		"other": func(header ...any) string {
			return sign(t, jwt.SigningMethodES256, otherECKey, good(nil), header...)
		},
		"none": func(header ...any) string {
			return sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good(nil), header...)
		},
		"HMAC with the PEM": func(header ...any) string {
			return sign(t, jwt.SigningMethodHS256, []byte(pemOf(t, rsaKey().Public())), good(nil), header...)
		},
		"HMAC with n": func(header ...any) string {
			return sign(t, jwt.SigningMethodHS256, rsaKey().N.Bytes(), good(nil), header...)
		},
		"HMAC with x": func(header ...any) string {
			return sign(t, jwt.SigningMethodHS256, []byte(edKey.Public().(ed25519.PublicKey)), good(nil), header...)
		},
	}
	for name, token := range tokens {
		for _, kid := range []string{"rsa", "ec", "ed"} {
			t.Run(name+" as "+kid, func(t *testing.T) {
				if name == kid {
					accepted(t, j, token("kid", kid))
				} else {
					rejected(t, j, bearerOf(token("kid", kid)), "TOKEN_INVALID")
				}
			})
		}
		t.Run(name+" without kid", func(t *testing.T) {
			rejected(t, j, bearerOf(token()), "TOKEN_INVALID")
		})
	}
}

func TestKidMayBeLeftOutIfThereIsOneKey(t *testing.T) {
	for name, kid := range map[string]any{"named": "k1", "nameless": nil} {
		t.Run(name, func(t *testing.T) {
			j := open(t, JWTConfig{JWKSFile: temporary(t, string(setOf(t, jwk(t, ecKey.Public(), "k1", "kid", kid))))})
			accepted(t, j, sign(t, jwt.SigningMethodES256, ecKey, good(nil)))
			rejected(t, j, bearerOf(es256(t, ecKey, "k2")), "TOKEN_INVALID")
			rejected(t, j, bearerOf(sign(t, jwt.SigningMethodES256, otherECKey, good(nil))), "TOKEN_INVALID")
		})
	}
}

func TestAKeyThatMustNotBeUsedIsNot(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]map[string]any{
		"oct":           {"kty": "oct", "kid": "k1", "k": base64.RawURLEncoding.EncodeToString([]byte(secretText))},
		"oct for HS256": {"kty": "oct", "kid": "k1", "alg": "HS256", "use": "sig", "k": base64.RawURLEncoding.EncodeToString([]byte(secretText))},
		"enc":           jwk(t, ecKey.Public(), "k1", "use", "enc"),
		"another use":   jwk(t, ecKey.Public(), "k1", "use", "tls"),
		"key_ops":       jwk(t, ecKey.Public(), "k1", "key_ops", []string{"encrypt"}),
		"alg none":      jwk(t, ecKey.Public(), "k1", "alg", "none"),
		"alg HS256":     jwk(t, ecKey.Public(), "k1", "alg", "HS256"),
		"RSA for HS256": jwk(t, rsaKey().Public(), "k1", "alg", "HS256"),
		"RSA for RS384": jwk(t, rsaKey().Public(), "k1", "alg", "RS384"),
		"RSA for PS256": jwk(t, rsaKey().Public(), "k1", "alg", "PS256"),
		"a small RSA":   jwk(t, small.Public(), "k1"),
		"P-384":         jwk(t, p384Key.Public(), "k1"),
		"Ed448":         {"kty": "OKP", "crv": "Ed448", "kid": "k1", "x": "AAAA"},
		"X25519":        {"kty": "OKP", "crv": "X25519", "kid": "k1", "x": base64.RawURLEncoding.EncodeToString([]byte(secretText))},
		"no point":      jwk(t, ecKey.Public(), "k1", "x", "AAAA"),
		"no kty":        jwk(t, ecKey.Public(), "k1", "kty", nil),
		"kid a number":  jwk(t, ecKey.Public(), "k1", "kid", 1),
	} {
		t.Run(name, func(t *testing.T) {
			var log logBuffer
			only := temporary(t, string(setOf(t, key)))
			if j, err := NewJWT(t.Context(), JWTConfig{JWKSFile: only, Log: log.logger()}); err == nil {
				j.Close()
				t.Error("it was taken as the only one")
			}
			j := open(t, JWTConfig{JWKSFile: temporary(t, string(setOf(t, jwk(t, edKey.Public(), "k0"), key))), Log: log.logger()})
			accepted(t, j, sign(t, jwt.SigningMethodEdDSA, edKey, good(nil), "kid", "k0"))
			for _, token := range []string{
				hs256(t, good(nil), "kid", "k1"),
				es256(t, ecKey, "k1"),
				sign(t, jwt.SigningMethodRS256, rsaKey(), good(nil), "kid", "k1"),
				sign(t, jwt.SigningMethodES384, p384Key, good(nil), "kid", "k1"),
			} {
				rejected(t, j, bearerOf(token), "TOKEN_INVALID")
			}
			if !strings.Contains(log.String(), "is not used") || strings.Contains(log.String(), secretText) {
				t.Errorf("log = %s", log.String())
			}
		})
	}
}

func TestThePrivateKeyOfASetIsReadAsThePublicOne(t *testing.T) {
	made, err := jwkset.NewJWKFromKey(ecKey, jwkset.JWKOptions{
		Marshal: jwkset.JWKMarshalOptions{Private: true}, Metadata: jwkset.JWKMetadataOptions{KID: "k1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(jwkset.JWKSMarshal{Keys: []jwkset.JWKMarshal{made.Marshal()}})
	if err != nil {
		t.Fatal(err)
	}
	accepted(t, open(t, JWTConfig{JWKSFile: temporary(t, string(text))}), es256(t, ecKey, "k1"))
}

func TestASecondKeyOfAKidIsNotUsed(t *testing.T) {
	j := open(t, JWTConfig{JWKSFile: temporary(t, string(setOf(t, jwk(t, ecKey.Public(), "k1"), jwk(t, otherECKey.Public(), "k1"))))})
	accepted(t, j, es256(t, ecKey, "k1"))
	rejected(t, j, bearerOf(es256(t, otherECKey, "k1")), "TOKEN_INVALID")
}

// keyServer serves a key set, and counts how often.
type keyServer struct {
	*httptest.Server

	set     atomic.Pointer[[]byte]
	status  atomic.Int32
	fetches atomic.Int32
}

func newKeyServer(t *testing.T, set []byte) *keyServer {
	t.Helper()
	s := &keyServer{}
	s.set.Store(&set)
	s.status.Store(http.StatusOK)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.fetches.Add(1)
		w.WriteHeader(int(s.status.Load()))
		w.Write(*s.set.Load())
	}))
	t.Cleanup(s.Close)
	return s
}

func TestKeysAreRotatedAtAURL(t *testing.T) {
	server := newKeyServer(t, setOf(t, jwk(t, ecKey.Public(), "k1")))
	j := open(t, JWTConfig{JWKSURL: server.URL})
	before := es256(t, ecKey, "k1")
	accepted(t, j, before)
	accepted(t, j, before) // from the cache

	next := setOf(t, jwk(t, otherECKey.Public(), "k2"))
	server.set.Store(&next)
	accepted(t, j, before) // nobody can know yet
	accepted(t, j, es256(t, otherECKey, "k2"))
	rejected(t, j, bearerOf(before), "TOKEN_INVALID")
}

func TestAKeyThatTakesAnothersKidEndsItsTokens(t *testing.T) {
	server := newKeyServer(t, setOf(t, jwk(t, ecKey.Public(), "k1")))
	j := open(t, JWTConfig{JWKSURL: server.URL})
	before := es256(t, ecKey, "k1")
	accepted(t, j, before)
	next := setOf(t, jwk(t, otherECKey.Public(), "k1"), jwk(t, edKey.Public(), "k2"))
	server.set.Store(&next)
	accepted(t, j, sign(t, jwt.SigningMethodEdDSA, edKey, good(nil), "kid", "k2"))
	rejected(t, j, bearerOf(before), "TOKEN_INVALID")
	accepted(t, j, es256(t, otherECKey, "k1"))
}

func TestAKeyThatStaysKeepsItsTokensCached(t *testing.T) {
	server := newKeyServer(t, setOf(t, jwk(t, ecKey.Public(), "k1")))
	j := open(t, JWTConfig{JWKSURL: server.URL})
	token := es256(t, ecKey, "k1")
	accepted(t, j, token)
	next := setOf(t, jwk(t, ecKey.Public(), "k1"), jwk(t, otherECKey.Public(), "k2"))
	server.set.Store(&next)
	accepted(t, j, es256(t, otherECKey, "k2"))
	hash := hashCredential(token)
	if _, known := j.cached(&hash); !known {
		t.Error("the token is not cached any more")
	}
}

func TestUnknownKidsFetchSeldom(t *testing.T) {
	server := newKeyServer(t, setOf(t, jwk(t, ecKey.Public(), "k1")))
	j := open(t, JWTConfig{JWKSURL: server.URL})
	for i := range 100 {
		rejected(t, j, bearerOf(es256(t, ecKey, fmt.Sprint("unknown", i))), "TOKEN_INVALID")
	}
	if fetches := server.fetches.Load(); fetches != 2 {
		t.Errorf("%d fetches, want 2", fetches)
	}
	rejected(t, j, bearerOf(hs256(t, good(nil), "kid", "unknown")), "TOKEN_INVALID")
	accepted(t, j, es256(t, ecKey, "k1"))
}

// eventually waits until the condition holds, asking often.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it never happened: " + what)
		}
	}
}

func TestASetIsFetchedEverySoOftenAndKeptMeanwhile(t *testing.T) {
	var log logBuffer
	server := newKeyServer(t, setOf(t, jwk(t, ecKey.Public(), "k1")))
	j := open(t, JWTConfig{JWKSURL: server.URL, JWKSEvery: time.Millisecond, Log: log.logger()})
	token := es256(t, ecKey, "k1")
	accepted(t, j, token)
	cannot, can := "cannot be read", "can be read again"

	server.status.Store(http.StatusInternalServerError)
	eventually(t, "the log has the status", func() bool { return log.count(cannot) == 1 })
	fetches := server.fetches.Load()
	eventually(t, "it goes on", func() bool { return server.fetches.Load() > fetches+3 })
	accepted(t, j, token)
	server.status.Store(http.StatusOK)
	eventually(t, "the log has the recovery", func() bool { return log.count(can) == 1 })

	for name, broken := range map[string][]byte{
		"no JSON": []byte("<html>"), "no set": []byte("{}"), "too long": []byte(`{"keys":[],"x":"` + strings.Repeat("x", 2<<20) + `"}`),
	} {
		failures := log.count(cannot)
		kept := server.set.Swap(&broken)
		eventually(t, name, func() bool { return log.count(cannot) == failures+1 })
		accepted(t, j, token)
		server.set.Store(kept)
		eventually(t, name+" ends", func() bool { return log.count(can) == failures+1 })
	}

	next := setOf(t, jwk(t, otherECKey.Public(), "k2"))
	server.set.Store(&next)
	eventually(t, "the key is gone", func() bool {
		_, err := callerOf(j, bearerOf(token))
		return err != nil
	})
	rejected(t, j, bearerOf(token), "TOKEN_INVALID")
	accepted(t, j, es256(t, otherECKey, "k2"))
}

func TestASetIsNotFetchedFromWhereItMustNotCome(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"a redirect to http": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://id.example.com/", http.StatusFound)
		},
		"a redirect to itself": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) },
		"not found":            func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"an endless answer": func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(handler)
			defer server.Close()
			if j, err := NewJWT(t.Context(), JWTConfig{JWKSURL: server.URL}); err == nil {
				j.Close()
				t.Error("it was taken")
			}
		})
	}
}

func TestAFileIsReadAgainWhenItChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		write(t, path, setOf(t, jwk(t, ecKey.Public(), "k1")))
		j := open(t, JWTConfig{JWKSFile: path, Log: log.logger()})
		first, second := es256(t, ecKey, "k1"), es256(t, otherECKey, "k2")
		accepted(t, j, first)
		rejected(t, j, bearerOf(second), "TOKEN_INVALID")

		write(t, path, setOf(t, jwk(t, otherECKey.Public(), "k2")))
		accepted(t, j, second) // at once, for its kid
		rejected(t, j, bearerOf(first), "TOKEN_INVALID")

		write(t, path, setOf(t, jwk(t, ecKey.Public(), "k1")))
		time.Sleep(2 * time.Second) //nolint:forbidigo // in a bubble
		rejected(t, j, bearerOf(second), "TOKEN_INVALID")
		accepted(t, j, first)

		for range 2 {
			write(t, path, []byte(`{"keys":[{"kty":"EC"`))
			time.Sleep(10 * time.Second) //nolint:forbidigo // in a bubble
			accepted(t, j, first)
		}
		if failures := log.count("level=ERROR"); failures != 1 {
			t.Errorf("%d failures are in the log, want 1: %s", failures, log.String())
		}

		write(t, path, setOf(t, jwk(t, ecKey.Public(), "k1"), jwk(t, otherECKey.Public(), "k2")))
		time.Sleep(2 * time.Second) //nolint:forbidigo // in a bubble
		accepted(t, j, first)
		accepted(t, j, second)
		if log.count("can be read again") != 1 {
			t.Errorf("log = %s", log.String())
		}
	})
}

// keyOf is what the caller of a token has as its key.
func keyOf(t *testing.T, j *JWT, token string) string {
	t.Helper()
	caller, err := callerOf(j, bearerOf(token))
	if err != nil {
		t.Fatal(err)
	}
	return caller.Key
}

func TestACallerHasTheIDOfTheKeyInItsSet(t *testing.T) {
	j := open(t, JWTConfig{JWKSFile: temporary(t, string(setOf(t,
		jwk(t, rsaKey().Public(), "rsa"), jwk(t, ecKey.Public(), "ec"), jwk(t, edKey.Public(), "ed"), jwk(t, edKey2.Public(), "ed2"),
	)))})
	form, seen := regexp.MustCompile(`^jwk:[A-Za-z0-9_-]{16}$`), map[string]bool{}
	for _, token := range []string{
		sign(t, jwt.SigningMethodRS256, rsaKey(), good(nil), "kid", "rsa"),
		es256(t, ecKey, "ec"),
		sign(t, jwt.SigningMethodEdDSA, edKey, good(nil), "kid", "ed"),
		sign(t, jwt.SigningMethodEdDSA, edKey2, good(nil), "kid", "ed2"),
	} {
		id := keyOf(t, j, token)
		if !form.MatchString(id) || seen[id] {
			t.Errorf("key = %q", id)
		}
		seen[id] = true
		if cached := keyOf(t, j, token); cached != id {
			t.Errorf("cached: key = %q, want %q", cached, id)
		}
	}
	other := open(t, JWTConfig{JWKSFile: temporary(t, string(setOf(t, jwk(t, ecKey.Public(), "another name", "alg", "ES256"))))})
	if id := keyOf(t, other, es256(t, ecKey, "another name")); !seen[id] {
		t.Errorf("on another server the key is %q, want one of %v", id, seen)
	}

	backend := sign(t, jwt.SigningMethodES256, ecKey, good(jwt.MapClaims{"roles": []string{"service"}}), "kid", "ec")
	h := bearerOf(backend)
	h[HeaderUser] = []string{"u2"}
	if caller, err := callerOf(j, h); err != nil || caller.Key != keyOf(t, j, backend) {
		t.Errorf("who a backend acts for is %+v, %v; want the backend's key", caller, err)
	}
	for name, config := range map[string]JWTConfig{
		hs256(t, good(nil)): withSecret(t),
		sign(t, jwt.SigningMethodES256, ecKey, good(nil)): {PublicKeyFile: temporary(t, pemOf(t, ecKey.Public()))},
	} {
		if id := keyOf(t, open(t, config), name); id != "" {
			t.Errorf("without a set the key is %q, want none", id)
		}
	}
}

// The id is in the tickets of all nodes, whatever version they are of.
func TestTheIDOfAKeyIsForGood(t *testing.T) {
	key, err := parseJWK([]byte(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`)) // RFC 8037 appendix A.2
	if err != nil || key.id != "jwk:BuP9j9opu2CrWVV9" {
		t.Errorf("id = %v, %v", key, err)
	}
}

func TestKeysThatEnterAndLeaveASetAreToldOf(t *testing.T) {
	var told []string
	var s *keySet
	note := func(what string) func(string) {
		return func(id string) {
			taken := s.keys.Load() != nil && idsOf(*s.keys.Load())[id]
			told = append(told, fmt.Sprint(what, " ", id, " taken: ", taken))
		}
	}
	s = newKeySet(&JWTConfig{Revoked: note("revoked"), Restored: note("restored")})
	keys := func(ids ...string) map[string]*verifyKey {
		set := map[string]*verifyKey{}
		for kid, id := range ids {
			set[strconv.Itoa(kid)] = &verifyKey{id: id}
		}
		return set
	}
	for _, step := range []struct {
		set  map[string]*verifyKey
		want []string
	}{
		{keys("a"), []string{"restored a taken: false"}},
		{keys("a", "b"), []string{"restored b taken: false"}},
		{keys("b", "a"), nil}, // called otherwise
		{keys("b", "b"), []string{"revoked a taken: false"}},
		{keys("b"), nil}, // by one name less
		{keys("c"), []string{"restored c taken: false", "revoked b taken: false"}},
		{keys(), []string{"revoked c taken: false"}},
		{keys("a"), []string{"restored a taken: false"}},
	} {
		told = nil
		s.keep(step.set)
		if diff := cmp.Diff(step.want, told); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	}
}

func TestARotationAtAURLIsToldOf(t *testing.T) {
	told := make(chan string, 100)
	next := func() string {
		t.Helper()
		select {
		case got := <-told:
			return got
		case <-time.After(10 * time.Second):
			t.Fatal("nothing is told")
			return ""
		}
	}
	server := newKeyServer(t, setOf(t, jwk(t, ecKey.Public(), "k1")))
	j := open(t, JWTConfig{
		JWKSURL: server.URL, JWKSEvery: time.Millisecond,
		Revoked:  func(id string) { told <- "revoked " + id },
		Restored: func(id string) { told <- "restored " + id },
	})
	first := keyOf(t, j, es256(t, ecKey, "k1"))
	want := func(lines ...string) {
		t.Helper()
		for _, line := range lines {
			if got := next(); got != line {
				t.Errorf("told %q, want %q", got, line)
			}
		}
	}
	want("restored " + first)
	serve := func(key *ecdsa.PrivateKey, kid string) {
		set := setOf(t, jwk(t, key.Public(), kid))
		server.set.Store(&set)
	}
	serve(otherECKey, "k2")
	second := next()
	want("revoked " + first)
	rejected(t, j, bearerOf(es256(t, ecKey, "k1")), "TOKEN_INVALID")
	if wanted := "restored " + keyOf(t, j, es256(t, otherECKey, "k2")); second != wanted {
		t.Errorf("told %q, want %q", second, wanted)
	}
	serve(ecKey, "k1")
	want("restored " + first)
	accepted(t, j, es256(t, ecKey, "k1"))
}

// Whoever empties a set wants no token taken: what is there to read is obeyed, also if it is nothing.
func TestASetThatIsEmptiedHasNoTokenTaken(t *testing.T) {
	for name, empty := range map[string][]byte{
		"empty":     []byte(`{"keys":[]}`),
		"of no use": setOf(t, jwk(t, ecKey.Public(), "k1", "use", "enc")),
	} {
		path := filepath.Join(t.TempDir(), "keys.json")
		synctest.Test(t, func(t *testing.T) {
			var log logBuffer
			write(t, path, empty)
			if j, err := NewJWT(t.Context(), JWTConfig{JWKSFile: path}); err == nil {
				j.Close()
				t.Errorf("%s: it is taken at the start", name)
			}
			full := setOf(t, jwk(t, ecKey.Public(), "k1"))
			write(t, path, full)
			var revoked []string
			j := open(t, JWTConfig{JWKSFile: path, Log: log.logger(), Revoked: func(id string) { revoked = append(revoked, id) }})
			named, nameless := es256(t, ecKey, "k1"), sign(t, jwt.SigningMethodES256, ecKey, good(nil))
			id := keyOf(t, j, named)
			accepted(t, j, nameless)

			for _, broken := range []string{`{"keys":[`, `{}`, `{"keys":null}`, `{"error":"try again"}`, `[]`} {
				write(t, path, []byte(broken))
				time.Sleep(10 * time.Second) //nolint:forbidigo // in a bubble
				accepted(t, j, named)
			}
			if log.count("no token is taken") != 0 {
				t.Errorf("%s: log = %s", name, log.String())
			}
			write(t, path, empty)
			time.Sleep(10 * time.Second) //nolint:forbidigo // in a bubble
			rejected(t, j, bearerOf(named), "TOKEN_INVALID")
			rejected(t, j, bearerOf(nameless), "TOKEN_INVALID")
			if errors := log.count("level=ERROR msg=\"the key set has no key of RS256, ES256 or EdDSA any more: no token is taken\" subject=" + path); errors != 1 {
				t.Errorf("%s: it is %d times in the log, want once: %s", name, errors, log.String())
			}
			if diff := cmp.Diff([]string{id}, revoked); diff != "" {
				t.Errorf("%s: revoked (-want +got):\n%s", name, diff)
			}
			write(t, path, full)
			time.Sleep(10 * time.Second) //nolint:forbidigo // in a bubble
			accepted(t, j, named)
		})
	}
}
