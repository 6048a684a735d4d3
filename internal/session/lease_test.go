package session

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// follower is a reader of a stream that is idle until it is woken.
type follower struct {
	stream *Stream
	woken  atomic.Int32
}

// follow subscribes to "room", and takes what there is.
func (w *world) follow(t *testing.T, caller Caller) *follower {
	t.Helper()
	f := new(follower)
	stream, err := w.Subscribe(t.Context(), caller, SubscribeRequest{ID: "room"}, func() { f.woken.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	f.stream = stream
	t.Cleanup(stream.Close)
	if got := readAll(t, stream); got != "ready" {
		t.Fatalf("at first it delivers %q, want ready", got)
	}
	return f
}

// wantUnauthenticated checks the reason, and that the challenge says what is wrong.
func wantUnauthenticated(t *testing.T, what string, err error, reason string) {
	t.Helper()
	f := fault.From(err)
	if f == nil || f.Kind != fault.Unauthenticated || f.Reason != reason {
		t.Errorf("%s: %v, want Unauthenticated %s", what, err, reason)
		return
	}
	if want := `Bearer realm="parley", error="invalid_token", error_description="` + f.Message + `"`; f.Challenge != want {
		t.Errorf("%s: the challenge is %s, want %s", what, f.Challenge, want)
	}
}

func in(d time.Duration) Time { return Now().Add(d) }

func TestWhatComesWithACredentialThatHasEndedIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.create(t, "room", Public, "")
		w.enter(t, "bob")
		w.RevokeKey("k1")
		for reason, callers := range map[string][]Caller{
			"TOKEN_EXPIRED": {
				{User: "bob", Until: in(0)},
				{User: "bob", Until: in(-time.Hour)},
				{User: "bob", Until: 1, Admin: true},
				{User: "x", Until: 1, Key: "k1", Service: true},
			},
			"KEY_REVOKED": {{User: "bob", Key: "k1"}, {User: "bob", Key: "k1", Until: in(time.Hour), Admin: true}},
		} {
			for _, caller := range callers {
				_, err := w.Subscribe(t.Context(), caller, SubscribeRequest{ID: "room", Cursor: "?"}, func() {})
				wantUnauthenticated(t, "Subscribe", err, reason)
				wantUnauthenticated(t, "CheckCredential", w.CheckCredential(caller), reason)
				_, _, err = w.CreateTicket(t.Context(), caller, CreateTicketRequest{ID: "?"})
				wantUnauthenticated(t, "CreateTicket", err, reason)
			}
		}
		for _, caller := range []Caller{{User: "bob", Until: in(time.Microsecond)}, {User: "bob", Key: "k2"}, {User: "bob"}} {
			if err := w.CheckCredential(caller); err != nil {
				t.Errorf("CheckCredential of %+v = %v", caller, err)
			}
		}
	})
}

func TestAStreamEndsWithTheTokenThatOpenedIt(t *testing.T) {
	for _, admin := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			w.create(t, "room", Public, "")
			f := w.follow(t, Caller{User: "bob", Admin: admin, Until: in(time.Minute)})
			forever := w.follow(t, Caller{User: "bob", Admin: admin})

			time.Sleep(time.Minute - time.Microsecond) //nolint:forbidigo // in a bubble
			synctest.Wait()
			if got := readAll(t, f.stream); got != "" || f.woken.Load() != 0 {
				t.Errorf("before its time it delivers %q and was woken %d times", got, f.woken.Load())
			}
			time.Sleep(time.Microsecond) //nolint:forbidigo // in a bubble
			synctest.Wait()
			if n := f.woken.Load(); n != 1 {
				t.Errorf("at its time it is woken %d times, want once", n)
			}
			if got := readAll(t, f.stream); got != "access.revoked over" {
				t.Errorf("at its time it delivers %q", got)
			}
			if got := readAll(t, f.stream); got != "over" {
				t.Errorf("after its end it delivers %q", got)
			}
			time.Sleep(time.Hour) //nolint:forbidigo // in a bubble
			synctest.Wait()
			if got := readAll(t, forever.stream); got != "" || forever.woken.Load() != 0 {
				t.Errorf("a stream without an end delivers %q", got)
			}
		})
	}
}

