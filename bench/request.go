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
	}
	if t.kind >= 0 {
		t.kind += len(`"sessionType":`)
	}
	return t
}

// fill overwrites the varying parts. Types alternate with the ticket, names and
// owners are drawn; a message says when it was sent.
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
	addr   string
	ids    int      // sessions with a computable id: b-00000000 to b-<ids - 1>; of messages, see row
	order  []uint32 // the order in which a preload creates them
	users  int      // who join and leave, one for each connection
}

func newScript(a action, addr string, ids int) (*script, error) {
	s := &script{action: a, addr: addr, ids: ids}
	if ids < 0 || ids > 99_999_999 {
		return nil, fmt.Errorf("%d sessions with computable ids: their numbers have 8 digits", ids)
	}
	switch a {
	case echoCreate, create, list, echoPublish, listMessages, open, enrol, seed:
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

// templates returns the requests that one connection needs for itself: one kind,
// or two in turn.
func (s *script) templates() (main, other *template) {
	switch s.action {
	case echoCreate:
		return newTemplate("POST", s.addr, "/echo", createBody), nil
	case echoGet:
		return newTemplate("GET", s.addr, "/echo/b-"+idMark, ""), nil
	case create:
		return newTemplate("POST", s.addr, sessionsPath, createBody), nil
	case get:
		return newTemplate("GET", s.addr, sessionsPath+"/b-"+idMark, ""), nil
	case list:
		return newTemplate("GET", s.addr, sessionsPath+"?pageSize=50", ""), nil
	case update:
		path := sessionsPath + "/b-" + idMark + "?updateMask=displayName"
		return newTemplate("PATCH", s.addr, path, updateBody), nil
	case preload:
		return newTemplate("POST", s.addr, sessionsPath, createBody),
			newTemplate("POST", s.addr, sessionsPath+"?sessionId=b-"+idMark, createBody)
	default:
		return s.roomTemplates()
	}
}

// writer renders the requests of one connection into its own buffers.
type writer struct {
	script      *script
	main, other *template
	id          uint64 // of the room that was joined last
	joined      bool
}

func newWriter(s *script) writer {
	main, other := s.templates()
	return writer{script: s, main: main, other: other}
}

// next returns the request of the ticket, valid until the next call.
func (w *writer) next(draw *rand.PCG, ticket int64) []byte {
	s := w.script
	switch s.action {
	case preload:
		if ticket&1 == 0 {
			w.other.fill(draw, ticket>>1, uint64(s.order[ticket>>1]))
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
	if w.main.id >= 0 {
		id = draw.Uint64() % uint64(s.ids)
	}
	w.main.fill(draw, ticket, id)
	return w.main.text
}
