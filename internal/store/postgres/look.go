package postgres

import (
	"context"
	"errors"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/parleyhq/parley/internal/session"
)

// wants is what a group's transaction is to lock and to read.
type wants struct {
	ids      []string               // of sessions
	requests []session.RequestKey   // whose sessions are wanted too
	tickets  [][]byte               // hashes
	creators []string               // whose numbers of sessions
	locked   map[session.UID]string // the sessions that are locked, with their ids
}

// open begins the transaction, locks what the group is about, and reads it as it is from then on. It is quick if nothing
// has changed between the two: else it goes on until what is there is locked.
func (l *lane) open(ctx context.Context, conn *pgx.Conn) error {
	w := l.wants()
	batch := &pgx.Batch{}
	batch.Queue(`BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE`) // each statement sees what was committed before it
	batch.Queue(limitSQL)
	if len(w.creators) > 0 {
		batch.Queue(`SELECT pg_advisory_xact_lock($1, key) FROM unnest($2::integer[]) key`, creatorLocks, creatorKeys(w.creators))
	}
	if len(w.tickets) > 0 {
		batch.Queue(`SELECT FROM tickets WHERE hash = ANY ($1) ORDER BY hash FOR UPDATE`, w.tickets)
	}
	for range maxCollisions {
		w.queueLock(batch)
		if err := conn.SendBatch(ctx, batch).Close(); err != nil {
			return err
		}
		found, err := l.read(ctx, conn, w)
		if err != nil || found {
			return err
		}
		batch = &pgx.Batch{}
	}
	return errCollision
}

// limitSQL bounds what the transaction waits for, and has it flushed when it is committed, whatever the database's
// default is.
var limitSQL = `SELECT set_config('lock_timeout', '` + strconv.FormatInt(lockTimeout.Milliseconds(), 10) + `', true),
	set_config('statement_timeout', '` + strconv.FormatInt(statementTimeout.Milliseconds(), 10) + `', true),
	set_config('idle_in_transaction_session_timeout', '` + strconv.FormatInt(idleTimeout.Milliseconds(), 10) + `', true),
	CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'local', true) END`

// creatorLocks is the class of the advisory locks by which creates with a quota wait for one another.
const creatorLocks = 0x7061726c // "parl"

// creatorKeys are the users' keys in that class, in one order for all. Some users have one in common: they wait for one
// another too.
func creatorKeys(users []string) []int32 {
	list := make([]int32, len(users))
	for i, user := range users {
		hash := fnv.New32a()
		_, _ = hash.Write([]byte(user))
		list[i] = int32(hash.Sum32())
	}
	slices.Sort(list)
	return list
}

// wants collects what the jobs are about.
func (l *lane) wants() *wants {
	ids, requests := make(map[string]struct{}), make(map[session.RequestKey]struct{})
	tickets, creators := make(map[session.CredentialHash]struct{}), make(map[string]struct{})
	for _, j := range l.jobs {
		for _, id := range j.expire {
			ids[id] = struct{}{}
		}
		if j.write == nil {
			continue
		}
		if j.write.ID != "" {
			ids[j.write.ID] = struct{}{}
		}
		if j.write.Request != (session.RequestKey{}) {
			requests[j.write.Request] = struct{}{}
		}
		if j.write.Ticket != nil {
			tickets[*j.write.Ticket] = struct{}{}
		}
		if j.write.Creator != "" {
			creators[j.write.Creator] = struct{}{}
		}
	}
	w := &wants{ids: slices.Collect(maps.Keys(ids)), requests: slices.Collect(maps.Keys(requests)), locked: make(map[session.UID]string)}
	w.creators = slices.Collect(maps.Keys(creators))
	for hash := range tickets {
		w.tickets = append(w.tickets, slices.Clone(hash[:]))
	}
	return w
}

