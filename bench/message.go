//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
)

// Messages go to rooms: PUBLIC sessions r-00000000 to r-00000999, which one user
// has joined, who publishes on all connections. One more room is for reading:
// its messages have ids that can be computed.
const (
	rooms   = 1000
	seeded  = 1000
	archive = "r-00001000"

	writerUser = "writer"

	// sentMark is where a message says when it was sent, in nanoseconds since 1970.
	sentMark = "<nanoseconds, 1970>"

	roomBody = `{"profile":"support-assistant-v2","displayName":"Room with a view","sessionType":1,` +
		`"owners":["user-0001"],"defaultChannels":[1,4]}`
)

// messageText has 300 bytes, as a few sentences have.
var messageText = (sentMark + " " + strings.Repeat("The parcel left the warehouse this morning. ", 7))[:300]

var (
	publishBody = `{"message":{"text":"` + messageText + `"}}`
	seedBody    = `{"message":{"messageId":"m-` + idMark + `","text":"` + messageText + `"}}`
)

// stamped is the text of a message that is sent now.
func stamped(nanoseconds int64) string {
	text := []byte(messageText)
	putDigits(text[:len(sentMark)], uint64(nanoseconds))
	return string(text)
}

// roomName is the id of a room.
func roomName(number int) string { return fmt.Sprintf("r-%08d", number) }

// roomTemplates are the requests of actions on messages and members.
func (s *script) roomTemplates(headers []string) (main, other *template) {
	const room = sessionsPath + "/r-" + idMark
	switch s.action {
	case echoPublish:
		return newTemplate("POST", s.addr, "/echo/messages", publishBody), nil
	case publish:
		return newTemplate("POST", s.addr, room+"/messages", publishBody, headers...), nil
	case getMessage:
		return newTemplate("GET", s.addr, sessionsPath+"/"+archive+"/messages/m-"+idMark, "", headers...), nil
	case listMessages:
		return newTemplate("GET", s.addr, sessionsPath+"/"+archive+"/messages?pageSize=50", "", headers...), nil
	case seed:
		return newTemplate("POST", s.addr, sessionsPath+"/"+archive+"/messages", seedBody, headers...), nil
	case enrol:
		return newTemplate("POST", s.addr, room+"/join", "{}", headers...), nil
	case joinLeave:
		return newTemplate("POST", s.addr, room+"/join", "{}", headers...),
			newTemplate("POST", s.addr, room+"/leave", "{}", headers...)
	default: // open
		return newTemplate("POST", s.addr, sessionsPath+"?sessionId=r-"+idMark, roomBody, headers...), nil
	}
}

// nextMove joins a room, or leaves the one that was joined.
func (w *writer) nextMove(draw *rand.PCG, ticket int64) []byte {
	t := w.other
	if !w.joined {
		t, w.id = w.main, draw.Uint64()%uint64(w.script.ids)
	}
	w.joined = !w.joined
	t.fill(draw, ticket, w.id)
	return t.text
}

// echoRequest and echoAnswer have the fields of a publish and its answer.
type echoRequest struct {
	Name    string       `json:"name"`
	Message *echoMessage `json:"message"`
	UID     string       `json:"uid"`
}

type echoMessage struct {
	Name        string         `json:"name"`
	MessageID   string         `json:"messageId"`
	Sender      string         `json:"sender"`
	Channel     int32          `json:"channel"`
	Sequence    string         `json:"sequence"`
	CreateTime  string         `json:"createTime"`
	Text        string         `json:"text"`
	ContentType string         `json:"contentType"`
	ReplyTo     string         `json:"replyTo"`
	Metadata    map[string]any `json:"metadata,omitempty"`
}

type echoAnswer struct {
	Acknowledgment string       `json:"acknowledgment"`
	Message        *echoMessage `json:"message"`
}

// echoMessages is the ceiling of a publish: it decodes and encodes, and delivers
// to nobody.
func echoMessages(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var request echoRequest
	if err := json.Unmarshal(body, &request); err != nil || request.Message == nil {
		http.Error(w, "no message", http.StatusBadRequest)
		return
	}
	m := request.Message
	m.Name = "sessions/r-00000042/messages/01989c2e-7a53-7c1e-8000-000000000007"
	m.MessageID = "01989c2e-7a53-7c1e-8000-000000000007"
	m.Sender, m.Channel, m.Sequence, m.CreateTime = writerUser, 1, "7", "2026-01-02T03:04:05.000006Z"
	answer(w, echoAnswer{"01989c2e-7a53-7c1e-9b1f-3f0d2c4b5a69:7", m})
}
