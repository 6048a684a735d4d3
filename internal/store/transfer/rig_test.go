package transfer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/pgtest"
	"github.com/parleyhq/parley/internal/store/postgres"
	"github.com/parleyhq/parley/internal/store/sqlite"
	"github.com/parleyhq/parley/internal/store/storetest"
	"github.com/parleyhq/parley/internal/store/transfer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Tests(m)) }

var testKeys = session.NewKeyRing()

// store is an opened store.
type store interface {
	session.Store
	APIKeys(ctx context.Context) ([]session.APIKey, error)
	Close(ctx context.Context) error
}

// engine is where a store is kept.
type engine interface {
	open(now session.Clock) (store, error)
	source(ctx context.Context) (transfer.Source, error)
	target(ctx context.Context) (transfer.Target, error)
}

type inSQLite struct{ dir string }

func (e inSQLite) open(now session.Clock) (store, error) {
	return sqlite.Open(context.Background(), sqlite.Config{
		Dir: e.dir, Keys: testKeys, Log: slog.New(slog.DiscardHandler), Now: now, TidyEvery: 10 * time.Millisecond,
	})
}

func (e inSQLite) source(ctx context.Context) (transfer.Source, error) {
	return sqlite.OpenSource(ctx, e.dir)
}

func (e inSQLite) target(ctx context.Context) (transfer.Target, error) {
	return sqlite.OpenTarget(ctx, e.dir)
}

type inPostgres struct{ url string }

func (e inPostgres) open(now session.Clock) (store, error) {
	return postgres.Open(context.Background(), postgres.Config{
		URL: e.url, Keys: testKeys, Log: slog.New(slog.DiscardHandler), Now: now, TidyEvery: 10 * time.Millisecond,
	})
}

func (e inPostgres) source(ctx context.Context) (transfer.Source, error) {
	return postgres.OpenSource(ctx, e.url)
}

func (e inPostgres) target(ctx context.Context) (transfer.Target, error) {
	return postgres.OpenTarget(ctx, e.url)
}

func newSQLite(t *testing.T) engine   { return inSQLite{t.TempDir()} }
func newPostgres(t *testing.T) engine { return inPostgres{pgtest.Database(t)} }

// openStore opens a store that the test's end closes.
func openStore(t *testing.T, e engine, now session.Clock) store {
	t.Helper()
	opened, err := e.open(now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, opened) })
	return opened
}

