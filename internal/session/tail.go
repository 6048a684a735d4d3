package session

import "context"

// Tail holds the recent events of the sessions that someone watches. Package tail implements it; Service is its one
// user.
type Tail interface {
	// Watch begins to watch a session on behalf of a user. Every event that is committed from now on is in the tail.
	// Wake is called, on some goroutine, after Next returned Idle and there is something new; it may call Next and
	// Close, and must not block. It may, rarely, be called once too often.
	Watch(uid UID, user string, wake func()) (Watch, error)

	// Head says that a session's log has come to a sequence, so that a new tail need not look for it.
	Head(uid UID, sequence int64)

	// Online tells whether the user watches the session, on any node.
	Online(uid UID, user string) bool
}

// Watch is one watcher's hold on a session's tail. Its methods are for one goroutine at a time, except Close.
type Watch interface {
	// Next appends to the events those that come after the position, near the head, and moves the position past them:
	// as many as fit into maxBytes by Event.Size, at least one if there is one. It does not block.
	Next(events []*Event, position *Place, maxBytes int) ([]*Event, Progress)

	// Load reads from the log what comes after the position, which the tail is said to lie behind. It blocks. The part
	// may be shared with other watchers and cached, so it may end before the present head.
	Load(ctx context.Context, after int64) (*Log, error)

	// Close ends the watch. A call of wake that was under way may still begin; Next then returns Idle.
	Close()
}

// Progress says what a watcher is to do after Next.
type Progress uint8

// What a watcher is to do.
const (
	Idle     Progress = iota // wait until it is woken
	More                     // call Next again: there may be more
	Behind                   // call Load: the tail does not reach back to the position
	Draining                 // leave: the node is shutting down
)

// Place is how far a watcher has come: a number, never a hold on the tail. Ephemeral is of one watch; another one, also
// of the same session, begins with 0.
type Place struct {
	Sequence  int64  // of the last event of the log that it has
	Ephemeral uint64 // of the last ephemeral event, by the tail's own count
}
