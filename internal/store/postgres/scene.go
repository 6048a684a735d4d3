package postgres

import (
	"maps"
	"slices"

	"github.com/parleyhq/parley/internal/session"
)

// scene is what the writes of a group see: what the transaction read after it had locked the group's sessions, as the
// group's earlier writes have changed it. Nothing of that is in the tables before the last write has decided.
type scene struct {
	present  session.Time // the time of reading
	byID     map[string]*room
	byUID    map[session.UID]*room // those that ended in the group, too
	requests map[session.RequestKey]*request
	tickets  map[session.CredentialHash]*ticket
	created  map[string]int // how many sessions exist of a creator, for those who are asked for
	changes  map[string]int // what the group adds to these numbers, of any creator
	latest   session.Time   // of the writes that changed something
}

// room is a session in a scene.
type room struct {
	state

	rules    *session.Rules
	stored   *session.Record            // as the tables have it; nil: they do not
	ending   *session.Event             // it has ended; nil: it has not
	members  map[string]*session.Member // who is known to be one, or, if nil, not to be one
	messages map[string]bool            // of which messages it is known whether they are there

	// What is to be written.
	updated bool                // the session itself
	moved   bool                // the head
	changed map[string]struct{} // the memberships of these users
	finds   map[string]bool     // by whom the session is found from now on, or no longer
	events  []*session.Event
}

// request is what is known of a request's key.
type request struct {
	earlier *session.Earlier
	stored  bool // the tables have it
	changed bool
}

// ticket is what is known of a ticket's hash.
type ticket struct {
	state   *session.Ticket // nil: there is none
	changed bool
}

func newScene() *scene {
	return &scene{
		byID:     make(map[string]*room),
		byUID:    make(map[session.UID]*room),
		requests: make(map[session.RequestKey]*request),
		tickets:  make(map[session.CredentialHash]*ticket),
		created:  make(map[string]int),
		changes:  make(map[string]int),
	}
}

// enter adds a session that was read.
func (s *scene) enter(found state, rules *session.Rules) {
	r := &room{state: found, rules: rules, stored: found.record, members: make(map[string]*session.Member), messages: make(map[string]bool)}
	s.byUID[found.record.UID], s.byID[found.record.ID] = r, r
}

// earlier is what an earlier write left under the key; nil if there was none of late.
func (s *scene) earlier(key session.RequestKey, now session.Time) *session.Earlier {
	known := s.requests[key]
	if known == nil || known.earlier.Time <= now.Add(-keepRequests) {
		return nil
	}
	return known.earlier
}

// keepRequest keeps what a write did under its key.
func (s *scene) keepRequest(key session.RequestKey, done *session.Earlier) {
	known := s.requests[key]
	if known == nil {
		known = &request{}
		s.requests[key] = known
	}
	known.earlier, known.changed = done, true
}

// keepTicket keeps a state of a ticket.
func (s *scene) keepTicket(t *session.Ticket) { s.tickets[t.Hash] = &ticket{state: t, changed: true} }

// count is how many sessions exist that the user has created.
func (s *scene) count(creator string) int { return s.created[creator] + s.changes[creator] }

// create adds a new session.
func (s *scene) create(record *session.Record, rules *session.Rules, users []string) {
	r := &room{state: state{record: record, latest: record.CreateTime, first: 1}, rules: rules}
	r.members, r.messages = make(map[string]*session.Member), make(map[string]bool)
	r.find(users)
	s.byUID[record.UID], s.byID[record.ID] = r, r
	s.changes[record.Creator]++
}

// end ends a session, and frees its id.
func (s *scene) end(r *room, ending *session.Event) {
	r.ending = ending
	delete(s.byID, r.record.ID)
	s.changes[r.record.Creator]--
}

// find has users find the session from now on.
func (r *room) find(users []string) {
	if r.finds == nil && len(users) > 0 {
		r.finds = make(map[string]bool)
	}
	for _, user := range users {
		r.finds[user] = true
	}
}

// lose has users find the session no longer, unless they are members. Those who are members since before the group are
// found out when it is written.
func (r *room) lose(users []string) {
	if r.finds == nil && len(users) > 0 {
		r.finds = make(map[string]bool)
	}
	for _, user := range users {
		r.finds[user] = r.members[user] != nil
	}
}

// advance is the session as an Append or an Update leaves it.
func (r *room) advance(change *session.Change, rules *session.Rules, now session.Time) {
	before, old := r.record, r.rules.Settings
	r.record, r.rules, r.latest = change.Record, rules, now
	for _, ev := range change.Events {
		if ev.Sequence == 0 {
			continue
		}
		r.events = append(r.events, ev)
		if ev.Kind == session.MessagePublished {
			r.messages[ev.MessageName()] = true
		}
	}
	r.changeMembers(change)
	r.lose(change.Before)
	if change.Kind == session.Update { // of an Append, Before and After say all
		r.updated = true
		r.lose(change.Leave)
		if change.Join != nil {
			r.find([]string{change.Join.User})
		}
	}
	r.find(change.After)
	settings := &rules.Settings
	otherTrim := old.HistorySize != settings.HistorySize || old.HistoryTTL != settings.HistoryTTL
	if otherTrim {
		r.trimAt = now
	}
	if otherTrim || before.Head != r.record.Head {
		r.trimAt = r.nextTrim(settings, now)
		r.moved = true
	}
}

func (r *room) changeMembers(change *session.Change) {
	if change.Join == nil && len(change.Leave) == 0 {
		return
	}
	if r.changed == nil {
		r.changed = make(map[string]struct{})
	}
	for _, user := range change.Leave {
		r.members[user] = nil
		r.changed[user] = struct{}{}
	}
	if join := change.Join; join != nil {
		r.members[join.User] = join
		r.changed[join.User] = struct{}{}
	}
}

// nextTrim is when the log is to be trimmed, now that something was added to it. Trimming itself looks closer. A log that
// is due stays so until it is trimmed: a busy one is then done with once in a while, rather than again and again.
func (s *state) nextTrim(settings *session.Settings, now session.Time) session.Time {
	kept := s.record.Head.Sequence - s.first + 1
	switch {
	case settings.HistorySize > 0 && kept > settings.HistorySize && (s.trimAt == 0 || s.trimAt > now):
		return now
	case settings.HistorySize > 0 && kept > settings.HistorySize:
		return s.trimAt
	case settings.HistoryTTL == 0:
		return 0
	case s.trimAt != 0:
		return s.trimAt
	case s.first <= 1: // session.created is the oldest
		return s.record.CreateTime.Add(settings.HistoryTTL)
	default: // nothing was kept before
		return now.Add(settings.HistoryTTL)
	}
}

// rooms are the sessions in the order of their uids.
func (s *scene) rooms() []*room {
	list := slices.Collect(maps.Values(s.byUID))
	slices.SortFunc(list, func(a, b *room) int { return slices.Compare(a.record.UID[:], b.record.UID[:]) })
	return list
}
