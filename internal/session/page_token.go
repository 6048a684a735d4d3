package session

import (
	"crypto/hmac"
	"crypto/sha256"
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

// pageTokens makes and reads page tokens: a position and a MAC over it and over the list that it belongs to, so that a
// token is good for that list alone, and nobody else can make one.
type pageTokens struct{ key []byte }

func newPageTokens(key []byte) *pageTokens { return &pageTokens{key: key} }

// tokenBinding is the list that a token belongs to.
type tokenBinding struct {
	filter string // Filter.Canonical
	order  Order
	caller Caller
}

const (
	tokenMACBytes = 16
	tokenFixed    = tokenMACBytes + len(UID{}) + 8
	maxTokenBytes = tokenFixed + 4*MaxDisplayNameCharacters
)

// encode makes the token of a position in the list.
func (t *pageTokens) encode(p *Position, b tokenBinding) string {
	body := append(make([]byte, 0, tokenFixed+len(p.DisplayName)), p.UID[:]...)
	body = binary.BigEndian.AppendUint64(body, uint64(p.UpdateTime))
	body = append(body, p.DisplayName...)
	return base64.RawURLEncoding.EncodeToString(append(t.mac(body, b), body...))
}

// decode reads a token, which has to be the list's own. Its fault is InvalidArgument at pageToken.
func (t *pageTokens) decode(token string, b tokenBinding) (*Position, error) {
	invalid := fault.Invalid("pageToken", "must be the nextPageToken of a list with the same filter, orderBy and caller")
	// The decoder would skip line ends: a token is to be read in one spelling only.
	if len(token) > base64.RawURLEncoding.EncodedLen(maxTokenBytes) || strings.ContainsAny(token, "\r\n") {
		return nil, invalid
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) < tokenFixed {
		return nil, invalid
	}
	mac, body := raw[:tokenMACBytes], raw[tokenMACBytes:]
	if !hmac.Equal(mac, t.mac(body, b)) {
		return nil, invalid
	}
	uid, rest := body[:len(UID{})], body[len(UID{}):]
	return &Position{
		UID:         UID(uid),
		UpdateTime:  Time(binary.BigEndian.Uint64(rest)),
		DisplayName: string(rest[8:]),
	}, nil
}

func (t *pageTokens) mac(body []byte, b tokenBinding) []byte {
	admin, descending := byte(0), byte(0)
	if b.caller.Admin {
		admin = 1
	}
	if b.order.Descending {
		descending = 1
	}
	mac := hmac.New(sha256.New, t.key)
	mac.Write([]byte{admin, descending, byte(b.order.By)})
	for _, part := range [][]byte{[]byte(b.filter), []byte(b.caller.User), body} {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		mac.Write(part)
	}
	return mac.Sum(nil)[:tokenMACBytes]
}
