package sqlite

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/parleyhq/parley/internal/session"
)

// turn is one write while it runs.
type turn struct {
	*session.Write

	view    session.View
	session *cached         // that of view.Current, or of expired; nil: there is neither
	expired *session.Record // has the write's id, and is to end before a new session gets it; nil: there is none
	change  session.Change
	rules   *session.Rules // of the change's record, for Append and Update
	ending  *session.Event // of expired, if it was ended
	last    int64          // the position of the newest event that the session has stored; for Append and Update
}

// runWrite runs one write. What it did is remembered, and noted for those who are told, only when all of it is done.
func (e *engine) runWrite(j *job) (err error) {
	t := &turn{Write: j.write, view: session.View{Now: e.clock()}}
	if err := e.look(t); err != nil {
		return lostIfEnvironmental(err)
	}
	if t.change, err = decide(t.Write, &t.view); err != nil {
		return err
	}
	if err := t.check(); err != nil {
		return fmt.Errorf("a write's decision is defective: %w", err)
	}
	if t.single() {
		err = lostIfEnvironmental(e.do(t))
	} else {
		err = e.atomically(func() error { return e.do(t) })
	}
	if err != nil {
		return err
	}
	e.settle(t)
	j.events = t.appendEvents(j.events)
	return nil
}

// look fills in what the write's decision is to see.
func (e *engine) look(t *turn) (err error) {
	if t.Request != (session.RequestKey{}) {
		if t.view.Earlier, err = e.earlier(t.Request, t.view.Now); err != nil {
			return err
		}
	}
	if t.session, err = e.findSession(t); err != nil {
		return err
	}
	if t.session != nil {
		t.view.Current = t.session.record
	}
	if t.view.Current != nil && t.view.Current.Expired(t.view.Now) {
		t.view.Current, t.expired = nil, t.view.Current
	}
	if t.view.Current != nil {
		t.view.Rules = t.session.rules
	}
	if err := e.lookForMembers(t); err != nil {
		return err
	}
	if err := e.lookForMessages(t); err != nil {
		return err
	}
	if t.Ticket != nil {
		if t.view.Ticket, err = e.findTicket(*t.Ticket); err != nil {
			return err
		}
	}
	if t.Creator == "" {
		return nil
	}
	t.view.Created, err = e.creators.count(e.conn, t.Creator)
	if t.expired != nil && t.expired.Creator == t.Creator {
		t.view.Created-- // it makes room
	}
	return err
}

// findSession returns the session that the write is about, expired or not; nil if there is none.
func (e *engine) findSession(t *turn) (*cached, error) {
	var found *state
	var err error
	if earlier := t.view.Earlier; earlier != nil {
		if known := e.cache.byTime[earlier.UID.Time()]; known != nil {
			return known, nil
		}
		found, err = e.find(selectByTime, int64(earlier.UID.Time()))
	} else if t.ID != "" {
		if known := e.cache.byID[t.ID]; known != nil {
			return known, nil
		}
		found, err = e.findByID(t.ID)
	}
	if found == nil || err != nil {
		return nil, err
	}
	return e.cache.add(*found)
}

func (e *engine) lookForMembers(t *turn) error {
	if len(t.Users) == 0 {
		return nil
	}
	t.view.Members = make([]*session.Member, len(t.Users))
	if t.view.Current == nil {
		return nil
	}
	for i, user := range t.Users {
		member, err := e.member(t.session, user)
		if err != nil {
			return err
		}
		t.view.Members[i] = member
	}
	return nil
}

// member returns the user's membership; nil if there is none.
func (e *engine) member(s *cached, user string) (*session.Member, error) {
	if known := s.members[user]; known != nil {
		return known, nil
	}
	found, err := e.findMember(int64(s.record.CreateTime), user)
	if found != nil && err == nil {
		e.cache.join(s, found)
	}
	return found, err
}

func (e *engine) lookForMessages(t *turn) error {
	if len(t.Messages) == 0 {
		return nil
	}
	t.view.Messages = make([]bool, len(t.Messages))
	if t.view.Current == nil {
		return nil
	}
	for i, id := range t.Messages {
		message, err := e.findMessage(t.session.chain(), id)
		if err != nil {
			return err
		}
		t.view.Messages[i] = message != nil
	}
	return nil
}

// decide calls the write's rule. A panic there is a defect of the rule: it ends this write, not the server.
func decide(w *session.Write, view *session.View) (change session.Change, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a write's decision: %v\n%s", p, debug.Stack())
		}
	}()
	return w.Decide(view)
}

// check refuses a decision that cannot be carried out, or that would leave a hole in the log.
func (t *turn) check() error {
	change, current := &t.change, t.view.Current
	if change.Kind == session.Nothing {
		return nil
	}
	if change.Kind != session.Create && current == nil {
		return errors.New("there is no session to change")
	}
	if change.Kind != session.End && change.Record == nil {
		return errors.New("it has no record")
	}
	switch change.Kind {
	case session.Create:
		if change.Record.Head != (session.Head{Sequence: 1}) {
			return fmt.Errorf("a new session has the head %+v", change.Record.Head)
		}
		return nil
	case session.Update, session.Append:
		return change.CheckEvents(current)
	case session.End:
		if len(change.Events) != 1 || !change.Events[0].Kind.Ends() || change.Events[0].Sequence != current.Head.Sequence+1 {
			return fmt.Errorf("a session with the sequence %d does not end with one event that follows", current.Head.Sequence)
		}
		return nil
	default:
		return fmt.Errorf("its kind is %d", change.Kind)
	}
}

