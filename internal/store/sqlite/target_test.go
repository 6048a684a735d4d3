package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/transfer"
)

// TestACopyLeavesFewSessionsToTheNextStart: those that are in no lookup yet are remembered by a server from its start on.
func TestACopyLeavesFewSessionsToTheNextStart(t *testing.T) {
	dir := t.TempDir()
	target, err := OpenTarget(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	spec := session.Spec{Type: session.Public, Owners: []string{"owner"}}
	batch := &transfer.Batch{}
	for i := range epochSessions + tailSessions + 100 {
		created := session.Time(1_000_000 + i)
		batch.Sessions = append(batch.Sessions, &transfer.Session{First: 1, Record: &session.Record{
			UID: session.NewUID(created, 1), ID: fmt.Sprint("s", i), Type: spec.Type, CreateTime: created, UpdateTime: created,
			Document: spec.AppendJSON(nil), Head: session.Head{Sequence: 1},
		}})
	}
	err = target.Write(t.Context(), batch)
	if err := errors.Join(err, target.Commit(t.Context(), transfer.Settings{}), target.Close()); err != nil {
		t.Fatal(err)
	}
	c, err := open(filepath.Join(dir, FileName), commonPragmas...)
	if err != nil {
		t.Fatal(err)
	}
	epochs, err := c.integer(`SELECT count(*) FROM epochs`)
	waiting, waitingErr := c.integer(`SELECT count(*) FROM sessions WHERE created > (SELECT max(last) FROM epochs)`)
	if err := errors.Join(err, waitingErr, c.close()); err != nil {
		t.Fatal(err)
	}
	if epochs != 2 || waiting != 100 {
		t.Errorf("there are %d epochs, and %d sessions wait for one; want 2 and 100", epochs, waiting)
	}
}

// TestALogThatAnotherStoreLeftIsNotThatOfACopy: SQLite would write what is in it over what was copied.
func TestALogThatAnotherStoreLeftIsNotThatOfACopy(t *testing.T) {
	for _, suffix := range []string{"-wal", "-journal"} {
		dir := t.TempDir()
		left := filepath.Join(dir, FileName+suffix)
		if err := os.WriteFile(left, []byte("log"), newFileMode); err != nil {
			t.Fatal(err)
		}
		target, err := OpenTarget(t.Context(), dir)
		if err == nil {
			t.Fatal(errors.Join(errors.New(left+" is taken for the copy's"), target.Close()))
		}
		if !strings.Contains(err.Error(), left+": it was left behind by another store") {
			t.Errorf("it says %v", err)
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
			t.Errorf("there are %v, %v", files, err)
		}
	}
}

// TestACopyThatSomebodyReadsIsNoStore: a part of it would still be in its log, which does not get the store's name.
func TestACopyThatSomebodyReadsIsNoStore(t *testing.T) {
	dir := t.TempDir()
	target, err := OpenTarget(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := open(target.path())
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.exec("BEGIN"); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.integer("SELECT count(*) FROM sessions"); err != nil {
		t.Fatal(err)
	}
	key := session.APIKey{ID: "id", Name: "name", Role: session.RoleAdmin}
	if err := target.Write(t.Context(), &transfer.Batch{APIKeys: []session.APIKey{key}}); err != nil {
		t.Fatal(err)
	}
	err = target.Commit(t.Context(), transfer.Settings{})
	if err == nil || !strings.Contains(err.Error(), "another program reads it") {
		t.Errorf("it says %v", err)
	}
	if err := errors.Join(target.Close(), reader.close()); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, FileName+"*")); err != nil || left != nil {
		t.Errorf("%v is left (%v)", left, err)
	}
}
