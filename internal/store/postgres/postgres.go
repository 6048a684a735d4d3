// Package postgres keeps sessions in PostgreSQL: the engine of several nodes that share one database.
//
// A node writes in a few lanes. Each has a committer (package commit) whose groups are one transaction, in a few statements
// for many rows, and a session's writes all go through the lane that its id hashes to. What keeps two transactions of one
// session apart is the lock on the session's head, whichever lanes and nodes they are of.
//
// The store works through a proxy that lends a connection for one transaction at a time: it keeps no state on
// connections. Statements are neither prepared nor named; their parameters' types are remembered on this side
// (pgx.QueryExecModeCacheDescribe), which costs a question for each new statement of a connection, and spares guessing
// them from Go's types. Settings are those of a transaction, and so are advisory locks.
package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/commit"
)

// Config says how to open a store.
type Config struct {
	URL  string           // of the database: postgres://user:password@host:port/name
	Keys *session.KeyRing // the ring whose hashes are in the store: another one is refused
	Log  *slog.Logger

	// Now, if not nil, is the clock in the place of the database's.
	Now session.Clock

	// Committed, if not nil, is given what happened in each transaction of this node: after it is durable, and before any
	// of its writers is answered. What happened in one session comes in commit order; but the first event of one whose id
	// the server made may be overtaken by what somebody does who found it in a list before its maker was answered. It must
	// be quick. It is called by one goroutine at a time; the slice is the store's again when it returns.
	Committed func([]*session.Event)

	// Reached, if not nil, is told of each session whose log went on where it then ended: of what any node has committed
	// since Open, this one too, within FeedEvery and a moment. It is told at least once, in no order, and sometimes of what
	// happened before. One goroutine calls it, while others call Committed. It must be quick.
	Reached func(uid session.UID, sequence int64)

	// FeedEvery is how often the store looks for what was committed, to tell Reached; 0: every second.
	FeedEvery time.Duration

	// TidyEvery is how often the store looks for what has expired or is to be trimmed or purged; 0: every second.
	TidyEvery time.Duration

	// Lanes is how many transactions write at the same time; 0: 2.
	Lanes int

	patience patience
}

// Store implements session.Store.
type Store struct {
	log     *slog.Logger
	clock   clock
	writers *pgxpool.Pool // of the lanes, and of tidying
	readers *pgxpool.Pool
	guesses guesses
	pulse   *pgxpool.Pool // of Ping, which is not to wait for others' work
	lanes   []*commit.Committer[*job]
	turn    atomic.Uint32      // the lane of the next write that may go to any
	stop    context.CancelFunc // of what runs in the background
	running sync.WaitGroup

	telling sync.Mutex // is held while Config.Committed runs
}

const (
	defaultLanes = 2
	creatorParts = 64 // of the number of a creator's sessions: so that it is rare that two lanes have the same
	readerCount  = 8
)

// Open opens the store in the database, and makes it or brings it up to date if need be. It fails if a newer version of
// Parley wrote it, or if it was used with keys that config.Keys lacks.
func Open(ctx context.Context, config Config) (_ *Store, err error) {
	s := &Store{log: config.Log, clock: clock{instead: config.Now}}
	defer func() {
		if err != nil {
			s.closePools()
			err = fmt.Errorf("PostgreSQL: %w", err) // pgx leaves the password out of what it says
		}
	}()
	lanes := cmp.Or(config.Lanes, defaultLanes)
	if config.patience.again == nil {
		config.patience = defaultPatience
	}
	database, err := connect(ctx, config.URL, lanes+1)
	if err != nil {
		return nil, err
	}
	s.writers = database.Pool
	if !database.flushes {
		s.log.Warn("the database does not flush what it commits (fsync is off): a crash of its machine may lose everything")
	}
	if s.readers, err = newPool(ctx, config.URL, readerCount); err != nil {
		return nil, err
	}
	if s.guesses.pool, err = newPool(ctx, config.URL, guessConnections); err != nil {
		return nil, err
	}
	if s.pulse, err = newPool(ctx, config.URL, 1); err != nil {
		return nil, err
	}
	err = inTransaction(ctx, s.writers, func(ctx context.Context, tx pgx.Tx) error { return checkKeys(ctx, tx, config.Keys) })
	if err != nil {
		return nil, err
	}
	if err := s.readFloor(ctx); err != nil {
		return nil, err
	}
	var f *feed
	if config.Reached != nil {
		if f, err = newFeed(ctx, s, config.Reached); err != nil {
			return nil, err
		}
	}
	for range lanes {
		l := &lane{store: s, patience: config.patience, part: int16(rand.N(creatorParts))} //nolint:gosec // it is to be spread, not secret
		s.lanes = append(s.lanes, commit.New(l, s.commitOptions(config, lanes)))
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.running.Go(func() { s.tidyLoop(background, cmp.Or(config.TidyEvery, tidyEvery)) })
	if f != nil {
		s.running.Go(func() { f.run(background, cmp.Or(config.FeedEvery, feedEvery)) })
	}
	return s, nil
}

// newPool makes a pool of at most so many connections. It connects when one is needed.
func newPool(ctx context.Context, url string, connections int) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = int32(connections)
	config.MinConns = 0
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	config.ConnConfig.StatementCacheCapacity = 0
	// That a connection is lost is found out by its use, and each use that matters is tried again: asking before would double
	// what a quiet node asks.
	config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	// Of several hosts in the URL, a standby is none to connect to: what is read there may be of before the last write.
	if config.ConnConfig.ValidateConnect == nil {
		config.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	return pgxpool.NewWithConfig(ctx, config)
}

// oldestServer is the first version of PostgreSQL that tells transaction ids which do not repeat.
const oldestServer = 13_00_00

// database is one that is fit for the store, and up to date.
type database struct {
	*pgxpool.Pool

	flushes bool // what it commits
	made    bool // there was no store in it
}

// connect opens a database, and brings it up to date if need be. It fails if a newer version of Parley wrote it.
func connect(ctx context.Context, url string, connections int) (_ *database, err error) {
	pool, err := newPool(ctx, url, connections)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			pool.Close()
		}
	}()
	d := &database{Pool: pool}
	if err := d.examine(ctx); err != nil {
		return nil, err
	}
	d.made, err = migrate(ctx, pool.Config().ConnConfig)
	return d, err
}

