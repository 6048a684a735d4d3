//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// bare is the ceiling of the engine: the statements of the nodes' transactions
// (internal/store/postgres has them), with rows as a node has written them, one
// transaction after the other in each lane, and nothing else: no requests, no
// rules, nobody who waits for a group to fill.
type bare struct {
	database *database
	action   action // create or publish
	nodes    int    // whose lanes these are: those of one node never share a session
	lanes    int    // of each node
	rows     int    // sessions or messages in a transaction
	rooms    int    // that are published to

	sample sample
}

// sample has the rows that are written again and again, with other keys.
type sample struct {
	kind         int16
	display, doc string
	users        int // who find the session
	rooms        []string
	member       string
	channel      int32
	message      string
}

// name is the total of lanes, and the rows.
func (x *bare) name() string { return fmt.Sprintf("bare %dx%d", x.nodes*x.lanes, x.rows) }

// read takes the sample from what a node has stored.
func (x *sample) read(ctx context.Context, conn *pgx.Conn) error {
	err := conn.QueryRow(ctx, `SELECT s.type, s.display_name, s.doc, (SELECT count(*) FROM session_users u WHERE u.uid = s.uid)
		FROM sessions s WHERE s.id NOT LIKE 'r-%' ORDER BY s.uid LIMIT 1`).Scan(&x.kind, &x.display, &x.doc, &x.users)
	if err != nil {
		return fmt.Errorf("a session to begin with: %w", err)
	}
	err = conn.QueryRow(ctx, `SELECT actor, channel, doc FROM events WHERE doc LIKE '%parcel%' ORDER BY uid, sequence LIMIT 1`).
		Scan(&x.member, &x.channel, &x.message)
	if err != nil {
		return fmt.Errorf("a message to begin with: %w", err)
	}
	rows, err := conn.Query(ctx, `SELECT id FROM sessions WHERE id LIKE 'r-%' ORDER BY id`)
	if err != nil {
		return err
	}
	x.rooms, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return err
}

// bareRun is what the lanes of a run share.
type bareRun struct {
	*bare

	phase atomic.Int32

	mu        sync.Mutex // guards what follows
	latencies histogram  // of transactions
	written   int64      // rows, in the window
	answers   int64      // rows, of the whole run
}

// run drives the lanes. The latencies are of transactions, not of rows.
func (x *bare) run(ctx context.Context, postmaster int, warmup, duration time.Duration) (loadResult, error) {
	r := &bareRun{bare: x}
	failed := make(chan error, x.nodes*x.lanes)
	var lanes sync.WaitGroup
	defer func() {
		r.phase.Store(draining)
		lanes.Wait()
	}()
	for number := range x.nodes * x.lanes {
		conn, err := x.database.connect(ctx)
		if err != nil {
			return loadResult{}, err
		}
		lanes.Go(func() {
			defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
			l := &bareLane{bareRun: r, conn: conn, number: number, draw: rand.New(rand.NewPCG(1, uint64(number)))}
			if err := l.drive(ctx); err != nil {
				failed <- err
			}
		})
	}
	if err := pause(ctx, warmup, failed); err != nil {
		return loadResult{}, err
	}
	w := openWindow(postmaster)
	r.phase.Store(measuring)
	err := pause(ctx, duration, failed)
	w.end()
	r.phase.Store(draining)
	lanes.Wait()
	if err == nil && len(failed) > 0 {
		err = <-failed
	}
	out := w.result(nil)
	out.Requests, out.Answers, out.ServerCPU = r.written, r.answers, out.LoadCPU
	out.P50, out.P99, out.Max = r.latencies.quantile(0.50), r.latencies.quantile(0.99), r.latencies.max
	return out, err
}

// bareLane is one connection that writes.
type bareLane struct {
	*bareRun

	conn   *pgx.Conn
	number int
	draw   *rand.Rand
}

func (l *bareLane) drive(ctx context.Context) error {
	for l.phase.Load() != draining {
		began := time.Now()
		write := l.publish
		if l.action == create {
			write = l.create
		}
		if err := write(ctx); err != nil {
			return fmt.Errorf("%s: %w", l.name(), err)
		}
		l.record(time.Since(began))
	}
	return nil
}

func (l *bareLane) record(took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers += int64(l.rows)
	if l.phase.Load() == measuring {
		l.written += int64(l.rows)
		l.latencies.record(took)
	}
}

