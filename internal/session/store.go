package session

import "context"

// Store keeps sessions. Engines implement it; Service is its one user.
//
// Concurrency: every method may be called by any number of goroutines. Durability: when Write returns nil, the change
// is on disk and will be found by every later call and after any crash; when it returns a fault of a kind other than
// Unavailable, nothing was changed. An Unavailable fault says in its message whether nothing was done or the outcome is
// unknown. Times of reads are the store's: a session past its ExpireTime is not found by any method.
type Store interface {
	// Write runs one decision in a transaction that it may share with others, and makes its change durable. Decisions
	// on one session run in the order of arrival. The context counts only until the write has begun.
	Write(ctx context.Context, w *Write) error

	// Get returns the session with the id, or nil if there is none.
	Get(ctx context.Context, id string) (*Record, error)

	// List returns the sessions that the query asks for, in its order.
	List(ctx context.Context, q *Query) (*Page, error)
}

// Write is one change to one session, decided on what the transaction sees.
type Write struct {
	// ID is the session that Decide is about. Empty: a new session, with an id that the server makes.
	ID string

	// Request, if not zero, is looked up and given to Decide as View.Earlier, and kept with the change.
	Request RequestKey

	// Size is about how many bytes the write holds while it waits: the queue is bounded by their sum.
	Size int

	// Decide is given the present state, and returns what is to be changed; or an error, which Write returns, and then
	// nothing is changed. It runs inside the transaction and may run more than once (after a failed group), each time
	// on a fresh View: it must be quick, must not block, and must not do anything but decide.
	Decide func(v *View) (Change, error)
}

// View is what a transaction sees, for one decision.
type View struct {
	// Now is the time of the write. No two writes of a store have the same; later writes have later times.
	Now Time

	// Current is the session with the write's id; nil: there is none. If Earlier names a session, then Current is that
	// one, whatever id it has, or nil if it has ended.
	Current *Record

	// Earlier is what an earlier successful write with the same Request left; nil: there was none in the last 24 hours.
	Earlier *Earlier
}

// Change is what a decision wants done. The zero Change is to do nothing, successfully.
type Change struct {
	Kind ChangeKind

	// Record is the session as it shall be, for Create and Update.
	Record *Record

	// Before and After are the users to find the session by, as Principals has them: After for a Create, both for an
	// Update.
	Before, After []string

	// Digest is kept with the write's Request.
	Digest Digest
}

// ChangeKind says what a Change does.
type ChangeKind uint8

// The kinds of change.
const (
	Nothing ChangeKind = iota
	Create             // a new session: Record
	Update             // another version of View.Current: Record
	End                // View.Current is no more; its id is free at once
)

// RequestKey is the scope and the requestId of a write (AIP-155), as a keyed hash. The zero key means none.
type RequestKey [16]byte

// Digest is a keyed hash of a parsed request.
type Digest [16]byte

// Earlier is what is kept of a successful write that had a requestId.
type Earlier struct {
	UID    UID // of the session that the write made or changed
	Digest Digest
}

// EveryUser is the principal under which PUBLIC sessions are found.
const EveryUser = ""
