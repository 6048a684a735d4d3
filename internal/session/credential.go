package session

import (
	"context"
	"fmt"
)

// Role is what an API key, or a token, may do besides what everyone may.
type Role string

// The roles.
const (
	RoleService Role = "service" // act as any user, with that user's rights
	RoleAdmin   Role = "admin"   // do everything
)

// HashBytes is the length of the hashes under which API keys and tickets are kept.
const HashBytes = 32

// CredentialHash is a hash of an API key or a ticket. Both are 256 random bits, so that nothing slower than SHA-256 is
// needed: what cannot be guessed cannot be found by trying.
type CredentialHash [HashBytes]byte

// APIKey is a backend's credential. Of the key itself only the hash is kept.
type APIKey struct {
	ID         string // short and public: what revoking and logs name it by
	Name       string // what its maker calls it, and the user that it acts as unless it names another; unique
	Role       Role
	Hash       CredentialHash
	CreateTime Time
	RevokeTime Time // 0: it is good
}

// APIKeys keeps API keys. Keys are few: all of them are read at once.
type APIKeys interface {
	// APIKeys returns all keys, also those that were revoked, in the order in which they were made.
	APIKeys(ctx context.Context) ([]APIKey, error)
}

// FindAPIKey returns the key of the id, else that of the name; nil if there is none.
func FindAPIKey(keys []APIKey, idOrName string) (found *APIKey) {
	for i := range keys {
		if key := &keys[i]; key.ID == idOrName || key.Name == idOrName && found == nil {
			found = key
		}
	}
	return found
}

// CheckNewAPIKey refuses a key whose name is the name or the id of another.
func CheckNewAPIKey(keys []APIKey, key *APIKey) error {
	switch taken := FindAPIKey(keys, key.Name); {
	case taken == nil:
		return nil
	case taken.RevokeTime != 0:
		return fmt.Errorf("the name %q is that of the key %s, which was revoked: choose another", key.Name, taken.ID)
	default:
		return fmt.Errorf("the name %q is that of the key %s: choose another", key.Name, taken.ID)
	}
}

// RevokedAPIKey is the key of an id or name as it is when it is revoked as of a time. One that was revoked before stays as
// it is.
func RevokedAPIKey(keys []APIKey, idOrName string, at Time) (APIKey, error) {
	found := FindAPIKey(keys, idOrName)
	if found == nil {
		return APIKey{}, fmt.Errorf("no key has the id or name %q", idOrName)
	}
	revoked := *found
	if revoked.RevokeTime == 0 {
		revoked.RevokeTime = at
	}
	return revoked, nil
}

// Ticket is a credential for one stream of one session, as one caller. Of the ticket itself only the hash is kept.
type Ticket struct {
	Hash   CredentialHash
	UID    UID // of the session
	Caller Caller
	Expire Time // until when it can be used
	Used   bool
}
