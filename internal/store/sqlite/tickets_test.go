package sqlite

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/storetest"
)

// useOf is a write that uses a ticket, or is refused because it was used.
func useOf(hash session.CredentialHash, refusal error) *session.Write {
	return &session.Write{Ticket: &hash, Decide: func(v *session.View) (session.Change, error) {
		if v.Ticket == nil || v.Ticket.Used {
			return session.Change{}, refusal
		}
		used := *v.Ticket
		used.Used = true
		return session.Change{Ticket: &used}, nil
	}}
}

// TestATicketIsUsedOnceInAGroup uses one many times in one transaction, also in one that fails and is run again.
func TestATicketIsUsedOnceInAGroup(t *testing.T) {
	used := errors.New("used")
	large := smallSpec
	large.Options = []byte(`{"x":"` + strings.Repeat("x", 60<<10) + `"}`)
	for name, maxPages := range map[string]int{"a group": 0, "a group that fails": 60} {
		t.Run(name, func(t *testing.T) {
			store := openStore(t, Config{Dir: t.TempDir(), MaxPages: maxPages})
			ticket := &session.Ticket{Hash: session.CredentialHash{1}, UID: session.NewUID(1, 1), Expire: session.Now().Add(time.Hour)}
			if err := storetest.KeepTicket(t.Context(), store, "", ticket); err != nil {
				t.Fatal(err)
			}
			writes := make([]*session.Write, 40)
			for i := range writes {
				writes[i] = useOf(ticket.Hash, used)
				if i%4 == 3 { // fills the file
					writes[i] = create(strconv.Itoa(i), large)
				}
			}
			uses, full := 0, 0
			for i, err := range inGroup(t, store, writes) {
				switch {
				case i%4 == 3 && err != nil:
					full++
				case i%4 != 3 && err == nil:
					uses++
				case i%4 != 3 && !errors.Is(err, used):
					t.Error(err)
				}
			}
			if uses != 1 {
				t.Errorf("%d uses succeeded, want 1", uses)
			}
			if (full > 0) != (maxPages > 0) {
				t.Errorf("%d writes found the disk full", full)
			}
		})
	}
}

// TestTicketsArePurged: a ticket is there for a minute after it has expired, and then no more.
func TestTicketsArePurged(t *testing.T) {
	clock := storetest.NewClock()
	store := openStore(t, Config{Dir: t.TempDir(), Now: clock.Now, TidyEvery: time.Hour})
	const tickets = 2*tidyRows + 100
	writes := make([]*session.Write, tickets)
	for i := range writes {
		ticket := &session.Ticket{Hash: session.CredentialHash{byte(i), byte(i >> 8)}, Expire: clock.Now().Add(time.Minute)}
		if i == 0 {
			ticket.Expire = ticket.Expire.Add(time.Hour)
		}
		writes[i] = &session.Write{Decide: func(*session.View) (session.Change, error) { return session.Change{Ticket: ticket}, nil }}
	}
	for from := 0; from < tickets; from += 200 {
		if err := errors.Join(inGroup(t, store, writes[from:min(from+200, tickets)])...); err != nil {
			t.Fatal(err)
		}
	}
	clock.Advance(2*time.Minute - time.Second)
	tidyNow(t, store)
	wantCount(t, store, tickets, `SELECT count(*) FROM tickets`)
	clock.Advance(2 * time.Second)
	tidyNow(t, store)
	wantCount(t, store, 1, `SELECT count(*) FROM tickets`)
}
