package session

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"strings"

	"github.com/parleyhq/parley/internal/fault"
)

// The sizes of lists.
const (
	defaultPageSize = 50
	maxPageSize     = 1000
)

// pageSize is how many items a page may have, for what was asked; a negative number is a violation.
func pageSize(asked int32, v *fault.Violations) int {
	switch {
	case asked < 0:
		v.Addf("pageSize", "must not be negative")
		return 1
	case asked == 0:
		return defaultPageSize
	default:
		return int(min(asked, maxPageSize))
	}
}

// pageTokens makes and reads page tokens. A token is a position, sealed: it is good only for the list that it was made
// for, nobody else can make one, and nobody can read it. The last is needed because a position may be that of a session
// which its reader may not know of.
type pageTokens struct{ aead cipher.AEAD }

// newPageTokens takes a key of 32 bytes.
func newPageTokens(key []byte) *pageTokens {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the key's length is a constant of ours
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return &pageTokens{aead: aead}
}

// tokenBinding is the list that a token belongs to.
type tokenBinding struct {
	filter string // Filter.Canonical
	order  Order
	caller Caller
}

// append writes the binding so that no two lists have the same.
func (b tokenBinding) append(to []byte) []byte {
	admin, descending := byte(0), byte(0)
	if b.caller.Admin {
		admin = 1
	}
	if b.order.Descending {
		descending = 1
	}
	to = append(to, admin, descending, byte(b.order.By))
	to = binary.BigEndian.AppendUint64(to, uint64(len(b.caller.User)))
	to = append(to, b.caller.User...)
	return append(to, b.filter...)
}

const (
	tokenFixed    = len(UID{}) + 8 // and then the display name
	maxTokenBytes = tokenFixed + 4*MaxDisplayNameCharacters + 64
)

// encode makes the token of a position in the list.
func (t *pageTokens) encode(p *Position, b tokenBinding) string {
	body := append(make([]byte, 0, tokenFixed+len(p.DisplayName)), p.UID[:]...)
	body = binary.BigEndian.AppendUint64(body, uint64(p.UpdateTime))
	body = append(body, p.DisplayName...)
	return base64.RawURLEncoding.EncodeToString(t.aead.Seal(nil, nil, body, b.append(nil))) //nolint:gosec // the AEAD makes the nonce itself
}

// decode reads a token, which has to be the list's own. Its fault is InvalidArgument at pageToken.
func (t *pageTokens) decode(token string, b tokenBinding) (*Position, error) {
	invalid := fault.Invalid("pageToken", "must be the nextPageToken of a list with the same filter, orderBy and caller")
	// The decoder would skip line ends: a token is to be read in one spelling only.
	if len(token) > base64.RawURLEncoding.EncodedLen(maxTokenBytes) || strings.ContainsAny(token, "\r\n") {
		return nil, invalid
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return nil, invalid
	}
	body, err := t.aead.Open(nil, nil, sealed, b.append(nil))
	if err != nil || len(body) < tokenFixed {
		return nil, invalid
	}
	uid, rest := body[:len(UID{})], body[len(UID{}):]
	return &Position{
		UID:         UID(uid),
		UpdateTime:  Time(binary.BigEndian.Uint64(rest)),
		DisplayName: string(rest[8:]),
	}, nil
}
