package session

import (
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/fault"
)

var (
	backend = Caller{User: "billing", Service: true, Key: "k1", Until: 7}
	forBob  = Caller{User: "bob", Named: true}
)

func TestWhoARequestActsAs(t *testing.T) {
	for what, test := range map[string]struct {
		caller Caller
		name   string
		want   Caller
	}{
		"a user":                             {Caller{User: "bob"}, "ann", Caller{User: "bob"}},
		"a backend that names nobody":        {backend, "", backend},
		"a backend that names a user":        {backend, "ann", Caller{User: "ann", Key: "k1", Until: 7}},
		"a backend that names itself":        {backend, "billing", Caller{User: "billing", Key: "k1", Until: 7}},
		"a backend that has named a user":    {forBob, "ann", forBob},
		"an administrator who names a user":  {root, "ann", root},
		"an administrator who is a backend":  {Caller{User: "root", Admin: true, Service: true}, "ann", Caller{User: "root", Admin: true, Service: true}},
		"a user who has named themself":      {Caller{User: "bob", Named: true}, "bob", Caller{User: "bob", Named: true}},
		"a user who has named and names ann": {Caller{User: "bob", Named: true}, "ann", Caller{User: "bob", Named: true}},
	} {
		if diff := gocmp.Diff(test.want, test.caller.actingAs(test.name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

func TestABackendJoinsPublishesAndLeavesAsTheUserThatItNames(t *testing.T) {
	w := newWorld()
	record := w.create(t, "room", Private, "", func(s *Spec) { s.AllowedUsers = []string{"bob"} })
	caller := Caller{User: "billing", Service: true}
	joined, err := w.Join(t.Context(), caller, JoinRequest{ID: "room", Name: "bob"})
	if err != nil || joined.Member.User != "bob" {
		t.Fatalf("Join = %v, %v", joined.Member.Member, err)
	}
	said, err := w.Publish(t.Context(), caller, PublishRequest{ID: "room", Name: "bob", Message: hello})
	if err != nil || said.Actor != "bob" {
		t.Fatalf("Publish = %v, %v", said, err)
	}
	if _, err := w.Leave(t.Context(), caller, LeaveRequest{ID: "room", Name: "bob"}); err != nil {
		t.Fatal(err)
	}
	var happened []string
	for _, e := range w.store.log[record.UID] {
		happened = append(happened, e.Kind.String()+" by "+e.Actor)
	}
	want := []string{"member.joined by bob", "message by bob", "member.left by bob"}
	if diff := gocmp.Diff(want, happened); diff != "" {
		t.Errorf("the log (-want +got):\n%s", diff)
	}
}

// It has the rights of the user whom it names, and no more: not its own either.
func TestABackendHasTheRightsOfTheUserThatItNames(t *testing.T) {
	w := newWorld()
	w.create(t, "room", Private, openSesame, func(s *Spec) { s.Owners, s.BlockedUsers = []string{"billing"}, []string{"eve"} })
	caller := Caller{User: "billing", Service: true}
	for name, want := range map[string]string{"fay": "SESSION_NOT_FOUND", "billing": "yes", "": "yes"} {
		if _, err := w.Join(t.Context(), caller, JoinRequest{ID: "room", Name: name}); saidBy(err) != want {
			t.Errorf("join as %q is answered %s, want %s", name, saidBy(err), want)
		}
	}
	for name, want := range map[string]string{"fay": "SESSION_NOT_FOUND", "billing": "yes", "": "yes"} {
		if _, err := w.Publish(t.Context(), caller, PublishRequest{ID: "room", Name: name, Message: hello}); saidBy(err) != want {
			t.Errorf("publish as %q is answered %s, want %s", name, saidBy(err), want)
		}
	}
	if _, err := w.Leave(t.Context(), caller, LeaveRequest{ID: "room", Name: "fay"}); saidBy(err) != "SESSION_NOT_FOUND" {
		t.Errorf("leave as fay is answered %s", saidBy(err))
	}
	if _, err := w.Join(t.Context(), caller, JoinRequest{ID: "room", Name: "eve", SecretKey: openSesame}); saidBy(err) != "BLOCKED" {
		t.Errorf("join as eve, who is blocked, is answered %s", saidBy(err))
	}
}

func TestARequestThatSaysTwiceForWhomMustSayTheSame(t *testing.T) {
	w := newWorld()
	w.create(t, "room", Public, "")
	w.enter(t, "bob")
	for _, caller := range []Caller{forBob, {User: "bob", Named: true}, {User: "bob", Named: true, Admin: true}} {
		_, joinErr := w.Join(t.Context(), caller, JoinRequest{ID: "room", Name: "ann"})
		_, publishErr := w.Publish(t.Context(), caller, PublishRequest{ID: "room", Name: "ann", Message: hello})
		for what, err := range map[string]error{"join": joinErr, "publish": publishErr} {
			if diff := gocmp.Diff([]string{"name"}, violationsOf(err)); diff != "" || !fault.Is(err, fault.InvalidArgument) {
				t.Errorf("%s of %+v: %v (-want +got):\n%s", what, caller, err, diff)
			}
		}
		if _, err := w.Publish(t.Context(), caller, PublishRequest{ID: "room", Name: "bob", Message: hello}); err != nil {
			t.Errorf("naming the same twice: %v", err)
		}
	}
	if _, err := w.Join(t.Context(), Caller{User: "bob"}, JoinRequest{ID: "room", Name: "ann"}); saidBy(err) != "ACTING_AS_ANOTHER" {
		t.Errorf("a plain user who names another is answered %s", saidBy(err))
	}
}

func TestLeavingWithAnotherNameIsARemovalUnlessABackendNamesWhoLeaves(t *testing.T) {
	for what, test := range map[string]struct {
		caller Caller
		want   string
	}{
		"an owner":                           {Caller{User: "ann"}, "member.removed by ann"},
		"an owner who is named":              {Caller{User: "ann", Named: true}, "member.removed by ann"},
		"a backend for the owner":            {Caller{User: "ann", Named: true, Key: "k1"}, "member.removed by ann"},
		"a backend":                          {Caller{User: "billing", Service: true}, "member.left by bob"},
		"a backend that is an owner":         {Caller{User: "ann", Service: true}, "member.left by bob"},
		"an administrator":                   {root, "member.removed by root"},
		"a member":                           {Caller{User: "cy"}, "NOT_AN_OWNER"},
		"a backend for a member":             {Caller{User: "cy", Named: true, Key: "k1"}, "NOT_AN_OWNER"},
		"a user to whom there is no session": {Caller{User: "fay"}, "SESSION_NOT_FOUND"},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld()
			record := w.create(t, "room", Private, "")
			w.enter(t, "bob", "cy")
			_, err := w.Leave(t.Context(), test.caller, LeaveRequest{ID: "room", Name: "bob"})
			got := saidBy(err)
			if log := w.store.log[record.UID]; err == nil {
				last := log[len(log)-1]
				got = last.Kind.String() + " by " + last.Actor
			}
			if got != test.want {
				t.Errorf("leave is answered %s, want %s", got, test.want)
			}
		})
	}
}

// A requestId is of the user in whose name the request is done, whoever sends it.
func TestARequestIDIsOfTheUserWhomABackendNames(t *testing.T) {
	w := newWorld()
	record := w.create(t, "room", Public, "")
	w.enter(t, "bob", "cy")
	publish := func(caller Caller, name string) {
		t.Helper()
		request := PublishRequest{ID: "room", Name: name, Message: hello, RequestID: "r1"}
		if _, err := w.Publish(t.Context(), caller, request); err != nil {
			t.Fatal(err)
		}
	}
	messages := func() (by []string) {
		for _, e := range w.store.log[record.UID] {
			if e.Kind == MessagePublished {
				by = append(by, e.Actor)
			}
		}
		return by
	}
	caller := Caller{User: "billing", Service: true}
	publish(caller, "bob")
	publish(caller, "cy")
	publish(caller, "bob")
	publish(Caller{User: "bob"}, "bob")
	if got := messages(); !slices.Equal(got, []string{"bob", "cy"}) {
		t.Errorf("messages of %v, want one of each user", got)
	}
}

// A create names nobody, so that a backend makes sessions of its own unless it has named a user beforehand.
func TestABackendThatCreatesIsAmongTheOwners(t *testing.T) {
	w := newWorld()
	draft := func(owner string) *Draft {
		return &Draft{Spec: Spec{Profile: "p", DisplayName: "d", Type: Private, Owners: []string{owner}, DefaultChannels: []int32{1}}}
	}
	if _, err := w.Create(t.Context(), backend, CreateRequest{Draft: draft("ann")}); saidBy(err) != "NOT_AN_OWNER" {
		t.Errorf("a session of ann's is answered %s", saidBy(err))
	}
	result, err := w.Create(t.Context(), backend, CreateRequest{Draft: draft("billing")})
	if err != nil || result.Record.Creator != "billing" {
		t.Errorf("Create = %v, %v", result.Record, err)
	}
}

func TestWrongSecretsCountForTheUserWhomABackendNames(t *testing.T) {
	w := newWorld()
	w.create(t, "room", Private, openSesame)
	caller := Caller{User: "billing", Service: true}
	guess := func(name, secret string) string {
		_, err := w.Join(t.Context(), caller, JoinRequest{ID: "room", Name: name, SecretKey: secret})
		return saidBy(err)
	}
	for range GuessesCaller {
		if got := guess("mallory", "wrong one"); got != "SESSION_NOT_FOUND" {
			t.Fatalf("a wrong secret is answered %s", got)
		}
	}
	if got := guess("mallory", openSesame); got != "TOO_MANY_GUESSES" {
		t.Errorf("the guess after the last is answered %s", got)
	}
	if got := guess("bob", openSesame); got != "yes" {
		t.Errorf("another user of the backend is answered %s", got)
	}
}

// Whether there is a session, whether it has a secretKey, and whether its uid is the request's: a wrong secretKey takes
// the same. What is allocated stands for what is done.
func TestAWrongSecretTakesTheSameWhereThereIsNoSession(t *testing.T) {
	w := newWorld()
	w.create(t, "locked", Private, openSesame)
	w.create(t, "plain", Private, "")
	mallory := Caller{User: "mallory"}
	work := func(id, uid string) float64 {
		join := join{service: w.Service, caller: mallory, user: mallory.User, request: JoinRequest{ID: id, UID: uid, SecretKey: "wrong one"}}
		view := w.store.view(&Write{ID: id, Users: []string{mallory.User, mallory.User}})
		return testing.AllocsPerRun(100, func() {
			if _, err := join.decide(view); saidBy(err) != "SESSION_NOT_FOUND" || !join.wrong {
				t.Fatalf("%s: %v, counted %t", id, err, join.wrong)
			}
		})
	}
	want := work("locked", "")
	other := NewUID(1, 1).String()
	for what, got := range map[string]float64{
		"no session": work("none", ""), "no secretKey": work("plain", ""), "another uid": work("locked", other), "no session of the uid": work("none", other),
	} {
		if got != want {
			t.Errorf("%s: %v allocations, want %v", what, got, want)
		}
	}
	if least := testing.AllocsPerRun(10, func() { w.keys.opens(Secret{}, UID{}, "wrong one") }); want <= least {
		t.Errorf("%v allocations, fewer than the comparison alone (%v)", want, least)
	}
}
