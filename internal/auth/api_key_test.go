package auth

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/session"
)

// keyStore is a session.APIKeys in memory.
type keyStore struct {
	mu    sync.Mutex // guards the fields below
	keys  []session.APIKey
	err   error
	reads int
	hang  bool
}

func (s *keyStore) APIKeys(ctx context.Context) ([]session.APIKey, error) {
	s.mu.Lock()
	hang := s.hang
	s.reads++
	s.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.keys), s.err
}

// add makes a key with the id, and a name that follows from it.
func (s *keyStore) add(id string, role session.Role) (text string) {
	text, hash := NewAPIKey()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = append(s.keys, session.APIKey{ID: id, Name: "name of " + id, Role: role, Hash: hash, CreateTime: 1})
	return text
}

func (s *keyStore) revoke(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.keys {
		if s.keys[i].ID == id {
			s.keys[i].RevokeTime = 2
		}
	}
}

func (s *keyStore) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = slices.DeleteFunc(s.keys, func(key session.APIKey) bool { return key.ID == id })
}

func (s *keyStore) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *keyStore) hangs(hang bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hang = hang
}

func (s *keyStore) readings() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

// revocations collects what Revoked is told.
type revocations struct {
	mu  sync.Mutex // guards ids
	ids []string
}

func (r *revocations) add(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids = append(r.ids, id)
}

func (r *revocations) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ids)
}

// openKeys is an authenticator that takes API keys alone.
func openKeys(t *testing.T, store *keyStore, options KeysOptions) *JWT {
	t.Helper()
	keys, err := NewKeys(t.Context(), store, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keys.Close)
	return open(t, JWTConfig{Keys: keys})
}

func TestNewAPIKey(t *testing.T) {
	form := regexp.MustCompile(`^pk_[A-Za-z0-9_-]{43}$`)
	seen := map[string]bool{}
	for range 100 {
		text, hash := NewAPIKey()
		if !form.MatchString(text) || seen[text] {
			t.Errorf("key = %s", text)
		}
		if hash != hashCredential(text) {
			t.Error("the hash is another text's")
		}
		seen[text] = true
	}
}

func TestHashCredential(t *testing.T) {
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2 appendix B.1
	if got := fmt.Sprintf("%x", hashCredential("abc")); got != want {
		t.Errorf("hash = %s, want %s", got, want)
	}
}

func TestAPIKeysAreCallers(t *testing.T) {
	store := &keyStore{}
	service, admin := store.add("k1", session.RoleService), store.add("k2", session.RoleAdmin)
	other := store.add("k3", "reader")
	j := openKeys(t, store, KeysOptions{})
	for name, test := range map[string]struct {
		key, user string
		want      session.Caller
	}{
		"a service":            {service, "", session.Caller{User: "name of k1", Service: true, Key: "k1"}},
		"a service for a user": {service, "u1", session.Caller{User: "u1", Named: true, Key: "k1"}},
		"a service for itself": {service, "name of k1", session.Caller{User: "name of k1", Named: true, Key: "k1"}},
		"an admin":             {admin, "", session.Caller{User: "name of k2", Admin: true, Key: "k2"}},
		"an admin for a user":  {admin, "u1", session.Caller{User: "u1", Named: true, Key: "k2"}},
		"an unknown role":      {other, "", session.Caller{User: "name of k3", Key: "k3"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := bearerOf(test.key)
			if test.user != "" {
				h.Set(HeaderUser, test.user)
			}
			got, err := callerOf(j, h)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("caller (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBesidesAPIKeysTokensAreTaken(t *testing.T) {
	store := &keyStore{}
	key := store.add("k1", session.RoleService)
	keys, err := NewKeys(t.Context(), store, KeysOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	config := withSecret(t)
	config.Keys = keys
	j := open(t, config)
	accepted(t, j, hs256(t, good(nil)))
	if _, err := callerOf(j, bearerOf(key)); err != nil {
		t.Error(err)
	}
}

func TestWithoutAKeyOfTokensAPIKeysAloneAreTaken(t *testing.T) {
	j := openKeys(t, &keyStore{}, KeysOptions{})
	f := rejected(t, j, bearerOf(hs256(t, good(nil))), "TOKEN_INVALID")
	if !strings.Contains(f.Message, "no keys of tokens are configured") {
		t.Errorf("message = %s", f.Message)
	}
}

func TestAPIKeysOneAnswerForUnknownAndRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &keyStore{}
		revoked := store.add("k1", session.RoleAdmin)
		store.revoke("k1")
		told := &revocations{}
		j := openKeys(t, store, KeysOptions{Revoked: told.add})
		if diff := cmp.Diff([]string{"k1"}, told.all()); diff != "" {
			t.Errorf("revoked (-want +got):\n%s", diff)
		}
		unknown, _ := NewAPIKey()
		first := rejected(t, j, bearerOf(unknown), "KEY_INVALID")
		for name, text := range map[string]string{
			"revoked": revoked, "too short": unknown[:45], "too long": unknown + "A", "only the prefix": "pk_",
			"in capitals": "pk_" + strings.ToUpper(revoked[3:]),
		} {
			f := rejected(t, j, bearerOf(text), "KEY_INVALID")
			if f.Error() != first.Error() || f.Challenge != first.Challenge {
				t.Errorf("%s: %v, want %v", name, f, first)
			}
		}
	})
}

func TestARevokedAPIKeyIsRefusedAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, told := &keyStore{}, &revocations{}
		first, second, third := store.add("k1", session.RoleService), store.add("k2", session.RoleService), store.add("k3", session.RoleAdmin)
		keys, err := NewKeys(t.Context(), store, KeysOptions{Revoked: told.add})
		if err != nil {
			t.Fatal(err)
		}
		defer keys.Close()
		j := open(t, JWTConfig{Keys: keys})
		for _, key := range []string{first, second, third} {
			if _, err := callerOf(j, bearerOf(key)); err != nil {
				t.Fatal(err)
			}
		}
		store.revoke("k1")
		store.remove("k3")
		time.Sleep(300 * time.Millisecond) //nolint:forbidigo // in a bubble
		synctest.Wait()
		if diff := cmp.Diff([]string{"k1", "k3"}, told.all()); diff != "" {
			t.Errorf("revoked (-want +got):\n%s", diff)
		}
		rejected(t, j, bearerOf(first), "KEY_INVALID")
		rejected(t, j, bearerOf(third), "KEY_INVALID")
		if _, err := callerOf(j, bearerOf(second)); err != nil {
			t.Error(err)
		}
		store.remove("k1")
		time.Sleep(time.Second) //nolint:forbidigo // in a bubble
		if diff := cmp.Diff([]string{"k1", "k3"}, told.all()); diff != "" {
			t.Errorf("revoked, later (-want +got):\n%s", diff)
		}
	})
}

