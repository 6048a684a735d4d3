package storetest

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parleyhq/parley/internal/session"
)

func testMessages(t *testing.T, open Opener) {
	t.Run("by the ids that clients made", func(t *testing.T) {
		store, _ := openFresh(t, open)
		record := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		other := must(t)((&Creation{ID: "other", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		uuid := session.NewUID(record.CreateTime, 7).String() // looks like one that the server made
		for _, id := range []string{"m-1", "M-1", uuid} {
			event := mustPublish(t)((&Publication{User: "user-1", MessageID: id, Channel: 3, Text: id}).Publish(t.Context(), store, "s"))
			wantMessage(t, store, record.UID, id, event)
			wantMessage(t, store, record.UID, strings.ToLower(id)+"x", nil)
			wantMessage(t, store, other.UID, id, nil)
			_, err := (&Publication{User: "user-2", MessageID: id, Text: "again"}).Publish(t.Context(), store, "s")
			if !errors.Is(err, errMessageTaken) {
				t.Errorf("publishing %s again: %v, want %v", id, err, errMessageTaken)
			}
			mustPublish(t)((&Publication{User: "user-2", MessageID: id, Text: "elsewhere"}).Publish(t.Context(), store, "other"))
		}
		wantMessage(t, store, record.UID, "", nil)
	})
	t.Run("by the ids that the server made", func(t *testing.T) {
		store, _ := openFresh(t, open)
		record := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		events := say(t, store, "s", "user-1", "a", "b")
		if _, err := Join(t.Context(), store, "s", "user-2"); err != nil {
			t.Fatal(err)
		}
		joined := readLog(t, store, record.UID, 3).Events[0]
		for _, event := range events {
			id := event.MessageName()
			wantMessage(t, store, record.UID, id, event)
			wantMessage(t, store, record.UID, strings.ToUpper(id), nil)
			wantMessage(t, store, session.NewUID(record.CreateTime, 1), id, nil)
		}
		for what, forged := range map[string]string{
			"another time":       session.NewUID(events[0].Time+1, 2).String(),
			"another sequence":   session.NewUID(events[0].Time, 3).String(),
			"no such sequence":   session.NewUID(events[0].Time, 9).String(),
			"session.created":    session.NewUID(record.CreateTime, 1).String(),
			"no message, a join": joined.MessageName(),
		} {
			if message, err := store.Message(t.Context(), record.UID, forged); message != nil || err != nil {
				t.Errorf("the message of an id with %s: %v, %v", what, message, err)
			}
		}
		taken := Publication{User: "user-1", MessageID: events[0].MessageName(), Text: "c"}
		if _, err := taken.Publish(t.Context(), store, "s"); !errors.Is(err, errMessageTaken) {
			t.Errorf("publishing under an id that was made: %v, want %v", err, errMessageTaken)
		}
	})
	t.Run("in pages", testMessagePages(open))
	t.Run("of a session that ended", func(t *testing.T) {
		store, _ := openFresh(t, open)
		record := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		event := mustPublish(t)((&Publication{User: "user-1", MessageID: "m", Text: "a"}).Publish(t.Context(), store, "s"))
		if err := End(t.Context(), store, "s"); err != nil {
			t.Fatal(err)
		}
		wantMessage(t, store, record.UID, "m", nil)
		if got := allMessages(t, store, &session.MessageQuery{UID: record.UID, Size: 10}); len(got) != 0 {
			t.Errorf("an ended session has the messages %v", got)
		}
		again := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		wantMessage(t, store, again.UID, "m", nil)
		if again.UID == event.UID {
			t.Error("the ended session's uid came back")
		}
	})
}

func testMessagePages(open Opener) func(t *testing.T) {
	return func(t *testing.T) {
		store, _ := openFresh(t, open)
		record := must(t)((&Creation{ID: "s", Spec: publicSpec("user-1")}).Create(t.Context(), store))
		var all, even []string
		for i := range 20 {
			say(t, store, "s", "user-"+strconv.Itoa(i%2), strconv.Itoa(i))
			all = append(all, strconv.Itoa(i))
			if i%2 == 0 {
				even = append(even, strconv.Itoa(i))
			}
			if _, err := Join(t.Context(), store, "s", "user-"+strconv.Itoa(i)); err != nil { // no message
				t.Fatal(err)
			}
		}
		ofEven := func(ev *session.Event) bool { return ev.Actor == "user-0" }
		for _, size := range []int{1, 3, 10, 20, 100} {
			for _, c := range []struct {
				match func(*session.Event) bool
				want  []string
			}{{nil, all}, {ofEven, even}, {func(*session.Event) bool { return false }, nil}} {
				for _, descending := range []bool{false, true} {
					q := &session.MessageQuery{UID: record.UID, Size: size, Match: c.match, Descending: descending}
					if diff := cmp.Diff(turned(c.want, descending), texts(allMessages(t, store, q)), cmpopts.EquateEmpty()); diff != "" {
						t.Errorf("messages in pages of %d, descending %v (-want +got):\n%s", size, descending, diff)
					}
				}
			}
		}
		none := &session.MessageQuery{UID: session.NewUID(record.CreateTime, 1), Size: 10}
		if got := allMessages(t, store, none); len(got) != 0 {
			t.Errorf("an unknown session has the messages %v", texts(got))
		}
	}
}

// turned is the list, from its end if it is to descend.
func turned(list []string, descending bool) []string {
	result := make([]string, 0, len(list))
	for i := range list {
		if descending {
			i = len(list) - 1 - i
		}
		result = append(result, list[i])
	}
	return result
}

// texts are what the messages say.
func texts(messages []*session.Event) []string {
	var list []string
	for _, m := range messages {
		text, _ := strings.CutPrefix(string(m.Document), `{"text":"`)
		text, _, _ = strings.Cut(text, `"`)
		list = append(list, text)
	}
	return list
}

// allMessages follows the pages from the first to the last.
func allMessages(t *testing.T, store session.Store, q *session.MessageQuery) (all []*session.Event) {
	t.Helper()
	query := *q
	for {
		page, err := store.Messages(t.Context(), &query)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Events) > query.Size {
			t.Fatalf("a page has %d messages, more than %d", len(page.Events), query.Size)
		}
		all = append(all, page.Events...)
		if page.Next == 0 {
			return all
		}
		if page.Next == query.After {
			t.Fatalf("the pages stand still at %d", page.Next)
		}
		query.After = page.Next
	}
}

func wantMessage(t *testing.T, store session.Store, uid session.UID, id string, want *session.Event) {
	t.Helper()
	got, err := store.Message(t.Context(), uid, id)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, sameEvents); diff != "" {
		t.Errorf("message %q (-want +got):\n%s", id, diff)
	}
}
