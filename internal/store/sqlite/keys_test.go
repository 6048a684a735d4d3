package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/storetest"
)

func openKeys(t *testing.T, dir string) *Keys {
	t.Helper()
	keys, err := OpenKeys(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := keys.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return keys
}

func TestKeys(t *testing.T) {
	storetest.RunKeys(t, func(t *testing.T, o storetest.Options) session.APIKeys {
		return openStore(t, Config{Dir: o.Dir, Now: o.Now})
	},
		func(t *testing.T, o storetest.Options) storetest.Keys { return openKeys(t, o.Dir) })
}

func TestOpenKeysRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		want    string
	}{
		{"a newer schema", makeNewer, "of a newer version of Parley (schema 99999; this one knows 3)"},
		{"a directory that is not there", func(t *testing.T, dir string) {
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
		}, "no such file or directory"},
		{"an older server's", func(t *testing.T, dir string) {
			makeFirstVersion(t, dir)
			lock, err := lockDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { lock.Close() })
		}, "of an older version of Parley (schema 1; this one needs 3)"},
		{"a file that is no database", func(t *testing.T, dir string) {
			writeFile(t, filepath.Join(dir, FileName), strings.Repeat("not a database. ", 1000))
		}, "not a database"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			c.prepare(t, dir)
			keys, err := OpenKeys(t.Context(), dir)
			if err == nil {
				keys.Close()
				t.Fatal("OpenKeys succeeded")
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("OpenKeys = %q, want it to say %q and where", err, c.want)
			}
		})
	}
}

func TestOpenKeysTellsWhetherItMadeTheStore(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, dir string)
		want    bool
	}{
		"nothing was there": {func(*testing.T, string) {}, true},
		"a store":           {makeStore, false},
		"a store of keys":   {func(t *testing.T, dir string) { openKeys(t, dir) }, false},
		"an older store":    {func(t *testing.T, dir string) { makeFirstVersion(t, dir) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.prepare(t, dir)
			if got := openKeys(t, dir).Made(); got != c.want {
				t.Errorf("Made = %t, want %t", got, c.want)
			}
		})
	}
}

// TestKeysOfAnOlderStore: without a server, the command line brings the store up to date, and leaves it to the next one.
func TestKeysOfAnOlderStore(t *testing.T) {
	dir := t.TempDir()
	makeFirstVersion(t, dir)
	keys := openKeys(t, dir)
	if err := keys.Create(t.Context(), storetest.KeyNamed("billing", 1)); err != nil {
		t.Fatal(err)
	}
	store := openStore(t, Config{Dir: dir})
	storetest.WantKeys(t, keys, store, storetest.KeyNamed("billing", 1))
	wantPublishable(t, store, "s")
}

func wantPublishable(t *testing.T, store *Store, id string) {
	t.Helper()
	if err := store.Write(t.Context(), publish(id, "", smallMessage)); err != nil {
		t.Error(err)
	}
}

// TestABusyServerIsWaitedFor, but not for longer than the context.
func TestABusyServerIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	store := openStore(t, Config{Dir: dir})
	keys := openKeys(t, dir)
	release, holding := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		var once sync.Once
		inTurn(t, store, func(*engine) error {
			once.Do(func() { close(holding) })
			<-release
			return nil
		})
	})
	<-holding
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := keys.Create(ctx, storetest.KeyNamed("late", 1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Create while the store is busy = %v, want %v", err, context.DeadlineExceeded)
	}
	storetest.WantKeys(t, keys, store)
	group.Go(func() {
		if err := keys.Create(t.Context(), storetest.KeyNamed("patient", 2)); err != nil {
			t.Error(err)
		}
	})
	close(release)
	group.Wait()
	storetest.WantKeys(t, keys, store, storetest.KeyNamed("patient", 2))
}

// keysLoopDir says, in a second process of this test, where it is to make and revoke keys; and how many.
const keysLoopDir, keysLoops = "TEST_PARLEY_KEYS_DIR", 12

// TestKeysWhileTheServerWrites has another process make and revoke keys, one after the other, while the store is written
// as fast as it goes: no write fails, everything is there, and the keys are made in good time.
func TestKeysWhileTheServerWrites(t *testing.T) {
	if dir := os.Getenv(keysLoopDir); dir != "" {
		loopKeys(t, dir)
		return
	}
	dir := t.TempDir()
	store := openStore(t, Config{Dir: dir})
	const writers = 16
	acknowledged := make([]int, writers)
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for writer := range writers {
		group.Go(func() {
			id := strconv.Itoa(writer)
			if err := store.Write(t.Context(), create(id, smallSpec)); err != nil {
				t.Error(err)
			}
			for ctx.Err() == nil {
				if err := store.Write(t.Context(), publish(id, "", smallMessage)); err != nil {
					t.Errorf("a write while keys are made: %v", err)
				}
				acknowledged[writer]++
				if _, err := (&storetest.Creation{Spec: smallSpec}).Create(t.Context(), store); err != nil {
					t.Errorf("a create while keys are made: %v", err)
				}
			}
		})
	}
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=2m")
	command.Env = append(os.Environ(), keysLoopDir+"="+dir)
	if output, err := command.CombinedOutput(); err != nil {
		t.Errorf("the other process: %v\n%s", err, output)
	}
	stop()
	group.Wait()
	for writer, n := range acknowledged {
		wantPublished(t, store, strconv.Itoa(writer), n)
	}
	keys, err := store.APIKeys(t.Context())
	if err != nil || len(keys) != keysLoops {
		t.Errorf("the store has %d keys, %v, want %d", len(keys), err, keysLoops)
	}
	for _, key := range keys {
		if key.RevokeTime == 0 {
			t.Errorf("the key %s is not revoked", key.Name)
		}
	}
	wantIndexed(t, store)
}

func loopKeys(t *testing.T, dir string) {
	for i := range keysLoops {
		keys, err := OpenKeys(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("key %d", i)
		_, revoked := keys.Revoke(t.Context(), name, 1)
		if revoked == nil {
			t.Error("a key is there that was not made")
		}
		err = keys.Create(t.Context(), storetest.KeyNamed(name, byte(i)))
		_, revoked = keys.Revoke(t.Context(), name, 1)
		if err := errors.Join(err, revoked, keys.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
