package postgres

import (
	"cmp"
	"context"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/parleyhq/parley/internal/session"
)

// keeper collects what a group changes, and writes it: many rows with each statement, and all statements at once.
type keeper struct {
	batch    pgx.Batch
	conflict bool // another transaction made first what this one was to make
}

// write writes what the group's jobs have changed on the scene.
func (l *lane) write(ctx context.Context, conn *pgx.Conn) error {
	if l.scene.latest == 0 {
		return nil
	}
	l.group = session.NewUID(l.scene.latest, rand.Uint64()) //nolint:gosec // it is to be unique, not secret
	k := &keeper{}
	rooms := l.scene.rooms()
	k.end(rooms)
	k.create(rooms)
	k.update(rooms)
	k.move(rooms)
	k.log(rooms)
	k.changeMembers(rooms)
	k.changeUsers(rooms)
	k.keepRequests(l.scene)
	k.keepTickets(l.scene)
	k.count(l.part, l.scene.changes)
	k.sign(l, rooms)
	if err := conn.SendBatch(ctx, &k.batch).Close(); err != nil {
		return err
	}
	if k.conflict {
		return errCollision
	}
	return nil
}

// queueAll adds a statement that is to make so many rows, and cannot where another transaction made them first.
func (k *keeper) queueAll(rows int, text string, args ...any) {
	k.batch.Queue(text, args...).Exec(func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() != int64(rows) {
			k.conflict = true
		}
		return nil
	})
}

// end takes away the sessions that ended, and leaves their tombstones.
func (k *keeper) end(rooms []*room) {
	var gone, uids [][16]byte
	var ids, actors []string
	var kinds []int16
	var ended, sequences, firsts []int64
	var users []string // of all, one after the other
	var counts []int32 // and how many of each
	for _, r := range rooms {
		if r.ending == nil {
			continue
		}
		uids, ids, actors = append(uids, r.record.UID), append(ids, r.record.ID), append(actors, r.ending.Actor)
		kinds = append(kinds, int16(r.ending.Kind))
		ended, sequences = append(ended, int64(r.ending.Time)), append(sequences, r.ending.Sequence)
		firsts = append(firsts, max(r.first, 2))
		finders := r.finders()
		users, counts = append(users, finders...), append(counts, int32(len(finders)))
		if r.stored != nil {
			gone = append(gone, r.record.UID)
		}
	}
	if len(gone) > 0 {
		k.batch.Queue(`DELETE FROM sessions WHERE uid = ANY ($1)`, gone)
		k.batch.Queue(`DELETE FROM heads WHERE uid = ANY ($1)`, gone)
	}
	if len(uids) > 0 {
		k.batch.Queue(`INSERT INTO tombstones (uid, id, kind, actor, ended, sequence, first, users, purged)
			SELECT uid, id, kind, actor, ended, sequence, first, ($8::text[])[upto - users + 1 : upto], false
			FROM (SELECT uid, id, kind, actor, ended, sequence, first, users, sum(users) OVER (ORDER BY place)::integer AS upto
				FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $9::integer[])
					WITH ORDINALITY AS w (uid, id, kind, actor, ended, sequence, first, users, place)) w`,
			uids, ids, kinds, actors, ended, sequences, firsts, notNil(users), counts)
	}
}

// finders are the users, less the members, by whom the tables have that the session is found.
func (r *room) finders() []string {
	if r.stored == nil {
		return nil
	}
	spec, err := r.stored.Spec()
	if err != nil { // it was read before, so it can be
		return nil
	}
	return spec.Principals()
}

// create makes the new sessions.
func (k *keeper) create(rooms []*room) {
	var s sessionRows
	for _, r := range rooms {
		if r.stored == nil && r.ending == nil {
			s.add(r)
		}
	}
	if len(s.uids) == 0 {
		return
	}
	k.queueAll(len(s.uids), `INSERT INTO sessions (uid, id, type, display_name, creator, updated, expires, secret_key, secret, doc)
		SELECT uid, id, type, display_name, creator, updated, expires, secret_key, secret, doc
		FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[],
			$9::bytea[], $10::text[]) AS w (uid, id, type, display_name, creator, updated, expires, secret_key, secret, doc)
		ORDER BY id COLLATE "C" ON CONFLICT (id) DO NOTHING`, // in one order for all: an id that is being taken is waited for
		s.uids, s.ids, s.types, s.names, s.creators, s.updated, s.expires, s.secretKeys, s.secrets, s.docs)
	k.batch.Queue(`INSERT INTO heads (uid, sequence, members, last_message, latest, first, trim_at)
		SELECT uid, sequence, members, last_message, latest, 1, trim_at
		FROM unnest($1::uuid[], $2::bigint[], $3::integer[], $4::bigint[], $5::bigint[], $6::bigint[])
			AS w (uid, sequence, members, last_message, latest, trim_at)`,
		s.uids, s.heads.sequences, s.heads.members, s.heads.lastMessages, s.heads.latest, s.heads.trimAt)
}

