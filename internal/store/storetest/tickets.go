package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/session"
)

// errUsed and errNoTicket are what the decisions here refuse with, too.
var (
	errUsed     = errors.New("the ticket was used")
	errNoTicket = errors.New("there is no such ticket")
)

// ticketOf is a ticket of the session with something in every field.
func ticketOf(uid session.UID, expire session.Time) *session.Ticket {
	return &session.Ticket{
		Hash: session.CredentialHash{1, 2, 31: 3}, UID: uid, Expire: expire,
		Caller: session.Caller{User: `üser "1"`, Admin: true, Until: expire + 1, Key: "key-1"},
	}
}

// KeepTicket keeps a ticket, with a write about the session that changes nothing of it.
func KeepTicket(ctx context.Context, store session.Store, id string, ticket *session.Ticket) error {
	return store.Write(ctx, &session.Write{ID: id, Decide: func(*session.View) (session.Change, error) {
		return session.Change{Ticket: ticket}, nil
	}})
}

// UseTicket uses a ticket that is there and was not used.
func UseTicket(ctx context.Context, store session.Store, hash session.CredentialHash) error {
	return store.Write(ctx, &session.Write{Ticket: &hash, Decide: func(v *session.View) (session.Change, error) {
		if v.Ticket == nil {
			return session.Change{}, errNoTicket
		}
		if v.Ticket.Used {
			return session.Change{}, errUsed
		}
		used := *v.Ticket
		used.Used = true
		return session.Change{Ticket: &used}, nil
	}})
}

