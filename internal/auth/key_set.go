package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

const (
	fetchTime    = 5 * time.Second // for a set to be fetched
	fetchEvery   = 5 * time.Minute // so long a key that was taken out of a set at a URL is still good, at most
	fetchGap     = 5 * time.Second // between fetches for a key that a set does not have
	rereadEvery  = time.Second     // as fetchEvery, of a file
	rereadGap    = 100 * time.Millisecond
	maxRedirects = 3
)

// keySource has the keys that tokens are verified with.
type keySource interface {
	// find returns the key that is to verify tokens that name it by kid; named is false if they name none. It returns
	// nil if there is no such key.
	find(ctx context.Context, kid string, named bool) *verifyKey

	// has tells whether a key that was found is still good.
	has(key *verifyKey) bool

	// algorithms are those that keys of the source can be for.
	algorithms() []string

	close()
}

// oneKey is the source of one key, which stays.
type oneKey struct{ key *verifyKey }

func (o oneKey) find(context.Context, string, bool) *verifyKey { return o.key }
func (o oneKey) has(key *verifyKey) bool                       { return key == o.key }
func (o oneKey) algorithms() []string                          { return []string{o.key.method.Alg()} }
func (o oneKey) close()                                        {}

// keySet is the source of a JSON Web Key Set (RFC 7517), which is read again and again. It keeps the keys that it has
// while there is nothing better to read; a set without a key of use is better, and has no token taken.
type keySet struct {
	fetch    func(ctx context.Context) ([]byte, error)
	revoked  func(keyID string) // see JWTConfig
	restored func(keyID string) // likewise
	log      *slog.Logger
	outage   outage
	poller   poller
	keys     atomic.Pointer[map[string]*verifyKey] // by kid; nil: nothing was read yet

	raw []byte // what keys were made of; the reader's
}

// openKeySetFile reads a set from a file.
func openKeySetFile(ctx context.Context, config *JWTConfig) (*keySet, error) {
	path := config.JWKSFile
	s := newKeySet(config)
	s.fetch = func(context.Context) ([]byte, error) { return readBounded(path) }
	s.poller = poller{every: rereadEvery, gap: rereadGap, limit: fetchTime}
	return s, s.open(ctx, path)
}

// openKeySetURL fetches a set.
func openKeySetURL(ctx context.Context, config *JWTConfig) (*keySet, error) {
	u, err := url.Parse(config.JWKSURL)
	if err != nil {
		return nil, errors.New("the URL of the key set is malformed")
	}
	if err := checkKeySetURL(u); err != nil {
		return nil, err
	}
	client := keySetClient()
	s := newKeySet(config)
	s.fetch = func(ctx context.Context) ([]byte, error) { return fetchKeySet(ctx, client, u) }
	s.poller = poller{every: config.JWKSEvery, gap: fetchGap, limit: fetchTime}
	return s, s.open(ctx, u.Redacted())
}

func newKeySet(config *JWTConfig) *keySet {
	return &keySet{revoked: config.Revoked, restored: config.Restored, log: config.Log}
}

// checkKeySetURL refuses what anyone on the way could answer to.
func checkKeySetURL(u *url.URL) error {
	if u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && IsLoopbackHost(u.Host)) {
		return nil
	}
	return fmt.Errorf("%s: a key set is fetched over https, or over http from this machine", u.Redacted())
}

func keySetClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true // it is used too seldom
	return &http.Client{
		Transport: transport,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return errors.New("too many redirects")
			}
			return checkKeySetURL(r.URL)
		},
	}
}

func fetchKeySet(ctx context.Context, client *http.Client, u *url.URL) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers with status %d", u.Redacted(), response.StatusCode)
	}
	return readAll(response.Body)
}

// open reads the set for the first time, and begins to read it again and again.
func (s *keySet) open(ctx context.Context, name string) error {
	s.outage = outage{log: s.log, subject: name}
	first, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	if err := s.read(first); err != nil {
		return fmt.Errorf("the key set %s: %w", name, err)
	}
	s.poller.read = func(ctx context.Context) { s.outage.note(s.read(ctx)) }
	s.poller.start(ctx)
	return nil
}

func (s *keySet) close() { s.poller.close() }

