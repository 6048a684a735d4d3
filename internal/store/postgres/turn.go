package postgres

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/jackc/pgx/v5"

	"github.com/parleyhq/parley/internal/session"
)

// turn is one write while it runs.
type turn struct {
	*session.Write

	view    session.View
	room    *room // that of view.Current, or the expired one; nil: there is neither
	expired bool  // the room's session has the write's id, and is to end before a new one gets it
	change  session.Change
	rules   *session.Rules // of the change's record
	ending  *session.Event // of the expired one, if it was ended
}

// run runs one job on the scene. Its error is the job's own refusal, unless it is from the database.
func (l *lane) run(ctx context.Context, conn *pgx.Conn, j *job) error {
	j.events = j.events[:0]
	if j.write == nil {
		l.expire(j)
		return nil
	}
	t := &turn{Write: j.write}
	if err := l.look(ctx, conn, t); err != nil {
		return &brokenError{cause: err}
	}
	var err error
	if t.change, err = decide(t.Write, &t.view); err != nil {
		return err
	}
	if err := t.check(l.scene); err != nil {
		return fmt.Errorf("a write's decision is defective: %w", err)
	}
	if err := t.readRules(); err != nil {
		return err
	}
	l.do(t)
	j.events = t.appendEvents(j.events)
	return nil
}

// brokenError is an error of a job that is not the job's own.
type brokenError struct{ cause error }

func (b *brokenError) Error() string { return b.cause.Error() }

func (b *brokenError) Unwrap() error { return b.cause }

// expire ends the sessions of the job that are still there, and whose deadlines have passed.
func (l *lane) expire(j *job) {
	for _, id := range j.expire {
		r := l.scene.byID[id]
		if r == nil {
			continue
		}
		now := l.store.clock.next(l.scene.present, max(r.latest, r.record.UpdateTime))
		if !r.record.Expired(now) {
			continue
		}
		ending := r.record.Ended(session.SessionExpired, "", now)
		l.scene.end(r, ending)
		l.scene.latest = max(l.scene.latest, now)
		j.events = append(j.events, ending)
	}
}

// look fills in what the write's decision is to see.
func (l *lane) look(ctx context.Context, conn *pgx.Conn, t *turn) error {
	now := l.scene.present
	if t.Request != (session.RequestKey{}) {
		t.view.Earlier = l.scene.earlier(t.Request, now)
	}
	latest := session.Time(0)
	if t.room = l.roomOf(t); t.room != nil {
		latest = max(t.room.latest, t.room.record.UpdateTime)
	}
	t.view.Now = l.store.clock.next(now, latest)
	if t.room != nil {
		if t.expired = t.room.record.Expired(t.view.Now); !t.expired {
			t.view.Current, t.view.Rules = t.room.record, t.room.rules
		}
	}
	if t.Ticket != nil {
		t.view.Ticket = l.scene.tickets[*t.Ticket].of()
	}
	if t.Creator != "" {
		t.view.Created = l.scene.count(t.Creator)
		if t.expired && t.room.record.Creator == t.Creator {
			t.view.Created-- // it makes room
		}
	}
	if err := l.lookForMembers(ctx, conn, t); err != nil {
		return err
	}
	return l.lookForMessages(ctx, conn, t)
}

// of is the ticket's state; nil if there is none.
func (t *ticket) of() *session.Ticket {
	if t == nil {
		return nil
	}
	return t.state
}

// roomOf is the session that the write is about, expired or not; nil if there is none.
func (l *lane) roomOf(t *turn) *room {
	if earlier := t.view.Earlier; earlier != nil {
		if r := l.scene.byUID[earlier.UID]; r != nil && r.ending == nil {
			return r
		}
		return nil
	}
	return l.scene.byID[t.ID]
}

func (l *lane) lookForMembers(ctx context.Context, conn *pgx.Conn, t *turn) error {
	if len(t.Users) == 0 {
		return nil
	}
	t.view.Members = make([]*session.Member, len(t.Users))
	if t.view.Current == nil {
		return nil
	}
	for i, user := range t.Users {
		if err := l.meet(ctx, conn, t.room, user); err != nil {
			return err
		}
		t.view.Members[i] = t.room.members[user]
	}
	return nil
}

func (l *lane) lookForMessages(ctx context.Context, conn *pgx.Conn, t *turn) error {
	if len(t.Messages) == 0 {
		return nil
	}
	t.view.Messages = make([]bool, len(t.Messages))
	if t.view.Current == nil {
		return nil
	}
	for i, id := range t.Messages {
		if err := l.search(ctx, conn, t.room, id); err != nil {
			return err
		}
		t.view.Messages[i] = t.room.messages[id]
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
func (t *turn) check(s *scene) error {
	change, current := &t.change, t.view.Current
	switch {
	case change.Kind == session.Nothing:
		return nil
	case change.Kind != session.Create && current == nil:
		return errors.New("there is no session to change")
	case change.Kind != session.End && change.Record == nil:
		return errors.New("it has no record")
	default:
	}
	switch change.Kind {
	case session.Create:
		return t.checkCreate(s)
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

// checkCreate makes sure that the session is new.
func (t *turn) checkCreate(s *scene) error {
	record := t.change.Record
	if taken := s.byID[record.ID]; taken != nil && (taken != t.room || !t.expired) {
		return errors.New("the id is taken")
	}
	if record.Head != (session.Head{Sequence: 1}) {
		return fmt.Errorf("a new session has the head %+v", record.Head)
	}
	return nil
}

// readRules finds out what the rules are after the change.
func (t *turn) readRules() (err error) {
	switch t.change.Kind {
	case session.Create, session.Update:
		t.rules, err = t.change.Record.Rules()
	case session.Append:
		t.rules = t.view.Rules
	default:
	}
	return err
}

// do changes the scene as was decided.
func (l *lane) do(t *turn) {
	change := &t.change
	switch change.Kind {
	case session.Create:
		if t.expired {
			t.ending = t.room.record.Ended(session.SessionExpired, "", t.view.Now)
			l.scene.end(t.room, t.ending)
		}
		l.scene.create(change.Record, t.rules, change.After)
	case session.Update, session.Append:
		t.room.advance(change, t.rules, t.view.Now)
	case session.End:
		l.scene.end(t.room, change.Events[0])
	default:
	}
	if change.Ticket != nil {
		l.scene.keepTicket(change.Ticket)
	}
	if t.keepsRequest() {
		l.scene.keepRequest(t.Request, t.done())
	}
	if change.Kind != session.Nothing || change.Ticket != nil || t.keepsRequest() {
		l.scene.latest = max(l.scene.latest, t.view.Now)
	}
}

// keepsRequest tells whether the key of the write's request is to be kept.
func (t *turn) keepsRequest() bool {
	if t.change.Kind == session.Nothing && (t.change.Digest == (session.Digest{}) || t.view.Current == nil) {
		return false
	}
	return t.Request != (session.RequestKey{})
}

// done is what is kept under the key of the write's request.
func (t *turn) done() *session.Earlier {
	record := t.change.Record
	if record == nil {
		record = t.view.Current
	}
	return &session.Earlier{UID: record.UID, Digest: t.change.Digest, Time: t.view.Now, Sequence: t.lastStored()}
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