// queueLock adds the statement that locks the sessions, all transactions in the same order. Their heads stand for them:
// these are changed anyway.
func (w *wants) queueLock(batch *pgx.Batch) {
	visit := func(rows pgx.Rows) error {
		return each(rows, func(row pgx.Row) error {
			var uid session.UID
			var id string
			if err := row.Scan((*[16]byte)(&uid), &id); err != nil {
				return err
			}
			w.locked[uid] = id
			return nil
		})
	}
	const head, tail = `SELECT h.uid, s.id FROM ` + sessions + ` WHERE `, ` ORDER BY h.uid FOR UPDATE OF h`
	switch {
	case len(w.requests) > 0:
		batch.Queue(head+`s.uid IN (SELECT uid FROM sessions WHERE id = ANY ($1)
			UNION SELECT uid FROM requests WHERE key = ANY ($2))`+tail, w.ids, w.keys()).Query(visit)
	case len(w.ids) > 0:
		batch.Queue(head+`s.id = ANY ($1)`+tail, w.ids).Query(visit)
	}
}

func (w *wants) keys() [][16]byte {
	list := make([][16]byte, len(w.requests))
	for i, key := range w.requests {
		list[i] = key
	}
	return list
}

// read makes the scene of what the database has. It is not found if there is a session that is not locked.
func (l *lane) read(ctx context.Context, conn *pgx.Conn, w *wants) (found bool, err error) {
	l.scene = newScene()
	batch := &pgx.Batch{}
	batch.Queue(`SELECT ` + clockSQL).QueryRow(readClock(&l.scene.present))
	found = true
	l.queueRequests(batch, w) // before the sessions that they name, so that none of these is missed
	l.queueSessions(batch, w, &found)
	l.queueMembers(batch, w)
	l.queueMessages(batch, w)
	l.queueTickets(batch, w)
	if len(w.creators) > 0 {
		batch.Queue(`SELECT user_name, sum(sessions)::bigint FROM creators WHERE user_name = ANY ($1) GROUP BY user_name`, w.creators).
			Query(l.readCreators)
	}
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		return false, err
	}
	l.scene.present = l.store.clock.present(l.scene.present)
	return found, nil
}

func (l *lane) queueSessions(batch *pgx.Batch, w *wants, found *bool) {
	visit := func(rows pgx.Rows) error {
		return each(rows, func(row pgx.Row) error {
			s, err := readState(row)
			if err != nil {
				return err
			}
			if _, locked := w.locked[s.record.UID]; !locked {
				*found = false
				return nil
			}
			rules, err := l.rules.of(s.record)
			if err == nil {
				l.scene.enter(s, rules)
			}
			return err
		})
	}
	const head = `SELECT ` + columns + ` FROM ` + sessions + ` WHERE `
	switch {
	case len(w.requests) > 0:
		batch.Queue(head+`s.uid IN (SELECT uid FROM sessions WHERE id = ANY ($1)
			UNION SELECT uid FROM requests WHERE key = ANY ($2))`, w.ids, w.keys()).Query(visit)
	case len(w.ids) > 0:
		batch.Queue(head+`s.id = ANY ($1)`, w.ids).Query(visit)
	}
}

func (l *lane) queueRequests(batch *pgx.Batch, w *wants) {
	if len(w.requests) == 0 {
		return
	}
	batch.Queue(`SELECT key, at, uid, digest, sequence FROM requests WHERE key = ANY ($1)`, w.keys()).Query(func(rows pgx.Rows) error {
		return each(rows, func(row pgx.Row) error {
			var key session.RequestKey
			e := &session.Earlier{}
			err := row.Scan((*[16]byte)(&key), (*int64)(&e.Time), (*[16]byte)(&e.UID), (*[16]byte)(&e.Digest), &e.Sequence)
			l.scene.requests[key] = &request{earlier: e, stored: true}
			return err
		})
	})
}

