package session

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
)

// memory is a store in memory: what decisions see, and what becomes of them. It lists nothing.
type memory struct {
	Store

	mu       sync.Mutex // guards the fields below
	now      Clock
	sessions map[string]*Record
	members  map[UID]map[string]*Member
	log      map[UID][]*Event
	requests map[RequestKey]Earlier
	tickets  map[CredentialHash]Ticket
	loading  func(ctx context.Context) error // is called by Log; nil: nothing is
}

func newMemory() *memory {
	return &memory{
		now:      Ascending(Now),
		sessions: map[string]*Record{},
		members:  map[UID]map[string]*Member{},
		log:      map[UID][]*Event{},
		requests: map[RequestKey]Earlier{},
		tickets:  map[CredentialHash]Ticket{},
	}
}

func (m *memory) Write(_ context.Context, w *Write) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.view(w)
	change, err := w.Decide(v)
	if err != nil {
		return err
	}
	m.apply(w, v, change)
	return nil
}

func (m *memory) view(w *Write) *View {
	v := &View{Now: m.now(), Current: m.sessions[w.ID], Members: make([]*Member, len(w.Users)), Messages: make([]bool, len(w.Messages))}
	if earlier, ok := m.requests[w.Request]; ok && w.Request != (RequestKey{}) {
		v.Earlier, v.Current = &earlier, m.ofUID(earlier.UID)
	}
	if w.Ticket != nil {
		if ticket, ok := m.tickets[*w.Ticket]; ok {
			v.Ticket = &ticket
		}
	}
	for _, record := range m.sessions {
		if w.Creator != "" && record.Creator == w.Creator {
			v.Created++
		}
	}
	if v.Current == nil {
		return v
	}
	v.Rules, _ = v.Current.Rules()
	for i, user := range w.Users {
		v.Members[i] = m.members[v.Current.UID][user]
	}
	return v
}

func (m *memory) ofUID(uid UID) *Record {
	for _, record := range m.sessions {
		if record.UID == uid {
			return record
		}
	}
	return nil
}

func (m *memory) apply(w *Write, v *View, c Change) {
	of := v.Current
	switch c.Kind {
	case Create:
		of = c.Record
		m.sessions[of.ID], m.members[of.UID] = of, map[string]*Member{}
	case Update, Append:
		m.sessions[of.ID] = c.Record
	case End:
		delete(m.sessions, of.ID)
	case Nothing:
	}
	if c.Join != nil {
		m.members[of.UID][c.Join.User] = c.Join
	}
	for _, user := range c.Leave {
		delete(m.members[of.UID], user)
	}
	if len(c.Events) > 0 {
		m.log[of.UID] = append(m.log[of.UID], c.Events...)
	}
	if c.Ticket != nil {
		m.tickets[c.Ticket.Hash] = *c.Ticket
	}
	if c.Digest != (Digest{}) && w.Request != (RequestKey{}) {
		m.requests[w.Request] = Earlier{UID: of.UID, Digest: c.Digest, Time: v.Now}
	}
}

func (m *memory) Get(_ context.Context, id, user string) (*Record, *Member, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	record := m.sessions[id]
	if record == nil {
		return nil, nil, nil
	}
	return record, m.members[record.UID][user], nil
}

func (m *memory) Log(ctx context.Context, uid UID, after int64, limit, _ int) (*Log, error) {
	if m.loading != nil {
		if err := m.loading(ctx); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	log := &Log{Record: m.ofUID(uid), First: 1}
	for _, event := range m.log[uid] {
		if event.Sequence > after && len(log.Events) < limit {
			log.Events = append(log.Events, event)
		}
	}
	return log, nil
}

func (m *memory) Messages(context.Context, *MessageQuery) (*MessagePage, error) {
	return new(MessagePage), nil
}

func (m *memory) Members(_ context.Context, q *MemberQuery) (*MemberPage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	members := slices.SortedFunc(maps.Values(m.members[q.UID]), func(a, b *Member) int { return cmp.Compare(a.User, b.User) })
	return &MemberPage{Members: members}, nil
}

// errUnread is what a watch says that was to be read from, although nothing is new.
var errUnread = errors.New("there is nothing to load")

// quiet is a tail in which nothing happens, and that counts who watches.
type quiet struct {
	mu    sync.Mutex // guards the fields below
	open  int
	wakes []func()
	load  func(ctx context.Context) (*Log, error) // what is behind the tail; nil: it is never behind
}

func (q *quiet) Watch(_ UID, _ string, wake func()) (Watch, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open++
	q.wakes = append(q.wakes, wake)
	return &quietWatch{tail: q}, nil
}

func (*quiet) Head(UID, int64) {}

func (*quiet) Online(UID, string) bool { return false }

func (q *quiet) watches() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.open
}

type quietWatch struct {
	tail *quiet
	once sync.Once
}

func (w *quietWatch) Next(events []*Event, _ *Place, _ int) ([]*Event, Progress) {
	if w.tail.load != nil {
		return events, Behind
	}
	return events, Idle
}

func (w *quietWatch) Load(ctx context.Context, _ int64) (*Log, error) {
	if w.tail.load == nil {
		return nil, errUnread
	}
	return w.tail.load(ctx)
}

func (w *quietWatch) Close() {
	w.once.Do(func() {
		w.tail.mu.Lock()
		defer w.tail.mu.Unlock()
		w.tail.open--
	})
}

// world is a service over a memory and a quiet tail.
type world struct {
	*Service

	store *memory
	tail  *quiet
	keys  *KeyRing
}

func newWorld() *world {
	w := &world{store: newMemory(), tail: new(quiet), keys: NewKeyRing()}
	w.Service = NewService(w.store, w.tail, w.keys)
	return w
}

var (
	root  = Caller{User: "root", Admin: true}
	hello = &Message{Kind: ContentText, Text: "hello", Contents: 1}
)

// create makes a session of ann's, by root.
func (w *world) create(t *testing.T, id string, kind Type, secret string, change ...func(*Spec)) *Record {
	t.Helper()
	spec := Spec{Profile: "p", DisplayName: "d", Type: kind, Owners: []string{"ann"}, DefaultChannels: []int32{1}}
	for _, c := range change {
		c(&spec)
	}
	result, err := w.Create(t.Context(), root, CreateRequest{SessionID: id, Draft: &Draft{Spec: spec, SecretKey: secret}})
	if err != nil {
		t.Fatal(err)
	}
	return result.Record
}

// enter makes users members of "room", by root.
func (w *world) enter(t *testing.T, users ...string) {
	t.Helper()
	for _, user := range users {
		if _, err := w.Join(t.Context(), root, JoinRequest{ID: "room", Name: user}); err != nil {
			t.Fatal(err)
		}
	}
}