// sessionRows are the columns of sessions.
type sessionRows struct {
	uids                         [][16]byte
	ids, names, creators, docs   []string
	types                        []int16
	updated, expires, secretKeys []int64
	secrets                      [][]byte
	heads                        headRows
}

func (s *sessionRows) add(r *room) {
	record := r.record
	s.uids, s.ids, s.types = append(s.uids, record.UID), append(s.ids, record.ID), append(s.types, int16(record.Type))
	s.names, s.creators = append(s.names, record.DisplayName), append(s.creators, record.Creator)
	s.updated, s.expires = append(s.updated, int64(record.UpdateTime)), append(s.expires, int64(record.ExpireTime))
	s.secretKeys, s.secrets = append(s.secretKeys, int64(record.Secret.KeyID)), append(s.secrets, record.Secret.Hash)
	s.docs = append(s.docs, string(record.Document))
	s.heads.add(r)
}

// headRows are the columns of heads.
type headRows struct {
	uids                                    [][16]byte
	sequences, lastMessages, latest, trimAt []int64
	members                                 []int32
}

func (h *headRows) add(r *room) {
	head := &r.record.Head
	h.uids, h.sequences = append(h.uids, r.record.UID), append(h.sequences, head.Sequence)
	h.members, h.lastMessages = append(h.members, head.Members), append(h.lastMessages, int64(head.LastMessageTime))
	h.latest, h.trimAt = append(h.latest, int64(r.latest)), append(h.trimAt, int64(r.trimAt))
}

// update stores other versions of sessions.
func (k *keeper) update(rooms []*room) {
	var s sessionRows
	var deadlines sessionRows // of those of which nothing else is another
	for _, r := range rooms {
		switch {
		case r.stored == nil || r.ending != nil:
		case r.updated:
			s.add(r)
		case r.stored.ExpireTime != r.record.ExpireTime:
			deadlines.add(r)
		default:
		}
	}
	if len(s.uids) > 0 {
		k.batch.Queue(`UPDATE sessions s SET type = w.type, display_name = w.display_name, updated = w.updated, expires = w.expires,
				secret_key = w.secret_key, secret = w.secret, doc = w.doc
			FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bytea[], $8::text[])
				AS w (uid, type, display_name, updated, expires, secret_key, secret, doc)
			WHERE s.uid = w.uid`, s.uids, s.types, s.names, s.updated, s.expires, s.secretKeys, s.secrets, s.docs)
	}
	if len(deadlines.uids) > 0 {
		k.batch.Queue(`UPDATE sessions s SET expires = w.expires FROM unnest($1::uuid[], $2::bigint[]) AS w (uid, expires)
			WHERE s.uid = w.uid`, deadlines.uids, deadlines.expires)
	}
}

// move writes the heads. For one row, a statement without unnest takes PostgreSQL half the time; here and for events that
// pays, since a publish that is alone has these two.
func (k *keeper) move(rooms []*room) {
	var h headRows
	for _, r := range rooms {
		if r.moved && r.ending == nil {
			h.add(r)
		}
	}
	switch len(h.uids) {
	case 0:
	case 1:
		k.batch.Queue(`UPDATE heads SET sequence = $2, members = $3, last_message = $4, latest = $5, trim_at = $6 WHERE uid = $1`,
			h.uids[0], h.sequences[0], h.members[0], h.lastMessages[0], h.latest[0], h.trimAt[0])
	default:
		k.batch.Queue(`UPDATE heads h SET sequence = w.sequence, members = w.members, last_message = w.last_message,
				latest = w.latest, trim_at = w.trim_at
			FROM unnest($1::uuid[], $2::bigint[], $3::integer[], $4::bigint[], $5::bigint[], $6::bigint[])
				AS w (uid, sequence, members, last_message, latest, trim_at)
			WHERE h.uid = w.uid`, h.uids, h.sequences, h.members, h.lastMessages, h.latest, h.trimAt)
	}
}