// queueMembers adds the look-up of the users' memberships, in the sessions that the ids led to when they were locked.
// What is not found here is looked up when it is asked for.
func (l *lane) queueMembers(batch *pgx.Batch, w *wants) {
	byID := w.byID()
	var uids [][16]byte
	var users []string
	for _, j := range l.jobs {
		if j.write == nil || len(j.write.Users) == 0 {
			continue
		}
		uid, ok := byID[j.write.ID]
		if !ok {
			continue
		}
		for _, user := range j.write.Users {
			uids, users = append(uids, uid), append(users, user)
		}
	}
	if len(uids) == 0 {
		return
	}
	batch.Queue(selectMembers, uids, users).Query(func(rows pgx.Rows) error {
		for i, uid := range uids {
			if r := l.scene.byUID[uid]; r != nil {
				r.members[users[i]] = nil
			}
		}
		return each(rows, l.readMember)
	})
}

// byID are the sessions that were locked.
func (w *wants) byID() map[string]session.UID {
	found := make(map[string]session.UID, len(w.locked))
	for uid, id := range w.locked {
		if before, ok := found[id]; !ok || slices.Compare(before[:], uid[:]) < 0 { // the later one has the id now
			found[id] = uid
		}
	}
	return found
}

// The look-ups of many pairs take one after the other, by the index: the planner may not choose another way, as it
// would for a small table that is large the next minute.
const (
	selectMembers = `SELECT w.uid, m.user_name, m.joined, m.channels
		FROM (SELECT DISTINCT * FROM unnest($1::uuid[], $2::text[]) AS w (uid, user_name)) w CROSS JOIN LATERAL
			(SELECT ` + memberColumns + ` FROM members m WHERE m.uid = w.uid AND m.user_name = w.user_name LIMIT 1) m`

	// selectMessages tells which of the messages are there: those of ids that clients made, and, by sequence and time, of
	// ids that the server made.
	selectMessages = `SELECT w.uid, w.id FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[]) AS w (uid, id, sequence, time)
		CROSS JOIN LATERAL (SELECT FROM events e WHERE e.uid = w.uid AND e.message_id = w.id AND e.message_id <> '' LIMIT 1) e
		UNION ALL
		SELECT w.uid, w.id FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[]) AS w (uid, id, sequence, time)
		CROSS JOIN LATERAL (SELECT FROM events e WHERE e.uid = w.uid AND e.sequence = w.sequence AND e.time = w.time
			AND e.kind = 8 AND e.message_id = '' LIMIT 1) e
		WHERE w.sequence > 0`
)

// readMember notes a membership.
func (l *lane) readMember(row pgx.Row) error {
	var uid session.UID
	m, err := readMember(rest{row, []any{(*[16]byte)(&uid)}})
	if r := l.scene.byUID[uid]; r != nil && err == nil {
		r.members[m.User] = m
	}
	return err
}

// meet makes sure that it is known whether the user is a member.
func (l *lane) meet(ctx context.Context, conn *pgx.Conn, r *room, user string) error {
	if _, known := r.members[user]; known {
		return nil
	}
	r.members[user] = nil
	if r.stored == nil { // all of it is known
		return nil
	}
	rows, err := conn.Query(ctx, selectMembers, keys([]session.UID{r.record.UID}), []string{user})
	if err != nil {
		return err
	}
	defer rows.Close()
	return each(rows, l.readMember)
}

// messageKeys are the ids of messages as selectMessages wants them.
type messageKeys struct {
	uids      [][16]byte
	ids       []string
	sequences []int64
	times     []int64
}

func (k *messageKeys) add(uid session.UID, id string) {
	t, sequence, _ := session.MadeMessageID(id) // 0 if it was not made
	k.uids, k.ids = append(k.uids, uid), append(k.ids, id)
	k.sequences, k.times = append(k.sequences, sequence), append(k.times, int64(t))
}

func (k *messageKeys) args() []any { return []any{k.uids, k.ids, k.sequences, k.times} }

