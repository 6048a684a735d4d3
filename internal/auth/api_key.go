package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/parleyhq/parley/internal/session"
)

const (
	apiKeyPrefix = "pk_"
	apiKeyRandom = 32
	keysEvery    = 300 * time.Millisecond
	keysGap      = 100 * time.Millisecond
	keysTime     = 5 * time.Second
)

// apiKeyBytes is how long every API key is.
var apiKeyBytes = len(apiKeyPrefix) + base64.RawURLEncoding.EncodedLen(apiKeyRandom)

// NewAPIKey makes an API key, and the hash that it is kept by.
func NewAPIKey() (text string, hash session.CredentialHash) {
	var random [apiKeyRandom]byte
	rand.Read(random[:]) // never fails: the runtime ends the process instead
	text = apiKeyPrefix + base64.RawURLEncoding.EncodeToString(random[:])
	return text, hashCredential(text)
}

// hashCredential is the hash of an API key or a token, by its whole text.
func hashCredential(text string) session.CredentialHash {
	var room [1 << 10]byte // most texts fit: a copy on the stack costs nothing to collect
	return sha256.Sum256(append(room[:0], text...))
}

// KeysOptions configure Keys. All of it may be left zero.
type KeysOptions struct {
	// Every is how often the keys are read. 0: every 300 milliseconds.
	Every time.Duration

	// Revoked is called once with the id of each key that is not good any more, after callers of it are refused: also of
	// those that were revoked before the first reading. One goroutine calls it, which reads nothing meanwhile; it may not
	// call Close. Nil: nobody is told.
	Revoked func(keyID string)

	// Log is told when the keys cannot be read. Nil: nobody is.
	Log *slog.Logger
}

// Keys holds all API keys, and knows soon of new and of revoked ones. Any number of goroutines may use it.
type Keys struct {
	source  session.APIKeys
	revoked func(keyID string)
	outage  outage
	poller  poller
	good    atomic.Pointer[map[session.CredentialHash]session.APIKey]

	last []session.APIKey // what was read; the reader's
	told map[string]bool  // of which keys Revoked was told; likewise
}

// NewKeys reads the keys, and goes on to until Close.
func NewKeys(ctx context.Context, source session.APIKeys, options KeysOptions) (*Keys, error) {
	if options.Every == 0 {
		options.Every = keysEvery
	}
	if options.Revoked == nil {
		options.Revoked = func(string) {}
	}
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	k := &Keys{
		source:  source,
		revoked: options.Revoked,
		told:    make(map[string]bool),
		outage:  outage{log: options.Log, subject: "API keys"},
		poller:  poller{every: options.Every, gap: keysGap, limit: keysTime},
	}
	k.good.Store(&map[session.CredentialHash]session.APIKey{})
	if err := k.read(ctx); err != nil {
		return nil, err
	}
	k.poller.read = func(ctx context.Context) { k.outage.note(k.read(ctx)) }
	k.poller.start(ctx)
	return k, nil
}

// Close ends the reading.
func (k *Keys) Close() { k.poller.close() }

func (k *Keys) read(ctx context.Context) error {
	keys, err := k.source.APIKeys(ctx)
	if err != nil || slices.Equal(keys, k.last) {
		return err
	}
	good := make(map[session.CredentialHash]session.APIKey, len(keys))
	for _, key := range keys {
		if key.RevokeTime == 0 {
			good[key.Hash] = key
		}
	}
	known := slices.Concat(k.last, keys)
	k.last = keys
	k.good.Store(&good)
	for _, key := range known {
		if _, still := good[key.Hash]; !still && !k.told[key.ID] {
			k.told[key.ID] = true
			k.revoked(key.ID)
		}
	}
	return nil
}

// caller is who an API key is of. A key that is not known may be a new one, so the keys are read again for it, at most
// every 100 milliseconds. A key that was revoked and one that never was have one answer.
func (k *Keys) caller(ctx context.Context, text string) (session.Caller, error) {
	key, ok := k.find(ctx, text)
	if !ok {
		return session.Caller{}, refused("KEY_INVALID", "the API key is unknown or was revoked")
	}
	caller := session.Caller{User: key.Name, Key: key.ID}
	give(&caller, key.Role)
	return caller, nil
}

func (k *Keys) find(ctx context.Context, text string) (key session.APIKey, ok bool) {
	if k == nil || len(text) != apiKeyBytes || !strings.HasPrefix(text, apiKeyPrefix) {
		return session.APIKey{}, false
	}
	hash := hashCredential(text)
	if key, ok = (*k.good.Load())[hash]; ok {
		return key, true
	}
	k.poller.ask(ctx)
	key, ok = (*k.good.Load())[hash]
	return key, ok
}
