package session

import (
	"context"
	"fmt"
)

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

	// Get returns the session with the id, or nil if there is none; and the user's membership, or nil. An empty user
	// is nobody.
	Get(ctx context.Context, id, user string) (*Record, *Member, error)

	// List returns the sessions that the query asks for, in its order.
	List(ctx context.Context, q *Query) (*Page, error)

	// Log returns what is in a session's log after a sequence, in order: at most limit events, and no more after the
	// first that would make them larger than maxBytes, by Event.Size. SessionCreated is among them unless it is trimmed.
	Log(ctx context.Context, uid UID, after int64, limit, maxBytes int) (*Log, error)

	// Messages returns the messages that the query asks for, in its order.
	Messages(ctx context.Context, q *MessageQuery) (*MessagePage, error)

	// Message returns the session's message of the id, or nil if the log has none.
	Message(ctx context.Context, uid UID, id string) (*Event, error)

	// Members returns the members that the query asks for, in its order.
	Members(ctx context.Context, q *MemberQuery) (*MemberPage, error)
}

// Log is a part of a session's log, as one transaction sees it.
type Log struct {
	// Record is the session; nil: it has ended, or never was.
	Record *Record

	// Expired says that the session is past its deadline: the event that says so is the next one in its log, and is on its
	// way. To everybody else the session is gone.
	Expired bool

	// First is the sequence of the oldest event that is kept. Head.Sequence + 1 if none is.
	First int64

	// Events are those that were asked for. None of them is the one that ended the session: that is End.
	Events []*Event

	// End is the last event of a session that has ended; nil: it has not, or nothing is known of it any more.
	End *Event
}

// MessageQuery asks for one page of a session's messages.
type MessageQuery struct {
	UID        UID
	Descending bool
	After      int64 // the sequence where the page before stopped; 0: from the beginning
	Size       int   // at most this many, at least 1

	// Match tells whether a message is wanted; nil: each is. It must be quick and must not block.
	Match func(*Event) bool
}

// MessagePage is one page of messages.
type MessagePage struct {
	Events []*Event

	// Next is MessageQuery.After of the next page; 0: this was the last. As with Page, a page may be short and still
	// have a next.
	Next int64
}

// MemberQuery asks for one page of a session's members, in the order in which they joined.
type MemberQuery struct {
	UID        UID
	Descending bool
	After      Time // the JoinTime where the page before stopped; 0: from the beginning. No two members have the same
	Size       int

	Match func(*Member) bool // as in MessageQuery
}

// MemberPage is one page of members.
type MemberPage struct {
	Members []*Member
	Next    Time // as in MessagePage
}

// Write is one change to one session, decided on what the transaction sees.
type Write struct {
	// ID is the session that Decide is about. Empty: a new session, with an id that the server makes.
	ID string

	// Request, if not zero, is looked up and given to Decide as View.Earlier, and kept with the change.
	Request RequestKey

	// Users are those whose memberships Decide is to see, as View.Members.
	Users []string

	// Messages are ids of messages that Decide is to know of, as View.Messages.
	Messages []string

	// Ticket is the hash of a ticket that Decide is to see, as View.Ticket; nil: none.
	Ticket *CredentialHash

	// Creator, if not empty, is a user of whose sessions Decide is to know the number, as View.Created.
	Creator string

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

	// Rules are those of Current. A store may keep them for as long as the document stays the same.
	Rules *Rules

	// Earlier is what an earlier successful write with the same Request left; nil: there was none in the last 24 hours.
	Earlier *Earlier

	// Members are the memberships of Write.Users in Current, in the same order, and so many also if there is no
	// Current; nil: the user is no member.
	Members []*Member

	// Messages tells of each of Write.Messages whether Current's log has a message of this id.
	Messages []bool

	// Ticket is the one that Write.Ticket names; nil: there is none, or it has been forgotten since it expired.
	Ticket *Ticket

	// Created is how many sessions exist that Write.Creator has created. One that has expired may count until it is swept,
	// but not the one whose id the write has: a create takes its place.
	Created int
}

// Change is what a decision wants done. The zero Change is to do nothing, successfully.
type Change struct {
	Kind ChangeKind

	// Record is the session as it shall be, for Create, Update and Append: with its Head. Append changes nothing of it
	// but the Head and the ExpireTime.
	Record *Record

	// Join is a membership to add, or to put in the place of the user's earlier one; nil: none. Leave are users whose
	// memberships end.
	Join  *Member
	Leave []string

	// Events are what happened, in order, for Append and Update; one of a kind that Ends, for End. Those with a
	// Sequence follow the log's head without a hole and are stored; those without are ephemeral. All of them are
	// announced once the write is durable.
	Events []*Event

	// Ticket is to be kept, in the place of an earlier state of it; nil: none. It may come with any Kind, Nothing too.
	// A ticket may be forgotten once it has expired.
	Ticket *Ticket

	// Before and After are the users to find the session by, as Principals has them: After for a Create, both for an
	// Update. For an Append, Before are those by whom the session is no longer to be found, After those by whom it is
	// from now on. A member finds the session whatever an Update says.
	Before, After []string

	// Digest is kept with the write's Request. A Change of kind Nothing is kept, too, if it has one: it says that the
	// request was done, and that there was nothing to do.
	Digest Digest
}

// CheckEvents is an error unless the events of an Append or an Update follow the log's head without a hole: engines ask
// before they store them.
func (c *Change) CheckEvents(current *Record) error {
	if c.Record.UID != current.UID || c.Record.ID != current.ID {
		return fmt.Errorf("it puts %v in the place of %v", c.Record.UID, current.UID)
	}
	last := current.Head.Sequence
	for _, ev := range c.Events {
		if ev.Sequence == 0 {
			continue
		}
		if last++; ev.Sequence != last || ev.UID != current.UID {
			return fmt.Errorf("the event %d of %v stands where %d of %v is to be", ev.Sequence, ev.UID, last, current.UID)
		}
	}
	if c.Record.Head.Sequence != last {
		return fmt.Errorf("the head is %d, and the last event %d", c.Record.Head.Sequence, last)
	}
	return nil
}

// ChangeKind says what a Change does.
type ChangeKind uint8

// The kinds of change.
const (
	Nothing ChangeKind = iota
	Create             // a new session: Record
	Update             // another version of View.Current: Record
	Append             // View.Current goes on: Events, memberships, Record's Head and ExpireTime
	End                // View.Current is no more; its id is free at once
)

// RequestKey is the scope and the requestId of a write (AIP-155), as a keyed hash. The zero key means none.
type RequestKey [16]byte

// Digest is a keyed hash of a parsed request.
type Digest [16]byte

// Earlier is what is kept of a successful write that had a requestId.
type Earlier struct {
	UID      UID // of the session that the write made or changed
	Digest   Digest
	Time     Time  // of the write
	Sequence int64 // of the last event that it stored; 0: none
}

// EveryUser is the principal under which PUBLIC sessions are found.
const EveryUser = ""
