package session

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// KeyRing holds the server's keys. The newest makes; each still verifies what it made. All nodes of a server share one.
type KeyRing struct {
	keys []key // oldest first, never empty
}

type key struct {
	id     uint32
	secret []byte
}

const (
	keyBytes         = 32 // the length of a server key
	fingerprintBytes = 16
	markBytes        = 4 + fingerprintBytes // what Newest has: the number comes first
)

// NewKeyRing returns a ring of one fresh random key.
func NewKeyRing() *KeyRing {
	return &KeyRing{keys: []key{newKey(1)}}
}

func newKey(id uint32) key {
	secret := make([]byte, keyBytes)
	rand.Read(secret) // never fails: the runtime ends the process instead
	return key{id: id, secret: secret}
}

// ParseKeyRing reads a ring as Encode writes it. Errors name the line, never its content.
func ParseKeyRing(text []byte) (*KeyRing, error) {
	var ring KeyRing
	line := 0
	for raw := range bytes.Lines(text) {
		line++
		fields := strings.Fields(string(raw))
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		next, err := parseKey(fields)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if n := len(ring.keys); n > 0 && ring.keys[n-1].id >= next.id {
			return nil, fmt.Errorf("line %d: key numbers must ascend", line)
		}
		ring.keys = append(ring.keys, next)
	}
	if len(ring.keys) == 0 {
		return nil, errors.New("it has no key")
	}
	return &ring, nil
}

func parseKey(fields []string) (key, error) {
	if len(fields) != 2 {
		return key{}, errors.New("must be a number and a key in base64")
	}
	id, err := strconv.ParseUint(fields[0], 10, 32)
	if err != nil || id == 0 {
		return key{}, errors.New("must begin with a positive number")
	}
	secret, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil || len(secret) != keyBytes {
		return key{}, fmt.Errorf("must hold %d bytes in base64", keyBytes)
	}
	return key{id: uint32(id), secret: secret}, nil
}

// Encode writes the ring as text, a line a key: its number and its bytes in base64, oldest first.
func (r *KeyRing) Encode() []byte {
	var b bytes.Buffer
	b.WriteString("# Parley server keys, oldest first. Whoever can read this file can forge page tokens and test secrets.\n")
	for _, k := range r.keys {
		fmt.Fprintf(&b, "%d %s\n", k.id, base64.StdEncoding.EncodeToString(k.secret))
	}
	return b.Bytes()
}

// Fingerprint identifies the ring's oldest key without revealing it: a store remembers it, and refuses another ring.
func (r *KeyRing) Fingerprint() []byte { return r.fingerprint(r.keys[0]) }

func (r *KeyRing) fingerprint(k key) []byte { return r.derive(k, "fingerprint")[:fingerprintBytes] }

// Newest identifies the ring's newest key without revealing it, by its number and its fingerprint: a store remembers the
// newest that it was opened with, and refuses a ring without that key.
func (r *KeyRing) Newest() []byte { return r.mark(r.keys[len(r.keys)-1]) }

func (r *KeyRing) mark(k key) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, markBytes), k.id), r.fingerprint(k)...)
}

// Follows refuses the ring for a store that was used with another one, unless this one verifies what the other made. The
// store remembers the other's Fingerprint and Newest; a newest that is nil was not remembered. What Newest is of a ring
// that follows is to be remembered from then on.
func (r *KeyRing) Follows(fingerprint, newest []byte) error {
	if !bytes.Equal(fingerprint, r.Fingerprint()) {
		return errors.New("the store was made with another server key: give that one, or begin with an empty store")
	}
	if newest == nil {
		return nil
	}
	if len(newest) != markBytes {
		return fmt.Errorf("what the store remembers of the newest server key has %d bytes, not %d", len(newest), markBytes)
	}
	id := binary.BigEndian.Uint32(newest)
	i := slices.IndexFunc(r.keys, func(k key) bool { return k.id == id })
	if i < 0 {
		return fmt.Errorf("the key ring lacks the key %d, which the store was used with: the ring is older than the data, "+
			"or the key was taken out of it; give the newest ring", id)
	}
	if !bytes.Equal(newest, r.mark(r.keys[i])) {
		return fmt.Errorf("the key ring has another key %d than the one that the store was used with: "+
			"the ring was rotated apart from that one; give the ring that the store was used with last", id)
	}
	return nil
}

// Rotate returns the ring with one more key, a fresh one, which makes everything from now on. What the other keys made
// stays good.
//
// The nodes of a server must change to the new ring together: one that does not have the newest key yet can neither open
// what it sealed nor hear the announcements of those who have it.
func (r *KeyRing) Rotate() (*KeyRing, error) {
	newest := r.keys[len(r.keys)-1].id
	if newest == math.MaxUint32 {
		return nil, errors.New("no number is left for another key")
	}
	return &KeyRing{keys: append(slices.Clip(r.keys), newKey(newest+1))}, nil
}

// derive makes a key for one purpose, so that no two purposes share one.
func (r *KeyRing) derive(k key, purpose string) []byte {
	mac := hmac.New(sha256.New, k.secret)
	mac.Write([]byte("parley " + purpose))
	return mac.Sum(nil)
}

// Derive returns the newest key's key for a purpose of another package's.
func (r *KeyRing) Derive(purpose string) []byte { return r.current(purpose) }

// current derives the newest key for a purpose.
func (r *KeyRing) current(purpose string) []byte { return r.derive(r.keys[len(r.keys)-1], purpose) }

// first derives the oldest key for a purpose: for hashes by which something is looked up, which must come out the same
// however many keys are added. The oldest key never leaves the ring, because the store knows the ring by it.
func (r *KeyRing) first(purpose string) []byte { return r.derive(r.keys[0], purpose) }

// all derives every key for a purpose, the newest first.
func (r *KeyRing) all(purpose string) [][]byte {
	derived := make([][]byte, 0, len(r.keys))
	for _, k := range slices.Backward(r.keys) {
		derived = append(derived, r.derive(k, purpose))
	}
	return derived
}

// seal hashes a session's secretKey with the newest key.
func (r *KeyRing) seal(uid UID, secretKey string) Secret {
	newest := r.keys[len(r.keys)-1]
	return Secret{KeyID: newest.id, Hash: hashSecret(newest.secret, uid, secretKey)}
}

// opens tells, in constant time, whether secretKey is the one that was sealed. Finding out that nothing was sealed, or
// with a key that is gone, takes as long.
func (r *KeyRing) opens(sealed Secret, uid UID, secretKey string) bool {
	by, known := r.keys[0], false
	for _, k := range r.keys {
		if k.id == sealed.KeyID {
			by, known = k, true
		}
	}
	return hmac.Equal(sealed.Hash, hashSecret(by.secret, uid, secretKey)) && known
}

func hashSecret(secret []byte, uid UID, secretKey string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write(uid[:])
	mac.Write([]byte{0})
	mac.Write([]byte(secretKey))
	return mac.Sum(nil)
}
