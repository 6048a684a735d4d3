// Package model_test holds the streams to the promise by comparing them with a model: whatever happens to a session, to
// its subscribers and to the bus between two nodes, each subscriber gets every stored event once and in order, or is
// told of a reset.
package model_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/session"
	"github.com/parleyhq/parley/internal/store/sqlite"
	"github.com/parleyhq/parley/internal/tail"
)

var operator = session.Caller{User: "operator", Admin: true}

// ephemeral is the channel of every session here that has no history.
const ephemeral = 9

// node is one of two servers over the same store: the first commits, the second learns of it by the bus alone.
type node struct {
	service *session.Service
	hub     *tail.Hub
}

// open starts the two nodes, for all runs: each run has sessions of its own.
func open(t *testing.T, bus *bus) []node {
	keys := session.NewKeyRing()
	var nodes []node
	var store *sqlite.Store
	log := func(ctx context.Context, uid session.UID, after int64, limit, maxBytes int) (*session.Log, error) {
		return store.Log(ctx, uid, after, limit, maxBytes)
	}
	for range 2 {
		nodes = append(nodes, node{hub: tail.New(tail.Options{Log: logFunc(log), Bus: bus, Key: keys.Derive("announcements")})})
	}
	var err error
	store, err = sqlite.Open(t.Context(), sqlite.Config{
		Dir: t.TempDir(), Keys: keys, Log: slog.New(slog.DiscardHandler), TidyEvery: 2 * time.Millisecond,
		Committed: nodes[0].hub.Committed,
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range nodes {
		nodes[i].service = session.NewService(store, nodes[i].hub, keys)
	}
	t.Cleanup(func() {
		if err := store.Close(context.Background()); err != nil {
			t.Error(err)
		}
		for _, n := range nodes {
			n.hub.Close()
		}
	})
	return nodes
}

type logFunc func(ctx context.Context, uid session.UID, after int64, limit, maxBytes int) (*session.Log, error)

func (f logFunc) Log(ctx context.Context, uid session.UID, after int64, limit, maxBytes int) (*session.Log, error) {
	return f(ctx, uid, after, limit, maxBytes)
}

func TestEverySubscriberGetsTheLogOrAReset(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	bus := newBus()
	nodes := open(t, bus)
	var runs atomic.Int64
	t.Run("runs", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			w := &world{nodes: nodes, bus: bus, id: fmt.Sprintf("run-%d", runs.Add(1)), ended: map[session.UID]bool{}}
			defer w.close()
			w.create(t)
			t.Repeat(map[string]func(*rapid.T){
				"create": w.create, "delete": w.delete, "update": w.update,
				"join": w.join, "leave": w.leave, "publish": w.publish, "publish many": w.publishMany, "whisper": w.whisper,
				"subscribe": w.subscribe, "read": w.read, "vanish": w.vanish, "resume": w.resume,
				"bus": func(t *rapid.T) { bus.deliver(rapid.IntRange(0, 8).Draw(t, "held back")) },
			})
			w.settle(t)
		})
	})
}

// world is one session id, the sessions that had it, and who listens.
type world struct {
	nodes []node
	bus   *bus
	id    string

	uid     session.UID // of the session that has the id now; zero: none has
	log     []string    // what happened in it, by sequence from 1
	logs    map[session.UID][]string
	ended   map[session.UID]bool
	members []string
	texts   int
	readers []*reader
	cursors []session.Cursor // that were given out
}

// happened notes that the session's log has one more event, of which the record has the sequence.
func (w *world) happened(t *rapid.T, what string, sequence int64) {
	w.log = append(w.log, what)
	w.logs[w.uid] = w.log
	if sequence != int64(len(w.log)) {
		t.Fatalf("%s has the sequence %d, want %d", what, sequence, len(w.log))
	}
	w.cursors = append(w.cursors, session.Cursor{UID: w.uid, Sequence: sequence})
}

