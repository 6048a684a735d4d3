package tail

// hear takes in what was announced for the session.
func (t *topic) hear(data []byte) {
	a, err := t.hub.peers.decode(data, t.uid)
	if err != nil || a.node == t.hub.node {
		return
	}
	switch {
	case a.what == aSequence:
		t.reached(a.sequence)
	case a.what != anEvent:
	case a.event.Sequence > 0 || t.firstTime(a):
		t.receive(a.event)
	}
	t.hub.budget.shrink()
}

// firstTime tells whether an ephemeral event was not heard before. It has no sequence, so its announcement's number has
// to tell; one that was overtaken is dropped.
func (t *topic) firstTime(a *announcement) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.number <= t.heard[a.node] {
		return false
	}
	t.heard[a.node] = a.number
	return true
}
