package postgres

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/pgtest"
	"github.com/parleyhq/parley/internal/store/storetest"
)

var smallSpec = session.Spec{
	Profile: "profiles/p", DisplayName: "Desk", Type: session.Public, Owners: []string{"user-1"}, DefaultChannels: []int32{1},
}

// BenchmarkCreate has one user, and each time another, create sessions.
func BenchmarkCreate(b *testing.B) {
	for _, creators := range []int{1, 1 << 30} {
		b.Run("creators="+strconv.Itoa(creators), func(b *testing.B) {
			eachLoad(b, func(b *testing.B, store *Store, clients int) {
				drive(b, store, clients, func(i int) error {
					_, err := (&storetest.Creation{Spec: smallSpec, Creator: strconv.Itoa(i % creators)}).Create(b.Context(), store)
					return err
				})
			})
		})
	}
}

// BenchmarkPublish publishes into one session, and into a thousand in turn.
func BenchmarkPublish(b *testing.B) {
	for _, sessions := range []int{1, 1000} {
		b.Run("sessions="+strconv.Itoa(sessions), func(b *testing.B) {
			eachLoad(b, func(b *testing.B, store *Store, clients int) {
				makeRooms(b, store, sessions)
				drive(b, store, clients, func(i int) error {
					_, err := (&storetest.Publication{User: "user-1", Channel: 1, Text: "x"}).Publish(b.Context(), store, strconv.Itoa(i%sessions))
					return err
				})
			})
		})
	}
}

// makeRooms creates sessions that have the ids 0, 1 and so on, and a member each.
func makeRooms(b *testing.B, store *Store, sessions int) {
	b.Helper()
	var group sync.WaitGroup
	for i := range sessions {
		group.Go(func() {
			id := strconv.Itoa(i)
			if _, err := (&storetest.Creation{ID: id, Spec: smallSpec}).Create(b.Context(), store); err != nil {
				b.Error(err)
			}
			if _, err := storetest.Join(b.Context(), store, id, "user-1", 1); err != nil {
				b.Error(err)
			}
		})
	}
	group.Wait()
}

// eachLoad runs a benchmark with few and many clients and lanes, on a database that flushes what it commits.
func eachLoad(b *testing.B, run func(b *testing.B, store *Store, clients int)) {
	server := pgtest.Start(b, "fsync=on", "full_page_writes=on", "shared_buffers=256MB", "max_wal_size=4GB")
	for _, clients := range []int{1, 32, 256} {
		for _, lanes := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("clients=%d/lanes=%d", clients, lanes), func(b *testing.B) {
				run(b, openStore(b, Config{URL: server.Database(b), Lanes: lanes}), clients)
			})
		}
	}
}

// drive has so many clients do something at the same time, each again and again, b.N times in all.
func drive(b *testing.B, store *Store, clients int, do func(i int) error) {
	b.Helper()
	before := committed(b, store)
	var next atomic.Int64
	var group sync.WaitGroup
	b.ResetTimer()
	for range clients {
		group.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := do(int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
	b.ReportMetric(float64(b.N)/float64(max(committed(b, store)-before, 1)), "writes/group")
}

// committed is how many transactions changed something.
func committed(b *testing.B, store *Store) (n int) {
	b.Helper()
	if err := store.readers.QueryRow(context.Background(), `SELECT count(*) FROM commits`).Scan(&n); err != nil {
		b.Fatal(err)
	}
	return n
}