func TestRevokingAKeyEndsItsStreamsAndNoOthers(t *testing.T) {
	w := newWorld()
	w.create(t, "room", Public, "")
	mine := []*follower{
		w.follow(t, Caller{User: "bob", Key: "k1"}),
		w.follow(t, Caller{User: "bob", Key: "k1", Admin: true}),
		w.follow(t, Caller{User: "cy", Key: "k1", Until: in(time.Hour)}),
	}
	others := []*follower{w.follow(t, Caller{User: "bob", Key: "k2"}), w.follow(t, Caller{User: "bob"}), w.follow(t, Caller{User: "bob", Until: in(time.Hour)})}
	w.RevokeKey("k1")
	w.RevokeKey("k1")
	w.RevokeKey("")
	for i, f := range mine {
		if got := readAll(t, f.stream); got != "access.revoked over" || f.woken.Load() != 1 {
			t.Errorf("stream %d of the key delivers %q and was woken %d times", i, got, f.woken.Load())
		}
	}
	for i, f := range others {
		if got := readAll(t, f.stream); got != "" || f.woken.Load() != 0 {
			t.Errorf("stream %d of another credential delivers %q and was woken %d times", i, got, f.woken.Load())
		}
	}
}

// What was found but not delivered is not for its reader any more, whatever it is.
func TestWhatAStreamHasYetToDeliverIsDroppedWithTheCredential(t *testing.T) {
	spec := Spec{Profile: "p", DisplayName: "d", Type: Public, Owners: []string{"ada"}, DefaultChannels: []int32{1}}
	record := &Record{UID: NewUID(1_767_225_600_000_000, 7), ID: "s", Type: Public, Document: spec.AppendJSON(nil), Head: Head{Sequence: 4}}
	event := func(kind EventKind, sequence int64) *Event {
		return &Event{UID: record.UID, ID: "s", Kind: kind, Sequence: sequence, Document: []byte(`{}`)}
	}
	for name, test := range map[string]struct {
		before func(t *testing.T, stream *Stream, script *scriptedWatch)
		want   string
	}{
		"the beginning": {func(*testing.T, *Stream, *scriptedWatch) {}, "access.revoked over"},
		"new events": {func(t *testing.T, stream *Stream, script *scriptedWatch) {
			readAll(t, stream)
			script.events = []*Event{event(MessagePublished, 5)}
		}, "access.revoked over"},
		"what was read from the log": {func(t *testing.T, stream *Stream, script *scriptedWatch) {
			readAll(t, stream)
			script.log = &Log{Record: record, First: 1, Events: []*Event{event(MessagePublished, 5)}}
			if err := stream.Advance(t.Context()); err != nil || len(stream.pending) == 0 {
				t.Fatalf("Advance = %v, %d are pending", err, len(stream.pending))
			}
		}, "access.revoked over"},
		"a doubt": {func(t *testing.T, stream *Stream, script *scriptedWatch) {
			readAll(t, stream)
			script.events = []*Event{event(SessionUpdated, 5)}
			if _, state := stream.Next(nil); state != StreamBlocked {
				t.Fatalf("state = %d, want blocked", state)
			}
		}, "access.revoked over"},
		"the end of the session": {func(t *testing.T, stream *Stream, script *scriptedWatch) {
			readAll(t, stream)
			script.log = &Log{End: event(SessionDeleted, 5)}
			if err := stream.Advance(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, "access.revoked over"},
		"nothing, after the end of the session": {func(t *testing.T, stream *Stream, script *scriptedWatch) {
			script.events = []*Event{event(SessionDeleted, 5)}
			if got := readAll(t, stream); got != "ready session.deleted over" {
				t.Fatalf("it delivers %q", got)
			}
		}, "over"},
	} {
		t.Run(name, func(t *testing.T) {
			store, script := &streamStore{record: record, member: true}, new(scriptedWatch)
			service := NewService(store, tailOf{script: script}, NewKeyRing())
			stream, err := service.Subscribe(t.Context(), Caller{User: "reader", Key: "k1"}, SubscribeRequest{ID: "s"}, func() {})
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			test.before(t, stream, script)
			service.RevokeKey("k1")
			if got := readAll(t, stream); got != test.want {
				t.Errorf("it delivers %q, want %q", got, test.want)
			}
		})
	}
}

// A stream that reads the log, or waits for its turn to, is not left to do so.
func TestAStreamThatIsBehindEndsWithItsCredential(t *testing.T) {
	for name, end := range map[string]func(w *world){
		"the token": func(*world) { time.Sleep(time.Minute) }, //nolint:forbidigo // in a bubble
		"the key":   func(w *world) { w.RevokeKey("k1") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.create(t, "room", Public, "")
				f := w.follow(t, Caller{User: "bob", Key: "k1", Until: in(time.Minute)})
				w.tail.load = func(ctx context.Context) (*Log, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				if _, state := f.stream.Next(nil); state != StreamBlocked {
					t.Fatalf("state = %d, want blocked", state)
				}
				advanced := make(chan error)
				go func() { advanced <- f.stream.Advance(t.Context()) }()
				synctest.Wait()
				end(w)
				if err := <-advanced; err != nil {
					t.Errorf("Advance = %v, want nil: Next says why", err)
				}
				if err := f.stream.Advance(t.Context()); err != nil {
					t.Errorf("the next Advance = %v", err)
				}
				if got := readAll(t, f.stream); got != "access.revoked over" {
					t.Errorf("it delivers %q", got)
				}
			})
		})
	}
}