func closeStore(t *testing.T, s store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

// transferAll copies what is in one place to another.
func transferAll(ctx context.Context, from, to engine, plan transfer.Plan) (counts transfer.Counts, err error) {
	if plan.From, err = from.source(ctx); err != nil {
		return counts, err
	}
	defer func() { err = errors.Join(err, plan.From.Close()) }()
	if plan.To, err = to.target(ctx); err != nil {
		return counts, err
	}
	defer func() { err = errors.Join(err, plan.To.Close()) }()
	return plan.Run(ctx)
}

func mustTransfer(t *testing.T, from, to engine) transfer.Counts {
	t.Helper()
	counts, err := transferAll(t.Context(), from, to, transfer.Plan{})
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

// noTail is a tail that nobody watches.
type noTail struct{}

// Watch implements session.Tail.
func (noTail) Watch(session.UID, string, func()) (session.Watch, error) {
	return nil, errors.New("nobody watches")
}

// Head implements session.Tail.
func (noTail) Head(session.UID, int64) {}

// Online implements session.Tail.
func (noTail) Online(session.UID, string) bool { return false }

// scene is what a test has made.
type scene struct {
	service *session.Service
	ids     []string
	ended   []session.UID
}

var admin = session.Caller{User: "admin", Admin: true}

// manySessions are more than the lookups of SQLite put into one epoch, and some that wait to be put there.
const manySessions = 1100

// populate makes sessions with members, messages of all kinds, trimmed logs, ended sessions, requests.
func populate(t *testing.T, s store) *scene {
	t.Helper()
	sc := &scene{service: session.NewService(s, noTail{}, testKeys)}
	var group errgroup.Group
	group.SetLimit(64)
	var mu sync.Mutex // guards what is in the scene
	for i := range manySessions {
		group.Go(func() error {
			record, err := makeSession(t.Context(), sc.service, i)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if i%200 == 2 {
				sc.ended = append(sc.ended, record.UID)
			} else {
				sc.ids = append(sc.ids, record.ID)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); first(t, s, "session-1") == 1; {
		if time.Now().After(deadline) {
			t.Fatal("the log is not trimmed")
		}
	}
	return sc
}

func first(t *testing.T, s store, id string) int64 {
	t.Helper()
	record, _, err := s.Get(t.Context(), id, "")
	if err != nil || record == nil {
		t.Fatal(record, err)
	}
	log, err := s.Log(t.Context(), record.UID, 0, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	return log.First
}

// makeSession makes a session: of some of them something is said in it, and some of those have ended.
func makeSession(ctx context.Context, service *session.Service, i int) (*session.Record, error) {
	id, spec := fmt.Sprint("session-", i), session.Spec{
		Profile: "profiles/p", DisplayName: fmt.Sprint("name ", i%7), Type: session.Type(i%3 + 1), Owners: []string{fmt.Sprint("owner-", i%5)},
		DefaultChannels: []int32{1}, AllowedUsers: []string{"guest"}, Labels: map[string]string{"n": strconv.Itoa(i)},
	}
	if i%10 == 3 {
		id = "" // the server's
	}
	if i == 1 {
		spec.Options = []byte(`{"historySize":2}`)
	}
	made, err := service.Create(ctx, admin, session.CreateRequest{
		Draft: &session.Draft{Spec: spec, SecretKey: fmt.Sprint("secret of ", i)}, SessionID: id, RequestID: fmt.Sprint("create-", i),
	})
	if err != nil || i%200 > 2 {
		return made.Record, err
	}
	if err := talk(ctx, service, made.Record.ID, i); err != nil || i%200 < 2 {
		return made.Record, err
	}
	return made.Record, service.Delete(ctx, admin, session.DeleteRequest{ID: made.Record.ID})
}

// talk has users join a session, and say something on two channels, for some blocks.
func talk(ctx context.Context, service *session.Service, id string, i int) error {
	for _, user := range []string{"guest", "outsider", fmt.Sprint("owner-", i%5)} {
		if _, err := service.Join(ctx, session.Caller{User: user}, session.JoinRequest{
			ID: id, Channels: []int32{1, 2}, SecretKey: fmt.Sprint("secret of ", i),
		}); err != nil {
			return err
		}
	}
	for n := range 70 { // more than a block
		message := session.Message{Kind: session.ContentText, Text: fmt.Sprint("text ", n), Contents: 1, Channel: int32(n%2 + 1)}
		switch n % 10 {
		case 3:
			message.ID = fmt.Sprint("message-", n)
		case 4:
			message.Kind, message.Text, message.Data = session.ContentData, "", []byte(`{"a":["\u0000",1.50]}`)
		case 5:
			message.Kind, message.Text, message.Blob, message.ContentType = session.ContentBlob, "", []byte{0, 1, 255}, "image/x"
		default:
		}
		if _, err := service.Publish(ctx, session.Caller{User: "guest"}, session.PublishRequest{
			ID: id, Message: &message, RequestID: fmt.Sprint("publish-", n),
		}); err != nil {
			return err
		}
	}
	return nil
}

// content is all that can be read of a store.
type content struct {
	Sessions []seen
	Lists    map[string][]string
	Ended    []*session.Event
	Keys     []session.APIKey
	Created  int
}

type seen struct {
	Record  *session.Record
	First   int64
	Events  []*session.Event
	Members []*session.Member
}

func read(t *testing.T, s store, sc *scene) (c content) {
	t.Helper()
	ctx := t.Context()
	for _, id := range sc.ids {
		record, _, err := s.Get(ctx, id, "")
		if err != nil || record == nil {
			t.Fatalf("the session %s: %v, %v", id, record, err)
		}
		one := seen{Record: record}
		for after := int64(0); record.Head.Sequence > 1; { // session.created is of the record
			log, err := s.Log(ctx, record.UID, after, 1000, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			one.First = log.First
			if len(log.Events) == 0 {
				break
			}
			one.Events = append(one.Events, log.Events...)
			after = log.Events[len(log.Events)-1].Sequence
		}
		if record.Head.Members > 0 {
			members, err := s.Members(ctx, &session.MemberQuery{UID: record.UID, Size: 1000})
			if err != nil {
				t.Fatal(err)
			}
			one.Members = members.Members
		}
		c.Sessions = append(c.Sessions, one)
	}
	c.Lists = map[string][]string{}
	for name, query := range map[string]session.Query{
		"all":            {All: true},
		"of an owner":    {VisibleTo: "owner-2"},
		"of a guest":     {VisibleTo: "guest"},
		"of a member":    {VisibleTo: "outsider"},
		"of a stranger":  {VisibleTo: "stranger"},
		"by displayName": {All: true, Order: session.Order{By: session.ByDisplayName, Descending: true}},
		"by updateTime":  {All: true, Order: session.Order{By: session.ByUpdateTime}},
	} {
		c.Lists[name] = list(t, s, &query)
	}
	for _, uid := range sc.ended {
		log, err := s.Log(ctx, uid, 1<<40, 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		c.Ended = append(c.Ended, log.End)
	}
	keys, err := s.APIKeys(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c.Keys = keys
	c.Created = storetest.Created(t, s, "admin")
	return c
}

func list(t *testing.T, s store, query *session.Query) (ids []string) {
	t.Helper()
	query.Size = 1000
	for {
		page, err := s.List(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		for _, record := range page.Records {
			ids = append(ids, record.ID)
		}
		if query.After = page.Next; page.Next == nil {
			return ids
		}
	}
}

// diff is what differs. Much is compared as text first: looking for what differs takes long, also where nothing does.
func diff(t *testing.T, want, got content) string {
	t.Helper()
	one, err := json.Marshal(want)
	other, otherErr := json.Marshal(got)
	if err := errors.Join(err, otherErr); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(one, other) {
		return ""
	}
	return cmp.Diff(want, got, cmpopts.IgnoreUnexported(session.Event{}), cmpopts.EquateEmpty())
}

// keyOf makes an API key in a data directory.
func keyOf(t *testing.T, dir, name string) {
	t.Helper()
	keys, err := sqlite.OpenKeys(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	key := session.APIKey{ID: "id-" + name, Name: name, Role: session.RoleService, CreateTime: session.Now()}
	copy(key.Hash[:], name)
	if err := errors.Join(keys.Create(t.Context(), key), keys.Close()); err != nil {
		t.Fatal(err)
	}
}

// revoke revokes an API key, as the command line does it.
func revoke(t *testing.T, e engine, name string) {
	t.Helper()
	var keys interface {
		Revoke(ctx context.Context, idOrName string, at session.Time) (session.APIKey, error)
		Close() error
	}
	var err error
	switch e := e.(type) {
	case inSQLite:
		keys, err = sqlite.OpenKeys(t.Context(), e.dir)
	case inPostgres:
		keys, err = postgres.OpenKeys(t.Context(), e.url)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = keys.Revoke(t.Context(), name, session.Now())
	if err := errors.Join(err, keys.Close()); err != nil {
		t.Fatal(err)
	}
}

func exists(t *testing.T, e inSQLite) bool {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(e.dir, "parley.db*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(found) > 0
}
