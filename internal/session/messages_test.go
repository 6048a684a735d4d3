package session

import (
	"cmp"
	"context"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/fault"
)

// liveStore holds one session with its messages and members, for reading.
type liveStore struct {
	Store

	record   *Record
	messages []*Event
	members  []*Member
}

func (s *liveStore) Get(_ context.Context, id, user string) (*Record, *Member, error) {
	if id != s.record.ID {
		return nil, nil, nil
	}
	if i := slices.IndexFunc(s.members, func(m *Member) bool { return m.User == user }); i >= 0 {
		return s.record, s.members[i], nil
	}
	return s.record, nil, nil
}

func (s *liveStore) Message(_ context.Context, uid UID, id string) (*Event, error) {
	i := slices.IndexFunc(s.messages, func(e *Event) bool { return e.UID == uid && e.MessageName() == id })
	if i < 0 {
		return nil, nil //nolint:nilnil // as the Store has it
	}
	return s.messages[i], nil
}

func (s *liveStore) Messages(_ context.Context, q *MessageQuery) (*MessagePage, error) {
	place := func(e *Event) int64 { return e.Sequence }
	page := new(MessagePage)
	page.Events, page.Next = pageOf(s.messages, place, q.Descending, q.After, q.Size, q.Match)
	return page, nil
}

func (s *liveStore) Members(_ context.Context, q *MemberQuery) (*MemberPage, error) {
	place := func(m *Member) int64 { return int64(m.JoinTime) }
	members, next := pageOf(s.members, place, q.Descending, int64(q.After), q.Size, q.Match)
	return &MemberPage{Members: members, Next: Time(next)}, nil
}

// pageOf is a page of the items, and where the next begins.
func pageOf[T any](items []T, place func(T) int64, descending bool, after int64, size int, match func(T) bool) (page []T, next int64) {
	direction := 1
	if descending {
		direction = -1
	}
	items = slices.Clone(items)
	slices.SortFunc(items, func(a, b T) int { return direction * cmp.Compare(place(a), place(b)) })
	for _, item := range items {
		if after != 0 && direction*cmp.Compare(place(item), after) <= 0 || match != nil && !match(item) {
			continue
		}
		if len(page) == size {
			return page, place(page[size-1])
		}
		page = append(page, item)
	}
	return page, 0
}

// someOnline is a tail that these users watch.
type someOnline struct {
	Tail

	users []string
}

func (someOnline) Head(UID, int64) {}

func (t someOnline) Online(_ UID, user string) bool { return slices.Contains(t.users, user) }

// live is a service over a session with four messages and three members, of whom the one who is named is online.
func live(t *testing.T, spec Spec, online ...string) (*Service, *liveStore) {
	t.Helper()
	store := &liveStore{record: &Record{
		UID: NewUID(1_700_000_000_000_000, 5), ID: "room", Type: spec.Type, CreateTime: 1_700_000_000_000_000, Document: spec.AppendJSON(nil),
	}}
	for i, sender := range []string{"ann", "bob", "ann", "cy"} {
		store.messages = append(store.messages, &Event{
			UID: store.record.UID, ID: "room", Kind: MessagePublished, Sequence: int64(i + 2), Time: store.record.CreateTime + Time(i+2),
			Actor: sender, Channel: int32(i%2 + 1), MessageID: []string{"m1", "", "m3", ""}[i], Document: []byte(`{"text":"x"}`),
		})
	}
	for i, user := range []string{"ann", "bob", "cy"} {
		store.members = append(store.members, &Member{User: user, Channels: []int32{1}, JoinTime: Time(i + 1)})
	}
	return NewService(store, someOnline{users: online}, NewKeyRing()), store
}

var liveSpec = Spec{
	Profile: "p", DisplayName: "d", Type: Private, Owners: []string{"ann"}, AllowedUsers: []string{"dan"}, BlockedUsers: []string{"eve", "cy"},
	DefaultChannels: []int32{1},
}

