//go:build unix

package pgtest

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(Tests(m)) }

func TestEachTestGetsAnEmptyDatabase(t *testing.T) {
	for range 2 {
		t.Run("", func(t *testing.T) {
			if err := execute(t, Database(t), "CREATE TABLE t (n integer)"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRestartKeepsWhatWasCommitted(t *testing.T) {
	server := Start(t)
	database := server.Database(t)
	if err := execute(t, database, "CREATE TABLE t (n integer)"); err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := execute(t, database, "DROP TABLE t"); err != nil {
		t.Error(err)
	}
}

func execute(t *testing.T, database, statement string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	_, err = conn.Exec(t.Context(), statement)
	return err
}
