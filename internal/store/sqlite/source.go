package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/transfer"
)

// Source implements transfer.Source on a store that no server uses meanwhile.
type Source struct {
	lock    *os.File
	path    string
	conn    *conn
	version int64 // of the data that is read, as SQLite counts what others commit
}

// OpenSource opens the store in the data directory, or in a file of another name, to be read. The directory is this
// process's until the source is closed. Nothing in the file is changed; if a server was killed then its log is read with
// it. It fails if a server uses the directory, and if another version of Parley wrote the store.
func OpenSource(ctx context.Context, path string) (_ *Source, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		path = filepath.Join(path, FileName)
		if _, err := os.Stat(path); err != nil {
			return nil, err
		}
	} else if path, err = filepath.EvalSymlinks(path); err != nil { // the directory of the file itself is the one to lock
		return nil, err
	}
	if filepath.Base(path) == targetName {
		return nil, fmt.Errorf("%s: it is a part of a store, left by a copy that was broken off", path)
	}
	s := &Source{path: path}
	if s.lock, err = lockDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	state, err := lookAt(ctx, path)
	if err != nil {
		return nil, err
	}
	if err := state.Current(); err != nil {
		return nil, s.named(err)
	}
	if s.conn, err = openAddress(address(path, append(readerPragmas[:0:0], lookPragmas...), readOnly)); err != nil {
		return nil, s.named(err)
	}
	if err := s.conn.exec("BEGIN"); err != nil {
		return nil, s.named(err)
	}
	s.version, err = s.dataVersion() // it also begins what is read
	return s, s.named(err)
}

func (s *Source) dataVersion() (int64, error) { return s.conn.integer("PRAGMA data_version") }

// named is the error with the file's name.
func (s *Source) named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", s.path, err)
}

// Totals implements transfer.Source. The heads say how many events there are: so a hole in a log is noticed.
func (s *Source) Totals(context.Context) (transfer.Counts, error) {
	return s.conn.counts(`SELECT coalesce(sum(h.sequence - max(h.first, 2) + 1), 0)
		FROM heads h JOIN sessions s ON s.created = h.created`)
}

// counts is how many rows there are, with the events that a statement counts.
func (c *conn) counts(events string) (n transfer.Counts, err error) {
	for _, each := range []struct {
		to   *int64
		text string
	}{
		{&n.Sessions, `SELECT count(*) FROM sessions`},
		{&n.Events, events},
		{&n.Members, `SELECT count(*) FROM members m JOIN sessions s ON s.created = m.session`},
		{&n.Ended, `SELECT count(*) FROM tombstones`},
		{&n.Requests, `SELECT count(*) FROM requests`},
		{&n.APIKeys, `SELECT count(*) FROM api_keys`},
	} {
		if *each.to, err = c.integer(each.text); err != nil {
			return transfer.Counts{}, err
		}
	}
	return n, nil
}

// Settings implements transfer.Source.
func (s *Source) Settings(context.Context) (settings transfer.Settings, err error) {
	settings.Oldest, settings.Newest, err = s.conn.knownKeys()
	if err != nil {
		return transfer.Settings{}, err
	}
	latest, err := s.conn.latest()
	settings.Latest = session.Time(latest)
	return settings, err
}

// Read implements transfer.Source.
func (s *Source) Read(_ context.Context, give func(*transfer.Batch) error) error {
	latest, err := s.conn.latest()
	if err != nil {
		return err
	}
	r := &sourceReader{conn: s.conn, Batcher: transfer.NewBatcher(give), latest: session.Time(latest)}
	for _, read := range []func() error{r.readSessions, r.readEnded, r.readRequests, r.readAPIKeys, r.Flush} {
		if err := read(); err != nil {
			return err
		}
	}
	return nil
}

// Unchanged implements transfer.Source. The lock keeps servers away, but not who makes or revokes an API key.
func (s *Source) Unchanged(context.Context) error {
	if err := s.conn.exec("COMMIT"); err != nil {
		return s.named(err)
	}
	version, err := s.dataVersion()
	if err == nil && version != s.version {
		err = errors.New("somebody has written to the source meanwhile: copy again")
	}
	return s.named(err)
}

// Close implements transfer.Source.
func (s *Source) Close() error {
	var err error
	if s.conn != nil {
		err = s.conn.close()
	}
	return errors.Join(err, s.lock.Close())
}

type sourceReader struct {
	*conn
	*transfer.Batcher

	latest session.Time // of the store
}

func (r *sourceReader) readSessions() error {
	return r.query(`SELECT `+columns+` FROM `+sessions+` ORDER BY s.created`, nil, func(row []driver.Value) error {
		s, err := readState(row)
		if err != nil {
			return err
		}
		if err := r.readSession(&s); err != nil {
			return fmt.Errorf("the session %s: %w", s.record.ID, err)
		}
		return nil
	})
}

func (r *sourceReader) readSession(s *state) error {
	latest, err := r.latestOf(s)
	if err != nil {
		return err
	}
	if err := r.Session(&transfer.Session{Record: s.record, Latest: latest, First: s.first, TrimAt: s.trimAt}); err != nil {
		return err
	}
	log := s.chain()
	if err := r.events(log, log.oldest(), log.head, false, r.Event); err != nil {
		return err
	}
	return r.query(`SELECT `+memberColumns+` FROM members WHERE session = ? ORDER BY user`, []driver.Value{log.created()},
		func(row []driver.Value) error {
			m, err := readMember(row)
			if err != nil {
				return err
			}
			return r.Member(transfer.Member{UID: log.uid, Member: m})
		})
}

// latestOf is a time that nothing in the session is after: that of its last event, or if that is trimmed the store's.
func (r *sourceReader) latestOf(s *state) (session.Time, error) {
	switch {
	case s.record.Head.Sequence == 1:
		return s.record.UpdateTime, nil
	case s.last == 0:
		return r.latest, nil
	default:
		last, err := r.integer(`SELECT time FROM events WHERE position = ?`, s.last)
		return max(session.Time(last), s.record.UpdateTime, s.record.Head.LastMessageTime), err
	}
}

func (r *sourceReader) readEnded() error {
	return r.query(`SELECT uid, id, kind, actor, ended, sequence FROM tombstones ORDER BY created`, nil, func(row []driver.Value) error {
		uid := session.UID(row[0].([]byte))
		return r.Ended(readEnding(uid, row[1:]))
	})
}

func (r *sourceReader) readRequests() error {
	return r.query(`SELECT key, uid, digest, at, sequence FROM requests`, nil, func(row []driver.Value) error {
		return r.Request(transfer.Request{Key: session.RequestKey(row[0].([]byte)), Earlier: *readEarlier(row[1:])})
	})
}

func (r *sourceReader) readAPIKeys() error {
	keys, err := r.apiKeys()
	for _, key := range keys {
		if err := r.APIKey(key); err != nil {
			return err
		}
	}
	return err
}
