package natsapi

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
)

const (
	lookAfter = 100 * time.Millisecond // whoever leaves shall have the answer before the connection ends
	lookEvery = time.Second            // how often the rights in one session are looked at, at most
	lookTime  = 10 * time.Second
	looksMax  = 4 // sessions that are looked at, at a time
)

// rights are what the clients that are connected to this node were granted. A connection has what it was granted as it
// began; so one of which a right has ended is ended, and comes back with what is left.
type rights struct {
	api   *API
	looks chan struct{} // one for each session that is being looked at
	work  sync.WaitGroup

	mu       sync.Mutex // guards the fields below, and those of what they lead to
	clients  map[uint64]*client
	entering map[uint64]*client // those whose rights are being found out
	sessions map[session.UID]*watched
	closed   bool
}

// client is a connection.
type client struct {
	caller   session.Caller
	closed   func() // is called when it has ended
	sessions []session.UID

	// What happens while its rights are being found out.
	touched map[session.UID]struct{} // rights may have ended in these sessions
	revoked bool                     // its key was
}

// watched is a session with clients who may subscribe to its mirror.
type watched struct {
	id      string
	clients map[uint64]*client
	looked  time.Time // when the rights were looked at last, or will be
	due     *time.Timer
}

func newRights(api *API) *rights {
	return &rights{
		api: api, looks: make(chan struct{}, looksMax),
		clients: make(map[uint64]*client), entering: make(map[uint64]*client), sessions: make(map[session.UID]*watched),
	}
}

// enter adds a client, in the place of what it was before if it says anew who it is, and grants it the mirrors of the
// sessions whose logs it may read.
func (r *rights) enter(ctx context.Context, id uint64, caller session.Caller, closed func(), grant *Grant) error {
	c := &client{caller: caller, closed: closed, touched: make(map[session.UID]struct{})}
	r.mu.Lock()
	r.entering[id] = c
	r.mu.Unlock()
	followed, err := r.followed(ctx, caller)
	if err == nil {
		err = r.api.Service.CheckCredential(caller)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.entering, id)
	if err == nil && c.revoked { // since it was checked
		err = fault.New(fault.Unauthenticated, "KEY_REVOKED", "the key of the credential was revoked")
	}
	if err != nil {
		return err
	}
	r.remove(id)
	r.clients[id] = c
	for _, record := range followed {
		grant.Subscribe = append(grant.Subscribe, mirrorSubject(record.ID, ">"))
		w := r.sessions[record.UID]
		if w == nil {
			w = &watched{id: record.ID, clients: make(map[uint64]*client)}
			r.sessions[record.UID] = w
		}
		w.clients[id] = c
		c.sessions = append(c.sessions, record.UID)
		if _, touched := c.touched[record.UID]; touched {
			r.plan(record.UID, w) //nolint:contextcheck // it is looked at after the client has entered
		}
	}
	c.touched = nil
	return nil
}

func (r *rights) followed(ctx context.Context, caller session.Caller) ([]*session.Record, error) {
	if r.api.mirror == nil || caller.Admin {
		return nil, nil
	}
	return r.api.Service.Followed(ctx, caller, maxFollowed)
}

// forget removes a client.
func (r *rights) forget(id uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(id)
}

// remove removes a client, if there is such. r.mu is held.
func (r *rights) remove(id uint64) {
	c := r.clients[id]
	if c == nil {
		return
	}
	delete(r.clients, id)
	c.closed()
	for _, uid := range c.sessions {
		w := r.sessions[uid]
		delete(w.clients, id)
		if len(w.clients) > 0 {
			continue
		}
		if w.due != nil && w.due.Stop() {
			r.work.Done()
		}
		delete(r.sessions, uid)
	}
}

// hear is told of an event in the mirror that is no message: this node's, or another's. What it says is not believed: it
// only has the rights looked at.
func (r *rights) hear(m *nats.Msg) {
	if cursor, err := session.ParseCursor(m.Header.Get(headerCursor)); err == nil {
		r.look(cursor.UID)
	}
}

// look has the rights in a session looked at: almost at once, or, if they were within the last second, after it.
func (r *rights) look(uid session.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.entering {
		c.touched[uid] = struct{}{}
	}
	if w := r.sessions[uid]; w != nil {
		r.plan(uid, w)
	}
}

// plan has a session looked at, if that is not planned already. r.mu is held.
func (r *rights) plan(uid session.UID, w *watched) {
	if w.due != nil || r.closed {
		return
	}
	r.work.Add(1)
	w.due = time.AfterFunc(max(lookAfter, lookEvery-time.Since(w.looked)), func() {
		defer r.work.Done()
		r.lookNow(uid, w)
	})
}

// lookNow ends the connections of those who may no longer read the session's log.
func (r *rights) lookNow(uid session.UID, w *watched) {
	r.looks <- struct{}{}
	defer func() { <-r.looks }()
	r.mu.Lock()
	w.due, w.looked = nil, time.Now() // whatever happens from here on is looked at once more
	clients := make(map[uint64]session.Caller, len(w.clients))
	for id, c := range w.clients {
		clients[id] = c.caller
	}
	closed := r.closed
	r.mu.Unlock()
	if closed {
		return
	}
	ctx, cancel := context.WithTimeout(r.api.ctx, lookTime)
	defer cancel()
	for id, caller := range clients {
		record, err := r.api.Service.Readable(ctx, caller, w.id)
		switch {
		case mayHaveEnded(err), err == nil && record.UID != uid:
			r.disconnect(id)
		case err != nil:
			r.api.Log.Warn("the rights of NATS clients cannot be looked at", "session", w.id, "error", err)
			r.look(uid)
			return
		}
	}
}

func (r *rights) disconnect(id uint64) {
	if r.api.Disconnect != nil {
		r.api.Disconnect(id)
	}
}

// revokeKey ends the connections that were made with the key.
func (r *rights) revokeKey(key string) {
	r.mu.Lock()
	var revoked []uint64
	for _, c := range r.entering {
		c.revoked = c.revoked || c.caller.Key == key
	}
	for id, c := range r.clients {
		if c.caller.Key == key {
			revoked = append(revoked, id)
		}
	}
	r.mu.Unlock()
	for _, id := range revoked {
		r.disconnect(id)
	}
}

// close returns when nothing is being looked at any more.
func (r *rights) close() {
	r.mu.Lock()
	r.closed = true
	for _, w := range r.sessions {
		if w.due != nil && w.due.Stop() {
			r.work.Done()
		}
	}
	r.mu.Unlock()
	r.work.Wait()
}
