package natsapi_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	conversationv1 "github.com/parleyhq/parley/gen/parley/conversation/v1"
	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/natsapi"
	"github.com/parleyhq/parley/internal/session"
)

func TestWhoIsNotKnownIsRefused(t *testing.T) {
	r := start(t)
	for name, options := range map[string][]nats.Option{
		"nobody":       nil,
		"a bad token":  {nats.Token("wrong")},
		"another user": {nats.UserInfo("bob", "ada")},
	} {
		conn, err := nats.Connect(r.bus.ClientURL(), append(options, nats.NoReconnect())...)
		if err == nil || !strings.Contains(err.Error(), "Authorization") {
			t.Errorf("%s: %v, want that it is refused", name, err)
		}
		if conn != nil {
			conn.Close()
		}
	}
	for _, record := range []string{
		`transport=nats method=Connect user="" key="" session="" remote=127.0.0.1 allowed=false reason=TOKEN_INVALID`,
		`reason=ACTING_AS_ANOTHER`,
	} {
		if !strings.Contains(r.record.String(), record) {
			t.Errorf("the record lacks %s: %s", record, r.record)
		}
	}
	r.connect(t, "ada", nats.UserInfo("", "ada")).must(t, sessions+"list", "")
	as := r.connect(t, "bob", nats.UserInfo("bob", "admin")) // whom an administrator acts as
	as.user = "admin"
	if got := as.ask(t, sessions+"list", ""); got.code != 200 {
		t.Errorf("list = %d %s", got.code, got.body)
	}
}

func TestInboxPrefixes(t *testing.T) {
	for user, want := range map[string]string{
		"ada": "_INBOX.ada", "robot-7_a": "_INBOX.robot-7_a", "": "_INBOX.~", "a.b": "_INBOX.~YS5i", "a*": "_INBOX.~YSo",
		">": "_INBOX.~Pg", "~YSo": "_INBOX.~fllTbw", "mail@example.org": "_INBOX.~bWFpbEBleGFtcGxlLm9yZw", "é": "_INBOX.~w6k",
	} {
		if got := natsapi.InboxPrefix(user); got != want {
			t.Errorf("InboxPrefix(%q) = %q, want %q", user, got, want)
		}
	}
}

func TestUsersWithAnyNameGetAnswers(t *testing.T) {
	r := start(t)
	for _, user := range []string{"a.b", "mail@example.org", "é *>"} {
		r.connect(t, user).must(t, sessions+"list", "")
	}
}

func TestWhatAClientMayNotDo(t *testing.T) {
	r := start(t)
	ada := r.connect(t, "ada")
	ada.create(t, "mine", 2)
	r.connect(t, "bob").create(t, "bobs", 2)
	for name, subject := range map[string]string{
		"another's session":     sessions + "bobs.events.>",
		"all sessions":          sessions + "*.events.>",
		"no session":            sessions + "none.events.1",
		"all inboxes":           "_INBOX.>",
		"another's inbox":       "_INBOX.bob.>",
		"what is internal":      "parley.internal.>",
		"everything":            ">",
		"others' requests":      sessions + "*.create",
		"the service's subject": "$SRV.PING",
		"an own session, which it may only from the next connection on": sessions + "mine.events.>",
	} {
		t.Run("subscribe to "+name, func(t *testing.T) {
			eve := r.connect(t, "ada")
			if strings.HasPrefix(name, "an own") {
				eve = ada
			}
			eve.listen(t, subject)
			eve.wantRefused(t)
		})
	}
	for name, subject := range map[string]string{
		"the mirror":           sessions + "mine.events.1",
		"what is internal":     "parley.internal.v1.events.x",
		"another's inbox":      "_INBOX.bob.x",
		"whatever":             "x",
		"the server's subject": "$SYS.REQ.SERVER.PING",
	} {
		t.Run("publish to "+name, func(t *testing.T) {
			eve := r.connect(t, "ada")
			if err := eve.Publish(subject, nil); err != nil {
				t.Fatal(err)
			}
			eve.wantRefused(t)
		})
	}
}

