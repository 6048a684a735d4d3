package session

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/parleyhq/parley/internal/fault"
)

// How docs/access.md names what the table is about.
var (
	accessHeadings = map[string]access{
		"### PUBLIC": accessOpen, "### PUBLIC, with a secretKey": accessLocked, "### PRIVATE or TEMPORARY": accessHidden,
	}
	standingRows = map[string]standing{
		"owner": isOwner, "in allowedUsers": isAllowed, "member": isMember, "holder of the secretKey": isHolder,
		"anyone else": isAnyone, "in blockedUsers": isBlocked, "admin": isAdmin,
	}
	actionColumns = map[string]action{
		"see": toSee, "list": toList, "read": toRead, "ticket": toTicket, "join": toJoin, "publish": toPublish,
		"leave": toLeave, "update, delete": toChange, "remove": toRemove,
	}
)

// word is what one grant says of one action, as docs/access.md has it.
func (g *grant) word(what action) string {
	switch {
	case g.always&what != 0:
		return "always"
	case g.never&what != 0:
		return "never"
	case g.may&what != 0:
		return "yes"
	default:
		return "no"
	}
}

// cells are the words of all tables, each under its table, row and column.
func cells(of func(a access, is standing, what action) string) map[string]string {
	all := map[string]string{}
	for heading, a := range accessHeadings {
		for row, is := range standingRows {
			for column, what := range actionColumns {
				all[heading+" / "+row+" / "+column] = of(a, is, what)
			}
		}
	}
	return all
}

// documented reads the tables of docs/access.md that stand under a heading of ours.
func documented(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/access.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	var heading string
	var columns []string
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			heading, columns = "", nil
			if _, ours := accessHeadings[line]; ours {
				heading = line
			}
			continue
		}
		row, ok := tableRow(line)
		switch {
		case heading == "" || !ok:
		case columns == nil:
			columns = row
		case len(row) != len(columns):
			t.Fatalf("%s: %q has %d cells, want %d", heading, line, len(row), len(columns))
		default:
			for i, word := range row[1:] {
				place := heading + " / " + row[0] + " / " + columns[i+1]
				if _, twice := all[place]; twice {
					t.Fatalf("%s stands twice", place)
				}
				all[place] = word
			}
		}
	}
	return all
}

// tableRow returns the cells of a line of a table, unless it is the rule under its head.
func tableRow(line string) ([]string, bool) {
	inner, ok := strings.CutPrefix(line, "|")
	inner, whole := strings.CutSuffix(inner, "|")
	if !ok || !whole || strings.HasPrefix(inner, "---") {
		return nil, false
	}
	row := strings.Split(inner, "|")
	for i := range row {
		row[i] = strings.TrimSpace(row[i])
	}
	return row, true
}

func TestTheTableForReadersIsTheTable(t *testing.T) {
	ours := cells(func(a access, is standing, what action) string {
		i := slices.IndexFunc(grants[a], func(g grant) bool { return g.to == is })
		if i < 0 {
			return "no row"
		}
		return grants[a][i].word(what)
	})
	if diff := gocmp.Diff(ours, documented(t)); diff != "" {
		t.Errorf("docs/access.md (-code +docs):\n%s", diff)
	}
}

func TestTheTableHasARowForEachStandingAndAColumnForEachAction(t *testing.T) {
	every, columns := standing(0), action(0)
	for _, is := range standingRows {
		every |= is
	}
	for _, what := range actionColumns {
		columns |= what
	}
	if every != isAdmin<<1-1 || columns != toRemove<<1-1 || len(accessHeadings) != len(grants) {
		t.Errorf("standings %b, actions %b, %d tables: some are missing", every, columns, len(accessHeadings))
	}
	for a, rows := range grants {
		for _, g := range rows {
			if both := g.may&g.never | g.may&g.always | g.never&g.always; both != 0 {
				t.Errorf("access %d, standing %b: two words on %b", a, g.to, both)
			}
		}
		if len(rows) != len(standingRows) {
			t.Errorf("access %d has %d rows, want %d", a, len(rows), len(standingRows))
		}
	}
}

// The pages of ListSessions come from the users that a session is found by.
func TestWhoListsASessionIsWhoItIsFoundBy(t *testing.T) {
	for a, kind := range map[access]Type{accessOpen: Public, accessLocked: Public, accessHidden: Private} {
		spec := Spec{Type: kind, Owners: []string{"ann"}, AllowedUsers: []string{"dan"}, BlockedUsers: []string{"eve"}}
		for user, is := range map[string]standing{"ann": isOwner, "dan": isAllowed, "eve": isBlocked, "fay": isAnyone, "bob": isMember} {
			found := slices.Contains(spec.Principals(), EveryUser) || slices.Contains(spec.Principals(), user)
			if is == isMember && !found {
				found = slices.Contains(foundAsMember(&spec, user), user)
			}
			if want := a.judge(is|isAnyone, toList) == permitted; found != want {
				t.Errorf("access %d: %s is found by is %t, want %t", a, user, found, want)
			}
		}
	}
}

