package limit

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// taken is how many of the tries a limit lets through.
func taken(tries int, take func() error) (n int) {
	for range tries {
		if take() == nil {
			n++
		}
	}
	return n
}

// refused fails unless the error is a fault with the reason, and returns it.
func refused(t *testing.T, err error, reason string) *fault.Error {
	t.Helper()
	f := fault.From(err)
	if f == nil || f.Kind != fault.ResourceExhausted || f.Reason != reason || f.RetryAfter <= 0 {
		t.Fatalf("%v, want ResourceExhausted %s that says when to ask again", err, reason)
	}
	return f
}

func TestTwiceTheRateMayComeAtOnceAndTheRateAfterThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, perSecond := range []int{1, 3, 7, 200, 100_000} {
			l := New(Config{Requests: perSecond})
			take := func() error { return l.Take("u", Request) }
			if got := taken(3*perSecond, take); got != 2*perSecond {
				t.Errorf("%d a second: %d at once, want twice as many", perSecond, got)
			}
			time.Sleep(time.Second) //nolint:forbidigo // in a bubble
			if got := taken(3*perSecond, take); got < perSecond || got > perSecond+1 {
				t.Errorf("%d a second: %d after a second", perSecond, got)
			}
			time.Sleep(time.Hour) //nolint:forbidigo // in a bubble
			if got := taken(3*perSecond, take); got != 2*perSecond {
				t.Errorf("%d a second: %d after an hour, want twice as many", perSecond, got)
			}
		}
	})
}

func TestARefusalSaysHowLongItIsUntilThereIsAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Requests: 2})
		taken(4, func() error { return l.Take("u", Request) })
		f := refused(t, l.Take("u", Request), "RATE_LIMITED")
		if f.RetryAfter != 500*time.Millisecond {
			t.Errorf("ask again after %v, want half a second", f.RetryAfter)
		}
		time.Sleep(f.RetryAfter - time.Nanosecond) //nolint:forbidigo // in a bubble
		refused(t, l.Take("u", Request), "RATE_LIMITED")
		time.Sleep(time.Nanosecond) //nolint:forbidigo // in a bubble
		if err := l.Take("u", Request); err != nil {
			t.Errorf("when it is time: %v", err)
		}
	})
}

func TestWhoKeepsTryingIsNotLockedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Requests: 10, Publishes: 5})
		got := 0
		for range 10_000 {
			got += taken(1, func() error { return l.Take("u", Publish) })
			time.Sleep(time.Millisecond) //nolint:forbidigo // in a bubble
		}
		if got < 10*5+9 || got > 10*5+10 { // ten seconds, and what may come at once
			t.Errorf("%d are let through in ten seconds of trying, want 5 a second", got)
		}
	})
}

func TestEachClassHasALimitOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for class, message := range map[Class]string{
			Create:  "sessions that a user creates are limited to 1 a second",
			Publish: "messages that a user publishes are limited to 2 a second",
			Stream:  "streams that a user opens are limited to 3 a second",
		} {
			l := New(Config{Requests: 100, Creates: 1, Publishes: 2, Streams: 3})
			if got := taken(50, func() error { return l.Take("u", class) }); got != 2*int(class) {
				t.Errorf("class %d: %d at once, want %d", class, got, 2*class)
			}
			if f := refused(t, l.Take("u", class), "RATE_LIMITED"); f.Message != message {
				t.Errorf("class %d: %q, want %q", class, f.Message, message)
			}
			if err := l.Take("u", Request); err != nil {
				t.Errorf("class %d: another request is refused: %v", class, err)
			}
			if err := l.Take("v", class); err != nil {
				t.Errorf("class %d: another user is refused: %v", class, err)
			}
		}
	})
}

func TestEveryClassIsARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Requests: 2, Publishes: 100})
		if got := taken(10, func() error { return l.Take("u", Publish) }); got != 4 {
			t.Errorf("%d publishes at once, want as many as requests", got)
		}
		if f := refused(t, l.Take("u", Publish), "RATE_LIMITED"); f.Message != "requests of a user are limited to 2 a second" {
			t.Errorf("message = %q", f.Message)
		}
	})
}

func TestWhatIsRefusedByOneLimitCountsForNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Requests: 10, Creates: 1})
		taken(1000, func() error { return l.Take("u", Create) })
		if got := taken(100, func() error { return l.Take("u", Request) }); got != 18 {
			t.Errorf("%d requests are left of 20 after 2 creates and 998 refused ones, want 18", got)
		}
	})
}

func TestAnAddressOfIPv6IsItsNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			one, other string
			same       bool
		}{
			{"192.0.2.1", "192.0.2.1", true},
			{"192.0.2.1", "::ffff:192.0.2.1", true},
			{"192.0.2.1", "192.0.2.2", false},
			{"2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true},
			{"2001:db8:0:1::1", "2001:db8:0:2::1", false},
			{"::ffff:0:0", "::1", false}, // 0.0.0.0 is no IPv6 address
		} {
			l := New(Config{Address: 1})
			taken(2, func() error { return l.TakeAddress(netip.MustParseAddr(test.one)) })
			if err := l.TakeAddress(netip.MustParseAddr(test.other)); (err != nil) != test.same {
				t.Errorf("after %s, %s: %v; the same address: %t", test.one, test.other, err, test.same)
			}
		}
	})
}

