package limit

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// retryQuota is when who is over a quota may ask again: nobody knows when something will be let go of.
const retryQuota = time.Second

// uses counts what users hold at the moment. It has an entry for those who hold something, and so for no more than there
// are requests and streams.
type uses struct {
	streams int   // that a user may hold; 0: any number
	bytes   int64 // likewise

	seed   maphash.Seed
	shards [shards]usesShard
}

type usesShard struct {
	mu sync.Mutex // guards the field below
	of map[string]use
}

// use is what one user holds.
type use struct {
	streams int
	bytes   int64
}

func newUses(streams int, bytes int64) *uses {
	u := &uses{streams: streams, bytes: bytes, seed: maphash.MakeSeed()}
	for i := range u.shards {
		u.shards[i].of = make(map[string]use)
	}
	return u
}

func (u *uses) openStream(user string) error {
	if u.streams <= 0 {
		return nil
	}
	s := u.shard(user)
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.of[user]
	if held.streams >= u.streams {
		return fault.New(fault.ResourceExhausted, "QUOTA_STREAMS", "streams that a user has open are limited to %d", u.streams).After(retryQuota)
	}
	held.streams++
	s.of[user] = held
	return nil
}

func (u *uses) closeStream(user string) {
	if u.streams > 0 {
		u.shard(user).release(user, use{streams: 1})
	}
}

func (u *uses) takeBytes(user string, count int64) error {
	if u.bytes <= 0 || count <= 0 {
		return nil
	}
	s := u.shard(user)
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.of[user]
	if held.bytes > 0 && held.bytes+count > u.bytes {
		return fault.New(fault.ResourceExhausted, "QUOTA_BYTES",
			"request bodies of a user that are handled at a time are limited to %d bytes", u.bytes).After(retryQuota)
	}
	held.bytes += count
	s.of[user] = held
	return nil
}

func (u *uses) releaseBytes(user string, count int64) {
	if u.bytes > 0 && count > 0 {
		u.shard(user).release(user, use{bytes: count})
	}
}

func (u *uses) shard(user string) *usesShard { return &u.shards[maphash.String(u.seed, user)%shards] }

func (s *usesShard) release(user string, what use) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.of[user]
	held.streams -= what.streams
	held.bytes -= what.bytes
	if held == (use{}) {
		delete(s.of, user)
		return
	}
	s.of[user] = held
}