// allMessages follows the pages to the end, and returns the sequences.
func allMessages(t *testing.T, s *Service, r ListMessagesRequest) (sequences []int64) {
	t.Helper()
	for {
		page, err := s.ListMessages(t.Context(), Caller{User: "bob"}, r)
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range page.Events {
			sequences = append(sequences, event.Sequence)
		}
		if r.PageToken = page.NextPageToken; r.PageToken == "" {
			return sequences
		}
	}
}

func TestListMessages(t *testing.T) {
	s, _ := live(t, liveSpec)
	for _, size := range []int32{0, 1, 2, 3, 4} {
		for name, test := range map[string]struct {
			request ListMessagesRequest
			want    []int64
		}{
			"all":               {ListMessagesRequest{}, []int64{2, 3, 4, 5}},
			"by sequence":       {ListMessagesRequest{OrderBy: "sequence"}, []int64{2, 3, 4, 5}},
			"the latest first":  {ListMessagesRequest{OrderBy: "sequence desc"}, []int64{5, 4, 3, 2}},
			"of a channel":      {ListMessagesRequest{Filter: "channel = 1"}, []int64{2, 4}},
			"of a sender":       {ListMessagesRequest{Filter: `sender = "b*"`, OrderBy: "sequence desc"}, []int64{3}},
			"of nobody":         {ListMessagesRequest{Filter: `sender = "x"`}, nil},
			"after a moment":    {ListMessagesRequest{Filter: `createTime > "2023-11-14T22:13:20.000003Z"`}, []int64{4, 5}},
			"two and not third": {ListMessagesRequest{Filter: `channel = 2 AND NOT sender = bob`}, []int64{5}},
		} {
			test.request.ID, test.request.PageSize = "room", size
			if diff := gocmp.Diff(test.want, allMessages(t, s, test.request)); diff != "" {
				t.Errorf("%s, by %d (-want +got):\n%s", name, size, diff)
			}
		}
	}
}

