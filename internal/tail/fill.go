package tail

import (
	"time"

	"github.com/parleyhq/parley/internal/session"
)

const (
	holeTime  = 10 * time.Millisecond // how long a hole may take to close by itself
	retryTime = time.Second           // after a read that failed
)

// spreadTimes are when the log is read again after listening began on a bus that spreads: what was announced before the
// interest was known everywhere did not come.
var spreadTimes = [...]time.Duration{50 * time.Millisecond, 250 * time.Millisecond, time.Second}

// fill is the state of the one read that fills a hole in a tail, for all of its watches. Guarded by topic.mu.
type fill struct {
	timer   *time.Timer // begins the read; nil before the first
	waiting bool        // the timer runs for the hole after from
	from    int64
	reading bool
	again   bool // a read is due, whether there is a hole or not
}

func (f *fill) stop() {
	f.waiting = false
	if f.timer != nil {
		f.timer.Stop()
	}
}

// await gives a hole time to close: announcements of two nodes often cross. Each hole has its own time, however many
// more events come after it. t.mu is held.
func (t *topic) await() {
	f := &t.fill
	switch {
	case f.reading || f.again: // when that is done, await is called
	case t.last >= t.announced:
		f.stop()
	case !f.waiting || f.from != t.last:
		f.waiting, f.from = true, t.last
		t.readIn(holeTime)
	}
}

// readIn begins the read after a time, instead of when it was to begin before. t.mu is held.
func (t *topic) readIn(d time.Duration) {
	if t.fill.timer == nil {
		t.fill.timer = time.AfterFunc(d, t.readNow)
		return
	}
	t.fill.timer.Reset(d)
}

// readAgain has the log read some times from now on.
func (t *topic) readAgain() {
	for _, d := range spreadTimes {
		time.AfterFunc(d, t.recheck)
	}
}

// recheck reads the log though nothing tells that it has anything new.
func (t *topic) recheck() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.retired || !t.known { // unknown: the first watcher's Load is still to come
		return
	}
	t.fill.again = true
	if !t.fill.reading {
		t.readIn(0)
	}
}

// readNow reads what comes after the tail, unless it has come by itself.
func (t *topic) readNow() {
	if !t.hub.begin() {
		return
	}
	defer t.hub.work.Done()
	after, floor, due := t.beginRead()
	if !due {
		return
	}
	log, err := t.hub.blocks.read(t.uid, after, blockEvents)
	if err != nil && t.hub.background.Err() == nil { // else the Hub ends, and this with it
		t.hub.options.Logger.Warn("cannot read a session's log", "uid", t.uid.String(), "error", err)
	}
	t.endRead(log, floor, err)
	t.hub.budget.shrink()
}

// beginRead returns where to read from, and what the log is known to have by now.
func (t *topic) beginRead() (after, floor int64, due bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := &t.fill
	if t.retired || f.reading || !f.again && t.last >= t.announced {
		return 0, 0, false
	}
	f.reading, f.again, f.waiting = true, false, false
	return t.last, t.announced, true
}

func (t *topic) endRead(log *session.Log, floor int64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.retired {
		return
	}
	f := &t.fill
	f.reading = false
	if err != nil {
		f.again = true
		t.readIn(retryTime)
		return
	}
	before := t.state()
	t.absorb(log, floor)
	t.changed(before)
	if f.again {
		t.readIn(0)
		return
	}
	t.await()
}

// absorb takes in what was read after the tail. Floor is what the log was known to have before the read. t.mu is held.
func (t *topic) absorb(log *session.Log, floor int64) {
	head, found := headOf(log)
	if !found || head < floor {
		t.doubt()
		return
	}
	for _, e := range log.Events {
		t.follow(e)
	}
	if log.End != nil {
		t.follow(log.End)
	}
	if t.last < head { // more than one read holds: who wants it reads it in blocks
		t.begin(head)
		t.join()
	}
}

// follow adds an event that was read. Where events before it are gone, the tail begins anew with it. t.mu is held.
func (t *topic) follow(e *session.Event) {
	if e.Sequence > t.last+1 {
		t.begin(e.Sequence - 1)
	}
	t.add(e)
}

// consider learns from a read on a watcher's behalf, which began when the log was known to have floor.
func (t *topic) consider(log *session.Log, floor int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	head, found := headOf(log)
	switch {
	case t.retired:
	case found && head >= floor:
		t.learn(head)
		t.await()
	case t.known:
		before := t.state()
		t.doubt()
		t.changed(before)
	}
}

// knownHead is the highest sequence that the log is known to have; 0: unknown.
func (t *topic) knownHead() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.announced
}

// headOf is the sequence of the last event that a log has had. Found is false if nothing is known of the session.
func headOf(log *session.Log) (head int64, found bool) {
	switch {
	case log.Record != nil:
		return log.Record.Head.Sequence, true
	case log.End != nil:
		return log.End.Sequence, true
	default:
		return 0, false
	}
}