// wantTicket checks what a decision sees of a hash; a nil want: nothing.
func wantTicket(t *testing.T, store session.Store, hash session.CredentialHash, want *session.Ticket) {
	t.Helper()
	var got *session.Ticket
	err := store.Write(t.Context(), &session.Write{Ticket: &hash, Decide: func(v *session.View) (session.Change, error) {
		got = v.Ticket
		return session.Change{}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ticket (-want +got):\n%s", diff)
	}
}

// openWithTicket opens a store with the session s, and returns a ticket of it that is yet to be kept.
func openWithTicket(t *testing.T, open Opener, clock *Clock) (session.Store, *session.Ticket) {
	t.Helper()
	store := open(t, Options{Dir: t.TempDir(), Now: clock.Now})
	record := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
	return store, ticketOf(record.UID, clock.Now().Add(time.Minute))
}

func testTickets(t *testing.T, open Opener) {
	t.Run("keeps every field", func(t *testing.T) {
		store, full := openWithTicket(t, open, NewClock())
		bare := &session.Ticket{Hash: session.CredentialHash{2}, UID: full.UID, Expire: full.Expire}
		for _, ticket := range []*session.Ticket{full, bare} {
			wantTicket(t, store, ticket.Hash, nil)
			if err := KeepTicket(t.Context(), store, "s", ticket); err != nil {
				t.Fatal(err)
			}
			wantTicket(t, store, ticket.Hash, ticket)
		}
		wantTicket(t, store, session.CredentialHash{3}, nil)
	})
	t.Run("the later state takes the place of the earlier one", func(t *testing.T) {
		store, ticket := openWithTicket(t, open, NewClock())
		later := &session.Ticket{Hash: ticket.Hash, UID: session.NewUID(1, 1), Expire: ticket.Expire + 1, Used: true}
		for _, state := range []*session.Ticket{ticket, later, ticket} {
			if err := KeepTicket(t.Context(), store, "s", state); err != nil {
				t.Fatal(err)
			}
			wantTicket(t, store, ticket.Hash, state)
		}
	})
	t.Run("comes with any kind of change", testTicketKinds(open))
	t.Run("comes with a request", func(t *testing.T) {
		store, ticket := openWithTicket(t, open, NewClock())
		request, digest := session.RequestKey{1}, session.Digest{2}
		err := store.Write(t.Context(), &session.Write{ID: "s", Request: request, Decide: func(*session.View) (session.Change, error) {
			return session.Change{Ticket: ticket, Digest: digest}, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		wantTicket(t, store, ticket.Hash, ticket)
		if seen := look(t, store, "s", request); seen.Earlier == nil || seen.Earlier.Digest != digest {
			t.Errorf("Earlier = %+v, want the request", seen.Earlier)
		}
	})
	t.Run("a refusal keeps none", func(t *testing.T) {
		store, ticket := openWithTicket(t, open, NewClock())
		err := store.Write(t.Context(), &session.Write{ID: "s", Decide: func(*session.View) (session.Change, error) {
			return session.Change{Ticket: ticket}, errMissing
		}})
		if !errors.Is(err, errMissing) {
			t.Errorf("Write = %v, want %v", err, errMissing)
		}
		wantTicket(t, store, ticket.Hash, nil)
	})
	t.Run("of many uses, one succeeds", func(t *testing.T) {
		store, ticket := openWithTicket(t, open, NewClock())
		for round := range 10 {
			ticket.Hash[0] = byte(round)
			if err := KeepTicket(t.Context(), store, "s", ticket); err != nil {
				t.Fatal(err)
			}
			used := 0
			for _, err := range inParallel(50, func(int) error { return UseTicket(t.Context(), store, ticket.Hash) }) {
				if err == nil {
					used++
				} else if !errors.Is(err, errUsed) {
					t.Error(err)
				}
			}
			if used != 1 {
				t.Errorf("%d uses of one ticket succeeded, want 1", used)
			}
		}
	})
	t.Run("is there after it has expired, and after a restart", func(t *testing.T) {
		options, clock := Options{Dir: t.TempDir()}, NewClock()
		options.Now = clock.Now
		ticket := ticketOf(session.NewUID(1, 1), clock.Now().Add(time.Hour))
		ticket.Used = true
		t.Run("write", func(t *testing.T) {
			if err := KeepTicket(t.Context(), open(t, options), "", ticket); err != nil {
				t.Fatal(err)
			}
		})
		clock.Advance(time.Hour - time.Second)
		t.Run("read", func(t *testing.T) {
			wantTicket(t, open(t, options), ticket.Hash, ticket)
		})
	})
}

// testTicketKinds has a ticket come with each kind of change.
func testTicketKinds(open Opener) func(t *testing.T) {
	return func(t *testing.T) {
		store, ticket := openWithTicket(t, open, NewClock())
		record := (&Creation{ID: "new", Spec: publicSpec("user-1")}).record
		for i, kind := range []struct {
			name, id string
			decide   func(v *session.View) (session.Change, error)
		}{
			{"Nothing", "s", func(*session.View) (session.Change, error) { return session.Change{}, nil }},
			{"Create", "new", func(v *session.View) (session.Change, error) {
				return session.Change{Kind: session.Create, Record: record(v.Now)}, nil
			}},
			{"Update", "s", func(v *session.View) (session.Change, error) {
				return updateOf(v, func(s *session.Spec) { s.DisplayName = "new" })
			}},
			{"Append", "s", func(v *session.View) (session.Change, error) {
				after := *v.Current
				after.Head.Sequence++
				event := &session.Event{UID: after.UID, ID: "s", Kind: session.SessionUpdated, Sequence: after.Head.Sequence, Time: v.Now}
				return session.Change{Kind: session.Append, Record: &after, Events: []*session.Event{event}}, nil
			}},
			{"End", "s", func(v *session.View) (session.Change, error) { return ending(v, session.Digest{}), nil }},
		} {
			ticket.Hash[0] = byte(i)
			err := store.Write(t.Context(), &session.Write{ID: kind.id, Decide: func(v *session.View) (session.Change, error) {
				change, err := kind.decide(v)
				change.Ticket = ticket
				return change, err
			}})
			if err != nil {
				t.Errorf("%s: %v", kind.name, err)
			}
			wantTicket(t, store, ticket.Hash, ticket)
		}
		wantSession(t, store, "s", nil)
	}
}
