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
type pageTokens struct{ aeads []cipher.AEAD }

// newPageTokens takes keys of 32 bytes: the first makes tokens, each reads those that it made.
func newPageTokens(keys ...[]byte) *pageTokens {
	tokens := new(pageTokens)
	for _, key := range keys {
		tokens.aeads = append(tokens.aeads, newAEAD(key))
	}
	return tokens
}

func newAEAD(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the key's length is a constant of ours
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// tokenBinding is the list that a token belongs to.
type tokenBinding struct {
	kind    listKind
	session UID    // whose messages or members are listed
	filter  string // Filter.Canonical
	order   Order
	caller  Caller
}

// listKind says what is listed.
type listKind byte

const (
	listSessions listKind = iota
	listMessages
	listMembers
)

// append writes the binding so that no two lists have the same.
func (b tokenBinding) append(to []byte) []byte {
	admin, descending := byte(0), byte(0)
	if b.caller.Admin {
		admin = 1
	}
	if b.order.Descending {
		descending = 1
	}
	to = append(to, byte(b.kind), admin, descending, byte(b.order.By))
	to = append(to, b.session[:]...)
	to = binary.BigEndian.AppendUint64(to, uint64(len(b.caller.User)))
	to = append(to, b.caller.User...)
	return append(to, b.filter...)
}

const (
	tokenFixed    = len(UID{}) + 8 // and then the display name
	maxTokenBytes = tokenFixed + 4*MaxDisplayNameCharacters + 64
)

// encode makes the token of a position in a list of sessions.
func (t *pageTokens) encode(p *Position, b tokenBinding) string {
	body := append(make([]byte, 0, tokenFixed+len(p.DisplayName)), p.UID[:]...)
	body = binary.BigEndian.AppendUint64(body, uint64(p.UpdateTime))
	body = append(body, p.DisplayName...)
	return t.seal(body, b)
}

// decode reads a token, which has to be the list's own. Its fault is InvalidArgument at pageToken.
func (t *pageTokens) decode(token string, b tokenBinding) (*Position, error) {
	body, err := t.open(token, b)
	if err != nil || len(body) < tokenFixed {
		return nil, invalidToken()
	}
	uid, rest := body[:len(UID{})], body[len(UID{}):]
	return &Position{
		UID:         UID(uid),
		UpdateTime:  Time(binary.BigEndian.Uint64(rest)),
		DisplayName: string(rest[8:]),
	}, nil
}

// encodeAfter makes the token of a position in a list of what one session has: a sequence or a time. That of 0, the
// end, is empty.
func (t *pageTokens) encodeAfter(after int64, b tokenBinding) string {
	if after == 0 {
		return ""
	}
	return t.seal(binary.BigEndian.AppendUint64(nil, uint64(after)), b)
}

// decodeAfter reads a token of encodeAfter, as decode does. The empty one is the beginning: 0.
func (t *pageTokens) decodeAfter(token string, b tokenBinding) (int64, error) {
	if token == "" {
		return 0, nil
	}
	body, err := t.open(token, b)
	if err != nil || len(body) != 8 {
		return 0, invalidToken()
	}
	return int64(binary.BigEndian.Uint64(body)), nil
}

func invalidToken() error {
	return fault.Invalid("pageToken", "must be the nextPageToken of a list with the same filter, orderBy and caller")
}

func (t *pageTokens) seal(body []byte, b tokenBinding) string {
	sealed := t.aeads[0].Seal(nil, nil, body, b.append(nil)) //nolint:gosec // the AEAD makes the nonce itself
	return base64.RawURLEncoding.EncodeToString(sealed)
}

// open is the body of a token that seal made for the same list.
func (t *pageTokens) open(token string, b tokenBinding) ([]byte, error) {
	// The decoder would skip line ends: a token is to be read in one spelling only.
	if len(token) > base64.RawURLEncoding.EncodedLen(maxTokenBytes) || strings.ContainsAny(token, "\r\n") {
		return nil, invalidToken()
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return nil, err
	}
	list := b.append(nil)
	for _, aead := range t.aeads {
		if body, err := aead.Open(nil, nil, sealed, list); err == nil {
			return body, nil
		}
	}
	return nil, invalidToken()
}
