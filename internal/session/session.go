// Package session is what Parley is about: sessions, the rules that hold for them, and who may do what.
//
// Every protocol calls Service, and every engine implements Store, so that rules and rights stand here once. The
// package knows nothing of HTTP, gRPC or SQL.
package session

import (
	"strconv"
	"sync/atomic"

	"github.com/parleyhq/parley/internal/fault"
)

// Type says who may find and join a session.
type Type int32

// The types, with the numbers of the API.
const (
	TypeUnspecified Type = 0
	Public          Type = 1 // anyone authenticated may see and join it
	Private         Type = 2 // only who is allowed may know of it
	Temporary       Type = 3 // as Private, and it ends by itself
)

// Limits of a session's fields. Bytes are bytes of UTF-8; characters are Unicode code points.
const (
	MaxProfileBytes          = 255
	MaxDisplayNameCharacters = 255
	MaxDescriptionCharacters = 4096
	MaxOwners                = 100
	MaxUsers                 = 1000 // allowedUsers, blockedUsers: each
	MaxUserBytes             = 128
	MaxChannels              = 64
	MaxLabels                = 64
	MaxLabelKeyBytes         = 63
	MaxLabelValueBytes       = 255
	MaxOptionsBytes          = 64 << 10 // as compact JSON
	MaxOptionsDepth          = 100
	MinSecretKeyBytes        = 8
	MaxSecretKeyBytes        = 256
)

// Spec is what clients say of a session.
type Spec struct {
	Profile         string
	DisplayName     string
	Type            Type
	Owners          []string
	DefaultChannels []int32
	Description     string
	AllowedUsers    []string
	BlockedUsers    []string
	Labels          map[string]string

	// Options is the compact JSON of an object, as CompactOptions makes it; nil: the session has none.
	Options []byte
}

// Draft is a session as a request brings it: not yet checked.
type Draft struct {
	Spec

	Name      string // "sessions/{session}", or empty
	ETag      string
	SecretKey string
	Given     Fields // the mutable fields that the request named, even if empty
}

// Fields is a set of the fields that a client may change.
type Fields uint16

// The mutable fields.
const (
	FieldProfile Fields = 1 << iota
	FieldDisplayName
	FieldType
	FieldOwners
	FieldDefaultChannels
	FieldDescription
	FieldAllowedUsers
	FieldBlockedUsers
	FieldOptions
	FieldLabels
	FieldSecretKey

	// AllFields is what the mask "*" stands for: every mutable field but the secret key.
	AllFields = FieldSecretKey - 1
)

// Has tells whether every field of other is in f.
func (f Fields) Has(other Fields) bool { return f&other == other }

// Record is a session as a store keeps it: the columns that rules and readers need, and the Spec as one document that
// is encoded once, when it is written, and answered as it stands. A Record that was handed out is never changed.
type Record struct {
	UID         UID
	ID          string
	Type        Type   // as in the document
	DisplayName string // likewise
	Creator     string
	CreateTime  Time
	UpdateTime  Time // equal to CreateTime until the first update
	ExpireTime  Time // 0: never
	Secret      Secret
	Document    []byte // the Spec's JSON, by Spec.AppendJSON
	Head        Head
}

// Head is what joins and publishes move, without touching the session itself.
type Head struct {
	Sequence        int64 // of the last event; session.created is 1
	Members         int32
	LastMessageTime Time // 0: none yet
}

// Rules are what a session's document says, decoded. They are never changed.
type Rules struct {
	Spec     *Spec
	Settings Settings
}

// Rules decodes the record's document.
func (r *Record) Rules() (*Rules, error) {
	spec, err := r.Spec()
	if err != nil {
		return nil, err
	}
	var ignored fault.Violations // it was checked when it was written
	return &Rules{Spec: spec, Settings: ParseSettings(spec.Options, &ignored)}, nil
}

// Secret is the keyed hash of a secretKey; the zero Secret means that there is none.
type Secret struct {
	KeyID uint32 // which key of the ring made Hash
	Hash  []byte // HMAC-SHA-256(key, uid || 0 || secretKey)
}

// Exists tells whether there is a secret.
func (s Secret) Exists() bool { return len(s.Hash) > 0 }

// Expired tells whether the session's deadline has passed.
func (r *Record) Expired(now Time) bool { return r.ExpireTime != 0 && r.ExpireTime <= now }

// ETag identifies this version of this session: it differs after each update, and from every other session's.
func (r *Record) ETag() string { return string(r.appendETag(make([]byte, 0, 32))) }

func (r *Record) appendETag(b []byte) []byte {
	b = strconv.AppendUint(b, r.UID.random()&(1<<32-1), 36)
	b = append(b, '-')
	return strconv.AppendInt(b, int64(r.UpdateTime), 36)
}

// NamePrefix begins the resource name of every session.
const NamePrefix = "sessions/"

// Name is the session's resource name.
func (r *Record) Name() string { return NamePrefix + r.ID }

// Clock tells the time.
type Clock func() Time

// Ascending returns a clock that follows now, and that gives out each time once, later than the one before, also when
// several goroutines ask and when now steps back.
func Ascending(now Clock) Clock {
	var last atomic.Int64
	return func() Time {
		for {
			before := last.Load()
			next := max(int64(now()), before+1)
			if last.CompareAndSwap(before, next) {
				return Time(next)
			}
		}
	}
}
