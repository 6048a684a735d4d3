// Package transfer moves all that one store has into another, whichever engines keep them: a Source gives rows that know
// nothing of an engine, and a Target takes them.
//
// What belongs to sessions that have ended is left behind, but for their last events: a store purges it anyway. So are
// tickets and the counts of wrong secretKeys, which live for seconds, and what a target can work out by itself.
package transfer

import (
	"context"
	"fmt"

	"github.com/parleyhq/parley/internal/session"
)

// Source is a store as it stands at one moment. It is read once, by one goroutine.
type Source interface {
	// Totals is how much Read is going to give.
	Totals(ctx context.Context) (Counts, error)

	// Settings is what the store as a whole has.
	Settings(ctx context.Context) (Settings, error)

	// Read gives all rows, a bounded part of them at a time: the sessions by their uids; after each one, perhaps in a later
	// batch, its events by their sequences and its members; and everything else in any order but that of API keys. A batch
	// is the source's again when give returns.
	Read(ctx context.Context, give func(*Batch) error) error

	// Unchanged is an error if the store was written to since the moment of which it was read.
	Unchanged(ctx context.Context) error

	// Close lets go of the store.
	Close() error
}

// Target is a store that is made. It is empty when it is opened. Nobody sees anything of it before Commit has returned nil,
// and if it is closed before then nothing of it is left.
type Target interface {
	// Write adds rows, in the order in which a Source gives them.
	Write(ctx context.Context, b *Batch) error

	// Count is how many rows the target has.
	Count(ctx context.Context) (Counts, error)

	// Commit makes the target a store that can be opened. It is on the disk when Commit returns nil.
	Commit(ctx context.Context, s Settings) error

	// Close lets go of the target.
	Close() error
}

// Settings is what a store as a whole has.
type Settings struct {
	Oldest []byte       // the Fingerprint of the key ring that it was used with; nil: it was never used
	Newest []byte       // and the ring's Newest; nil: it is not known
	Ring   []byte       // the key ring's text, in a database that keeps it; nil: it is kept elsewhere
	Latest session.Time // no time that was given out is later
}

// Session is a session with what stores know of its log.
type Session struct {
	*session.Record

	Latest session.Time // not before the time of anything that happened in it
	First  int64        // the sequence of the oldest event that is kept; the head's and 1: none is
	TrimAt session.Time // when the log is to be trimmed; 0: never
}

// Member is a member of a session.
type Member struct {
	*session.Member

	UID session.UID
}

// Request is what a successful write left under its requestId.
type Request struct {
	session.Earlier

	Key session.RequestKey
}

// Counts are numbers of rows.
type Counts struct {
	Sessions, Events, Members, Ended, Requests, APIKeys int64
}

// Batch is a part of a store's rows.
type Batch struct {
	Sessions []*Session
	Events   []*session.Event
	Members  []Member
	Ended    []*session.Event // the last events of sessions that have ended
	Requests []Request
	APIKeys  []session.APIKey
}

// Counts is how many rows the batch has.
func (b *Batch) Counts() Counts {
	return Counts{
		Sessions: int64(len(b.Sessions)), Events: int64(len(b.Events)), Members: int64(len(b.Members)),
		Ended: int64(len(b.Ended)), Requests: int64(len(b.Requests)), APIKeys: int64(len(b.APIKeys)),
	}
}

// Rows is how many rows there are of all kinds.
func (c Counts) Rows() int64 {
	return c.Sessions + c.Events + c.Members + c.Ended + c.Requests + c.APIKeys
}

func (c Counts) plus(o Counts) Counts {
	return Counts{
		Sessions: c.Sessions + o.Sessions, Events: c.Events + o.Events, Members: c.Members + o.Members,
		Ended: c.Ended + o.Ended, Requests: c.Requests + o.Requests, APIKeys: c.APIKeys + o.APIKeys,
	}
}

// Bounds of a batch: it is given when it has so many rows, or about so many bytes.
const (
	batchRows  = 2000
	batchBytes = 4 << 20
)

// Batcher gathers rows into batches, for a Source.
type Batcher struct {
	give  func(*Batch) error
	batch Batch
	rows  int
	bytes int
}

// NewBatcher returns a Batcher that hands its batches to give.
func NewBatcher(give func(*Batch) error) *Batcher { return &Batcher{give: give} }

