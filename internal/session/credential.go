package session

import "context"

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

// Ticket is a credential for one stream of one session, as one caller. Of the ticket itself only the hash is kept.
type Ticket struct {
	Hash   CredentialHash
	UID    UID // of the session
	Caller Caller
	Expire Time // until when it can be used
	Used   bool
}
