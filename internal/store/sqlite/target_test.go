package sqlite

import (
	"errors"
	"fmt"
	"path/filepath"
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