func (s *keySet) read(ctx context.Context) error {
	raw, err := s.fetch(ctx)
	if err != nil || s.raw != nil && bytes.Equal(raw, s.raw) {
		return err
	}
	keys, err := s.parse(raw)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		if s.keys.Load() == nil {
			return errors.New("has no key of RS256, ES256 or EdDSA")
		}
		s.log.Error("the key set has no key of RS256, ES256 or EdDSA any more: no token is taken", "subject", s.outage.subject)
	}
	s.keep(keys)
	s.raw = raw
	return nil
}

// keep makes the keys those of the set. A key that it has already stays what it is, for has. One that comes back is
// restored before its tokens are taken, one that leaves is revoked when they are refused: so whoever was found by one
// just before has a stream cut, or is refused it.
func (s *keySet) keep(keys map[string]*verifyKey) {
	var old map[string]*verifyKey
	if last := s.keys.Load(); last != nil {
		old = *last
	}
	for kid, key := range old {
		if same := keys[kid]; same != nil && same.equal(key) {
			keys[kid] = key
		}
	}
	before, after := idsOf(old), idsOf(keys)
	for id := range after {
		if !before[id] {
			s.restored(id)
		}
	}
	s.keys.Store(&keys)
	for id := range before {
		if !after[id] {
			s.revoked(id)
		}
	}
}

// idsOf are the ids of keys. One of several names has one.
func idsOf(keys map[string]*verifyKey) map[string]bool {
	ids := make(map[string]bool, len(keys))
	for _, key := range keys {
		ids[key.id] = true
	}
	return ids
}

// parse returns the keys of a set that are of use, by kid. The others are for something else, or for newer servers; the
// log is told of them.
func (s *keySet) parse(raw []byte) (map[string]*verifyKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, fmt.Errorf("is not a set in JSON: %w", err)
	}
	if set.Keys == nil { // such as what a server that has a fault says of it
		return nil, errors.New("is not a set: it has no list of keys")
	}
	keys := make(map[string]*verifyKey, len(set.Keys))
	for i, raw := range set.Keys {
		key, err := parseJWK(raw)
		if err == nil && keys[key.kid] != nil {
			err = errors.New("another key has the same kid")
		}
		if err != nil {
			s.log.Warn("a key of the key set is not used", "index", i, "error", err)
			continue
		}
		keys[key.kid] = key
	}
	return keys, nil
}

// parseJWK makes the key of a set, if its type, and all that it says of its use, is to verify signatures that are taken.
func parseJWK(raw []byte) (*verifyKey, error) {
	var said jwkset.JWKMarshal
	if err := json.Unmarshal(raw, &said); err != nil {
		return nil, err
	}
	switch {
	case said.KTY != jwkset.KtyRSA && said.KTY != jwkset.KtyEC && said.KTY != jwkset.KtyOKP: // so no "oct": a secret is not published
		return nil, errors.New("kty must be RSA, EC or OKP")
	case said.USE != "" && said.USE != jwkset.UseSig:
		return nil, errors.New("use must be sig")
	case len(said.KEYOPS) > 0 && !slices.Contains(said.KEYOPS, jwkset.KeyOpsVerify):
		return nil, errors.New("key_ops must have verify")
	}
	// Without Private a private key is read as its public one.
	jwk, err := jwkset.NewJWKFromMarshal(said, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return nil, err
	}
	key, err := newVerifyKey(jwk.Key())
	if err != nil {
		return nil, err
	}
	if alg := string(said.ALG); alg != "" && alg != key.method.Alg() {
		return nil, fmt.Errorf("alg must be %s for a key of this type", key.method.Alg())
	}
	key.kid = said.KID
	key.id, err = keyID(key.key)
	return key, err
}

// find reads the set again for a key that it does not have: it may be a new one. A token may leave out which key it is
// of if there is only one.
func (s *keySet) find(ctx context.Context, kid string, named bool) *verifyKey {
	if !named {
		return s.only()
	}
	if key := (*s.keys.Load())[kid]; key != nil {
		return key
	}
	s.poller.ask(ctx)
	return (*s.keys.Load())[kid]
}

func (s *keySet) only() *verifyKey {
	keys := *s.keys.Load()
	if len(keys) > 1 {
		return nil
	}
	for _, key := range keys {
		return key
	}
	return nil
}

func (s *keySet) has(key *verifyKey) bool { return (*s.keys.Load())[key.kid] == key }

func (s *keySet) algorithms() []string {
	return []string{jwt.SigningMethodRS256.Alg(), jwt.SigningMethodES256.Alg(), jwt.SigningMethodEdDSA.Alg()}
}
