package auth

import (
	"sync"

	"github.com/parleyhq/parley/internal/session"
)

const (
	cacheShards = 16 // so that cores seldom wait for each other
	cacheTokens = 10_000
)

// cache keeps what tokens said that were verified, by their hashes. Any number of goroutines may use it.
type cache struct{ shards [cacheShards]cacheShard }

type cacheShard struct {
	mu     sync.RWMutex // guards tokens
	tokens map[session.CredentialHash]*verified
}

func (c *cache) shard(hash *session.CredentialHash) *cacheShard {
	return &c.shards[hash[0]%cacheShards]
}

// get returns what is kept; nil: nothing. It is not to be changed.
func (c *cache) get(hash *session.CredentialHash) *verified {
	shard := c.shard(hash)
	shard.mu.RLock()
	defer shard.mu.RUnlock()
	return shard.tokens[*hash]
}

// put keeps what a token says, and drops any other one if there are too many.
func (c *cache) put(hash *session.CredentialHash, v *verified) {
	shard := c.shard(hash)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if shard.tokens == nil {
		shard.tokens = make(map[session.CredentialHash]*verified)
	}
	if len(shard.tokens) >= cacheTokens/cacheShards {
		for other := range shard.tokens {
			delete(shard.tokens, other)
			break
		}
	}
	shard.tokens[*hash] = v
}

func (c *cache) drop(hash *session.CredentialHash) {
	shard := c.shard(hash)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	delete(shard.tokens, *hash)
}
