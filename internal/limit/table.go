package limit

import (
	"hash/maphash"
	"sync"
)

const (
	// shards is how many locks there are: requests of different users rarely wait for each other.
	shards = 64
	// maxBuckets is for how many keys a shard has room. All buckets are full again within two seconds, so that is
	// more than a server can be asked by.
	maxBuckets = 2048
	// minBuckets is from how many on it is worth looking for those that are full.
	minBuckets = 64
	// pause is the least time between two looks, in nanoseconds.
	pause = 100_000_000
)

// table holds the buckets of all keys. Buckets that are full are forgotten: they are as good as new ones. Where that
// leaves no room, those who are new share one set of buckets: neither does the table grow, nor are those forgotten who
// have taken something.
type table[K comparable] struct {
	rates  rates
	seed   maphash.Seed
	shards [shards]shard[K]
}

// buckets are those of one key: for each class the time at which it is full, in nanoseconds.
type buckets [classes]int64

// shard is a part of a table, with a lock of its own.
type shard[K comparable] struct {
	mu     sync.Mutex // guards the fields below
	known  map[K]*buckets
	shared buckets // of those for whom there is no room
	worth  int     // from so many on it is worth a look
	looked int64   // when it was looked at last
}

func newTable[K comparable](rates rates) *table[K] {
	t := &table[K]{rates: rates, seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].known = make(map[K]*buckets)
		t.shards[i].worth = minBuckets
	}
	return t
}

// take takes a token of the class and one of a request, or none if one of them is not there.
func (t *table[K]) take(key K, class Class, now int64) error {
	all, own := &t.rates[Request], &t.rates[class]
	if all.interval == 0 && own.interval == 0 {
		return nil
	}
	s := &t.shards[maphash.Comparable(t.seed, key)%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.of(key, now)
	request, wait := all.after(b[Request], now)
	special, longer := own.after(b[class], now)
	switch {
	case longer > wait:
		return own.refusal(longer)
	case wait > 0:
		return all.refusal(wait)
	}
	b[Request], b[class] = request, special // which are the same for a mere request
	return nil
}

// of are the buckets of a key.
func (s *shard[K]) of(key K, now int64) *buckets {
	if b := s.known[key]; b != nil {
		return b
	}
	if len(s.known) >= s.worth && now-s.looked >= pause {
		s.forget(now)
	}
	if len(s.known) >= maxBuckets {
		return &s.shared
	}
	b := new(buckets)
	s.known[key] = b
	return b
}

// forget forgets the buckets that are full.
func (s *shard[K]) forget(now int64) {
	for key, b := range s.known {
		if b.full(now) {
			delete(s.known, key)
		}
	}
	s.looked = now
	s.worth = min(max(2*len(s.known), minBuckets), maxBuckets)
}

func (b *buckets) full(now int64) bool {
	for _, full := range b {
		if full > now {
			return false
		}
	}
	return true
}