func TestListMembers(t *testing.T) {
	s, _ := live(t, liveSpec, "bob")
	for name, test := range map[string]struct {
		request ListMembersRequest
		want    []string
	}{
		"all":              {ListMembersRequest{}, []string{"ann owner", "bob member online", "cy member"}},
		"by joinTime":      {ListMembersRequest{OrderBy: "joinTime"}, []string{"ann owner", "bob member online", "cy member"}},
		"the latest first": {ListMembersRequest{OrderBy: "join_time desc"}, []string{"cy member", "bob member online", "ann owner"}},
		"owners":           {ListMembersRequest{Filter: "role = owner"}, []string{"ann owner"}},
		"who is online":    {ListMembersRequest{Filter: "online = true"}, []string{"bob member online"}},
		"who is not":       {ListMembersRequest{Filter: "NOT online = true AND role = member"}, []string{"cy member"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			test.request.ID, test.request.PageSize = "room", 1
			for more := true; more; more = test.request.PageToken != "" {
				page, err := s.ListMembers(t.Context(), Caller{User: "bob"}, test.request)
				if err != nil {
					t.Fatal(err)
				}
				for _, member := range page.Members {
					text := member.User + " " + member.Role
					if member.Online {
						text += " online"
					}
					got = append(got, text)
				}
				test.request.PageToken = page.NextPageToken
			}
			if diff := gocmp.Diff(test.want, got); diff != "" {
				t.Errorf("members (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGetMessage(t *testing.T) {
	s, store := live(t, liveSpec)
	made := store.messages[1].MessageName()
	for id, want := range map[string]*Event{"m1": store.messages[0], made: store.messages[1], "m3": store.messages[2]} {
		if got, err := s.GetMessage(t.Context(), Caller{User: "bob"}, "room", id); err != nil || got != want {
			t.Errorf("message %s = %v, %v; want that of sequence %d", id, got, err, want.Sequence)
		}
	}
	_, err := s.GetMessage(t.Context(), Caller{User: "bob"}, "room", "m2")
	if f := fault.From(err); f.Kind != fault.NotFound || f.Reason != "MESSAGE_NOT_FOUND" {
		t.Errorf("%v, want MESSAGE_NOT_FOUND", err)
	}
	for _, ids := range [][2]string{{"room", "-"}, {"room", ""}, {"ro om", "m1"}} {
		if _, err := s.GetMessage(t.Context(), Caller{User: "bob"}, ids[0], ids[1]); !slices.Equal(violationsOf(err), []string{"name"}) {
			t.Errorf("%q: %v, want a violation of name", ids, err)
		}
	}
}

// reads is what each of the reads says to the caller.
func reads(t *testing.T, s *Service, caller Caller, id string) map[string]string {
	t.Helper()
	_, listErr := s.ListMessages(t.Context(), caller, ListMessagesRequest{ID: id})
	_, getErr := s.GetMessage(t.Context(), caller, id, "m1")
	_, membersErr := s.ListMembers(t.Context(), caller, ListMembersRequest{ID: id})
	said := map[string]string{}
	for name, err := range map[string]error{"messages": listErr, "message": getErr, "members": membersErr} {
		said[name] = "read"
		if err != nil {
			said[name] = fault.From(err).Reason
		}
	}
	return said
}

func TestWhoMayReadALog(t *testing.T) {
	all := func(what string) map[string]string {
		return map[string]string{"messages": what, "message": what, "members": what}
	}
	public, locked := liveSpec, liveSpec
	public.Type, locked.Type = Public, Public
	for _, test := range []struct {
		spec   Spec
		locked bool
		caller Caller
		want   string
	}{
		{liveSpec, false, Caller{User: "ann"}, "read"},
		{liveSpec, false, Caller{User: "bob"}, "read"},
		{liveSpec, false, Caller{User: "cy"}, "BLOCKED"}, // as if the membership had survived
		{liveSpec, false, Caller{User: "dan"}, "NOT_A_MEMBER"},
		{liveSpec, false, Caller{User: "eve"}, "SESSION_NOT_FOUND"},
		{liveSpec, false, Caller{User: "fay"}, "SESSION_NOT_FOUND"},
		{liveSpec, false, Caller{User: "fay", Admin: true}, "read"},
		{public, false, Caller{User: "fay"}, "read"},
		{public, false, Caller{User: "eve"}, "BLOCKED"},
		{locked, true, Caller{User: "fay"}, "NOT_A_MEMBER"},
		{locked, true, Caller{User: "bob"}, "read"},
	} {
		s, store := live(t, test.spec)
		if test.locked {
			store.record.Secret = Secret{Hash: []byte{1}}
		}
		if diff := gocmp.Diff(all(test.want), reads(t, s, test.caller, "room")); diff != "" {
			t.Errorf("type %d, secret %t, %v (-want +got):\n%s", test.spec.Type, test.locked, test.caller, diff)
		}
		if diff := gocmp.Diff(all("SESSION_NOT_FOUND"), reads(t, s, test.caller, "none")); diff != "" {
			t.Errorf("no session, %v (-want +got):\n%s", test.caller, diff)
		}
	}
}

func TestMessagesAfterACursor(t *testing.T) {
	s, store := live(t, liveSpec)
	after := func(sequence int64) string { return Cursor{UID: store.record.UID, Sequence: sequence}.String() }
	for _, size := range []int32{0, 1, 3} {
		for cursor, want := range map[string][]int64{
			Beginning: {2, 3, 4, 5}, after(0): {2, 3, 4, 5}, after(1): {2, 3, 4, 5}, after(3): {4, 5}, after(5): nil, after(1 << 62): nil,
		} {
			got := allMessages(t, s, ListMessagesRequest{ID: "room", PageSize: size, OrderBy: "sequence", Cursor: cursor})
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("after %s, by %d (-want +got):\n%s", cursor, size, diff)
			}
		}
	}
	bob := Caller{User: "bob"}
	for _, r := range []ListMessagesRequest{{Cursor: "x"}, {Cursor: after(2), OrderBy: "sequence desc"}} {
		r.ID = "room"
		_, err := s.ListMessages(t.Context(), bob, r)
		if diff := gocmp.Diff([]string{"cursor"}, violationsOf(err)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", r, diff)
		}
	}
	_, err := s.ListMessages(t.Context(), bob, ListMessagesRequest{ID: "room", Cursor: "x", PageSize: -1})
	if diff := gocmp.Diff([]string{"cursor", "pageSize"}, violationsOf(err)); diff != "" {
		t.Errorf("all that is wrong (-want +got):\n%s", diff)
	}
	earlier := Cursor{UID: NewUID(1, 1), Sequence: 3}
	_, err = s.ListMessages(t.Context(), bob, ListMessagesRequest{ID: "room", Cursor: earlier.String()})
	if f := fault.From(err); f == nil || f.Kind != fault.Aborted || f.Reason != "UID_MISMATCH" {
		t.Errorf("a cursor of an earlier session: %v, want UID_MISMATCH", err)
	}
}

func TestListsOfASessionRefuse(t *testing.T) {
	s, _ := live(t, liveSpec)
	_, err := s.ListMessages(t.Context(), Caller{User: "bob"}, ListMessagesRequest{ID: "room", PageSize: -1, Filter: "x", OrderBy: "joinTime"})
	if diff := gocmp.Diff([]string{"filter", "orderBy", "pageSize"}, violationsOf(err)); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	_, err = s.ListMembers(t.Context(), Caller{User: "bob"}, ListMembersRequest{ID: "room", PageSize: -1, Filter: "x", OrderBy: "sequence"})
	if diff := gocmp.Diff([]string{"filter", "orderBy", "pageSize"}, violationsOf(err)); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	for _, order := range []string{"sequence up", "sequence desc x", "sequence, channel", "-sequence"} {
		_, err := s.ListMessages(t.Context(), Caller{User: "bob"}, ListMessagesRequest{ID: "room", OrderBy: order})
		if diff := gocmp.Diff([]string{"orderBy"}, violationsOf(err)); diff != "" {
			t.Errorf("orderBy %s (-want +got):\n%s", order, diff)
		}
	}
	_, err = s.ListMessages(t.Context(), Caller{User: "bob"}, ListMessagesRequest{ID: "ro om"})
	if diff := gocmp.Diff([]string{"session"}, violationsOf(err)); diff != "" {
		t.Errorf("session (-want +got):\n%s", diff)
	}
}

func TestAPageTokenIsBoundToItsSessionAndList(t *testing.T) {
	s, store := live(t, liveSpec)
	bob := Caller{User: "bob"}
	page, err := s.ListMessages(t.Context(), bob, ListMessagesRequest{ID: "room", PageSize: 1})
	if err != nil || page.NextPageToken == "" {
		t.Fatalf("token = %q, %v", page.NextPageToken, err)
	}
	request := ListMessagesRequest{ID: "room", PageToken: page.NextPageToken}
	if _, err := s.ListMessages(t.Context(), bob, request); err != nil {
		t.Fatal(err)
	}
	refused := func(what string, err error) {
		t.Helper()
		if diff := gocmp.Diff([]string{"pageToken"}, violationsOf(err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	_, err = s.ListMessages(t.Context(), Caller{User: "ann"}, request)
	refused("another caller", err)
	_, err = s.ListMembers(t.Context(), bob, ListMembersRequest{ID: "room", PageToken: page.NextPageToken})
	refused("another list", err)
	_, err = s.List(t.Context(), bob, ListRequest{PageToken: page.NextPageToken, OrderBy: "createTime"})
	refused("the list of sessions", err)
	filtered, ordered := request, request
	filtered.Filter, ordered.OrderBy = "channel = 1", "sequence desc"
	_, err = s.ListMessages(t.Context(), bob, filtered)
	refused("another filter", err)
	_, err = s.ListMessages(t.Context(), bob, ordered)
	refused("another order", err)
	again := *store.record
	again.UID = NewUID(again.CreateTime+1, 5)
	store.record = &again
	_, err = s.ListMessages(t.Context(), bob, request)
	refused("a session made anew", err)
}
