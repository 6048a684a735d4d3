package sqlite

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/session"
)

// TestTheLogIsEmptiedUnderLoad reads so that there is always a transaction which began before the last one ended: the
// write-ahead log then never begins anew by itself. It is emptied all the same, while writes and reads go on.
func TestTheLogIsEmptiedUnderLoad(t *testing.T) {
	store := openStore(t, Config{Dir: t.TempDir()})
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	readers.Go(func() { overlap(ctx, t, store, &readers, make(chan struct{})) })
	defer readers.Wait()
	defer stop()

	large := session.Spec{Profile: "p", Owners: []string{"u"}, Description: strings.Repeat("x", 256<<10)}
	deadline := time.After(time.Minute)
	grown := false
	for i := 0; !grown || logBytes(t, store) > maxLogBytes/2; i++ {
		grown = grown || logBytes(t, store) > maxLogBytes
		spec := smallSpec
		if !grown {
			spec = large
		}
		select {
		case <-deadline:
			t.Fatalf("the log has %d bytes; once past %d it is to be emptied", logBytes(t, store), maxLogBytes)
		default:
		}
		if err := store.Write(t.Context(), create("s-"+strconv.Itoa(i), spec)); err != nil {
			t.Fatal(err)
		}
	}
	if found, _, err := store.Get(t.Context(), "s-0", ""); err != nil || found == nil {
		t.Errorf("Get = %v, %v, want the session", found, err)
	}
}

// overlap reads in a transaction of 50 ms, and goes on until the next one has begun; but in all not for more than
// 100 ms, which is as long as a reader may take.
func overlap(ctx context.Context, t *testing.T, store *Store, readers *sync.WaitGroup, begun chan struct{}) {
	err := store.read(ctx, func(c *conn) error {
		if err := c.exec("BEGIN"); err != nil {
			return err
		}
		if _, err := c.integer("SELECT count(*) FROM epochs"); err != nil {
			return err
		}
		close(begun)
		<-time.After(50 * time.Millisecond)
		if ctx.Err() != nil {
			return c.exec("COMMIT")
		}
		next := make(chan struct{})
		readers.Go(func() { overlap(ctx, t, store, readers, next) })
		select {
		case <-next:
		case <-time.After(50 * time.Millisecond):
		}
		return c.exec("COMMIT")
	})
	if err != nil && ctx.Err() == nil {
		t.Error(err)
	}
}

func logBytes(t *testing.T, store *Store) int64 {
	t.Helper()
	info, err := os.Stat(store.path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
