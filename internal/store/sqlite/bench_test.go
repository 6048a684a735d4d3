package sqlite

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

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

// BenchmarkCreateBy has one user create all sessions, a thousand users in turn, and as many users as there are sessions;
// without a quota, and with one.
func BenchmarkCreateBy(b *testing.B) {
	for _, creators := range []int{1, 1000, 1 << 30} {
		for _, quota := range []int{0, 1 << 30} {
			b.Run(fmt.Sprintf("creators=%d/quota=%d", creators, quota), func(b *testing.B) {
				store := openStore(b, Config{Dir: b.TempDir()})
				before := processorTime(b)
				drive(b, 512, func(i int) error {
					creation := storetest.Creation{Spec: smallSpec, Creator: scattered(i % creators), Quota: quota}
					_, err := creation.Create(b.Context(), store)
					return err
				})
				b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// scattered is a user's id that is not next to that of the user with the number before.
func scattered(i int) string { return "user-" + strconv.FormatUint(uint64(i)*0x9e3779b97f4a7c15, 36) }

// processorTime is what this process has taken of the processors.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkPublish publishes into one session, and into a thousand in turn.
func BenchmarkPublish(b *testing.B) {
	for _, sessions := range []int{1, benchRooms} {
		b.Run("sessions="+strconv.Itoa(sessions), func(b *testing.B) {
			eachLoad(b, func(b *testing.B, clients int) {
				store := benchRoomStore(b, sessions)
				drive(b, clients, func(i int) error {
					return publishIn(b, store, strconv.Itoa(i%sessions))
				})
			})
		})
	}
}

// BenchmarkLog reads 256 events of a log that lies between those of other sessions.
func BenchmarkLog(b *testing.B) {
	benchReads(b, func(store *Store, r *session.Record, i int) error {
		log, err := store.Log(b.Context(), r.UID, int64(1+i%200), 256, 16<<20)
		if err == nil && len(log.Events) != 256 {
			b.Errorf("it read %d events", len(log.Events))
		}
		return err
	})
}

// BenchmarkMessages reads the newest 50 messages of a log that lies between those of other sessions.
func BenchmarkMessages(b *testing.B) {
	benchReads(b, func(store *Store, r *session.Record, _ int) error {
		page, err := store.Messages(b.Context(), &session.MessageQuery{UID: r.UID, Descending: true, Size: 50})
		if err == nil && len(page.Events) != 50 {
			b.Errorf("it read %d messages", len(page.Events))
		}
		return err
	})
}

// benchReads reads logs of 500 events, a hundred of them.
func benchReads(b *testing.B, read func(store *Store, r *session.Record, i int) error) {
	const sessions, events = 100, 500
	store := benchRoomStore(b, sessions)
	publishMany(b, store, sessions, events)
	records := make([]*session.Record, sessions)
	for i := range records {
		record, _, err := store.Get(b.Context(), strconv.Itoa(i), "")
		if err != nil {
			b.Fatal(err)
		}
		records[i] = record
	}
	drive(b, 1, func(i int) error { return read(store, records[i%sessions], i) })
}

// publishMany publishes so many events in each of the sessions, in turn.
func publishMany(b *testing.B, store *Store, sessions, events int) {
	b.Helper()
	var group sync.WaitGroup
	for room := range sessions {
		group.Go(func() {
			for range events {
				if err := publishIn(b, store, strconv.Itoa(room)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	group.Wait()
}

const benchRooms = 1000

// benchRoomStore is a store with sessions that have the ids 0, 1 and so on, and a member each.
func benchRoomStore(b *testing.B, sessions int) *Store {
	b.Helper()
	store := openStore(b, Config{Dir: b.TempDir(), Committed: func([]*session.Event) {}})
	var group sync.WaitGroup
	for i := range sessions {
		group.Go(func() {
			id := strconv.Itoa(i)
			_, err := (&storetest.Creation{ID: id, Spec: smallSpec}).Create(b.Context(), store)
			if err == nil {
				_, err = storetest.Join(b.Context(), store, id, "user-1")
			}
			if err != nil {
				b.Error(err)
			}
		})
	}
	group.Wait()
	return store
}

func publishIn(b *testing.B, store *Store, id string) error {
	_, err := (&storetest.Publication{User: "user-1", Channel: 1, Text: publishedText}).Publish(b.Context(), store, id)
	return err
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