func TestAMirrorIsReadByWhoMayReadTheLog(t *testing.T) {
	r := start(t)
	owner := r.connect(t, "ada")
	for id, sessionType := range map[string]int{"open": 1, "hidden": 2, "blocks": 2, "others": 2} {
		owner.create(t, id, sessionType)
	}
	owner.must(t, sessions+"hidden.update", `{"session":{"allowedUsers":["bob","cyd"]}}`)
	owner.must(t, sessions+"blocks.update", `{"session":{"allowedUsers":["bob","cyd"]}}`)
	bob := r.connect(t, "bob")
	for _, id := range []string{"open", "hidden", "blocks"} {
		bob.must(t, sessions+id+".join", "")
	}
	owner.must(t, sessions+"blocks.update", `{"session":{"blockedUsers":["bob"]}}`)
	granted := func(user string) (ids []string) {
		grant, err := r.api.Admit(t.Context(), natsapi.Client{ID: 1 << 40, Token: user})
		if err != nil {
			t.Fatal(err)
		}
		defer r.api.Gone(1 << 40)
		for _, subject := range grant.Subscribe {
			if id, ok := strings.CutPrefix(subject, sessions); ok {
				ids = append(ids, strings.TrimSuffix(id, ".events.>"))
			}
		}
		slices.Sort(ids)
		return ids
	}
	for user, want := range map[string][]string{
		"ada": {"blocks", "hidden", "open", "others"}, "bob": {"hidden", "open"}, "cyd": nil, "eve": nil, "admin": {"*"},
	} {
		if diff := cmp.Diff(want, granted(user)); diff != "" {
			t.Errorf("mirrors of %s (-want +got):\n%s", user, diff)
		}
	}
}

func TestTheMirrorHasWhatTheStreamsHave(t *testing.T) {
	r := start(t)
	maker := r.connect(t, "ada")
	admin := r.connect(t, "admin")
	all := admin.listen(t, sessions+"*.events.>")
	maker.must(t, sessions+"s.create", `{"session":{"secretKey":"open sesame","options":{"channels":{"4":{"history":false}}},`+draft(1, "ada")[1:]+`}`)
	ada := r.connect(t, "ada") // who may listen now
	own := ada.listen(t, sessions+"s.events.*")
	ada.must(t, sessions+"s.join", "")
	ada.must(t, sessions+"s.publish", `{"message":{"text":"kept","channel":2}}`)
	ada.must(t, sessions+"s.publish", `{"message":{"text":"ephemeral","channel":4}}`)
	ada.must(t, sessions+"s.update", `{"session":{"secretKey":"another secret"}}`)
	type mirrored struct {
		Subject, Event, Cursor, Kind string
		Sequence                     string
	}
	read := func(s *nats.Subscription) (m mirrored) {
		got := next(t, s)
		var envelope struct{ Event, Sequence, Cursor string }
		if err := json.Unmarshal(got.Data, &envelope); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(got.Data), "sesame") || strings.Contains(string(got.Data), "another secret") {
			t.Errorf("a secret is in the mirror: %s", got.Data)
		}
		if envelope.Cursor != got.Header.Get("Parley-Cursor") {
			t.Errorf("cursor = %q, in the header %q", envelope.Cursor, got.Header.Get("Parley-Cursor"))
		}
		return mirrored{Subject: strings.TrimPrefix(got.Subject, sessions), Event: envelope.Event, Kind: got.Header.Get("Parley-Event"), Sequence: envelope.Sequence}
	}
	want := []mirrored{
		{Subject: "s.events.0", Event: "session.created", Kind: "session.created", Sequence: "1"},
		{Subject: "s.events.0", Event: "member.joined", Kind: "member.joined", Sequence: "2"},
		{Subject: "s.events.2", Event: "message", Kind: "message", Sequence: "3"},
		{Subject: "s.events.4", Event: "message", Kind: "message", Sequence: "0"},
		{Subject: "s.events.0", Event: "session.updated", Kind: "session.updated", Sequence: "4"},
	}
	var got []mirrored
	for range want {
		got = append(got, read(all))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the mirror (-want +got):\n%s", diff)
	}
	for _, w := range want[1:] {
		if got := read(own); got != w {
			t.Errorf("the owner gets %+v, want %+v", got, w)
		}
	}
}

