package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/transfer"
)

// targetName is the name of a file that is yet to become the store. No server opens it, and the next copy removes it: so it is no
// name that somebody gives to a file of theirs.
const targetName = FileName + ".part"

// Target implements transfer.Target in a data directory that has no store. Until Commit its file has another name, and
// nothing is flushed.
type Target struct {
	lock *os.File
	dir  string
	conn *conn
	log  targetLog
}

// targetLog is the log that is being written.
type targetLog struct {
	created  int64
	sequence int64 // of its last event
	position int64 // and where that is: it is the last one of all
	before   int64 // the position of the last event of the log before
}

// targetPragmas are those of a connection to what a crash may destroy.
var targetPragmas = []string{"page_size(8192)", "journal_mode(WAL)", "synchronous(OFF)", "wal_autocheckpoint(4000)", "cache_size(-65536)"}

// OpenTarget makes an empty store in the data directory, which it makes too if need be, and keeps others away from that. It
// fails if there is a store, or if a server uses the directory.
func OpenTarget(ctx context.Context, dir string) (_ *Target, err error) {
	if err := wantNoStore(dir); err != nil { // before anything is made
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	t := &Target{dir: dir}
	if t.lock, err = lockDir(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Close())
		}
	}()
	if err := wantNoStore(dir); err != nil { // a server may have made one meanwhile
		return nil, err
	}
	if err := t.remove(); err != nil { // an earlier copy may have been killed
		return nil, err
	}
	if err := makeFile(t.path()); err != nil {
		return nil, err
	}
	if err := migrate(ctx, t.path()); err != nil {
		return nil, t.named(err)
	}
	t.conn, err = open(t.path(), targetPragmas...)
	return t, t.named(err)
}

// wantNoStore is an error if the directory has a store, or a log that somebody left there who removed one: SQLite would take
// that for the log of the file that gets the store's name, and write what is in it over what was copied.
func wantNoStore(dir string) error {
	for _, suffix := range []string{"", "-wal", "-journal"} {
		path := filepath.Join(dir, FileName+suffix)
		_, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case suffix == "":
			return fmt.Errorf("%s: there is a store already: name a directory that has none", path)
		default:
			return fmt.Errorf("%s: it was left behind by another store: move it away, or name a directory that has none", path)
		}
	}
	return nil
}

func (t *Target) path() string { return filepath.Join(t.dir, targetName) }

// remove takes away what there is of a target that has not become a store.
func (t *Target) remove() error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(t.path() + suffix); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Write implements transfer.Target.
func (t *Target) Write(_ context.Context, b *transfer.Batch) error {
	return t.named(t.transaction(func() error {
		for _, write := range []func() error{
			each(b.Sessions, t.addSession), each(b.Events, t.addEvent), t.endLog, each(b.Members, t.addMember),
			each(b.Ended, t.addEnded), each(b.Requests, t.addRequest), each(b.APIKeys, t.conn.insertAPIKey),
		} {
			if err := write(); err != nil {
				return err
			}
		}
		return nil
	}))
}

// named is the error with the file's name.
func (t *Target) named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", t.path(), err)
}

// each is to give every row to add, until that fails.
func each[T any](rows []T, add func(T) error) func() error {
	return func() error {
		for _, row := range rows {
			if err := add(row); err != nil {
				return err
			}
		}
		return nil
	}
}

func (t *Target) transaction(do func() error) error {
	if err := t.conn.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := do(); err != nil {
		return errors.Join(err, t.conn.exec("ROLLBACK"))
	}
	return t.conn.exec("COMMIT")
}

func (t *Target) addSession(s *transfer.Session) error {
	err := t.conn.insert(s.Record)
	if code(err) == sqlite3.SQLITE_CONSTRAINT {
		return fmt.Errorf("the session %s was created in the same microsecond as another one, which cannot be in SQLite: %w", s.ID, err)
	}
	if err != nil {
		return err
	}
	return t.conn.putHeads([]*state{{record: s.Record, first: s.First, trimAt: s.TrimAt}})
}

