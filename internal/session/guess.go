package session

import (
	"context"
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// The limits on wrong secretKeys, within a minute.
const (
	GuessWindow   = time.Minute
	GuessesCaller = 5   // of a caller on an id: then they are not compared any more
	GuessesID     = 100 // on an id: then only those of callers who have made none are
	GuessesAll    = 300 // of a caller on all ids

	// MaxGuessEntries bounds the counts that are kept. What is counted is never forgotten early, else whoever makes up ids
	// could have all counts forgotten: who is not known yet is refused instead.
	MaxGuessEntries = 100_000
	forgetEvery     = time.Second
)

// Guesses counts wrong secretKeys by caller and requested id, whether or not a session has the id. Any number of
// goroutines may use it. A store of several nodes implements it for all of them; else a Service counts in memory.
type Guesses interface {
	// BeginGuess tells whether a secretKey of the user may be compared. If so, it counts as wrong from now on, so that
	// those that come at the same time are not all compared. An error is an Unavailable fault, or that of the context.
	BeginGuess(ctx context.Context, user, id string) (allowed bool, err error)

	// TakeBackGuess takes the count of an allowed guess back, which was not wrong. It heeds no end of the context. If it
	// fails then the guess goes on counting.
	TakeBackGuess(ctx context.Context, user, id string)
}

// MayGuess tells whether another secretKey may be compared after so many wrong ones: of the caller on the id, of the
// caller on all ids, and of all callers on the id.
func MayGuess(ofBoth, ofCaller, ofID int) bool {
	return ofBoth < GuessesCaller && ofCaller < GuessesAll && (ofBoth == 0 || ofID < GuessesID)
}

// guesses are those of one process.
type guesses struct {
	now Clock

	mu      sync.Mutex              // guards the fields below
	callers map[guessKey]guessCount // by caller and id; without an id, on all
	ids     map[string]guessCount
	forgot  Time // when what is over was last forgotten
}

type guessKey struct{ user, id string }

type guessCount struct {
	wrong int
	until Time // when it is forgotten
}

// NewGuesses returns counts in memory.
func NewGuesses(now Clock) Guesses { return newGuesses(now) }

func newGuesses(now Clock) *guesses {
	return &guesses{now: now, callers: make(map[guessKey]guessCount), ids: make(map[string]guessCount)}
}

// BeginGuess implements Guesses.
func (g *guesses) BeginGuess(_ context.Context, user, id string) (allowed bool, err error) {
	now := g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	key, all := guessKey{user, id}, guessKey{user: user}
	if !MayGuess(g.callers[key].at(now), g.callers[all].at(now), g.ids[id].at(now)) || g.full(now) {
		return false, nil
	}
	g.callers[key] = g.callers[key].more(now)
	g.callers[all] = g.callers[all].more(now)
	g.ids[id] = g.ids[id].more(now)
	return true, nil
}

// full requires mu. It tells whether there is no room, and makes some if that was not tried lately.
func (g *guesses) full(now Time) bool {
	if len(g.callers)+len(g.ids) >= MaxGuessEntries && now >= g.forgot.Add(forgetEvery) {
		g.forgot = now
		g.forget(now)
	}
	return len(g.callers)+len(g.ids) >= MaxGuessEntries
}

// TakeBackGuess implements Guesses.
func (g *guesses) TakeBackGuess(_ context.Context, user, id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	takeBack(g.callers, guessKey{user, id})
	takeBack(g.callers, guessKey{user: user})
	takeBack(g.ids, id)
}

func takeBack[K comparable](counts map[K]guessCount, key K) {
	count, found := counts[key]
	if !found {
		return
	}
	if count.wrong--; count.wrong > 0 {
		counts[key] = count
	} else {
		delete(counts, key)
	}
}

// forget requires mu. It drops what is over.
func (g *guesses) forget(now Time) {
	for key, count := range g.callers {
		if count.until <= now {
			delete(g.callers, key)
		}
	}
	for id, count := range g.ids {
		if count.until <= now {
			delete(g.ids, id)
		}
	}
}

func (c guessCount) at(now Time) int {
	if c.until <= now {
		return 0
	}
	return c.wrong
}

func (c guessCount) more(now Time) guessCount {
	if c.until <= now {
		return guessCount{wrong: 1, until: now.Add(GuessWindow)}
	}
	c.wrong++
	return c
}

func tooManyGuesses() error {
	return fault.New(fault.ResourceExhausted, "TOO_MANY_GUESSES", "too many wrong secretKeys: wait a minute").After(GuessWindow)
}
