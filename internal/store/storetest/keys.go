package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parleyhq/parley/internal/session"
)

// Keys makes and revokes the API keys of a store, for the command line.
type Keys interface {
	List(ctx context.Context) ([]session.APIKey, error)
	Create(ctx context.Context, key session.APIKey) error
	Revoke(ctx context.Context, idOrName string, at session.Time) (session.APIKey, error)
	Made() bool
}

// RunKeys holds the API keys of an engine to what the command line and the server expect of them. Each opener's cleanup
// closes what it opens; both may be called several times with the same Options.
func RunKeys(t *testing.T, open func(t *testing.T, o Options) session.APIKeys, openKeys func(t *testing.T, o Options) Keys) {
	rig := keysRig{open, openKeys}
	t.Run("beside a server", rig.testBesideAServer)
	t.Run("revoking", rig.testRevoking)
	t.Run("whether there was a store", rig.testMade)
	t.Run("of many who make them", rig.testTogether)
}

type keysRig struct {
	open     func(t *testing.T, o Options) session.APIKeys
	openKeys func(t *testing.T, o Options) Keys
}

func keysOptions(t *testing.T) Options {
	t.Helper()
	return Options{Dir: t.TempDir(), Now: NewClock().Now}
}

// KeyNamed returns an API key with something in every field.
func KeyNamed(name string, number byte) session.APIKey {
	return session.APIKey{
		ID: "id-" + name, Name: name, Role: session.RoleService, Hash: session.CredentialHash{number, 31: 1},
		CreateTime: NewClock().Now() + session.Time(number),
	}
}

// WantKeys checks what the command line and the store know of.
func WantKeys(t *testing.T, keys Keys, store session.APIKeys, want ...session.APIKey) {
	t.Helper()
	got, err := keys.List(t.Context())
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Errorf("List: %v (-want +got):\n%s", err, diff)
	}
	got, err = store.APIKeys(t.Context())
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Errorf("APIKeys: %v (-want +got):\n%s", err, diff)
	}
}

func (r keysRig) testBesideAServer(t *testing.T) {
	o := keysOptions(t)
	store, keys := r.open(t, o), r.openKeys(t, o)
	WantKeys(t, keys, store)
	billing, other := KeyNamed("billing", 1), KeyNamed("Ünüsual \"name\"", 2)
	other.Role = session.RoleAdmin
	for _, key := range []session.APIKey{billing, other} {
		if err := keys.Create(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	WantKeys(t, keys, store, billing, other)

	for name, c := range map[string]struct {
		key  session.APIKey
		want string
	}{
		"a name that is taken":     {KeyNamed("billing", 3), `the name "billing" is that of the key id-billing`},
		"a name that is an id":     {KeyNamed("id-billing", 3), "choose another"},
		"an id that is taken":      {session.APIKey{ID: billing.ID, Name: "new", Hash: session.CredentialHash{3}}, "unique"},
		"the hash of another's":    {session.APIKey{ID: "new", Name: "new", Hash: billing.Hash}, "unique"},
		"a name in another's case": {KeyNamed("Billing", 4), ""},
	} {
		err := keys.Create(t.Context(), c.key)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(strings.ToLower(err.Error()), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	WantKeys(t, keys, store, billing, other, KeyNamed("Billing", 4))
}

func (r keysRig) testRevoking(t *testing.T) {
	o := keysOptions(t)
	keys := r.openKeys(t, o) // makes the store
	store := r.open(t, o)
	first, second := KeyNamed("first", 1), KeyNamed("second", 2)
	if err := errors.Join(keys.Create(t.Context(), first), keys.Create(t.Context(), second)); err != nil {
		t.Fatal(err)
	}
	for i, by := range []string{first.ID, second.Name, first.Name, second.ID} { // each a second time, which changes nothing
		revoked, err := keys.Revoke(t.Context(), by, session.Time(100+i))
		if want := session.Time(100 + i%2); err != nil || revoked.RevokeTime != want {
			t.Errorf("Revoke(%s) = %+v, %v, want it revoked at %d", by, revoked, err, want)
		}
	}
	first.RevokeTime, second.RevokeTime = 100, 101
	WantKeys(t, keys, store, first, second)
	if _, err := keys.Revoke(t.Context(), "third", 1); err == nil || !strings.Contains(err.Error(), `"third"`) {
		t.Errorf("Revoke = %v, want an error that names the key", err)
	}
	if err := keys.Create(t.Context(), KeyNamed("first", 3)); err == nil || !strings.Contains(err.Error(), "was revoked") {
		t.Errorf("Create = %v, want it to say that the name's key was revoked", err)
	}
}

func (r keysRig) testMade(t *testing.T) {
	o := keysOptions(t)
	if !r.openKeys(t, o).Made() {
		t.Error("Made = false where nothing was")
	}
	if r.openKeys(t, o).Made() {
		t.Error("Made = true where there was a store")
	}
	r.open(t, o)
	if r.openKeys(t, o).Made() {
		t.Error("Made = true beside a server")
	}
}

// testTogether has many make a key of one name, and each one of its own.
func (r keysRig) testTogether(t *testing.T) {
	const makers = 8
	o := keysOptions(t)
	store := r.open(t, o)
	made := make([]Keys, makers)
	for i := range made {
		made[i] = r.openKeys(t, o)
	}
	taken := 0
	for i, err := range inParallel(makers, func(i int) error {
		if err := made[i].Create(t.Context(), KeyNamed(fmt.Sprintf("own-%d", i), byte(i))); err != nil {
			return err
		}
		key := KeyNamed("shared", byte(makers+i))
		key.ID = fmt.Sprintf("shared-%d", i)
		return made[i].Create(t.Context(), key)
	}) {
		switch {
		case err == nil:
		case strings.Contains(err.Error(), "choose another"):
			taken++
		default:
			t.Errorf("the maker %d: %v", i, err)
		}
	}
	got, err := store.APIKeys(t.Context())
	if err != nil || len(got) != makers+1 || taken != makers-1 {
		t.Errorf("%d keys were made, %v, and %d names were taken, want %d and %d", len(got), err, taken, makers+1, makers-1)
	}
}