// log stores the events.
func (k *keeper) log(rooms []*room) {
	var uids [][16]byte
	var sequences, times []int64
	var channels []int32
	var kinds []int16
	var actors, messageIDs []string
	var docs []*string
	for _, r := range rooms {
		for _, ev := range r.events {
			uids, sequences, times = append(uids, ev.UID), append(sequences, ev.Sequence), append(times, int64(ev.Time))
			channels, kinds = append(channels, ev.Channel), append(kinds, int16(ev.Kind))
			actors, messageIDs = append(actors, ev.Actor), append(messageIDs, ev.MessageID)
			docs = append(docs, textOf(ev.Document))
		}
	}
	switch len(uids) {
	case 0:
	case 1:
		k.batch.Queue(`INSERT INTO events (uid, sequence, time, channel, kind, actor, message_id, doc)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			uids[0], sequences[0], times[0], channels[0], kinds[0], actors[0], messageIDs[0], docs[0])
	default:
		k.batch.Queue(`INSERT INTO events (uid, sequence, time, channel, kind, actor, message_id, doc)
			SELECT uid, sequence, time, channel, kind, actor, message_id, doc
			FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::integer[], $5::smallint[], $6::text[], $7::text[], $8::text[])
				AS w (uid, sequence, time, channel, kind, actor, message_id, doc)`,
			uids, sequences, times, channels, kinds, actors, messageIDs, docs)
	}
}

func textOf(document []byte) *string {
	if document == nil {
		return nil
	}
	text := string(document)
	return &text
}

// changeMembers ends memberships, and adds others.
func (k *keeper) changeMembers(rooms []*room) {
	var gone pairs
	var joined pairs
	var times []int64
	var channels []int32
	var counts []int32
	for _, r := range rooms {
		if r.ending != nil { // its members are purged with it
			continue
		}
		for _, user := range slices.Sorted(maps.Keys(r.changed)) {
			m := r.members[user]
			if m == nil {
				gone.add(r, user)
				continue
			}
			joined.add(r, user)
			times, channels = append(times, int64(m.JoinTime)), append(channels, m.Channels...)
			counts = append(counts, int32(len(m.Channels)))
		}
	}
	if len(gone.uids) > 0 {
		k.batch.Queue(`DELETE FROM members m USING unnest($1::uuid[], $2::text[]) AS w (uid, user_name)
			WHERE m.uid = w.uid AND m.user_name = w.user_name`, gone.uids, gone.users)
	}
	if len(joined.uids) > 0 {
		k.batch.Queue(`INSERT INTO members (uid, user_name, joined, channels)
			SELECT uid, user_name, joined, ($4::integer[])[upto - channels + 1 : upto]
			FROM (SELECT uid, user_name, joined, channels, sum(channels) OVER (ORDER BY place)::integer AS upto
				FROM unnest($1::uuid[], $2::text[], $3::bigint[], $5::integer[])
					WITH ORDINALITY AS w (uid, user_name, joined, channels, place)) w
			ON CONFLICT (uid, user_name) DO UPDATE SET joined = excluded.joined, channels = excluded.channels`,
			joined.uids, joined.users, times, notNil(channels), counts)
	}
}

// pairs are columns of sessions and users.
type pairs struct {
	uids  [][16]byte
	users []string
}

func (p *pairs) add(r *room, user string) {
	p.uids, p.users = append(p.uids, r.record.UID), append(p.users, user)
}

// changeUsers brings up to date by whom the sessions are found. It comes after the memberships: a member finds the
// session in any case.
func (k *keeper) changeUsers(rooms []*room) {
	var gone, found pairs
	for _, r := range rooms {
		if r.ending != nil {
			continue
		}
		for _, user := range slices.Sorted(maps.Keys(r.finds)) {
			switch {
			case r.finds[user]:
				found.add(r, user)
			case r.stored != nil:
				gone.add(r, user)
			default:
			}
		}
	}
	if len(gone.uids) > 0 {
		k.batch.Queue(`DELETE FROM session_users u USING unnest($1::uuid[], $2::text[]) AS w (uid, user_name)
			WHERE u.uid = w.uid AND u.user_name = w.user_name
				AND NOT EXISTS (SELECT FROM members m WHERE m.uid = u.uid AND m.user_name = u.user_name)`, gone.uids, gone.users)
	}
	if len(found.uids) > 0 {
		k.batch.Queue(`INSERT INTO session_users (uid, user_name)
			SELECT uid, user_name FROM unnest($1::uuid[], $2::text[]) AS w (uid, user_name) ORDER BY user_name, uid
			ON CONFLICT (user_name, uid) DO NOTHING`, found.uids, found.users)
	}
}

// keepRequests stores what was done under the keys of requests. Another transaction with one of the keys was first if
// there is a row of which this one has not known.
func (k *keeper) keepRequests(s *scene) {
	var known, requests, uids, digests [][16]byte
	var times, sequences []int64
	for _, key := range slices.SortedFunc(maps.Keys(s.requests), func(a, b session.RequestKey) int { return slices.Compare(a[:], b[:]) }) {
		r := s.requests[key]
		if !r.changed {
			continue
		}
		if r.stored {
			known = append(known, key)
		}
		requests, uids, digests = append(requests, key), append(uids, r.earlier.UID), append(digests, r.earlier.Digest)
		times, sequences = append(times, int64(r.earlier.Time)), append(sequences, r.earlier.Sequence)
	}
	if len(known) > 0 {
		k.batch.Queue(`DELETE FROM requests WHERE key = ANY ($1)`, known)
	}
	if len(requests) > 0 {
		k.queueAll(len(requests), `INSERT INTO requests (key, at, uid, digest, sequence)
			SELECT key, at, uid, digest, sequence FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::uuid[], $5::bigint[])
				AS w (key, at, uid, digest, sequence)
			ON CONFLICT (key) DO NOTHING`,
			requests, times, uids, digests, sequences)
	}
}

// keepTickets stores tickets, or puts them in the place of their earlier states.
func (k *keeper) keepTickets(s *scene) {
	var hashes [][]byte
	var uids [][16]byte
	var users, keys []string
	var admin, used []bool
	var until, expire []int64
	for hash, each := range s.tickets {
		t := each.state
		if !each.changed {
			continue
		}
		hashes, uids, users = append(hashes, slices.Clone(hash[:])), append(uids, t.UID), append(users, t.Caller.User)
		admin, until, keys = append(admin, t.Caller.Admin), append(until, int64(t.Caller.Until)), append(keys, t.Caller.Key)
		expire, used = append(expire, int64(t.Expire)), append(used, t.Used)
	}
	if len(hashes) > 0 {
		k.batch.Queue(`INSERT INTO tickets (hash, uid, user_name, admin, until, key, expire, used)
			SELECT hash, uid, user_name, admin, until, key, expire, used
			FROM unnest($1::bytea[], $2::uuid[], $3::text[], $4::boolean[], $5::bigint[], $6::text[], $7::bigint[], $8::boolean[])
				AS w (hash, uid, user_name, admin, until, key, expire, used) ORDER BY hash
			ON CONFLICT (hash) DO UPDATE SET uid = excluded.uid, user_name = excluded.user_name, admin = excluded.admin,
				until = excluded.until, key = excluded.key, expire = excluded.expire, used = excluded.used`,
			hashes, uids, users, admin, until, keys, expire, used)
	}
}

// count changes how many sessions exist of creators, in the lane's part of their numbers.
func (k *keeper) count(part int16, changes map[string]int) {
	var users, less []string
	var numbers []int64
	for _, user := range slices.SortedFunc(maps.Keys(changes), cmp.Compare[string]) {
		n := changes[user]
		if n == 0 {
			continue
		}
		users, numbers = append(users, user), append(numbers, int64(n))
		if n < 0 {
			less = append(less, user)
		}
	}
	if len(users) == 0 {
		return
	}
	k.batch.Queue(`INSERT INTO creators (user_name, part, sessions)
		SELECT user_name, $3, sessions FROM unnest($1::text[], $2::bigint[]) AS w (user_name, sessions)
		ON CONFLICT (user_name, part) DO UPDATE SET sessions = creators.sessions + excluded.sessions`, users, numbers, part)
	if len(less) > 0 {
		k.batch.Queue(`DELETE FROM creators WHERE user_name = ANY ($1) AND part = $2 AND sessions = 0`, less, part)
	}
}

const signSQL = `INSERT INTO commits (group_id, at, void, uids, sequences) VALUES ($1, $2, false, $3, $4)`

// sign adds the transaction's own row.
func (k *keeper) sign(l *lane, rooms []*room) {
	var uids [][16]byte
	var sequences []int64
	for _, r := range rooms {
		switch {
		case r.ending != nil:
			uids, sequences = append(uids, r.record.UID), append(sequences, r.ending.Sequence)
		case r.stored == nil || r.moved:
			uids, sequences = append(uids, r.record.UID), append(sequences, r.record.Head.Sequence)
		default:
		}
	}
	k.batch.Queue(signSQL, [16]byte(l.group), int64(l.scene.latest), notNil(uids), notNil(sequences))
}

// notNil is the list, or an empty one: as a parameter, nil would be NULL.
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