// examine looks whether this is a database for the store.
func (d *database) examine(ctx context.Context) error {
	var encoding, version string
	var number int
	err := d.QueryRow(ctx, `SELECT current_setting('server_encoding'), current_setting('fsync') = 'on',
		current_setting('server_version'), current_setting('server_version_num')::integer`).Scan(&encoding, &d.flushes, &version, &number)
	switch {
	case err != nil:
		return err
	case number < oldestServer:
		return fmt.Errorf("the server's version is %s: it must be %d or later", version, oldestServer/10_000)
	case encoding != "UTF8":
		return fmt.Errorf("the database's encoding is %s: it must be UTF8", encoding)
	default:
		return nil
	}
}

// readFloor reads how far the time has come: a clock that was set back must not bring a time back that was given out
// before.
func (s *Store) readFloor(ctx context.Context) error {
	var latest int64
	err := s.readers.QueryRow(ctx, `SELECT coalesce(max(at), 0)
		FROM (SELECT at FROM commits ORDER BY xid DESC LIMIT $1) newest`, newestCommits).Scan(&latest)
	s.clock.floor.Store(latest)
	return err
}

func (s *Store) commitOptions(config Config, lanes int) commit.Options[*job] {
	options := commit.Options[*job]{
		MaxQueued:      max(8192/lanes, 1024),
		MaxQueuedBytes: 64 << 20 / lanes,
		MaxPerKey:      1024,
		Size: func(j *job) int {
			if j.write == nil {
				return 0
			}
			return j.write.Size
		},
		Key: func(j *job) string {
			if j.write == nil {
				return ""
			}
			return j.write.ID
		},
	}
	if config.Committed == nil {
		return options
	}
	var events []*session.Event // used again for every transaction
	options.Committed = func(jobs []*job) {
		for _, j := range jobs {
			events = append(events, j.events...)
		}
		if len(events) > 0 {
			s.tell(config.Committed, events)
		}
		clear(events)
		events = events[:0]
	}
	return options
}

func (s *Store) tell(committed func([]*session.Event), events []*session.Event) {
	s.telling.Lock()
	defer s.telling.Unlock()
	committed(events)
}

// Write implements session.Store.
func (s *Store) Write(ctx context.Context, w *session.Write) error {
	return s.lanes[s.laneOf(w)].Submit(ctx, &job{write: w})
}

// laneOf is the lane that a write goes through: that of its session; else one where it meets its like.
func (s *Store) laneOf(w *session.Write) int {
	switch {
	case w.ID != "":
		return s.laneFor([]byte(w.ID))
	case w.Ticket != nil:
		return s.laneFor(w.Ticket[:])
	case w.Request != session.RequestKey{}:
		return s.laneFor(w.Request[:])
	default:
		return int(s.turn.Add(1)) % len(s.lanes)
	}
}

func (s *Store) laneFor(key []byte) int {
	hash := fnv.New32a()
	_, _ = hash.Write(key)
	return int(hash.Sum32() % uint32(len(s.lanes)))
}

// Close answers every write that was accepted, and closes the connections. If ctx ends first, what has not begun is
// answered that nothing was done, what goes on keeps its connections, and Close returns an error. No call may come after it.
func (s *Store) Close(ctx context.Context) error {
	s.stop()
	errs := make([]error, len(s.lanes))
	var closing sync.WaitGroup
	for i, committer := range s.lanes {
		closing.Go(func() { errs[i] = committer.Close(ctx) })
	}
	closing.Wait()
	if err := errors.Join(errs...); err != nil {
		return err // the lanes may still be at work: their connections stay open
	}
	closed := make(chan struct{})
	go func() {
		s.running.Wait()
		s.closePools()
		close(closed)
	}()
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the database was still being asked: %w", context.Cause(ctx))
	}
}

func (s *Store) closePools() {
	for _, pool := range []*pgxpool.Pool{s.writers, s.readers, s.guesses.pool, s.pulse} {
		if pool != nil {
			pool.Close()
		}
	}
}
