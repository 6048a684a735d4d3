package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// pingTime is how long a database that can be reached takes to answer, at most.
const pingTime = 2 * time.Second

// Ping is an error if the database cannot be reached. It waits for no work of the store's own, so a busy store is no error.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	return lend(ctx, s.pulse, pingTime, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `SELECT`)
		return err
	})
}