// As long as the credential is good, an error of the log is one of the stream.
func TestAnErrorOfTheLogIsNotTakenForTheEndOfACredential(t *testing.T) {
	w := newWorld()
	w.create(t, "room", Public, "")
	f := w.follow(t, Caller{User: "bob", Key: "k1"})
	w.tail.load = func(context.Context) (*Log, error) { return nil, errUnread }
	if err := f.stream.Advance(t.Context()); err != errUnread {
		t.Errorf("Advance = %v, want the log's error", err)
	}
}

func TestACredentialThatEndsWhileAStreamBegins(t *testing.T) {
	w := newWorld()
	w.create(t, "room", Public, "")
	w.store.loading = func(context.Context) error {
		w.RevokeKey("k1")
		return nil
	}
	var woken atomic.Int32
	stream, err := w.Subscribe(t.Context(), Caller{User: "bob", Key: "k1"}, SubscribeRequest{ID: "room"}, func() { woken.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if got := readAll(t, stream); got != "access.revoked over" || woken.Load() != 1 {
		t.Errorf("it delivers %q and was woken %d times", got, woken.Load())
	}
}

// A subscriber who was authenticated just before the revocation is refused, or is cut; it never stays.
func TestNoStreamOfAKeySurvivesItsRevocation(t *testing.T) {
	w := newWorld()
	w.create(t, "room", Public, "")
	var streams sync.Map
	var readers sync.WaitGroup
	started := make(chan struct{}, 100)
	for range 50 {
		readers.Go(func() {
			for range 40 {
				stream, err := w.Subscribe(t.Context(), Caller{User: "bob", Key: "k1"}, SubscribeRequest{ID: "room"}, func() {})
				if err != nil {
					wantUnauthenticated(t, "Subscribe", err, "KEY_REVOKED")
					return
				}
				streams.Store(stream, true)
				select {
				case started <- struct{}{}:
				default:
				}
			}
		})
	}
	<-started
	w.RevokeKey("k1")
	readers.Wait()
	count := 0
	for s := range streams.Range {
		stream := s.(*Stream)
		count++
		if got := readAll(t, stream); got != "access.revoked over" {
			t.Errorf("a stream goes on: it delivers %q", got)
		}
		stream.Close()
	}
	if n := len(w.credentials.leases); n != 0 || count == 0 {
		t.Errorf("%d streams were open, and the leases of %d keys are left", count, n)
	}
}

// As the edge does it: whoever wakes reads on, and closes what is over. A wake that falls between Next and the rest is
// not lost, since what Next looks at is set before.
func TestWhoIsWokenMayReadAndClose(t *testing.T) {
	w := newWorld()
	w.create(t, "room", Public, "")
	for range 100 {
		var stream *Stream
		over, woken := make(chan string, 1), make(chan struct{}, 2)
		stream, err := w.Subscribe(t.Context(), Caller{User: "bob", Key: "k"}, SubscribeRequest{ID: "room"}, func() { woken <- struct{}{} })
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			var got strings.Builder
			for {
				events, state := stream.Next(nil)
				for _, e := range events {
					got.WriteString(e.Kind.String() + " ")
				}
				if state == StreamOver {
					stream.Close()
					over <- got.String()
					return
				}
				if state == StreamIdle {
					<-woken
				}
			}
		}()
		w.RevokeKey("k")
		if got := <-over; !strings.HasSuffix(got, "access.revoked ") {
			t.Errorf("it delivers %q", got)
		}
		delete(w.credentials.revoked, "k")
	}

	var closed *Stream
	closed, err := w.Subscribe(t.Context(), Caller{User: "bob", Key: "k"}, SubscribeRequest{ID: "room"}, func() {
		closed.Next(nil)
		closed.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	w.RevokeKey("k")
	if n := w.tail.watches(); n != 0 {
		t.Errorf("%d watches are open", n)
	}
}

func TestAClosedStreamIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.create(t, "room", Public, "")
		f := w.follow(t, Caller{User: "bob", Key: "k1", Until: in(time.Minute)})
		f.stream.Close()
		f.stream.Close()
		if n := len(w.credentials.leases); n != 0 {
			t.Errorf("the leases of %d keys are left", n)
		}
		w.RevokeKey("k1")
		time.Sleep(time.Hour) //nolint:forbidigo // in a bubble
		synctest.Wait()
		if n := f.woken.Load(); n != 0 {
			t.Errorf("it is woken %d times", n)
		}
		if events, state := f.stream.Next(nil); len(events) != 0 || state != StreamIdle {
			t.Errorf("it delivers %d events, state %d", len(events), state)
		}
	})
}