func (w *world) create(t *rapid.T) {
	if w.uid != (session.UID{}) {
		return
	}
	options := `{"channels":{"9":{"history":false}}}`
	if size := rapid.SampledFrom([]int{0, 0, 3, 40}).Draw(t, "historySize"); size > 0 {
		options = fmt.Sprintf(`{"historySize":%d,"channels":{"9":{"history":false}}}`, size)
	}
	result, err := w.nodes[0].service.Create(t.Context(), operator, session.CreateRequest{SessionID: w.id, Draft: &session.Draft{
		Spec: session.Spec{
			Profile: "p", DisplayName: "d", Type: session.Public, Owners: []string{"a"}, DefaultChannels: []int32{1},
			Options: []byte(options),
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.uid, w.log, w.members = result.Record.UID, nil, nil
	if w.logs == nil {
		w.logs = map[session.UID][]string{}
	}
	w.happened(t, "session.created", 1)
}

func (w *world) delete(t *rapid.T) {
	if w.uid == (session.UID{}) || rapid.IntRange(0, 3).Draw(t, "seldom") > 0 {
		return
	}
	if err := w.nodes[0].service.Delete(t.Context(), operator, session.DeleteRequest{ID: w.id}); err != nil {
		t.Fatal(err)
	}
	w.happened(t, "session.deleted", int64(len(w.log))+1)
	w.ended[w.uid] = true
	w.uid = session.UID{}
}

func (w *world) update(t *rapid.T) {
	if w.uid == (session.UID{}) {
		return
	}
	mask, err := session.ParseMask([]string{"description"})
	if err != nil {
		t.Fatal(err)
	}
	result, err := w.nodes[0].service.Update(t.Context(), operator, session.UpdateRequest{
		ID: w.id, Mask: mask, Draft: &session.Draft{Spec: session.Spec{Description: strconv.Itoa(len(w.log))}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.happened(t, "session.updated", result.Record.Head.Sequence)
}

func drawUser(t *rapid.T) string { return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "user") }

func (w *world) join(t *rapid.T) {
	user := drawUser(t)
	if w.uid == (session.UID{}) {
		return
	}
	result, err := w.nodes[0].service.Join(t.Context(), operator, session.JoinRequest{ID: w.id, Name: user})
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(w.members, user) {
		if head := int64(len(w.log)); result.Cursor.Sequence != head {
			t.Fatalf("a repeated join has the cursor %d, want the head %d", result.Cursor.Sequence, head)
		}
		return
	}
	w.members = append(w.members, user)
	w.happened(t, "member.joined", result.Cursor.Sequence)
}

func (w *world) leave(t *rapid.T) {
	user := drawUser(t)
	if w.uid == (session.UID{}) || !slices.Contains(w.members, user) {
		return
	}
	record, err := w.nodes[0].service.Leave(t.Context(), operator, session.LeaveRequest{ID: w.id, Name: user})
	if err != nil {
		t.Fatal(err)
	}
	w.members = slices.DeleteFunc(w.members, func(m string) bool { return m == user })
	w.happened(t, "member.removed", record.Head.Sequence)
}

func (w *world) publish(t *rapid.T) { w.say(t, 1) }

// publishMany makes the log longer than what the log is read by at once.
func (w *world) publishMany(t *rapid.T) {
	if rapid.IntRange(0, 7).Draw(t, "seldom") > 0 {
		return
	}
	for range rapid.SampledFrom([]int{20, 300}).Draw(t, "messages") {
		w.say(t, 1)
	}
}

// whisper says something that is not stored.
func (w *world) whisper(t *rapid.T) { w.say(t, ephemeral) }

func (w *world) say(t *rapid.T, channel int32) {
	if w.uid == (session.UID{}) || len(w.members) == 0 {
		return
	}
	w.texts++
	text := fmt.Sprintf("text %d", w.texts)
	event, err := w.nodes[0].service.Publish(t.Context(), operator, session.PublishRequest{
		ID: w.id, Name: w.members[0],
		Message: &session.Message{Channel: channel, Kind: session.ContentText, Text: text, Contents: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	if channel != ephemeral {
		w.happened(t, text, event.Sequence)
	}
}

// reader is a subscriber, and how far it has come.
type reader struct {
	world  *world
	node   node
	stream *session.Stream // nil: it has vanished
	woken  chan struct{}
	place  session.Cursor // after the last event that it got
	over   bool           // it got the session's last event
	beyond bool           // it came with a place that the log did not have then
}

// open subscribes, from the cursor.
func (r *reader) open(t *rapid.T, cursor string) {
	r.woken = make(chan struct{}, 1)
	woken := r.woken
	stream, err := r.node.service.Subscribe(t.Context(), operator, session.SubscribeRequest{ID: r.world.id, Cursor: cursor}, func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	})
	if r.world.uid == (session.UID{}) {
		if !fault.Is(err, fault.NotFound) {
			t.Fatalf("subscribing to a session that is gone: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	r.stream = stream
	c, err := session.ParseCursor(cursor)
	r.beyond = err == nil && c.Sequence > int64(len(r.world.log))
}

// read takes what there is without waiting.
func (r *reader) read(t *rapid.T) {
	for r.stream != nil {
		events, state := r.stream.Next(nil)
		for _, e := range events {
			r.got(t, e)
		}
		switch state {
		case session.StreamIdle:
			return
		case session.StreamOver:
			r.vanish()
		case session.StreamBlocked:
			if err := r.stream.Advance(t.Context()); err != nil {
				t.Fatal(err)
			}
		case session.StreamMore:
		}
	}
}

// got compares an event with the model.
func (r *reader) got(t *rapid.T, e *session.Event) {
	cursor, _ := e.Cursor()
	switch {
	case e.Kind == session.StreamReady:
		r.place = cursor
	case e.Kind == session.StreamReset:
		r.mayReset(t)
		r.place = cursor
	case e.Sequence == 0:
	default:
		r.gotStored(t, e, cursor)
	}
}

func (r *reader) gotStored(t *rapid.T, e *session.Event, cursor session.Cursor) {
	log := r.world.logs[e.UID]
	skips := e.Kind.Ends() && e.Gap && r.world.ended[e.UID]
	if cursor.UID != r.place.UID || cursor.Sequence != r.place.Sequence+1 && !skips {
		t.Fatalf("got %s %d after %d", e.Kind, cursor.Sequence, r.place.Sequence)
	}
	if cursor.Sequence > int64(len(log)) {
		t.Fatalf("got %s %d, and the log ends at %d", e.Kind, cursor.Sequence, len(log))
	}
	what := e.Kind.String()
	if e.Kind == session.MessagePublished {
		what, _, _ = strings.Cut(strings.TrimPrefix(string(e.Document), `{"text":"`), `"`)
	}
	if want := log[cursor.Sequence-1]; what != want {
		t.Fatalf("event %d is %q, want %q", cursor.Sequence, what, want)
	}
	r.place, r.over = cursor, e.Kind.Ends()
}

// mayReset fails unless the place is one that a stream cannot go on from.
func (r *reader) mayReset(t *rapid.T) {
	w := r.world
	if r.place.UID != w.uid || r.beyond {
		return
	}
	messages, err := w.nodes[0].service.Subscribe(t.Context(), operator, session.SubscribeRequest{ID: w.id, Cursor: session.Beginning}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Close()
	if oldest := messages.Cursor().Sequence; oldest <= r.place.Sequence {
		t.Fatalf("reset at %d, and the log still has everything from %d on", r.place.Sequence, oldest)
	}
}

func (r *reader) vanish() {
	if r.stream != nil {
		r.stream.Close()
		r.stream = nil
	}
}

func (w *world) subscribe(t *rapid.T) {
	r := &reader{world: w, node: rapid.SampledFrom(w.nodes).Draw(t, "node")}
	r.open(t, w.drawCursor(t))
	w.readers = append(w.readers, r)
}

// drawCursor is any cursor that a client may come with.
func (w *world) drawCursor(t *rapid.T) string {
	switch rapid.IntRange(0, 5).Draw(t, "cursor") {
	case 0:
		return ""
	case 1:
		return session.Beginning
	case 2: // beyond the head
		return session.Cursor{UID: w.uid, Sequence: int64(len(w.log)) + rapid.Int64Range(1, 9).Draw(t, "beyond")}.String()
	case 3: // forged
		return session.Cursor{UID: session.NewUID(1, 1), Sequence: rapid.Int64Range(0, 9).Draw(t, "sequence")}.String()
	default:
		return rapid.SampledFrom(w.cursors).Draw(t, "given").String()
	}
}

func (w *world) drawReader(t *rapid.T) *reader {
	if len(w.readers) == 0 {
		t.Skip("nobody listens")
	}
	return rapid.SampledFrom(w.readers).Draw(t, "reader")
}

func (w *world) read(t *rapid.T) { w.drawReader(t).read(t) }

func (w *world) vanish(t *rapid.T) { w.drawReader(t).vanish() }

// resume comes back, maybe to the other node, with the last cursor.
func (w *world) resume(t *rapid.T) {
	r := w.drawReader(t)
	if r.stream != nil || r.place == (session.Cursor{}) {
		return
	}
	r.node = rapid.SampledFrom(w.nodes).Draw(t, "node")
	r.over = false
	r.open(t, r.place.String())
}

// settle has everybody read to the end. What the bus has lost is made up for as a commit feed does, which names heads.
func (w *world) settle(t *rapid.T) {
	w.bus.deliver(0)
	for uid, log := range w.logs {
		w.nodes[1].hub.Head(uid, int64(len(log)))
	}
	deadline := time.After(20 * time.Second)
	for _, r := range w.readers {
		for r.read(t); !r.done(); r.read(t) {
			select {
			case <-r.woken:
			case <-deadline:
				t.Fatalf("a reader hangs at %d of %d", r.place.Sequence, len(w.logs[r.place.UID]))
			}
		}
	}
}

// done tells whether the reader has all that there is.
func (r *reader) done() bool {
	return r.stream == nil || r.over || r.place.Sequence == int64(len(r.world.logs[r.place.UID]))
}

func (w *world) close() {
	for _, r := range w.readers {
		r.vanish()
	}
}