// queueMessages adds the look-up of the messages, as queueMembers does.
func (l *lane) queueMessages(batch *pgx.Batch, w *wants) {
	byID := w.byID()
	var wanted messageKeys
	for _, j := range l.jobs {
		if j.write == nil || len(j.write.Messages) == 0 {
			continue
		}
		uid, ok := byID[j.write.ID]
		if !ok {
			continue
		}
		for _, id := range j.write.Messages {
			wanted.add(uid, id)
		}
	}
	if len(wanted.uids) == 0 {
		return
	}
	batch.Queue(selectMessages, wanted.args()...).Query(func(rows pgx.Rows) error {
		for i, uid := range wanted.uids {
			if r := l.scene.byUID[uid]; r != nil {
				r.messages[wanted.ids[i]] = false
			}
		}
		return each(rows, l.readMessage)
	})
}

// readMessage notes that a message is there.
func (l *lane) readMessage(row pgx.Row) error {
	var uid session.UID
	var id string
	err := row.Scan((*[16]byte)(&uid), &id)
	if r := l.scene.byUID[uid]; r != nil && err == nil {
		r.messages[id] = true
	}
	return err
}

// search makes sure that it is known whether the session has the message.
func (l *lane) search(ctx context.Context, conn *pgx.Conn, r *room, id string) error {
	if _, known := r.messages[id]; known {
		return nil
	}
	r.messages[id] = false
	if r.stored == nil {
		return nil
	}
	var wanted messageKeys
	wanted.add(r.record.UID, id)
	rows, err := conn.Query(ctx, selectMessages, wanted.args()...)
	if err != nil {
		return err
	}
	defer rows.Close()
	return each(rows, l.readMessage)
}

func (l *lane) queueTickets(batch *pgx.Batch, w *wants) {
	if len(w.tickets) == 0 {
		return
	}
	batch.Queue(`SELECT hash, uid, user_name, admin, until, key, expire, used FROM tickets WHERE hash = ANY ($1)`, w.tickets).
		Query(func(rows pgx.Rows) error { return each(rows, l.readTicket) })
}

func (l *lane) readTicket(row pgx.Row) error {
	t := &session.Ticket{}
	var hash []byte
	err := row.Scan(&hash, (*[16]byte)(&t.UID), &t.Caller.User, &t.Caller.Admin, (*int64)(&t.Caller.Until), &t.Caller.Key,
		(*int64)(&t.Expire), &t.Used)
	if err != nil || len(hash) != session.HashBytes {
		return errors.Join(err, errors.New("a ticket's row cannot be read"))
	}
	t.Hash = session.CredentialHash(hash)
	l.scene.tickets[t.Hash] = &ticket{state: t}
	return nil
}

func (l *lane) readCreators(rows pgx.Rows) error {
	return each(rows, func(row pgx.Row) error {
		var user string
		var n int64
		err := row.Scan(&user, &n)
		l.scene.created[user] = int(n)
		return err
	})
}

// rulesCache remembers what the documents of sessions say, decoded: a publish needs it, and the document is the same.
type rulesCache struct {
	known map[session.UID]decoded
	bytes int // of the documents
}

type decoded struct {
	updated session.Time
	rules   *session.Rules
}

// Bounds of what is remembered.
const (
	cachedRules     = 2048
	cachedRuleBytes = 8 << 20
)

// of returns the record's rules.
func (c *rulesCache) of(r *session.Record) (*session.Rules, error) {
	if found, ok := c.known[r.UID]; ok && found.updated == r.UpdateTime {
		return found.rules, nil
	}
	rules, err := r.Rules()
	if err != nil {
		return nil, err
	}
	if c.known == nil || len(c.known) >= cachedRules || c.bytes > cachedRuleBytes {
		*c = rulesCache{known: make(map[session.UID]decoded)}
	}
	c.known[r.UID] = decoded{r.UpdateTime, rules}
	c.bytes += len(r.Document)
	return rules, nil
}