// begin queues what every transaction begins with.
func begin(batch *pgx.Batch) {
	batch.Queue(`BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE`)
	batch.Queue(`SELECT set_config('lock_timeout', '5000', true), set_config('statement_timeout', '10000', true),
		set_config('idle_in_transaction_session_timeout', '10000', true),
		CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'local', true) END`)
}

const clockText = `SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint`

// end sends the writes with the group's own row, and commits.
func (l *bareLane) end(ctx context.Context, batch *pgx.Batch, now int64, uids [][16]byte, sequences []int64) error {
	group, err := uuid.NewV7()
	if err != nil {
		return err
	}
	batch.Queue(`INSERT INTO commits (group_id, at, void, uids, sequences) VALUES ($1, $2, false, $3, $4)`,
		[16]byte(group), now, uids, sequences)
	if err := l.conn.SendBatch(ctx, batch).Close(); err != nil {
		return err
	}
	_, err = l.conn.Exec(ctx, `COMMIT`)
	return err
}

// create makes sessions, each of another creator.
func (l *bareLane) create(ctx context.Context) error {
	var first, batch pgx.Batch
	begin(&first)
	if err := l.conn.SendBatch(ctx, &first).Close(); err != nil {
		return err
	}
	var now int64
	if err := l.conn.QueryRow(ctx, clockText).Scan(&now); err != nil {
		return err
	}
	n := l.rows
	uids, ids, creators := make([][16]byte, n), make([]string, n), make([]string, n)
	var found [][16]byte
	var users []string // who find them
	for i := range n {
		uid, err := uuid.NewV7()
		if err != nil {
			return err
		}
		uids[i], ids[i], creators[i] = uid, uid.String(), fmt.Sprintf("creator-%02d-%03d", l.number, i)
		for range l.sample.users {
			found, users = append(found, uid), append(users, userName(l.draw.IntN(1e4)))
		}
	}
	names, docs := slices.Repeat([]string{l.sample.display}, n), slices.Repeat([]string{l.sample.doc}, n)
	kinds, times := slices.Repeat([]int16{l.sample.kind}, n), slices.Repeat([]int64{now}, n)
	none, ones := make([]int64, n), slices.Repeat([]int64{1}, n)
	batch.Queue(`INSERT INTO sessions (uid, id, type, display_name, creator, updated, expires, secret_key, secret, doc)
		SELECT uid, id, type, display_name, creator, updated, expires, secret_key, secret, doc
		FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[],
			$9::bytea[], $10::text[]) AS w (uid, id, type, display_name, creator, updated, expires, secret_key, secret, doc)
		ORDER BY id COLLATE "C" ON CONFLICT (id) DO NOTHING`, uids, ids, kinds, names, creators, times, none, none, make([][]byte, n), docs)
	batch.Queue(`INSERT INTO heads (uid, sequence, members, last_message, latest, first, trim_at)
		SELECT uid, sequence, members, last_message, latest, 1, trim_at
		FROM unnest($1::uuid[], $2::bigint[], $3::integer[], $4::bigint[], $5::bigint[], $6::bigint[])
			AS w (uid, sequence, members, last_message, latest, trim_at)`, uids, ones, make([]int32, n), none, times, none)
	batch.Queue(`INSERT INTO session_users (uid, user_name)
		SELECT uid, user_name FROM unnest($1::uuid[], $2::text[]) AS w (uid, user_name) ORDER BY user_name, uid
		ON CONFLICT (user_name, uid) DO NOTHING`, found, users)
	batch.Queue(`INSERT INTO creators (user_name, part, sessions)
		SELECT user_name, $3, sessions FROM unnest($1::text[], $2::bigint[]) AS w (user_name, sessions)
		ON CONFLICT (user_name, part) DO UPDATE SET sessions = creators.sessions + excluded.sessions`, creators, ones, l.number)
	return l.end(ctx, &batch, now, uids, ones)
}

// head is what a publish moves of a session.
type head struct {
	uid              [16]byte
	sequence, trimAt int64
	members          int32
}