// stance is everything that someone may be to a session, at once.
type stance struct {
	access access
	is     standing
}

// everyStance are all combinations. Only a holder of a secret that exists holds one.
func everyStance() []stance {
	var all []stance
	for a := range access(len(grants)) {
		for is := range isAdmin << 1 {
			if is&isAnyone == 0 || a == accessOpen && is&isHolder != 0 {
				continue
			}
			all = append(all, stance{a, is})
		}
	}
	return all
}

const openSesame = "open sesame"

// lives is a world in which the user "me" has the stance to the session "room".
func (s stance) lives(t *testing.T) (*world, Caller) {
	t.Helper()
	w := newWorld()
	kind, secret := Public, ""
	switch s.access {
	case accessHidden:
		kind, secret = Private, openSesame
	case accessLocked:
		secret = openSesame
	case accessOpen:
	}
	record := w.create(t, "room", kind, secret, func(spec *Spec) {
		if s.is&isOwner != 0 {
			spec.Owners = append(spec.Owners, "me")
		}
		if s.is&isAllowed != 0 {
			spec.AllowedUsers = append(spec.AllowedUsers, "me")
		}
		if s.is&isBlocked != 0 {
			spec.BlockedUsers = append(spec.BlockedUsers, "me")
		}
	})
	w.enter(t, "bob")
	if s.is&isMember != 0 { // as if the membership had survived a block
		w.store.members[record.UID]["me"] = &Member{User: "me", Channels: []int32{1}}
	}
	return w, Caller{User: "me", Admin: s.is&isAdmin != 0}
}

// attempts are what each action is tried by, and what each is refused by.
var attempts = []struct {
	name    string
	what    action
	refused string
	try     func(ctx context.Context, w *world, me Caller, s stance) error
}{
	{"get", toSee, "", func(ctx context.Context, w *world, me Caller, _ stance) error {
		_, err := w.Get(ctx, me, "room")
		return err
	}},
	{"read messages", toRead, "NOT_A_MEMBER", func(ctx context.Context, w *world, me Caller, _ stance) error {
		_, err := w.ListMessages(ctx, me, ListMessagesRequest{ID: "room"})
		return err
	}},
	{"read members", toRead, "NOT_A_MEMBER", func(ctx context.Context, w *world, me Caller, _ stance) error {
		_, err := w.ListMembers(ctx, me, ListMembersRequest{ID: "room"})
		return err
	}},
	{"subscribe", toRead, "NOT_A_MEMBER", func(ctx context.Context, w *world, me Caller, _ stance) error {
		_, err := w.Subscribe(ctx, me, SubscribeRequest{ID: "room"}, func() {})
		return err
	}},
	{"ticket", toTicket, "NOT_A_MEMBER", func(ctx context.Context, w *world, me Caller, _ stance) error {
		_, _, err := w.CreateTicket(ctx, me, CreateTicketRequest{ID: "room"})
		return err
	}},
	{"join", toJoin, "SECRET_KEY_REQUIRED", func(ctx context.Context, w *world, me Caller, s stance) error {
		request := JoinRequest{ID: "room"}
		if s.is&isHolder != 0 {
			request.SecretKey = openSesame
		}
		_, err := w.Join(ctx, me, request)
		return err
	}},
	{"publish", toPublish, "NOT_A_MEMBER", func(ctx context.Context, w *world, me Caller, _ stance) error {
		_, err := w.Publish(ctx, me, PublishRequest{ID: "room", Message: hello})
		return err
	}},
	{"leave", toLeave, "", func(ctx context.Context, w *world, me Caller, _ stance) error {
		_, err := w.Leave(ctx, me, LeaveRequest{ID: "room"})
		return err
	}},
	{"remove", toRemove, "NOT_AN_OWNER", func(ctx context.Context, w *world, me Caller, _ stance) error {
		_, err := w.Leave(ctx, me, LeaveRequest{ID: "room", Name: "bob"})
		return err
	}},
	{"update", toChange, "NOT_AN_OWNER", func(ctx context.Context, w *world, me Caller, _ stance) error {
		mask, _ := ParseMask([]string{"description"})
		_, err := w.Update(ctx, me, UpdateRequest{ID: "room", Mask: mask, Draft: &Draft{}})
		return err
	}},
	{"delete", toChange, "NOT_AN_OWNER", func(ctx context.Context, w *world, me Caller, _ stance) error {
		return w.Delete(ctx, me, DeleteRequest{ID: "room"})
	}},
}

