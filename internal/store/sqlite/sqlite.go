// Package sqlite keeps sessions in one SQLite file: the engine that needs nothing to be installed.
//
// One connection writes, in groups that share a transaction and a flush (package commit); a few others read. A write is
// acknowledged when its transaction is in the write-ahead log and the log is flushed (synchronous=FULL), and nobody
// sees it before.
package sqlite

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/commit"
)

// FileName is the database's name within the data directory.
const FileName = "parley.db"

// Config says how to open a store.
type Config struct {
	Dir  string           // the data directory; it exists
	Keys *session.KeyRing // the ring whose hashes are in the store: another one is refused
	Now  session.Clock    // nil: the machine's clock
	Log  *slog.Logger

	// Committed, if not nil, is given what happened in each transaction, in commit order: after it is durable, and
	// before any of its writers is answered. It must be quick. The slice is the store's again when it returns.
	Committed func([]*session.Event)

	// TidyEvery is how often the store looks for what has expired or is to be trimmed or purged; 0: every second.
	TidyEvery time.Duration

	// CountCreators has the sessions counted by their creators before Open returns. Without it the first write that has a
	// Creator does so, and all writes wait for it. It is for servers whose writes have one.
	CountCreators bool

	// MaxPages bounds the file, in pages of 8 KiB; 0: only the disk does.
	MaxPages int
}

// Store implements session.Store.
type Store struct {
	log       *slog.Logger
	path      string // of the database
	now       session.Clock
	lock      *os.File
	committer *commit.Committer[*job]
	engine    *engine
	readers   chan *conn
	stopTidy  context.CancelFunc
	tidying   sync.WaitGroup
}

const readerCount = 8

// The pragmas of each kind of connection. synchronous is per connection: without it, WAL files are not flushed at
// each commit. A larger WAL before a checkpoint makes writes cheaper and the slowest ones slower. The page size holds for
// a new file; larger pages mean fewer writes to the log, and more bytes for each.
var (
	commonPragmas = []string{"page_size(8192)", "journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(5000)", "foreign_keys(ON)"}
	writerPragmas = append(slices.Clip(commonPragmas),
		"wal_autocheckpoint(4000)", "journal_size_limit(67108864)", "cache_size(-16384)")
	readerPragmas = append(slices.Clip(commonPragmas), "query_only(ON)", "cache_size(-2048)")
)