// Whoever was away asks for what came after the last event that they have heard.
func TestWhoMissedEventsAsksFromTheCursor(t *testing.T) {
	r := start(t)
	r.connect(t, "ada").create(t, "s", 1)
	ada := r.connect(t, "ada")
	ada.must(t, sessions+"s.join", "")
	heard := ada.listen(t, sessions+"s.events.1")
	ada.must(t, sessions+"s.publish", `{"message":{"text":"heard"}}`)
	cursor := next(t, heard).Header.Get("Parley-Cursor")
	if err := heard.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"m1", "m2"} {
		ada.must(t, sessions+"s.publish", `{"message":{"text":"missed","messageId":"`+id+`"}}`)
	}
	var got []string
	for _, message := range ada.must(t, sessions+"s.messages", `{"cursor":"`+cursor+`"}`)["messages"].([]any) {
		got = append(got, message.(map[string]any)["messageId"].(string))
	}
	if diff := cmp.Diff([]string{"m1", "m2"}, got); diff != "" {
		t.Errorf("what was missed (-want +got):\n%s", diff)
	}
	inProtobuf := new(conversationv1.ListMessagesResponse)
	if status := call(t, ada, "s.messages", &conversationv1.ListMessagesRequest{Cursor: cursor}, inProtobuf); status != nil || len(inProtobuf.GetMessages()) != 2 {
		t.Errorf("in protobuf: %v, %v", inProtobuf, status)
	}
}

func TestWithoutAMirrorThereIsNone(t *testing.T) {
	r := start(t, func(s *settings) { s.api.Mirror = false })
	ada := r.connect(t, "ada")
	ada.create(t, "s", 1)
	grant, err := r.api.Admit(t.Context(), natsapi.Client{ID: 1 << 40, Token: "ada"})
	if err != nil || cmp.Diff([]string{"_INBOX.ada.>"}, grant.Subscribe) != "" {
		t.Errorf("grant = %+v, %v", grant, err)
	}
	r.api.Gone(1 << 40)
}

func TestAConnectionEndsWithARightOfIts(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, r *rig, owner *client){
		"leaving":       func(t *testing.T, r *rig, _ *client) { r.connect(t, "bob").must(t, sessions+"s.leave", "") },
		"being removed": func(t *testing.T, _ *rig, owner *client) { owner.must(t, sessions+"s.leave", `{"name":"bob"}`) },
		"being blocked": func(t *testing.T, _ *rig, owner *client) {
			owner.must(t, sessions+"s.update", `{"session":{"blockedUsers":["bob"]}}`)
		},
		"the session's": func(t *testing.T, _ *rig, owner *client) { owner.must(t, sessions+"s.delete", "") },
		"another, of its id": func(t *testing.T, _ *rig, owner *client) {
			owner.must(t, sessions+"s.delete", "")
			owner.create(t, "s", 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			owner := r.connect(t, "ada")
			owner.create(t, "s", 2)
			owner.must(t, sessions+"s.update", `{"session":{"allowedUsers":["bob"]}}`)
			r.connect(t, "bob").must(t, sessions+"s.join", "")
			bob, stays := r.connect(t, "bob"), r.connect(t, "eve")
			bob.listen(t, sessions+"s.events.>")
			end(t, r, owner)
			bob.wantCut(t)
			stays.must(t, sessions+"list", "")
			again := r.connect(t, "bob")
			again.listen(t, sessions+"s.events.>")
			again.wantRefused(t)
		})
	}
}

func TestAnUpdateThatTakesNothingEndsNoConnection(t *testing.T) {
	r := start(t)
	r.connect(t, "ada").create(t, "s", 1)
	ada := r.connect(t, "ada")
	heard := ada.listen(t, sessions+"s.events.0")
	for i := range 3 {
		ada.must(t, sessions+"s.update", fmt.Sprintf(`{"session":{"description":"%d"}}`, i))
		next(t, heard)
	}
	record := r.recordOf(t, "s")
	eventually(t, "a look at the rights", func() bool { return natsapi.HasLooked(r.api, record.UID) })
	ada.must(t, sessions+"s.get", "")
}

// A change that another node made is heard of in the mirror, or at the latest in the commit feed.
func TestARightThatAnotherNodeHasEnded(t *testing.T) {
	for name, tell := range map[string]func(r *rig, record *session.Record){
		"in the mirror": func(r *rig, record *session.Record) {
			cursor := session.Cursor{UID: record.UID, Sequence: 9}
			r.bus.Clients().PublishMsg(&nats.Msg{
				Subject: sessions + "s.events.0", Header: nats.Header{"Parley-Cursor": {cursor.String()}}, Data: []byte("{}"),
			})
		},
		"in the commit feed": func(r *rig, record *session.Record) { r.api.Reached(record.UID, 9) },
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			r.connect(t, "ada").create(t, "s", 2)
			record := r.recordOf(t, "s")
			ada, admin := r.connect(t, "ada"), r.connect(t, "admin")
			tell(r, record) // nothing has changed
			eventually(t, "a look at the rights", func() bool { return natsapi.HasLooked(r.api, record.UID) })
			ada.must(t, sessions+"s.get", "")
			r.deaf.Store(true) // what follows is as if it were another node's
			admin.must(t, sessions+"s.update", `{"session":{"owners":["admin"]}}`)
			tell(r, record)
			ada.wantCut(t)
			admin.must(t, sessions+"s.get", "")
		})
	}
}

