package postgres

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/pgtest"
)

// wantOpen opens a store with a ring, and closes it again.
func wantOpen(t *testing.T, url string, keys *session.KeyRing) {
	t.Helper()
	store, err := tryOpen(t, Config{URL: url, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, store)
}

// wantRefused checks that a ring does not open a store, and why.
func wantRefused(t *testing.T, url string, keys *session.KeyRing, why string) {
	t.Helper()
	store, err := tryOpen(t, Config{URL: url, Keys: keys})
	if err == nil {
		closeStore(t, store)
		t.Fatalf("Open succeeded, want that %s", why)
	}
	if !strings.Contains(err.Error(), why) {
		t.Errorf("Open = %v, want that %s", err, why)
	}
}

func mustLoadKeys(t *testing.T, url string) *session.KeyRing {
	t.Helper()
	keys, err := LoadKeys(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func rotate(t *testing.T, keys *session.KeyRing) *session.KeyRing {
	t.Helper()
	rotated, err := keys.Rotate()
	if err != nil {
		t.Fatal(err)
	}
	return rotated
}

func TestARotatedRingOpensTheStoreAndTheOneBeforeNoMore(t *testing.T) {
	t.Parallel()
	url, keys := pgtest.Database(t), session.NewKeyRing()
	wantOpen(t, url, keys)
	wantOpen(t, url, keys)
	rotated, apart := rotate(t, keys), rotate(t, keys)
	wantOpen(t, url, rotated)
	wantOpen(t, url, rotated)
	wantRefused(t, url, keys, "lacks the key 2")
	wantRefused(t, url, apart, "another key 2")
	wantRefused(t, url, session.NewKeyRing(), "another server key")
	wantOpen(t, url, rotate(t, rotate(t, rotated)))
	wantRefused(t, url, rotated, "lacks the key 4")
}

// TestOfNodesThatStartWithDifferentRingsOneOpens has nodes open an empty database at the same time.
func TestOfNodesThatStartWithDifferentRingsOneOpens(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	errs := make([]error, 6)
	var opening sync.WaitGroup
	for i := range errs {
		opening.Go(func() {
			store, err := tryOpen(t, Config{URL: url, Keys: session.NewKeyRing()})
			if errs[i] = err; err == nil {
				closeStore(t, store)
			}
		})
	}
	opening.Wait()
	opened := 0
	for _, err := range errs {
		if err == nil {
			opened++
		} else if !strings.Contains(err.Error(), "another server key") {
			t.Errorf("Open = %v", err)
		}
	}
	if opened != 1 {
		t.Errorf("%d rings opened the store, want 1", opened)
	}
}

func TestNodesThatStartTogetherGetOneRing(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	rings := make([]string, 8)
	var loading sync.WaitGroup
	for i := range rings {
		loading.Go(func() {
			keys, err := LoadKeys(t.Context(), url)
			if err != nil {
				t.Error(err)
				return
			}
			rings[i] = string(keys.Encode())
		})
	}
	loading.Wait()
	if got := slices.Compact(rings); len(got) != 1 {
		t.Errorf("%d nodes got %d rings, want 1", len(rings), len(got))
	}
	wantOpen(t, url, mustLoadKeys(t, url))
	if diff := cmp.Diff(rings[0], string(mustLoadKeys(t, url).Encode())); diff != "" {
		t.Errorf("the ring changed (-before +after):\n%s", diff)
	}
}

func TestTheRingInTheDatabaseIsRotated(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	before := mustLoadKeys(t, url)
	wantOpen(t, url, before)
	const rotations = 3
	var rotating sync.WaitGroup // none is lost of several at the same time
	for range rotations {
		rotating.Go(func() {
			if err := RotateKeys(t.Context(), url); err != nil {
				t.Error(err)
			}
		})
	}
	rotating.Wait()
	after := mustLoadKeys(t, url)
	if err := after.Follows(before.Fingerprint(), before.Newest()); err != nil {
		t.Errorf("the rotated ring: %v", err)
	}
	if keys := strings.Count(string(after.Encode()), "\n") - strings.Count(string(before.Encode()), "\n"); keys != rotations {
		t.Errorf("the ring has %d keys more, want %d", keys, rotations)
	}
	wantOpen(t, url, before) // until one has used the new ring
	wantOpen(t, url, after)
	wantRefused(t, url, before, "lacks the key 4")
}

func TestARingThatIsNotInTheDatabase(t *testing.T) {
	t.Parallel()
	load := func(ctx context.Context, url string) error {
		_, err := LoadKeys(ctx, url)
		return err
	}
	newer := func(t *testing.T, url string) {
		makeStore(t, url)
		execute(t, url, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)`)
	}
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, url string)
		do      func(ctx context.Context, url string) error
		want    string
	}{
		{"is not loaded from one that was used with a file", makeStore, load, "kept in a file"},
		{"is not rotated in one that was used with a file", makeStore, RotateKeys, "kept in it, but in a file"},
		{"is not rotated in an empty one", func(*testing.T, string) {}, RotateKeys, "no server has used this database"},
		{"is not rotated where no node has started", func(t *testing.T, url string) {
			makeStore(t, url)
			execute(t, url, `DELETE FROM settings`)
		}, RotateKeys, "no server has used this database"},
		{"is not loaded from a newer one", newer, load, "newer version of Parley"},
		{"is not loaded if it cannot be read", func(t *testing.T, url string) {
			if err := load(t.Context(), url); err != nil {
				t.Fatal(err)
			}
			execute(t, url, `UPDATE settings SET value = 'one two three' WHERE name = 'key ring'`)
		}, load, "line 1: must be a number and a key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Database(t)
			c.prepare(t, url)
			if err := c.do(t.Context(), url); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want that it says %q", err, c.want)
			}
		})
	}
}
