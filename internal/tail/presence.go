package tail

import (
	"sync"
	"time"

	"github.com/parleyhq/parley/internal/session"
)

const (
	refreshTime      = 20 * time.Second // how often a node tells the others all of its presence
	presenceTime     = 60 * time.Second // for how long what was told counts
	maxPresenceBytes = 32 << 10         // of an announcement, about
)

// presence knows who watches which session: exactly on this node, and on others as far as they have told. What gets lost
// on the bus heals with the next refresh, or ends with the time for which it counts.
type presence struct {
	hub   *Hub
	asked chan struct{} // holds one: another node wants to know all
	quit  chan struct{}
	ended chan struct{} // closed when the goroutine is

	mu     sync.RWMutex // guards the fields below
	local  map[attendance]int
	remote map[nodeID]map[attendance]time.Time // until when it counts
}

// attendance is one user at one session.
type attendance struct {
	uid  session.UID
	user string
}

func startPresence(h *Hub) *presence {
	p := &presence{
		hub:    h,
		asked:  make(chan struct{}, 1),
		quit:   make(chan struct{}),
		ended:  make(chan struct{}),
		local:  make(map[attendance]int),
		remote: make(map[nodeID]map[attendance]time.Time),
	}
	if h.outbox == nil {
		close(p.ended)
	} else {
		go p.run()
	}
	return p
}

func (p *presence) stop() {
	close(p.quit)
	<-p.ended
}

// arrive counts a watch of the user. Nobody has no presence.
func (p *presence) arrive(uid session.UID, user string) {
	if user == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at := attendance{uid, user}
	p.local[at]++
	if p.local[at] == 1 {
		p.tell(presenceHere, at)
	}
}

// leave takes a watch back.
func (p *presence) leave(uid session.UID, user string) {
	if user == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at := attendance{uid, user}
	p.local[at]--
	if p.local[at] == 0 {
		delete(p.local, at)
		p.tell(presenceGone, at)
	}
}

func (p *presence) online(uid session.UID, user string) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	at := attendance{uid, user}
	if p.local[at] > 0 {
		return true
	}
	for _, present := range p.remote {
		if time.Now().Before(present[at]) {
			return true
		}
	}
	return false
}

// tell announces a change. p.mu is held, so that announcements come in the order of the changes.
func (p *presence) tell(what presenceKind, at attendance) {
	if p.hub.outbox != nil {
		p.hub.outbox.addPresence(at.append([]byte{byte(what)}))
	}
}

// run keeps the other nodes informed.
func (p *presence) run() {
	defer close(p.ended)
	stop := p.listen()
	tick := time.NewTicker(refreshTime)
	defer tick.Stop()
	for {
		select {
		case <-p.quit:
			p.announce(presenceGone)
			if stop != nil {
				stop()
			}
			return
		case <-p.asked:
		case <-tick.C:
			p.expire()
			if stop == nil {
				stop = p.listen()
			}
		}
		p.announce(presenceHere)
	}
}

// listen begins to receive, and asks the other nodes for all that they have. If the bus fails, it is tried again later.
func (p *presence) listen() (stop func()) {
	stop, err := p.hub.options.Bus.Listen(session.UID{}, p.hear)
	if err != nil {
		p.hub.options.Logger.Warn("cannot listen to the presence of other nodes", "error", err)
		return nil
	}
	p.ask()
	return stop
}

// ask asks the other nodes for all that they have.
func (p *presence) ask() { p.hub.outbox.addPresence([]byte{byte(presenceAsked)}) }

// meet asks the other nodes, and tells them.
func (p *presence) meet() {
	if p.hub.outbox == nil {
		return
	}
	p.ask()
	p.answer()
}

// answer has run tell the other nodes all who are here.
func (p *presence) answer() {
	select {
	case p.asked <- struct{}{}:
	default: // it is asked already
	}
}

// announce tells the other nodes all who are here, or that all are gone.
func (p *presence) announce(what presenceKind) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	body := []byte{byte(what)}
	for at := range p.local {
		body = at.append(body)
		if len(body) >= maxPresenceBytes {
			p.hub.outbox.addPresence(body)
			body = []byte{byte(what)}
		}
	}
	if len(body) > 1 {
		p.hub.outbox.addPresence(body)
	}
}

// expire forgets what no longer counts.
func (p *presence) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for node, present := range p.remote {
		for at, until := range present {
			if !now.Before(until) {
				delete(present, at)
			}
		}
		if len(present) == 0 {
			delete(p.remote, node)
		}
	}
}

// hear takes in what another node told.
func (p *presence) hear(data []byte) {
	a, err := p.hub.peers.decode(data, session.UID{})
	if err != nil || a.what != aPresence || a.node == p.hub.node || !p.hub.peers.newer(a.node, a.number) {
		return
	}
	what, present, err := decodePresence(a.body)
	if err != nil {
		return
	}
	if what == presenceAsked {
		p.answer()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put(a.node, what, present)
}

// put changes who is known to be at a node. p.mu is held.
func (p *presence) put(node nodeID, what presenceKind, present []attendance) {
	if p.remote[node] == nil {
		p.remote[node] = make(map[attendance]time.Time)
	}
	until := time.Now().Add(presenceTime)
	for _, at := range present {
		if what == presenceHere {
			p.remote[node][at] = until
		} else {
			delete(p.remote[node], at)
		}
	}
}
