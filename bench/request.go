//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// action is one kind of request.
type action string

const (
	echoCreate action = "echo-create"
	echoGet    action = "echo-get"
	create     action = "create"
	get        action = "get"
	list       action = "list"
	update     action = "update"

	// The rest are of messages and members; message.go says what they send.
	echoPublish  action = "echo-publish"
	publish      action = "publish"
	joinLeave    action = "join-leave"
	getMessage   action = "get-message"
	listMessages action = "list-messages"
	open         action = "open"
	enrol        action = "enrol"
	seed         action = "seed"

	// flood creates, publishes and gets as so many users, who are refused what is
	// too much; noisy.go says why.
	flood action = "flood"

	// preload creates sessions to measure on: every other one under an id that
	// get and update can compute, the rest under ids that the server makes.
	preload action = "preload"
)

const (
	sessionsPath = "/v1/conversation/sessions"
	users        = 10_000

	// The places that vary are marked in the templates by text of the same
	// width, which digits then overwrite.
	idMark      = "<number>"
	displayMark = "<counts>"
	typeMark    = "?"
	ownerAMark  = "<1st"
	ownerBMark  = "<2nd"

	createBody = `{"profile":"support-assistant-v2","displayName":"Support conversation <counts>",` +
		`"sessionType":?,"owners":["user-<1st","user-<2nd"],"defaultChannels":[1,4],` +
		`"description":"Opened from the help page of the shop; the assistant answers first and hands over ` +
		`to a person when asked. Kept for ninety days.",` +
		`"options":{"maxMembers":12,"theme":{"dark":true}},"labels":{"tenant":"t7"}}`
	updateBody = `{"displayName":"Renamed conversation <counts>"}`
)

// template is a rendered request and where in it the varying parts are; an
// offset of -1 says that it has no such part.
type template struct {
	text                    []byte
	id, display, kind       int
	firstOwner, secondOwner int
	sent                    int
	owner                   int // number of the user who is the first owner; -1: drawn
}

func newTemplate(method, addr, path, body string, headers ...string) *template {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, addr)
	for _, header := range headers {
		b.WriteString(header + "\r\n")
	}
	if body != "" {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)

	text := []byte(b.String())
	find := func(mark string) int { return bytes.Index(text, []byte(mark)) }
	t := &template{
		text:        text,
		id:          find(idMark),
		display:     find(displayMark),
		kind:        find(`"sessionType":` + typeMark),
		firstOwner:  find(ownerAMark),
		secondOwner: find(ownerBMark),
		sent:        find(sentMark),
		owner:       -1,
	}
	if t.kind >= 0 {
		t.kind += len(`"sessionType":`)
	}
	return t
}

// fill overwrites the varying parts. Types alternate with the ticket, names and
// owners are drawn, unless the first is given; a message says when it was sent.
func (t *template) fill(draw *rand.PCG, ticket int64, id uint64) {
	if t.id >= 0 {
		putDigits(t.text[t.id:t.id+len(idMark)], id)
	}
	if t.sent >= 0 {
		putDigits(t.text[t.sent:t.sent+len(sentMark)], uint64(time.Now().UnixNano()))
	}
	if t.display < 0 {
		return
	}
	bits := draw.Uint64()
	putDigits(t.text[t.display:t.display+len(displayMark)], bits>>32)
	if t.kind < 0 {
		return
	}
	t.text[t.kind] = '1' + byte(ticket&1)
	first := bits & 0xffff % users
	if t.owner >= 0 {
		first = uint64(t.owner)
	}
	second := (first + 1 + bits>>16&0xffff%(users-1)) % users // never the first again
	putDigits(t.text[t.firstOwner:t.firstOwner+len(ownerAMark)], first)
	putDigits(t.text[t.secondOwner:t.secondOwner+len(ownerBMark)], second)
}

// putDigits writes the last decimal digits of n over the whole of dst.
func putDigits(dst []byte, n uint64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = '0' + byte(n%10)
		n /= 10
	}
}

// script makes the requests of one run.
type script struct {
	action action
	addr   string   // the first of the servers: the name that all of them go by
	addrs  []string // of all, of which the connections take turns
	ids    int      // sessions with a computable id: b-00000000 to b-<ids - 1>; of messages, see row
	order  []uint32 // the order in which a preload creates them
	users  int      // who ask, in turn by connection; 0: the operator
	signer signer
	conns  int // connections that have a writer
}

func newScript(c loadConfig) (*script, error) {
	a, ids := c.Action, c.IDs
	addrs := strings.Split(c.Addr, ",")
	s := &script{action: a, addr: addrs[0], addrs: addrs, ids: ids, users: c.Users}
	if ids < 0 || ids > 99_999_999 {
		return nil, fmt.Errorf("%d sessions with computable ids: their numbers have 8 digits", ids)
	}
	if err := s.checkUsers(); err != nil {
		return nil, err
	}
	var err error
	if s.signer, err = readSigner(c.Key); err != nil {
		return nil, err
	}
	switch a {
	case echoCreate, create, list, echoPublish, listMessages, open, enrol, seed, flood:
	case echoGet, get, update, publish, joinLeave, getMessage:
		if ids == 0 {
			return nil, fmt.Errorf("%s needs sessions that it can name", a)
		}
	case preload:
		s.shuffle()
	default:
		return nil, fmt.Errorf("unknown action %q", a)
	}
	return s, nil
}

