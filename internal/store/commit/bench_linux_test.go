package commit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// BenchmarkCommitter has writers that submit one write after the other:
//
//   - free: the engine does nothing, so what is left is the Committer's own cost.
//   - disk: each write takes 10 us of the processor, each commit writes a page and waits for the disk.
//   - requests: as disk, and each writer takes 10 us of the processor for itself, as a server does for a request.
func BenchmarkCommitter(b *testing.B) {
	tenMicroseconds := calibrate(10 * time.Microsecond)
	for _, kind := range []struct {
		name          string
		disk          bool
		write, writer int // rounds of work
	}{
		{name: "free"},
		{name: "disk", disk: true, write: tenMicroseconds},
		{name: "requests", disk: true, write: tenMicroseconds, writer: tenMicroseconds},
	} {
		for _, writers := range []int{1, 32, 64, 256} {
			b.Run(fmt.Sprintf("%s/writers=%d", kind.name, writers), func(b *testing.B) {
				engine := &benchEngine{work: kind.write}
				if kind.disk {
					engine.file, engine.page = benchFile(b), make([]byte, 4096)
				}
				benchmark(b, engine, writers, kind.writer)
			})
		}
	}
}

func benchmark(b *testing.B, engine *benchEngine, writers, work int) {
	c := New(engine, Options[int]{
		Size: func(int) int { return 500 },
		Key:  func(w int) string { return keys[w%len(keys)] },
	})
	b.ReportAllocs()
	b.ResetTimer()
	var group sync.WaitGroup
	var writes atomic.Int64
	for range writers {
		group.Go(func() {
			for n := writes.Add(1); n <= int64(b.N); n = writes.Add(1) {
				spin(work)
				if err := c.Submit(context.Background(), int(n)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	if err := c.Close(context.Background()); err != nil {
		b.Error(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
	b.ReportMetric(float64(b.N)/float64(engine.groups), "writes/group")
}

// benchEngine costs what an engine costs, and keeps nothing. Without a file, commits are free.
type benchEngine struct {
	work   int
	file   *os.File
	page   []byte
	groups int
}

func (e *benchEngine) Try(next func() (int, bool), _ func(int, error)) error {
	for _, ok := next(); ok; _, ok = next() {
		spin(e.work)
	}
	e.groups++
	if e.file == nil {
		return nil
	}
	if _, err := e.file.WriteAt(e.page, int64(e.groups%filePages)*int64(len(e.page))); err != nil {
		return err
	}
	return syscall.Fdatasync(int(e.file.Fd()))
}

const filePages = 1024

// benchFile is a file that was written once, so that syncing it costs what syncing a database's log does.
func benchFile(b *testing.B) *os.File {
	b.Helper()
	file, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = file.Close() })
	if _, err := file.Write(make([]byte, filePages*4096)); err != nil {
		b.Fatal(err)
	}
	if err := file.Sync(); err != nil {
		b.Fatal(err)
	}
	return file
}

// keys are of as many sessions, made before anything is measured.
var keys = func() []string {
	keys := make([]string, 100)
	for i := range keys {
		keys[i] = fmt.Sprintf("session-%d", i)
	}
	return keys
}()

// spin works for so many rounds. It takes time of the processor, whoever else does meanwhile.
func spin(rounds int) {
	x := uint64(rounds) + 1
	for range rounds {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	if x == 0 { // it never is, but so the compiler keeps the loop
		panic("xorshift reached zero")
	}
}

// calibrate returns how many rounds take so long.
func calibrate(want time.Duration) int {
	const rounds = 1 << 20
	best := time.Duration(1 << 62)
	for range 20 {
		start := time.Now()
		spin(rounds)
		best = min(best, time.Since(start))
	}
	return int(int64(rounds) * int64(want) / int64(best))
}
