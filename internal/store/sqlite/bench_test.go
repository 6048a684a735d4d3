package sqlite

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/storetest"
)

func BenchmarkCreate(b *testing.B) {
	eachLoad(b, func(b *testing.B, clients int) {
		store := openStore(b, Config{Dir: b.TempDir()})
		drive(b, clients, func(int) error {
			_, err := (&storetest.Creation{Spec: smallSpec}).Create(b.Context(), store)
			return err
		})
	})
}

// BenchmarkPublish publishes into one session.
func BenchmarkPublish(b *testing.B) {
	eachLoad(b, func(b *testing.B, clients int) {
		store := openStore(b, Config{Dir: b.TempDir(), Committed: func([]*session.Event) {}})
		if _, err := (&storetest.Creation{ID: "s", Spec: smallSpec}).Create(b.Context(), store); err != nil {
			b.Fatal(err)
		}
		if _, err := storetest.Join(b.Context(), store, "s", "user-1"); err != nil {
			b.Fatal(err)
		}
		drive(b, clients, func(int) error {
			_, err := (&storetest.Publication{User: "user-1", Channel: 1, Text: publishedText}).Publish(b.Context(), store, "s")
			return err
		})
	})
}

var publishedText = strings.Repeat("x", 100)

func BenchmarkGet(b *testing.B) {
	store := benchStore(b)
	eachLoad(b, func(b *testing.B, clients int) {
		drive(b, clients, func(i int) error {
			_, _, err := store.Get(b.Context(), strconv.Itoa(i%benchSessions), "user-1")
			return err
		})
	})
}

func BenchmarkList(b *testing.B) {
	store := benchStore(b)
	query := &session.Query{VisibleTo: "user-1", Order: session.Order{Descending: true}, Size: 50}
	eachLoad(b, func(b *testing.B, clients int) {
		drive(b, clients, func(int) error {
			_, err := store.List(b.Context(), query)
			return err
		})
	})
}

const benchSessions = 2000

// benchStore is a store with some sessions.
func benchStore(b *testing.B) *Store {
	b.Helper()
	store := openStore(b, Config{Dir: b.TempDir()})
	var group sync.WaitGroup
	for i := range benchSessions {
		group.Go(func() {
			if _, err := (&storetest.Creation{ID: strconv.Itoa(i), Spec: smallSpec}).Create(b.Context(), store); err != nil {
				b.Error(err)
			}
		})
	}
	group.Wait()
	return store
}

func eachLoad(b *testing.B, run func(b *testing.B, clients int)) {
	for _, clients := range []int{1, 64, 512} {
		b.Run("clients="+strconv.Itoa(clients), func(b *testing.B) { run(b, clients) })
	}
}

// drive calls do b.N times in all, from so many goroutines.
func drive(b *testing.B, clients int, do func(i int) error) {
	b.Helper()
	b.ReportAllocs()
	var taken atomic.Int64
	var group sync.WaitGroup
	b.ResetTimer()
	for range clients {
		group.Go(func() {
			for i := taken.Add(1); i <= int64(b.N); i = taken.Add(1) {
				if err := do(int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}