// rowBytes is about what a row holds besides its texts.
const rowBytes = 256

// Session adds a session.
func (b *Batcher) Session(s *Session) error {
	b.batch.Sessions = append(b.batch.Sessions, s)
	return b.added(len(s.Document))
}

// Event adds an event.
func (b *Batcher) Event(ev *session.Event) error {
	b.batch.Events = append(b.batch.Events, ev)
	return b.added(len(ev.Document))
}

// Member adds a member.
func (b *Batcher) Member(m Member) error {
	b.batch.Members = append(b.batch.Members, m)
	return b.added(0)
}

// Ended adds the last event of a session.
func (b *Batcher) Ended(ev *session.Event) error {
	b.batch.Ended = append(b.batch.Ended, ev)
	return b.added(0)
}

// Request adds what is known of a request.
func (b *Batcher) Request(r Request) error {
	b.batch.Requests = append(b.batch.Requests, r)
	return b.added(0)
}

// APIKey adds an API key.
func (b *Batcher) APIKey(k session.APIKey) error {
	b.batch.APIKeys = append(b.batch.APIKeys, k)
	return b.added(0)
}

func (b *Batcher) added(bytes int) error {
	b.rows++
	b.bytes += rowBytes + bytes
	if b.rows < batchRows && b.bytes < batchBytes {
		return nil
	}
	return b.Flush()
}

// Flush gives what is left.
func (b *Batcher) Flush() error {
	if b.rows == 0 {
		return nil
	}
	err := b.give(&b.batch)
	clear(b.batch.Sessions)
	clear(b.batch.Events)
	clear(b.batch.Members)
	clear(b.batch.Ended)
	b.batch = Batch{
		Sessions: b.batch.Sessions[:0], Events: b.batch.Events[:0], Members: b.batch.Members[:0],
		Ended: b.batch.Ended[:0], Requests: b.batch.Requests[:0], APIKeys: b.batch.APIKeys[:0],
	}
	b.rows, b.bytes = 0, 0
	return err
}

// Plan is a copy that is to be made.
type Plan struct {
	From Source
	To   Target

	// Check, if not nil, sees the source's settings, and may change them, before anything is moved.
	Check func(*Settings) error

	// Ready, if not nil, is called when all is moved and verified, right before the target becomes a store.
	Ready func() error

	// Moved, if not nil, is told how much there is, and how much was moved so far.
	Moved func(total, moved Counts)
}

// Run moves everything, and returns how much that was. After an error the target is to be closed, and is then as it was
// before.
func (p *Plan) Run(ctx context.Context) (Counts, error) {
	settings, err := p.From.Settings(ctx)
	if err != nil {
		return Counts{}, err
	}
	if p.Check != nil {
		if err := p.Check(&settings); err != nil {
			return Counts{}, err
		}
	}
	total, err := p.From.Totals(ctx)
	if err != nil {
		return Counts{}, err
	}
	p.tell(total, Counts{})
	var moved Counts
	err = p.From.Read(ctx, func(b *Batch) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := p.To.Write(ctx, b); err != nil {
			return err
		}
		moved = moved.plus(b.Counts())
		p.tell(total, moved)
		return nil
	})
	if err != nil {
		return Counts{}, err
	}
	if err := p.verify(ctx, total, moved); err != nil {
		return Counts{}, err
	}
	if p.Ready != nil {
		if err := p.Ready(); err != nil {
			return Counts{}, err
		}
	}
	return moved, p.To.Commit(ctx, settings)
}

func (p *Plan) tell(total, moved Counts) {
	if p.Moved != nil {
		p.Moved(total, moved)
	}
}

// verify refuses a copy that lacks something.
func (p *Plan) verify(ctx context.Context, total, moved Counts) error {
	if total != moved {
		return fmt.Errorf("the source has %+v, and %+v were read: is it damaged?", total, moved)
	}
	stored, err := p.To.Count(ctx)
	if err != nil {
		return err
	}
	if stored != moved {
		return fmt.Errorf("%+v were read, and the target has %+v", moved, stored)
	}
	if err := p.From.Unchanged(ctx); err != nil {
		return fmt.Errorf("nothing was copied: %w", err)
	}
	return nil
}