func (s *script) checkUsers() error {
	switch {
	case s.users < 0 || s.users > users:
		return fmt.Errorf("%d users: there are %d", s.users, users)
	case s.owned() && s.ids < s.users:
		return fmt.Errorf("%s needs a session for each of %d users, and there are %d", s.action, s.users, s.ids)
	case s.action == flood && (s.users == 0 || s.users > maxFloodUsers):
		return fmt.Errorf("%s by %d users: each needs an address", s.action, s.users)
	}
	return nil
}

// shuffle keeps the numbers from being created in order, which would put
// neighbours in the store next to each other.
func (s *script) shuffle() {
	s.order = make([]uint32, s.ids)
	for i := range s.order {
		s.order[i] = uint32(i)
	}
	draw := rand.New(rand.NewPCG(1, 2))
	draw.Shuffle(len(s.order), func(i, j int) { s.order[i], s.order[j] = s.order[j], s.order[i] })
}

// owned tells whether what is requested must be the user's own.
func (s *script) owned() bool { return s.users > 0 && (s.action == get || s.action == update) }

// userOf is who asks on the connection, and the user's number if it has one of the
// script's, else -1.
func (s *script) userOf(conn int) (user string, number int) {
	switch s.action {
	case create, get, list, update, flood:
		if s.users > 0 {
			return userName(conn % s.users), conn % s.users
		}
		return operator, -1
	case publish, getMessage, listMessages, seed, enrol:
		return writerUser, -1
	case joinLeave:
		return fmt.Sprintf("guest-%04d", conn+1), -1
	default:
		return operator, -1
	}
}

// userName is the name of one of those who own sessions.
func userName(number int) string { return fmt.Sprintf("user-%04d", number) }

// templates returns the requests that one connection needs for itself: one kind,
// or two in turn. The headers say who asks.
func (s *script) templates(conn int, headers []string) (main, other *template) {
	switch s.action {
	case echoCreate:
		return newTemplate("POST", s.addr, "/echo", createBody), nil
	case echoGet:
		return newTemplate("GET", s.addr, "/echo/b-"+idMark, ""), nil
	case create:
		return newTemplate("POST", s.addr, sessionsPath, createBody, headers...), nil
	case get:
		return newTemplate("GET", s.addr, sessionsPath+"/b-"+idMark, "", headers...), nil
	case list:
		return newTemplate("GET", s.addr, sessionsPath+"?pageSize=50", "", headers...), nil
	case update:
		path := sessionsPath + "/b-" + idMark + "?updateMask=displayName"
		return newTemplate("PATCH", s.addr, path, updateBody, headers...), nil
	case preload:
		return newTemplate("POST", s.addr, sessionsPath, createBody, headers...),
			newTemplate("POST", s.addr, sessionsPath+"?sessionId=b-"+idMark, createBody, headers...)
	case flood:
		return s.floodTemplate(conn, headers), nil
	default:
		return s.roomTemplates(headers)
	}
}

// writer renders the requests of one connection into its own buffers.
type writer struct {
	script      *script
	addr        string // where the connection goes
	main, other *template
	user        int    // who asks, if it is one of the script's users, else -1
	id          uint64 // of the room that was joined last
	joined      bool
}

func newWriter(s *script) (writer, error) {
	user, number := s.userOf(s.conns)
	headers, err := s.signer.headers(user)
	if err != nil {
		return writer{}, err
	}
	main, other := s.templates(s.conns, headers)
	main.owner = number
	addr := s.addrs[s.conns%len(s.addrs)]
	s.conns++
	return writer{script: s, addr: addr, main: main, other: other, user: number}, nil
}

// next returns the request of the ticket, valid until the next call.
func (w *writer) next(draw *rand.PCG, ticket int64) []byte {
	s := w.script
	switch s.action {
	case preload:
		if ticket&1 == 0 {
			w.preload(draw, ticket>>1)
			return w.other.text
		}
	case joinLeave:
		return w.nextMove(draw, ticket)
	case open, enrol, seed: // each number once
		w.main.fill(draw, ticket, uint64(ticket))
		return w.main.text
	default:
	}
	var id uint64
	switch {
	case w.main.id < 0:
	case s.owned():
		id = draw.Uint64()%uint64(s.ids/s.users)*uint64(s.users) + uint64(w.user)
	default:
		id = draw.Uint64() % uint64(s.ids)
	}
	w.main.fill(draw, ticket, id)
	return w.main.text
}

// preload renders the next session with a computable id. If users take turns, they
// own these in turn.
func (w *writer) preload(draw *rand.PCG, next int64) {
	s := w.script
	id := s.order[next]
	if s.users > 0 {
		w.other.owner = int(id) % s.users
	}
	w.other.fill(draw, next, uint64(id))
}
