package session

import (
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/fault"
)

// The limits on wrong secretKeys, within a minute.
const (
	guessWindow   = time.Minute
	guessesCaller = 5   // of a caller on an id: then they are not compared any more
	guessesID     = 100 // on an id: then only those of callers who have made none are
	guessesAll    = 300 // of a caller on all ids

	// maxGuessEntries bounds the memory. What is counted is never forgotten early, else whoever makes up ids could have
	// all counts forgotten: who is not known yet is refused instead.
	maxGuessEntries = 100_000
	forgetEvery     = time.Second
)

// guesses counts wrong secretKeys by caller and requested id, whether or not a session has the id.
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

type guessVerdict uint8

const (
	guessAllowed guessVerdict = iota
	guessRefused
)

func newGuesses(now Clock) *guesses {
	return &guesses{now: now, callers: make(map[guessKey]guessCount), ids: make(map[string]guessCount)}
}

// begin tells whether a secretKey of the caller may be compared. If so, it counts as wrong until settle says otherwise:
// those that come at the same time must not all be compared.
func (g *guesses) begin(caller Caller, id string) guessVerdict {
	now := g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	key, all := guessKey{caller.User, id}, guessKey{user: caller.User}
	mine := g.callers[key].at(now)
	if mine >= guessesCaller || mine > 0 && g.ids[id].at(now) >= guessesID || g.callers[all].at(now) >= guessesAll || g.full(now) {
		return guessRefused
	}
	g.callers[key] = g.callers[key].more(now)
	g.callers[all] = g.callers[all].more(now)
	g.ids[id] = g.ids[id].more(now)
	return guessAllowed
}

// full requires mu. It tells whether there is no room, and makes some if that was not tried lately.
func (g *guesses) full(now Time) bool {
	if len(g.callers)+len(g.ids) >= maxGuessEntries && now >= g.forgot.Add(forgetEvery) {
		g.forgot = now
		g.forget(now)
	}
	return len(g.callers)+len(g.ids) >= maxGuessEntries
}

// settle takes the count of an allowed guess back, unless it was wrong.
func (g *guesses) settle(caller Caller, id string, verdict guessVerdict, wrong bool) {
	if verdict != guessAllowed || wrong {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	takeBack(g.callers, guessKey{caller.User, id})
	takeBack(g.callers, guessKey{user: caller.User})
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
		return guessCount{wrong: 1, until: now.Add(guessWindow)}
	}
	c.wrong++
	return c
}

func tooManyGuesses() error {
	return fault.New(fault.ResourceExhausted, "TOO_MANY_GUESSES", "too many wrong secretKeys: wait a minute").After(guessWindow)
}