// publish appends messages to rooms that are drawn, of those that the lane has.
func (l *bareLane) publish(ctx context.Context) error {
	drawn := make([]string, l.rows)
	own := (l.rooms - l.number%l.lanes + l.lanes - 1) / l.lanes // every so manieth room
	for i := range drawn {
		drawn[i] = l.sample.rooms[l.draw.IntN(own)*l.lanes+l.number%l.lanes]
	}
	ids := slices.Compact(slices.Sorted(slices.Values(drawn)))
	heads, now, err := l.lock(ctx, ids)
	if err != nil {
		return err
	}
	n := l.rows
	uids, sequences, times := make([][16]byte, n), make([]int64, n), slices.Repeat([]int64{now}, n)
	channels, kinds := slices.Repeat([]int32{l.sample.channel}, n), slices.Repeat([]int16{8}, n) // 8: a message
	for i, id := range drawn {
		h := heads[id]
		h.sequence++
		uids[i], sequences[i] = h.uid, h.sequence
	}
	var moved headColumns
	for _, id := range ids {
		moved.add(heads[id])
	}
	latest := slices.Repeat([]int64{now}, len(ids))
	var batch pgx.Batch
	batch.Queue(`UPDATE heads h SET sequence = w.sequence, members = w.members, last_message = w.last_message,
			latest = w.latest, trim_at = w.trim_at
		FROM unnest($1::uuid[], $2::bigint[], $3::integer[], $4::bigint[], $5::bigint[], $6::bigint[])
			AS w (uid, sequence, members, last_message, latest, trim_at)
		WHERE h.uid = w.uid`, moved.uids, moved.sequences, moved.members, latest, latest, moved.trimAt)
	batch.Queue(`INSERT INTO events (uid, sequence, time, channel, kind, actor, message_id, doc)
		SELECT uid, sequence, time, channel, kind, actor, message_id, doc
		FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::integer[], $5::smallint[], $6::text[], $7::text[], $8::text[])
			AS w (uid, sequence, time, channel, kind, actor, message_id, doc)`, uids, sequences, times, channels, kinds,
		slices.Repeat([]string{l.sample.member}, n), make([]string, n), slices.Repeat([]string{l.sample.message}, n))
	return l.end(ctx, &batch, now, moved.uids, moved.sequences)
}

type headColumns struct {
	uids              [][16]byte
	sequences, trimAt []int64
	members           []int32
}

func (c *headColumns) add(h *head) {
	c.uids, c.sequences = append(c.uids, h.uid), append(c.sequences, h.sequence)
	c.members, c.trimAt = append(c.members, h.members), append(c.trimAt, h.trimAt)
}

// lock begins the transaction, and locks and reads what a publish looks at.
func (l *bareLane) lock(ctx context.Context, ids []string) (heads map[string]*head, now int64, err error) {
	var first, second pgx.Batch
	begin(&first)
	var locked [][16]byte
	first.Queue(`SELECT h.uid, s.id FROM sessions s JOIN heads h ON h.uid = s.uid WHERE s.id = ANY ($1) ORDER BY h.uid FOR UPDATE OF h`,
		ids).Query(func(rows pgx.Rows) error {
		locked, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (uid [16]byte, err error) {
			return uid, row.Scan(&uid, nil)
		})
		return err
	})
	if err := l.conn.SendBatch(ctx, &first).Close(); err != nil {
		return nil, 0, err
	}
	heads = make(map[string]*head, len(ids))
	second.Queue(clockText).QueryRow(func(row pgx.Row) error { return row.Scan(&now) })
	second.Queue(`SELECT s.uid, s.id, s.type, s.display_name, s.creator, s.updated, s.expires, s.secret_key, s.secret, s.doc,
			h.sequence, h.members, h.last_message, h.latest, h.first, h.trim_at
		FROM sessions s JOIN heads h ON h.uid = s.uid WHERE s.id = ANY ($1)`, ids).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var id string
			h := &head{}
			err := rows.Scan(&h.uid, &id, nil, nil, nil, nil, nil, nil, nil, nil, &h.sequence, &h.members, nil, nil, nil, &h.trimAt)
			if err != nil {
				return err
			}
			heads[id] = h
		}
		return rows.Err()
	})
	second.Queue(`SELECT w.uid, m.user_name, m.joined, m.channels
		FROM (SELECT DISTINCT * FROM unnest($1::uuid[], $2::text[]) AS w (uid, user_name)) w CROSS JOIN LATERAL
			(SELECT m.user_name, m.joined, m.channels FROM members m WHERE m.uid = w.uid AND m.user_name = w.user_name LIMIT 1) m`,
		locked, slices.Repeat([]string{l.sample.member}, len(locked)))
	if err := l.conn.SendBatch(ctx, &second).Close(); err != nil {
		return nil, 0, err
	}
	if len(heads) != len(ids) {
		return nil, 0, fmt.Errorf("%d of %d rooms are there", len(heads), len(ids))
	}
	return heads, now, nil
}