func TestARevokedKeyEndsItsConnections(t *testing.T) {
	r := start(t)
	of, other := r.connect(t, "key-1"), r.connect(t, "key-2")
	r.service.RevokeKey("key-1")
	r.api.RevokeKey("key-1")
	of.wantCut(t)
	other.must(t, sessions+"list", "")
	if conn, err := nats.Connect(r.bus.ClientURL(), nats.Token("key-1"), nats.NoReconnect()); err == nil {
		conn.Close()
		t.Error("a revoked key is let in")
	}
}

func TestAConnectionEndsWithItsToken(t *testing.T) {
	r := start(t)
	soon := r.connect(t, "soon")
	soon.must(t, sessions+"list", "")
	soon.wantCut(t)
}

func TestAUserHasSoManyConnections(t *testing.T) {
	r := start(t, func(s *settings) { s.limits.OpenStreams = 2 })
	hook := func(method string) {
		if method == "list" {
			r.api.RevokeKey("key-1") // so that it is refused late, and counts no more
		}
	}
	r.store.read.Store(&hook)
	for range 3 {
		if _, err := r.api.Admit(t.Context(), natsapi.Client{ID: 1 << 40, Token: "key-1"}); !fault.Is(err, fault.Unauthenticated) {
			t.Fatalf("%v, want that the key is revoked", err)
		}
	}
	first, second := r.connect(t, "ada"), r.connect(t, "ada")
	dial := func(user string) error {
		conn, err := nats.Connect(r.bus.ClientURL(), nats.Token(user), nats.NoReconnect())
		if err == nil {
			conn.Close()
		}
		return err
	}
	if dial("ada") == nil {
		t.Error("a third connection is let in")
	}
	if !strings.Contains(r.record.String(), "QUOTA_STREAMS") {
		t.Errorf("the record does not say why: %s", r.record)
	}
	if err := dial("bob"); err != nil {
		t.Errorf("another user: %v", err)
	}
	first.Close()
	eventually(t, "room for another", func() bool { return dial("ada") == nil })
	second.must(t, sessions+"list", "")
}

func TestADevelopmentServersClientsDoWhatTheyLike(t *testing.T) {
	r := start(t, func(s *settings) { s.api.Dev = true })
	ada := r.connect(t, "ada")
	all := ada.listen(t, sessions+"*.events.>")
	ada.create(t, "s", 1)
	next(t, all)
	talk := ada.listen(t, "my.own.subject")
	if err := ada.Publish("my.own.subject", nil); err != nil {
		t.Fatal(err)
	}
	next(t, talk)
	if err := ada.Publish(sessions+"s.events.1", []byte("forged")); err != nil {
		t.Fatal(err)
	}
	ada.wantRefused(t)
	if n, _, _ := all.Pending(); n != 0 {
		t.Error("a forged event is in the mirror")
	}
}