func (t *Target) addEvent(ev *session.Event) error {
	created, log := int64(ev.UID.Time()), &t.log
	prev := log.position
	if created != log.created {
		if err := t.endLog(); err != nil {
			return err
		}
		log.created, log.before, prev = created, log.position, 0
	} else if ev.Sequence != log.sequence+1 {
		return fmt.Errorf("the log of %v has the event %d after %d", ev.UID, ev.Sequence, log.sequence)
	}
	log.position++
	log.sequence = ev.Sequence
	return t.conn.insertEvent(created, log.position, prev, ev)
}

// endLog notes where a log ends, so far.
func (t *Target) endLog() error {
	if t.log.position == t.log.before {
		return nil
	}
	return t.conn.exec(`UPDATE heads SET last = ? WHERE created = ?`, t.log.position, t.log.created)
}

func (t *Target) addMember(m transfer.Member) error {
	return t.conn.changeMembers(int64(m.UID.Time()), nil, m.Member)
}

func (t *Target) addEnded(ev *session.Event) error {
	return t.conn.insertTombstone(&tombstone{ending: ev, first: ev.Sequence})
}

func (t *Target) addRequest(r transfer.Request) error {
	return t.conn.putRequest(r.Key, &r.Earlier)
}

// Count implements transfer.Target.
func (t *Target) Count(context.Context) (transfer.Counts, error) {
	return t.conn.counts(`SELECT count(*) FROM events`)
}

// Commit implements transfer.Target.
func (t *Target) Commit(ctx context.Context, s transfer.Settings) error {
	if err := t.finish(ctx, s); err != nil {
		return t.named(err)
	}
	conn := t.conn
	t.conn = nil
	if err := errors.Join(conn.close(), syncPath(t.path())); err != nil {
		return err
	}
	if err := os.Rename(t.path(), filepath.Join(t.dir, FileName)); err != nil {
		return err
	}
	return syncPath(t.dir)
}

// finish writes what follows from the rest, and what the store as a whole has, and has all in the file itself.
func (t *Target) finish(ctx context.Context, s transfer.Settings) error {
	if err := t.fillIndex(ctx); err != nil {
		return err
	}
	if err := t.transaction(func() error { return t.keepSettings(s) }); err != nil {
		return err
	}
	busy, err := t.conn.integer("PRAGMA wal_checkpoint(TRUNCATE)")
	if err == nil && busy != 0 { // what is still in the log would be lost
		err = errors.New("another program reads it")
	}
	return err
}

func (t *Target) keepSettings(s transfer.Settings) error {
	for name, value := range map[string][]byte{
		oldestKey: s.Oldest, newestKey: s.Newest, latestTime: strconv.AppendInt(nil, int64(s.Latest), 10),
	} {
		if value == nil {
			continue
		}
		if err := t.conn.exec(`INSERT INTO settings (name, value) VALUES (?, ?)`, name, value); err != nil {
			return err
		}
	}
	return nil
}

// fillIndex puts the sessions into the lookups, as many as a server would have put there.
func (t *Target) fillIndex(ctx context.Context) error {
	var x index
	after := int64(0)
	for more := true; more; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		more = false
		err := t.transaction(func() error {
			err := t.conn.query(`SELECT `+columns+` FROM `+sessions+` WHERE s.created > ? ORDER BY s.created LIMIT ?`,
				[]driver.Value{after, int64(tailSessions)}, func(row []driver.Value) error {
					record, err := readRecord(row)
					if err != nil {
						return err
					}
					spec, err := record.Spec()
					if err != nil {
						return err
					}
					after, more, x.loaded = int64(record.CreateTime), true, true
					x.add(record, spec.Principals())
					return nil
				})
			if err != nil {
				return err
			}
			return x.flush(t.conn)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// syncPath has a file, or the names in a directory, on the disk.
func syncPath(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// Close implements transfer.Target.
func (t *Target) Close() error {
	var err error
	if t.conn != nil {
		err = t.conn.close()
	}
	return errors.Join(err, t.remove(), t.lock.Close())
}