func TestNoLimitsAtAll(t *testing.T) {
	for name, l := range map[string]*Limiter{"nil": nil, "all 0": New(Config{})} {
		for range 10_000 {
			for what, err := range map[string]error{
				"requests": l.Take("u", Publish), "addresses": l.TakeAddress(netip.MustParseAddr("192.0.2.1")),
				"streams": l.OpenStream("u"), "bytes": l.TakeBytes("u", 1<<40),
			} {
				if err != nil {
					t.Fatalf("%s: %s: %v", name, what, err)
				}
			}
		}
		l.CloseStream("u")
		l.ReleaseBytes("u", 1<<40)
	}
	if err := New(Config{Address: 1}).TakeAddress(netip.Addr{}); err != nil {
		t.Errorf("an address that is not known: %v", err)
	}
}

func TestAnAttackerWithManyAddressesMakesNobodyForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Address: 1})
		known := netip.MustParseAddr("192.0.2.1")
		taken(2, func() error { return l.TakeAddress(known) })
		for i := range uint32(3 * shards * maxBuckets) { // all at the same time
			var address [4]byte
			binary.BigEndian.PutUint32(address[:], 10<<24|i)
			_ = l.TakeAddress(netip.AddrFrom4(address))
		}
		refused(t, l.TakeAddress(known), "RATE_LIMITED")
		total := 0
		for i := range l.addresses.shards {
			total += len(l.addresses.shards[i].known)
		}
		if total > shards*maxBuckets {
			t.Errorf("%d addresses are kept, want at most %d", total, shards*maxBuckets)
		}
		refused(t, l.TakeAddress(netip.MustParseAddr("192.0.2.2")), "RATE_LIMITED") // for which there is no room
		time.Sleep(2 * time.Second)                                                 //nolint:forbidigo // in a bubble
		for _, address := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
			if err := l.TakeAddress(netip.MustParseAddr(address)); err != nil {
				t.Errorf("when the attack is over, %s: %v", address, err)
			}
		}
	})
}

func TestBucketsThatAreFullAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Requests: 100})
		for second := range 20 {
			for i := range 10_000 {
				_ = l.Take(fmt.Sprintf("user-%d-%d", second, i), Request)
			}
			time.Sleep(time.Second) //nolint:forbidigo // in a bubble
		}
		total := 0
		for i := range l.users.shards {
			total += len(l.users.shards[i].known)
		}
		if total > 3*10_000 {
			t.Errorf("%d users are kept of 200,000 that came one after the other", total)
		}
	})
}

func TestStreamsOfAUserAtATime(t *testing.T) {
	l := New(Config{OpenStreams: 2})
	if got := taken(5, func() error { return l.OpenStream("u") }); got != 2 {
		t.Errorf("%d streams are opened, want 2", got)
	}
	refused(t, l.OpenStream("u"), "QUOTA_STREAMS")
	if err := l.OpenStream("v"); err != nil {
		t.Errorf("another user is refused: %v", err)
	}
	l.CloseStream("u")
	if got := taken(5, func() error { return l.OpenStream("u") }); got != 1 {
		t.Errorf("%d streams are opened after one was closed, want 1", got)
	}
	for range 2 {
		l.CloseStream("u")
	}
	l.CloseStream("v")
	nothingHeld(t, l)
}

func TestBytesOfAUserAtATime(t *testing.T) {
	l := New(Config{BytesInFlight: 100})
	take := func(user string, n int64) error { return l.TakeBytes(user, n) }
	if err := take("u", 60); err != nil {
		t.Fatal(err)
	}
	refused(t, take("u", 41), "QUOTA_BYTES")
	if err := take("u", 40); err != nil {
		t.Errorf("exactly as much as there is left: %v", err)
	}
	if err := take("v", 1000); err != nil {
		t.Errorf("one body by itself: %v", err)
	}
	refused(t, take("v", 1), "QUOTA_BYTES")
	l.ReleaseBytes("u", 60)
	l.ReleaseBytes("u", 40)
	l.ReleaseBytes("v", 1000)
	nothingHeld(t, l)
}

func nothingHeld(t *testing.T, l *Limiter) {
	t.Helper()
	for i := range l.uses.shards {
		for user, held := range l.uses.shards[i].of {
			t.Errorf("%s holds %+v, want nothing", user, held)
		}
	}
}

func TestManyAtATime(t *testing.T) {
	l := New(Config{Requests: 50, Address: 50, OpenStreams: 3, BytesInFlight: 1000})
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			user := fmt.Sprint("user-", i%4)
			for n := range 2000 {
				_ = l.Take(fmt.Sprint(user, n), Stream)
				_ = l.TakeAddress(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}))
				if l.OpenStream(user) == nil {
					l.CloseStream(user)
				}
				if l.TakeBytes(user, 400) == nil {
					l.ReleaseBytes(user, 400)
				}
			}
		})
	}
	group.Wait()
	nothingHeld(t, l)
}

// BenchmarkTake is what a request of a user and an address costs, of ten thousand.
func BenchmarkTake(b *testing.B) {
	l := New(Config{Requests: 200, Publishes: 100, Address: 2000})
	users := make([]string, 10_000)
	for i := range users {
		users[i] = fmt.Sprint("user-", i)
	}
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for i := uint32(0); p.Next(); i++ {
			n := i % uint32(len(users))
			_ = l.TakeAddress(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}))
			_ = l.Take(users[n], Publish)
		}
	})
}

func TestTheNetworkOfAnAddress(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1",
		"2001:db8:0:1::1": "2001:db8:0:1::", "2001:db8:0:1:ffff::2": "2001:db8:0:1::", "fe80::1%eth0": "fe80::",
	} {
		if got := NetworkOf(netip.MustParseAddr(address)); got.String() != want {
			t.Errorf("that of %s is %v, want %s", address, got, want)
		}
	}
	if got := NetworkOf(netip.Addr{}); got.IsValid() {
		t.Errorf("that of no address is %v", got)
	}
}