// single tells whether the write is done by at most one statement, which is atomic by itself.
func (t *turn) single() bool {
	change := &t.change
	switch {
	case change.Kind == session.Nothing:
		return !t.keepsRequest() // it may keep a ticket
	case t.Request != (session.RequestKey{}), change.Ticket != nil:
		return false
	case change.Kind == session.Create:
		return t.expired == nil
	case change.Kind == session.Append:
		return len(change.Events) <= 1 && !slices.ContainsFunc(change.Events, endsBlock) && change.Join == nil &&
			len(change.Leave)+len(change.Before)+len(change.After) == 0 && change.Record.ExpireTime == t.view.Current.ExpireTime
	default:
		return false
	}
}

// do carries out what was decided, but for the head, which the cache has.
func (e *engine) do(t *turn) error {
	if err := e.doKind(t); err != nil {
		return err
	}
	if t.change.Ticket != nil {
		if err := e.keepTicket(t.change.Ticket); err != nil {
			return err
		}
	}
	return e.keepRequest(t)
}

func (e *engine) doKind(t *turn) (err error) {
	switch t.change.Kind {
	case session.Create:
		return e.create(t)
	case session.Update:
		if t.rules, err = t.change.Record.Rules(); err != nil {
			return err
		}
		return e.update(t)
	case session.Append:
		t.rules = t.view.Rules
		return e.extend(t)
	case session.End:
		return e.end(&t.session.state, t.change.Events[0])
	default:
		return nil
	}
}

// create stores a new session, and ends the expired one whose id it gets.
func (e *engine) create(t *turn) error {
	if t.expired != nil {
		ending := t.expired.Ended(session.SessionExpired, "", t.view.Now)
		if err := e.end(&t.session.state, ending); err != nil {
			return err
		}
		t.ending = ending
	}
	if err := e.insert(t.change.Record); err != nil {
		return err
	}
	e.index.add(t.change.Record, t.change.After)
	e.creators.add(t.change.Record)
	return nil
}

// update stores another version of a session, and what happened with it.
func (e *engine) update(t *turn) error {
	if err := e.replace(t.change.Record); err != nil {
		return err
	}
	if err := e.log(t); err != nil {
		return err
	}
	return e.index.change(e.conn, t.view.Current, &t.change)
}

// extend stores what happened in a session that stays as it is.
func (e *engine) extend(t *turn) error {
	if err := e.log(t); err != nil {
		return err
	}
	created, expires := int64(t.view.Current.CreateTime), t.change.Record.ExpireTime
	if expires != t.view.Current.ExpireTime {
		if err := e.exec(`UPDATE sessions SET expires = ? WHERE created = ?`, int64(expires), created); err != nil {
			return err
		}
	}
	return e.index.replaceUsers(e.conn, created, t.change.Before, t.change.After)
}

// log stores the events that are to be stored, and the memberships that they are about.
func (e *engine) log(t *turn) (err error) {
	created := int64(t.view.Current.CreateTime)
	t.last = t.session.last
	for _, ev := range t.change.Events {
		if ev.Sequence == 0 {
			continue
		}
		if t.last, err = e.append(created, t.last, ev); err != nil {
			return err
		}
	}
	return e.changeMembers(created, t.change.Leave, t.change.Join)
}

// append stores an event after the one at prev, and returns its position.
func (e *engine) append(created, prev int64, ev *session.Event) (position int64, err error) {
	if e.cache.position == 0 {
		if e.cache.position, err = e.integer(`SELECT max(position) FROM events`); err != nil {
			return 0, err
		}
	}
	e.cache.position++ // and is not given to another event if this one fails
	return e.cache.position, e.insertEvent(created, e.cache.position, prev, ev)
}

// keepsRequest tells whether the key of the write's request is to be kept.
func (t *turn) keepsRequest() bool {
	if t.change.Kind == session.Nothing && (t.change.Digest == (session.Digest{}) || t.view.Current == nil) {
		return false
	}
	return t.Request != (session.RequestKey{})
}

// keepRequest keeps the key of the write's request, with what it did.
func (e *engine) keepRequest(t *turn) error {
	if !t.keepsRequest() {
		return nil
	}
	record := t.change.Record
	if record == nil {
		record = t.view.Current
	}
	return e.putRequest(t.Request, &session.Earlier{
		UID: record.UID, Digest: t.change.Digest, Time: t.view.Now, Sequence: t.lastStored(),
	})
}

// lastStored is the sequence of the last event that the write adds to a log; 0: it adds none.
func (t *turn) lastStored() (sequence int64) {
	if t.change.Kind == session.Create {
		return t.change.Record.Head.Sequence
	}
	for _, ev := range t.change.Events {
		sequence = max(sequence, ev.Sequence)
	}
	return sequence
}

// settle remembers what the write did.
func (e *engine) settle(t *turn) {
	switch t.change.Kind {
	case session.Create:
		if t.expired != nil {
			e.cache.drop(t.expired.CreateTime)
		}
	case session.Update, session.Append:
		e.cache.advance(t)
	case session.End:
		e.cache.drop(t.view.Current.CreateTime)
	default:
	}
}

// appendEvents appends what happened.
func (t *turn) appendEvents(events []*session.Event) []*session.Event {
	switch t.change.Kind {
	case session.Nothing:
		return events
	case session.Create:
		if t.ending != nil {
			events = append(events, t.ending)
		}
		return append(events, t.change.Record.Created())
	default:
		return append(events, t.change.Events...)
	}
}