// Neither is one kept that never began.
func TestAStreamThatDoesNotBeginIsLetGo(t *testing.T) {
	w := newWorld()
	w.create(t, "room", Public, "")
	w.store.loading = func(context.Context) error { return errUnread }
	if _, err := w.Subscribe(t.Context(), Caller{User: "bob", Key: "k1", Until: in(time.Hour)}, SubscribeRequest{ID: "room"}, func() {}); err != errUnread {
		t.Fatalf("Subscribe = %v", err)
	}
	if n := len(w.credentials.leases); n != 0 || w.tail.watches() != 0 {
		t.Errorf("the leases of %d keys are left, and %d watches", n, w.tail.watches())
	}
}

func TestAnIdleStreamOfACredentialThatEndsHasNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.create(t, "room", Public, "")
		before := runtime.NumGoroutine()
		followers := make([]*follower, 0, 1000)
		for range cap(followers) {
			followers = append(followers, w.follow(t, Caller{User: "bob", Key: "k1", Until: in(time.Hour)}))
		}
		if after := runtime.NumGoroutine(); after-before > 10 {
			t.Errorf("%d streams have %d goroutines", len(followers), after-before)
		}
		time.Sleep(time.Hour) //nolint:forbidigo // in a bubble
		synctest.Wait()
		for _, f := range followers {
			if f.woken.Load() != 1 {
				t.Fatalf("one is woken %d times, want once", f.woken.Load())
			}
		}
	})
}

// Such as one that comes back into its key set.
func TestAKeyThatIsRestoredIsTakenAgain(t *testing.T) {
	w := newWorld()
	w.create(t, "room", Public, "")
	caller := Caller{User: "bob", Key: "jwk:k1", Until: in(time.Hour)}
	before, other := w.follow(t, caller), w.follow(t, Caller{User: "bob", Key: "jwk:k2", Until: in(time.Hour)})
	text, _, err := w.CreateTicket(t.Context(), caller, CreateTicketRequest{ID: "room"})
	if err != nil {
		t.Fatal(err)
	}
	w.RestoreKey("jwk:k1")
	if got := readAll(t, before.stream); got != "" {
		t.Errorf("of a key that was not revoked it delivers %q", got)
	}
	w.RevokeKey("jwk:k1")
	if got := readAll(t, before.stream); got != "access.revoked over" || before.woken.Load() != 1 {
		t.Errorf("when the key has left it delivers %q and was woken %d times", got, before.woken.Load())
	}
	wantUnauthenticated(t, "CheckCredential", w.CheckCredential(caller), "KEY_REVOKED")
	_, err = w.UseTicket(t.Context(), "room", text)
	wantUnauthenticated(t, "UseTicket", err, "KEY_REVOKED")

	w.RestoreKey("jwk:k1")
	w.RestoreKey("jwk:k1")
	if err := w.CheckCredential(caller); err != nil {
		t.Errorf("CheckCredential = %v", err)
	}
	if _, err := w.UseTicket(t.Context(), "room", text); err != nil {
		t.Errorf("UseTicket = %v", err)
	}
	after := w.follow(t, caller)
	if got := readAll(t, before.stream); got != "over" {
		t.Errorf("when the key is back the stream that has ended delivers %q", got)
	}
	w.RevokeKey("jwk:k1")
	if got := readAll(t, after.stream); got != "access.revoked over" {
		t.Errorf("when it has left again it delivers %q", got)
	}
	if got := readAll(t, other.stream); got != "" {
		t.Errorf("a stream of another key delivers %q", got)
	}
}
