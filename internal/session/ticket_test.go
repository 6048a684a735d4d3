package session

import (
	"crypto/sha256"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

func TestATicketOpensOneStreamAsItsCaller(t *testing.T) {
	w := newWorld()
	w.create(t, "room", Private, "")
	w.enter(t, "bob")
	caller := Caller{User: "bob", Service: true, Named: true, Key: "k1", Until: in(time.Hour)}
	text, _, err := w.CreateTicket(t.Context(), caller, CreateTicketRequest{ID: "room"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.UseTicket(t.Context(), "room", text)
	if err != nil {
		t.Fatal(err)
	}
	// Whoever has the ticket may not name another.
	if diff := gocmp.Diff(Caller{User: "bob", Key: "k1", Until: caller.Until}, got); diff != "" {
		t.Errorf("the ticket's caller (-want +got):\n%s", diff)
	}
	stream, err := w.Subscribe(t.Context(), got, SubscribeRequest{ID: "room"}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	_, err = w.UseTicket(t.Context(), "room", text)
	wantUnauthenticated(t, "the second use", err, "TICKET_USED")
	w.RevokeKey("k1")
	if got := readAll(t, stream); got != "access.revoked over" {
		t.Errorf("after the key's revocation the stream delivers %q", got)
	}
}

func TestAnAdministratorsTicketIsAnAdministrators(t *testing.T) {
	w := newWorld()
	w.create(t, "room", Private, "")
	text, _, err := w.CreateTicket(t.Context(), root, CreateTicketRequest{ID: "room"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := w.UseTicket(t.Context(), "room", text); err != nil || got != root {
		t.Errorf("UseTicket = %+v, %v; want %+v", got, err, root)
	}
}

func TestATicketIs256RandomBitsOfWhichOnlyTheHashIsKept(t *testing.T) {
	w := newWorld()
	w.create(t, "room", Public, "")
	form := regexp.MustCompile(`^[A-Za-z0-9_-]{64}$`)
	seen := map[string]bool{}
	for range 100 {
		text, _, err := w.CreateTicket(t.Context(), Caller{User: "bob"}, CreateTicketRequest{ID: "room", RequestID: "the-same"})
		if err != nil || !form.MatchString(text) || seen[text] {
			t.Fatalf("ticket %q, %v; seen before: %t", text, err, seen[text])
		}
		seen[text] = true
		kept, ok := w.store.tickets[sha256.Sum256([]byte(text))]
		if !ok || kept.Used || kept.UID != w.store.sessions["room"].UID {
			t.Fatalf("of the ticket is kept %+v, %t", kept, ok)
		}
	}
	if len(w.store.requests) != 0 {
		t.Errorf("%d requestIds of tickets are kept", len(w.store.requests))
	}
}

func TestATicketLastsAMinuteAndNoLongerThanItsCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.create(t, "room", Public, "")
		for what, test := range map[string]struct{ until, life time.Duration }{
			"no end":     {0, time.Minute},
			"a late end": {time.Hour, time.Minute},
			"a near end": {20 * time.Second, 20 * time.Second},
		} {
			caller := Caller{User: "bob"}
			if test.until != 0 {
				caller.Until = in(test.until)
			}
			create := func() string {
				text, expire, err := w.CreateTicket(t.Context(), caller, CreateTicketRequest{ID: "room"})
				if err != nil {
					t.Fatal(err)
				}
				if off := expire - in(test.life); off < 0 || off > 100 { // the store's clock gives out each time once
					t.Errorf("%s: it expires %d us late", what, off)
				}
				return text
			}
			first, second, third := create(), create(), create()
			if _, err := w.UseTicket(t.Context(), "room", third); err != nil {
				t.Errorf("%s: at once: %v", what, err)
			}
			time.Sleep(test.life - time.Millisecond) //nolint:forbidigo // in a bubble
			if _, err := w.UseTicket(t.Context(), "room", first); err != nil {
				t.Errorf("%s: just before: %v", what, err)
			}
			time.Sleep(2 * time.Millisecond) //nolint:forbidigo // in a bubble
			_, err := w.UseTicket(t.Context(), "room", second)
			wantUnauthenticated(t, what+", just after", err, "TICKET_EXPIRED")
			_, err = w.UseTicket(t.Context(), "room", third)
			wantUnauthenticated(t, what+", used and expired", err, "TICKET_USED")
		}
	})
}

func TestNoTicketIsMadeForACredentialThatEndsMeanwhile(t *testing.T) {
	w := newWorld()
	w.create(t, "room", Public, "")
	w.store.now = func() Time { return in(time.Hour) }
	_, _, err := w.CreateTicket(t.Context(), Caller{User: "bob", Until: in(time.Minute)}, CreateTicketRequest{ID: "room"})
	wantUnauthenticated(t, "a write that comes late", err, "TOKEN_EXPIRED")
	if len(w.store.tickets) != 0 {
		t.Error("a ticket is kept")
	}
}

func TestATicketThatIsNone(t *testing.T) {
	w := newWorld()
	w.create(t, "room", Public, "")
	w.create(t, "other", Public, "")
	bob := Caller{User: "bob"}
	text, _, err := w.CreateTicket(t.Context(), bob, CreateTicketRequest{ID: "room"})
	if err != nil {
		t.Fatal(err)
	}
	for what, test := range map[string]struct{ id, text string }{
		"nothing":               {"room", ""},
		"a word":                {"room", "ticket"},
		"one never made":        {"room", strings.Repeat("A", 64)},
		"too short":             {"room", text[:42]},
		"too long":              {"room", text + "A"},
		"padded":                {"room", text + "="},
		"a line end":            {"room", text[:42] + "\n"},
		"another spelling":      {"room", text[:42] + string(text[42]+1)},
		"much":                  {"room", strings.Repeat("A", 1<<20)},
		"of another session":    {"other", text},
		"of no session":         {"none", text},
		"of an impossible one":  {"no session", text},
		"of a session unnamed":  {"", text},
		"no text":               {"room", "\xff\x00"},
		"with something before": {"room", " " + text},
	} {
		_, err := w.UseTicket(t.Context(), test.id, test.text)
		wantUnauthenticated(t, what, err, "TICKET_INVALID")
	}
	if err := w.Delete(t.Context(), root, DeleteRequest{ID: "room"}); err != nil {
		t.Fatal(err)
	}
	w.create(t, "room", Public, "")
	_, err = w.UseTicket(t.Context(), "room", text)
	wantUnauthenticated(t, "of a session made anew", err, "TICKET_INVALID")
}

// Neither a stranger's try on another session nor a refusal uses it up; a stream that comes to nothing does.
func TestWhatUsesATicketUp(t *testing.T) {
	w := newWorld()
	w.create(t, "room", Private, "")
	w.create(t, "other", Public, "")
	w.enter(t, "bob")
	text, _, err := w.CreateTicket(t.Context(), Caller{User: "bob"}, CreateTicketRequest{ID: "room"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.UseTicket(t.Context(), "other", text)
	wantUnauthenticated(t, "on another session", err, "TICKET_INVALID")
	if _, err := w.Leave(t.Context(), Caller{User: "bob"}, LeaveRequest{ID: "room"}); err != nil {
		t.Fatal(err)
	}
	caller, err := w.UseTicket(t.Context(), "room", text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Subscribe(t.Context(), caller, SubscribeRequest{ID: "room"}, func() {}); saidBy(err) != "SESSION_NOT_FOUND" {
		t.Errorf("who has left since is answered %v", err)
	}
	_, err = w.UseTicket(t.Context(), "room", text)
	wantUnauthenticated(t, "again", err, "TICKET_USED")
}

func TestATicketOfARevokedKeyIsRefused(t *testing.T) {
	w := newWorld()
	w.create(t, "room", Public, "")
	text, _, err := w.CreateTicket(t.Context(), Caller{User: "bob", Key: "k1"}, CreateTicketRequest{ID: "room"})
	if err != nil {
		t.Fatal(err)
	}
	w.RevokeKey("k1")
	_, err = w.UseTicket(t.Context(), "room", text)
	wantUnauthenticated(t, "after the revocation", err, "KEY_REVOKED")
}

func TestOfManyWhoUseATicketAtOnceOneGetsIn(t *testing.T) {
	w := newWorld()
	w.create(t, "room", Public, "")
	text, _, err := w.CreateTicket(t.Context(), Caller{User: "bob"}, CreateTicketRequest{ID: "room"})
	if err != nil {
		t.Fatal(err)
	}
	var in atomic.Int32
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := w.UseTicket(t.Context(), "room", text); err == nil {
				in.Add(1)
			} else {
				wantUnauthenticated(t, "the others", err, "TICKET_USED")
			}
		})
	}
	all.Wait()
	if in.Load() != 1 {
		t.Errorf("%d got in", in.Load())
	}
}

// The rights are TestEveryoneMayDoWhatTheTableSays's; here is what comes before them.
func TestCreateTicketChecksItsSyntax(t *testing.T) {
	w := newWorld()
	w.create(t, "room", Public, "")
	for _, test := range []struct {
		request CreateTicketRequest
		want    string
	}{
		{CreateTicketRequest{ID: "room", RequestID: "a b"}, "requestId"},
		{CreateTicketRequest{ID: "none", RequestID: strings.Repeat("a", 65)}, "requestId"},
		{CreateTicketRequest{ID: "ro om"}, "session"},
		{CreateTicketRequest{}, "session"},
	} {
		_, _, err := w.CreateTicket(t.Context(), Caller{User: "bob"}, test.request)
		if diff := gocmp.Diff([]string{test.want}, violationsOf(err)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", test.request, diff)
		}
	}
	if _, _, err := w.CreateTicket(t.Context(), Caller{User: "bob"}, CreateTicketRequest{ID: "none"}); saidBy(err) != "SESSION_NOT_FOUND" {
		t.Errorf("no session: %v", err)
	}
}

func TestDecodeCreateTicket(t *testing.T) {
	for body, want := range map[string]CreateTicketRequest{
		``: {}, ` `: {}, `{}`: {}, `{"requestId":"r"}`: {RequestID: "r"}, `{"request_id":"r"}`: {RequestID: "r"}, `{"requestId":null}`: {},
	} {
		got, err := DecodeCreateTicket([]byte(body))
		if err != nil || *got != want {
			t.Errorf("DecodeCreateTicket(%s) = %v, %v; want %v", body, got, err, want)
		}
	}
	for body, want := range map[string]string{
		`[]`: "body", `{"requestId":1}`: "requestId", `{"session":"sessions/s"}`: "session", `{"colour":1}`: "colour", `{} {}`: "body",
	} {
		_, err := DecodeCreateTicket([]byte(body))
		if diff := gocmp.Diff([]string{want}, violationsOf(err)); diff != "" {
			t.Errorf("DecodeCreateTicket(%s) (-want +got):\n%s", body, diff)
		}
	}
}

func TestATicketAsItIsAnswered(t *testing.T) {
	got := string(AppendTicketJSON([]byte("x"), "t-_", 1_767_225_600_000_001))
	if want := `x{"ticket":"t-_","expireTime":"2026-01-01T00:00:00.000001Z"}`; got != want {
		t.Errorf("it is %s, want %s", got, want)
	}
}