// saidBy is the reason of a fault; "yes" of none.
func saidBy(err error) string {
	if err == nil {
		return "yes"
	}
	return fault.From(err).Reason
}

// The secretKey counts for a join alone: elsewhere there is nowhere to bring it.
func TestEveryoneMayDoWhatTheTableSays(t *testing.T) {
	for _, stance := range everyStance() {
		for _, attempt := range attempts {
			is := stance.is
			if attempt.what != toJoin {
				is &^= isHolder
			}
			w, me := stance.lives(t)
			var want string
			switch verdict := stance.access.judge(is, attempt.what); {
			case stance.access.judge(is, toSee) != permitted && (attempt.what != toJoin || is&isHolder == 0):
				want = "SESSION_NOT_FOUND"
			case verdict == permitted:
				want = "yes"
			case verdict == forbidden:
				want = "BLOCKED"
			default:
				want = attempt.refused
			}
			if got := saidBy(attempt.try(t.Context(), w, me, stance)); got != want {
				t.Errorf("access %d, standing %07b: %s is answered %s, want %s", stance.access, stance.is, attempt.name, got, want)
			}
		}
	}
}

// What the prose of the API says, besides the table.
func TestWhatIsSaidOfRights(t *testing.T) {
	for what, test := range map[string]struct {
		access access
		is     standing
		action action
		want   verdict
	}{
		"a blocked owner updates":                        {accessHidden, isOwner | isBlocked, toChange, permitted},
		"a blocked owner does not read":                  {accessHidden, isOwner | isBlocked, toRead, forbidden},
		"a blocked user sees a PUBLIC session":           {accessLocked, isBlocked, toSee, permitted},
		"a blocked user does not see a hidden one":       {accessHidden, isBlocked, toSee, denied},
		"a blocked allowed user sees a hidden one":       {accessHidden, isAllowed | isBlocked, toSee, permitted},
		"a blocked allowed user does not join":           {accessHidden, isAllowed | isBlocked, toJoin, forbidden},
		"a blocked holder does not join":                 {accessHidden, isHolder | isBlocked, toJoin, forbidden},
		"an allowed user reads only once joined":         {accessHidden, isAllowed, toRead, denied},
		"an owner reads without joining":                 {accessHidden, isOwner, toRead, permitted},
		"an owner publishes only as a member":            {accessOpen, isOwner, toPublish, denied},
		"an administrator publishes only as a member":    {accessOpen, isAdmin, toPublish, denied},
		"an administrator who is a member publishes":     {accessHidden, isAdmin | isMember, toPublish, permitted},
		"an administrator who is blocked still reads":    {accessHidden, isAdmin | isBlocked, toRead, permitted},
		"an administrator who is blocked does not join":  {accessHidden, isAdmin | isBlocked, toJoin, forbidden},
		"anyone reads a PUBLIC session":                  {accessOpen, isAnyone, toRead, permitted},
		"nobody else reads one that has a secretKey":     {accessLocked, isAnyone, toRead, denied},
		"the secretKey does not make a reader":           {accessLocked, isHolder, toRead, denied},
		"a member removes nobody":                        {accessOpen, isMember, toRemove, denied},
		"a member of a session that was hidden reads on": {accessHidden, isMember, toRead, permitted},
	} {
		if got := test.access.judge(test.is|isAnyone, test.action); got != test.want {
			t.Errorf("%s: verdict %d, want %d", what, got, test.want)
		}
	}
}

// A publisher is looked for in the lists as far as it matters, and nothing is made for it.
func TestRightsAreFoundWithoutAllocating(t *testing.T) {
	spec := Spec{Type: Private, Owners: []string{"ann"}, DefaultChannels: []int32{1}}
	for i := range MaxUsers {
		spec.AllowedUsers = append(spec.AllowedUsers, fmt.Sprintf("user-%d", i))
	}
	record := &Record{Type: Private, Document: spec.AppendJSON(nil)}
	me, member := Caller{User: "user-999"}, &Member{User: "user-999"}
	for name, do := range map[string]func() bool{
		"get":  func() bool { return me.maySee(record, nil) },
		"read": func() bool { return me.mayRead(toRead, record, &spec, member) == nil },
		"publish": func() bool {
			return record.access().judgeUser(&spec, me.User, me.standing(member), toPublish) == permitted
		},
	} {
		if n := testing.AllocsPerRun(100, func() {
			if !do() {
				t.Fatal("refused")
			}
		}); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