// Whoever could write to the mirror would change nothing of what is believed.
func TestAForgedEventChangesNothing(t *testing.T) {
	r := start(t)
	r.connect(t, "ada").create(t, "s", 1)
	ada := r.connect(t, "ada")
	record := r.recordOf(t, "s")
	before := ada.ask(t, sessions+"s.get", "")
	for _, event := range []string{"session.deleted", "member.removed", "message", "session.updated"} {
		for _, cursor := range []string{"", "x", session.Cursor{UID: session.NewUID(1, 2), Sequence: 1}.String(), session.Cursor{UID: record.UID, Sequence: 1}.String()} {
			err := r.bus.Clients().PublishMsg(&nats.Msg{
				Subject: sessions + "s.events.0", Header: nats.Header{"Parley-Cursor": {cursor}, "Parley-Event": {event}},
				Data: []byte(`{"event":"` + event + `","session":"sessions/s"}`),
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "a look at the rights", func() bool { return natsapi.HasLooked(r.api, record.UID) })
	if after := ada.ask(t, sessions+"s.get", ""); after.body != before.body {
		t.Errorf("the session is %s, and was %s", after.body, before.body)
	}
	if got := ada.must(t, sessions+"s.messages", ""); len(got["messages"].([]any)) != 0 {
		t.Errorf("messages = %v", got)
	}
}

func TestTheNewestSessionsAreFollowed(t *testing.T) {
	r := start(t)
	ada := r.connect(t, "ada")
	const count = 120 // more than are looked up at once
	var want []string
	for i := range count {
		id := fmt.Sprintf("s%d", i)
		ada.create(t, id, 2)
		want = append(want, id)
	}
	slices.Reverse(want)
	for _, most := range []int{1, 110, 1000} {
		records, err := r.service.Followed(t.Context(), session.Caller{User: "ada"}, most)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, record := range records {
			got = append(got, record.ID)
		}
		if diff := cmp.Diff(want[:min(most, count)], got); diff != "" {
			t.Errorf("the newest %d (-want +got):\n%s", most, diff)
		}
	}
}

// A server of the robot's own is a leaf of ours. What connects there needs no credential for NATS.
func TestALeafNodesClientsHaveItsRights(t *testing.T) {
	r := start(t)
	robot := r.connect(t, "robot")
	robot.create(t, "mine", 2)
	robot.must(t, sessions+"mine.join", "")
	r.connect(t, "ada").create(t, "adas", 2)
	leaf, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		LeafNode: server.LeafNodeOpts{Remotes: []*server.RemoteLeafOpts{{
			URLs: []*url.URL{{Scheme: "nats-leaf", User: url.User("robot"), Host: r.bus.LeafAddress()}},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	leaf.Start()
	defer func() {
		leaf.Shutdown()
		leaf.WaitForShutdown()
	}()
	eventually(t, "the leaf is connected", func() bool { return leaf.NumLeafNodes() == 1 })
	local := &client{user: "robot", ended: make(chan struct{})}
	local.Conn, err = nats.Connect(leaf.ClientURL(), nats.CustomInboxPrefix(natsapi.InboxPrefix("robot")),
		nats.ClosedHandler(func(*nats.Conn) { close(local.ended) }))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		local.Close()
		<-local.ended
	}()
	heard := local.listen(t, sessions+"*.events.1")
	eventually(t, "an answer through the leaf", func() bool { // which learns of our subjects in a moment
		_, err := local.RequestMsg(local.message(sessions+"mine.get", ""), time.Second)
		return err == nil
	})
	eventually(t, "an event through the leaf", func() bool {
		local.must(t, sessions+"mine.publish", `{"message":{"text":"x"}}`)
		_, err := heard.NextMsg(50 * time.Millisecond)
		return err == nil
	})
	if got := local.ask(t, sessions+"adas.get", ""); got.code != 404 {
		t.Errorf("another's session = %d %s", got.code, got.body)
	}
}

// What ends after it was read, and before the client is known.
func TestARightThatEndsWhileItIsGranted(t *testing.T) {
	cut := make(chan uint64, 10)
	r := start(t, func(s *settings) { s.api.Disconnect = func(id uint64) { cut <- id } })
	owner, bob := r.connect(t, "ada"), r.connect(t, "bob")
	owner.create(t, "s", 1)
	bob.must(t, sessions+"s.join", "")
	var once sync.Once
	hook := func(method string) {
		if method == "list" {
			once.Do(func() {
				owner.must(t, sessions+"s.update", `{"session":{"sessionType":2}}`)
				owner.must(t, sessions+"s.leave", `{"name":"bob"}`)
			})
		}
	}
	r.store.read.Store(&hook)
	const connection = 1 << 40
	grant, err := r.api.Admit(t.Context(), natsapi.Client{ID: connection, Token: "bob"})
	if err != nil || !slices.Contains(grant.Subscribe, sessions+"s.events.>") {
		t.Fatalf("grant = %+v, %v, want what was to be read then", grant, err)
	}
	for id := uint64(0); id != connection; { // the other one of bob's was not granted the session
		select {
		case id = <-cut:
		case <-time.After(20 * time.Second):
			t.Fatal("the connection is not cut")
		}
	}
	r.api.Gone(connection)
}

func TestAKeyThatIsRevokedWhileItsClientIsLetIn(t *testing.T) {
	r := start(t)
	hook := func(method string) {
		if method == "list" {
			r.api.RevokeKey("key-1") // the service has looked at the key before it is told
		}
	}
	r.store.read.Store(&hook)
	_, err := r.api.Admit(t.Context(), natsapi.Client{ID: 1 << 40, Token: "key-1"})
	if !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("%v, want that the key is revoked", err)
	}
	if _, err := r.api.Admit(t.Context(), natsapi.Client{ID: 1<<40 + 1, Token: "key-2"}); err != nil {
		t.Error(err)
	}
}