func TestAnAPIKeyIsGoodRightAfterItWasMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &keyStore{}
		j := openKeys(t, store, KeysOptions{Every: time.Hour})
		begin := time.Now()
		for i := range 5 {
			if _, err := callerOf(j, bearerOf(store.add(fmt.Sprint("k", i), session.RoleService))); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took > 400*time.Millisecond {
			t.Errorf("five keys took %v, want 100ms each but the first", took)
		}
	})
}

func TestUnknownAPIKeysShareReadings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &keyStore{}
		j := openKeys(t, store, KeysOptions{Every: time.Hour})
		before := store.readings()
		var work sync.WaitGroup
		for range 50 {
			work.Go(func() {
				for range 20 {
					unknown, _ := NewAPIKey()
					if _, err := callerOf(j, bearerOf(unknown)); err == nil {
						t.Error("it was taken")
					}
				}
			})
		}
		begin := time.Now()
		work.Wait()
		took := time.Since(begin)
		if most := int(took/keysGap) + 1; store.readings()-before > most {
			t.Errorf("%d readings in %v, want at most %d", store.readings()-before, took, most)
		}
	})
}

func TestAnAPIKeyOfTheWrongLengthReadsNothing(t *testing.T) {
	store := &keyStore{}
	j := openKeys(t, store, KeysOptions{Every: time.Hour})
	rejected(t, j, bearerOf("pk_"+strings.Repeat("a", 42)), "KEY_INVALID")
	if readings := store.readings(); readings != 1 {
		t.Errorf("%d readings, want the first alone", readings)
	}
}

func TestAPIKeysAreKeptWhileTheyCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		store, told := &keyStore{}, &revocations{}
		key := store.add("k1", session.RoleService)
		j := openKeys(t, store, KeysOptions{Log: log.logger(), Revoked: told.add})
		for round := 1; round <= 2; round++ {
			store.fail(errors.New("the disk is gone"))
			time.Sleep(10 * time.Second) //nolint:forbidigo // in a bubble
			if _, err := callerOf(j, bearerOf(key)); err != nil {
				t.Error(err)
			}
			if failures := log.count("the disk is gone"); failures != round {
				t.Errorf("%d failures are in the log, want %d: %s", failures, round, log.String())
			}
			store.fail(nil)
			time.Sleep(time.Second) //nolint:forbidigo // in a bubble
			if log.count("can be read again") != round {
				t.Errorf("log = %s", log.String())
			}
		}
		if ids := told.all(); len(ids) > 0 {
			t.Errorf("revoked = %v", ids)
		}
		if strings.Contains(log.String(), key) {
			t.Error("the log has the key")
		}
	})
}

func TestAReadingOfAPIKeysThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		store := &keyStore{}
		j := openKeys(t, store, KeysOptions{Log: log.logger()})
		store.hangs(true)
		unknown, _ := NewAPIKey()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		if _, err := j.Caller(ctx, Request{Header: bearerOf(unknown)}); err == nil || time.Since(begin) > time.Second {
			t.Errorf("error = %v after %v", err, time.Since(begin))
		}
		time.Sleep(time.Minute) //nolint:forbidigo // in a bubble
		if log.count("level=ERROR") != 1 {
			t.Errorf("log = %s", log.String())
		}
		store.hangs(false)
		if _, err := callerOf(j, bearerOf(store.add("k1", session.RoleService))); err != nil {
			t.Error(err)
		}
	})
}

func TestKeysThatCannotBeReadAtFirstAreAnError(t *testing.T) {
	store := &keyStore{err: errors.New("the disk is gone")}
	if keys, err := NewKeys(t.Context(), store, KeysOptions{}); !errors.Is(err, store.err) {
		t.Errorf("keys = %v, error = %v", keys, err)
	}
}

func TestAfterCloseUnknownAPIKeysAreRefusedAtOnce(t *testing.T) {
	store := &keyStore{}
	key := store.add("k1", session.RoleService)
	keys, err := NewKeys(t.Context(), store, KeysOptions{})
	if err != nil {
		t.Fatal(err)
	}
	j := open(t, JWTConfig{Keys: keys})
	keys.Close()
	unknown, _ := NewAPIKey()
	rejected(t, j, bearerOf(unknown), "KEY_INVALID")
	if _, err := callerOf(j, bearerOf(key)); err != nil {
		t.Error(err)
	}
}