// Open opens the store in the data directory, and makes it or brings it up to date if need be. It fails if another
// process has it open, if a newer version of Parley wrote it, or if it was made with other keys.
func Open(ctx context.Context, config Config) (_ *Store, err error) {
	s := &Store{log: config.Log, now: config.Now, readers: make(chan *conn, readerCount)}
	if s.now == nil {
		s.now = session.Now
	}
	if s.lock, err = lockDir(config.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeFiles())
		}
	}()
	s.path = filepath.Join(config.Dir, FileName)
	if err := makeStoreFile(s.path); err != nil {
		return nil, err
	}
	if err := migrate(ctx, s.path); err != nil {
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	if err := s.openConns(config); err != nil {
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	if config.CountCreators {
		if err := s.engine.countCreators(ctx, creatorLoad); err != nil {
			return nil, fmt.Errorf("%s: %w", s.path, err)
		}
	}
	s.committer = commit.New(s.engine, commitOptions(config))
	tidyContext, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stopTidy = stop
	s.tidying.Go(func() { s.tidyLoop(tidyContext, cmp.Or(config.TidyEvery, tidyEvery)) })
	return s, nil
}

const newFileMode = 0o600

// makeFile makes the database's file, empty, unless there is one. SQLite would let everybody read it. The files beside it
// get its mode. A file that is there is not even opened: closing it would end the locks that this process has on it.
func makeFile(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, newFileMode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return file.Close()
}

// makeStoreFile is makeFile, but not beside the file of a copy: a server would begin with an empty store.
func makeStoreFile(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	copied := filepath.Join(filepath.Dir(path), targetName)
	if _, err := os.Stat(copied); err == nil {
		return fmt.Errorf("%s: a copy into this directory was broken off, or still goes on: copy again, or remove the file", copied)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return makeFile(path)
}

func commitOptions(config Config) commit.Options[*job] {
	options := commit.Options[*job]{
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
			config.Committed(events)
		}
		clear(events)
		events = events[:0]
	}
	return options
}

func (s *Store) openConns(config Config) error {
	writer, err := open(s.path, writerPragmas...)
	if err != nil {
		return err
	}
	s.engine = &engine{conn: writer}
	if config.MaxPages > 0 {
		if _, err := writer.integer(fmt.Sprintf("PRAGMA max_page_count = %d", config.MaxPages)); err != nil {
			return err
		}
	}
	if err := checkKeys(writer, config.Keys); err != nil {
		return err
	}
	latest, err := writer.latest()
	if err != nil {
		return err
	}
	// A clock that was set back must not bring a time back that was given out before.
	s.engine.clock = session.Ascending(func() session.Time { return max(s.now(), session.Time(latest)+1) })
	if err := s.engine.index.load(writer); err != nil {
		return err
	}
	for range readerCount {
		reader, err := open(s.path, readerPragmas...)
		if err != nil {
			return err
		}
		s.readers <- reader
	}
	return nil
}

// latest is a time that none which was given out is after.
func (c *conn) latest() (int64, error) {
	return c.integer(`SELECT max((SELECT coalesce(max(created), 0) FROM sessions),
		(SELECT coalesce(max(updated), 0) FROM sessions), (SELECT coalesce(max(ended), 0) FROM tombstones),
		coalesce((SELECT time FROM events ORDER BY position DESC LIMIT 1), 0),
		(SELECT coalesce(max(at), 0) FROM requests), (SELECT coalesce(max(counted), 0) FROM creator_parts),
		coalesce((SELECT CAST(value AS INTEGER) FROM settings WHERE name = ?), 0))`, latestTime)
}

// The names of the settings.
const (
	oldestKey  = "keys"
	newestKey  = "newest key"
	latestTime = "latest" // when the store was copied, in digits: its events are not in the order of their times
)

// knownKeys are the Fingerprint and the Newest of the ring that the store was opened with last; nil: it never was.
func (c *conn) knownKeys() (oldest, newest []byte, err error) {
	if oldest, err = c.blob(`SELECT value FROM settings WHERE name = ?`, oldestKey); err != nil {
		return nil, nil, err
	}
	newest, err = c.blob(`SELECT value FROM settings WHERE name = ?`, newestKey)
	return oldest, newest, err
}

// checkKeys refuses a ring that does not follow the one that the store was opened with last, and remembers it.
func checkKeys(c *conn, keys *session.KeyRing) error {
	oldest, newest, err := c.knownKeys()
	if err != nil {
		return err
	}
	if oldest != nil {
		if err := keys.Follows(oldest, newest); err != nil {
			return err
		}
	}
	if bytes.Equal(newest, keys.Newest()) {
		return nil
	}
	return c.exec(`INSERT INTO settings (name, value) VALUES (?, ?), (?, ?)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, oldestKey, keys.Fingerprint(), newestKey, keys.Newest())
}

// Write implements session.Store.
func (s *Store) Write(ctx context.Context, w *session.Write) error {
	return s.committer.Submit(ctx, &job{write: w})
}

// read lends a reader to do.
func (s *Store) read(ctx context.Context, do func(*conn) error) error {
	select {
	case c := <-s.readers:
		defer func() { s.readers <- c }()
		if err := do(c); err != nil {
			return classify(err)
		}
		return nil
	case <-ctx.Done():
		return canceled(ctx)
	}
}

// snapshot lends a reader to do, in one read transaction.
func (s *Store) snapshot(ctx context.Context, do func(*conn) error) error {
	return s.read(ctx, func(c *conn) error {
		if err := c.exec("BEGIN"); err != nil {
			return err
		}
		err := do(c)
		if ended := c.exec("COMMIT"); err == nil {
			err = ended
		}
		return err
	})
}

// Close answers every write that was accepted, and closes the file. If ctx ends first, what has not begun is answered
// that nothing was done. No call may come after it.
func (s *Store) Close(ctx context.Context) error {
	s.stopTidy()
	err := s.committer.Close(ctx)
	s.tidying.Wait()
	if err != nil {
		return err // the engine may still be at work: its files stay open
	}
	return s.closeFiles()
}

func (s *Store) closeFiles() error {
	var errs []error
	for range len(s.readers) {
		errs = append(errs, (<-s.readers).close())
	}
	if s.engine != nil {
		errs = append(errs, s.engine.close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}
