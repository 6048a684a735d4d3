package session

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
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

// keyBytes is the length of a server key.
const keyBytes = 32

// NewKeyRing returns a ring of one fresh random key.
func NewKeyRing() *KeyRing {
	secret := make([]byte, keyBytes)
	rand.Read(secret) // never fails: the runtime ends the process instead
	return &KeyRing{keys: []key{{id: 1, secret: secret}}}
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
func (r *KeyRing) Fingerprint() []byte { return r.derive(r.keys[0], "fingerprint")[:16] }

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

// seal hashes a session's secretKey with the newest key.
func (r *KeyRing) seal(uid UID, secretKey string) Secret {
	newest := r.keys[len(r.keys)-1]
	return Secret{KeyID: newest.id, Hash: hashSecret(newest.secret, uid, secretKey)}
}

// opens tells, in constant time, whether secretKey is the one that was sealed.
func (r *KeyRing) opens(sealed Secret, uid UID, secretKey string) bool {
	for _, k := range r.keys {
		if k.id == sealed.KeyID {
			return hmac.Equal(sealed.Hash, hashSecret(k.secret, uid, secretKey))
		}
	}
	return false
}

func hashSecret(secret []byte, uid UID, secretKey string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write(uid[:])
	mac.Write([]byte{0})
	mac.Write([]byte(secretKey))
	return mac.Sum(nil)
}
