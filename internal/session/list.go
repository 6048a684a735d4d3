package session

// Order is what a list is sorted by. Sessions that are equal in it are in the order of their creation.
type Order struct {
	By         OrderField
	Descending bool
}

// OrderField is a field that lists can be sorted by.
type OrderField uint8

// The fields.
const (
	ByCreateTime OrderField = iota
	ByUpdateTime
	ByDisplayName
)

// Query asks for one page of sessions.
type Query struct {
	// VisibleTo restricts the list to the sessions that this user may see: PUBLIC ones, and those that have the user
	// among their owners or allowedUsers. All: the list is not restricted.
	VisibleTo string
	All       bool

	// Own leaves out those that VisibleTo may see only because everybody may. It is for lists by createTime, without All.
	Own bool

	Filter *Filter // nil: everything
	Order  Order
	After  *Position // nil: from the beginning
	Size   int       // at most this many, at least 1
}

// Position is a place in a list: that of the last session which was looked at.
type Position struct {
	UID         UID
	UpdateTime  Time   // for ByUpdateTime
	DisplayName string // for ByDisplayName
}

// Page is one page of a list.
type Page struct {
	Records []*Record

	// Next is where the next page begins; nil: this was the last. A page may have fewer records than were asked for,
	// even none, and still have a next: one call looks at a bounded number of sessions (AIP-158).
	Next *Position
}
