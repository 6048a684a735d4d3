package rest

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/lxzan/gws"

	"github.com/parleyhq/parley/internal/fault"
	"github.com/parleyhq/parley/internal/gate"
	"github.com/parleyhq/parley/internal/rpc"
	"github.com/parleyhq/parley/internal/session"
)

// The first bytes of a server's frames (RFC 6455 section 5.2): each is whole.
const (
	frameText = 0x81
	framePing = 0x89
)

// closeGoingAway is a close frame with status 1001.
var closeGoingAway = []byte{0x88, 2, 1001 >> 8, 1001 & 0xff}

// appendFrame appends a text frame.
func appendFrame(b, payload []byte) []byte {
	switch n := len(payload); {
	case n < 126:
		b = append(b, frameText, byte(n))
	case n < 1<<16:
		b = append(b, frameText, 126)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b = append(b, frameText, 127)
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return append(b, payload...)
}

// socketBuffer is how much of what a client sends is read at once: most send little.
const socketBuffer = 512

// socketConn is the connection as the WebSocket library has it: what it writes does not come between the bytes of an
// event.
type socketConn struct {
	net.Conn

	stream  *streamConn
	handler *handler
	opened  *gate.Call  // the call that opened it
	frames  int         // how many the client has sent
	header  http.Header // of the answer to the handshake; nil: that is written
	framing framing     // of what the client sends
	since   time.Time   // when the client began a message that is not whole; zero: there is none
}

// heard gives the client another while to show that it is there. A message that it has begun must be whole in a while of
// its own, whatever comes in between.
func (s *socketConn) heard() {
	until := time.Now().Add(s.stream.owner.silence)
	if !s.since.IsZero() && s.since.Add(s.stream.owner.message).Before(until) {
		until = s.since.Add(s.stream.owner.message)
	}
	_ = s.SetReadDeadline(until)
}

// follow looks at bytes that the client has sent, before the library does.
func (s *socketConn) follow(b []byte) {
	begun := s.framing.messages
	s.framing.follow(b)
	switch {
	case !s.framing.unfinished():
		s.since = time.Time{}
	case s.since.IsZero() || s.framing.messages != begun:
		s.since = time.Now()
		s.heard()
	}
}

// Read implements net.Conn. Whatever ends the reading is the end of the stream: the library would tell the client of
// errors in words of ours.
func (s *socketConn) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.follow(b[:n])
	if err != nil {
		err = io.EOF
	}
	return n, err
}

// Write implements net.Conn.
func (s *socketConn) Write(b []byte) (int, error) {
	s.stream.writing.Lock()
	defer s.stream.writing.Unlock()
	written := b
	if s.header != nil { // the library knows only fields that are the same for all
		status, fields, _ := bytes.Cut(b, []byte("\r\n"))
		written = append(appendOthers(append(bytes.Clone(status), "\r\n"...), s.header, nil), fields...)
		s.header = nil
	}
	if err := s.stream.writeAll(written); err != nil {
		return 0, err
	}
	return len(b), nil
}

// upgrade makes the connection a WebSocket, and reads it on a goroutine.
func (h *handler) upgrade(w http.ResponseWriter, r *http.Request, c *streamConn, call *gate.Call) error {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fault.New(fault.Unimplemented, "UNIMPLEMENTED", "WebSockets need HTTP/1.1").Because(err)
	}
	c.adopt(conn)
	early, _ := buffered.Peek(buffered.Reader.Buffered())
	socket := &socketConn{Conn: conn, stream: c, handler: h, opened: call, header: w.Header()}
	socket.follow(early)
	reader := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(bytes.Clone(early)), socket), socketBuffer)
	upgraded, err := h.upgrader.UpgradeFromConn(socket, reader, r)
	if err != nil {
		c.close()
		return nil //nolint:nilerr // the client is gone: nobody is left to be told
	}
	go socket.read(upgraded)
	return nil
}

// checkHandshake checks that the headers are those of RFC 6455 section 4.2.1.
func checkHandshake(h http.Header) error {
	key, err := base64.StdEncoding.DecodeString(h.Get("Sec-WebSocket-Key"))
	upgrade := false
	for option := range strings.SplitSeq(strings.Join(h.Values("Connection"), ","), ",") {
		upgrade = upgrade || strings.EqualFold(strings.TrimSpace(option), "upgrade")
	}
	if err != nil || len(key) != 16 || !upgrade || h.Get("Sec-WebSocket-Version") != "13" {
		return fault.New(fault.InvalidArgument, "BAD_HANDSHAKE", "the WebSocket handshake must be that of RFC 6455, version 13")
	}
	return nil
}

// read handles what the client sends, until the connection ends. The library panics over a frame that claims a length of
// more than 63 bits: that is its client's end, not the server's.
func (s *socketConn) read(upgraded *gws.Conn) {
	defer func() {
		if p := recover(); p != nil {
			s.handler.Log.Warn("a WebSocket was ended by a panic", "panic", p)
			s.stream.close()
		}
	}()
	upgraded.ReadLoop()
}

func newUpgrader() *gws.Upgrader {
	return gws.NewUpgrader(socketEvents{}, &gws.ServerOption{
		ReadMaxPayloadSize: gate.MaxPublishBody,
		ReadBufferSize:     socketBuffer,
		CheckUtf8Enabled:   true,
		Recovery:           gws.Recovery,
	})
}

// socketEvents handles what clients send. Each socket's frames are handled one after the other, so a client that sends
// more than it is served waits, and nobody else.
type socketEvents struct{}

func streamOf(socket *gws.Conn) *socketConn { return socket.NetConn().(*socketConn) }

// OnOpen implements gws.Event.
func (socketEvents) OnOpen(socket *gws.Conn) { streamOf(socket).heard() }

// OnClose implements gws.Event.
func (socketEvents) OnClose(socket *gws.Conn, _ error) { streamOf(socket).stream.close() }

// OnPing implements gws.Event. Pings count as requests of the address; one beyond its limit gets no answer.
func (socketEvents) OnPing(socket *gws.Conn, payload []byte) {
	streamOf(socket).heard()
	if streamOf(socket).opened.TakeAddress() == nil {
		_ = socket.WritePong(payload)
	}
}

// OnPong implements gws.Event.
func (socketEvents) OnPong(socket *gws.Conn, _ []byte) { streamOf(socket).heard() }

// OnMessage implements gws.Event: it publishes.
func (socketEvents) OnMessage(socket *gws.Conn, message *gws.Message) {
	defer func() { _ = message.Close() }()
	streamOf(socket).heard()
	b := buffers.Get().(*buffer)
	defer b.release()
	b.bytes = streamOf(socket).publish(b.bytes, message.Bytes())
	_ = socket.WriteMessage(gws.OpcodeText, b.bytes) // a client that is gone needs no answer
}

// publish does what a frame asks for, and appends the answer. A frame is a call like any other, under the id of the
// request that opened the socket, and a number.
func (s *socketConn) publish(answer, frame []byte) []byte {
	s.frames++
	call, err := s.opened.Next(s.opened.ID+"."+strconv.Itoa(s.frames), "websocket", gate.PublishMessage)
	ended := errUnanswered
	defer func() { call.End(s.stream.owner.ctx, ended) }()
	if err != nil {
		answer = s.appendRefusal(answer, call, requestIDIn(frame), err)
	} else {
		answer, err = s.published(answer, call, frame)
	}
	ended = err
	return answer
}

// published publishes, and appends the answer. The error is one that the answer has.
func (s *socketConn) published(answer []byte, call *gate.Call, frame []byte) ([]byte, error) {
	if err := call.TakeBody(int64(len(frame))); err != nil {
		return s.appendRefusal(answer, call, requestIDIn(frame), err), err
	}
	if err := s.handler.Service.CheckCredential(call.Caller); err != nil {
		return s.appendRefusal(answer, call, requestIDIn(frame), err), err
	}
	request, err := session.DecodeClientFrame(frame)
	if err != nil {
		return s.appendRefusal(answer, call, requestIDIn(frame), err), err
	}
	request.ID, call.For = call.Session, request.Name
	event, err := s.handler.Service.Publish(s.stream.owner.ctx, call.Caller, *request)
	if err != nil {
		return s.appendRefusal(answer, call, request.RequestID, err), err
	}
	answer = append(answer, `{"ack":{"requestId":"`...)
	answer = append(answer, request.RequestID...)
	answer = append(answer, `",`...)
	answer = session.AppendPublished(answer, event)
	return append(answer, `}}`...), nil
}

// requestIDIn is what a frame that is refused has for its client to know it by, as far as it can be told.
func requestIDIn(frame []byte) string {
	var named struct {
		Publish struct {
			RequestID string `json:"requestId"`
		} `json:"publish"`
	}
	if json.Unmarshal(frame, &named) != nil || len(named.Publish.RequestID) > session.MaxRequestIDBytes {
		return ""
	}
	return named.Publish.RequestID
}

// appendRefusal appends what is wrong.
func (s *socketConn) appendRefusal(answer []byte, call *gate.Call, requestID string, err error) []byte {
	f := gate.Shown(s.stream.owner.ctx, s.handler.Log, call.ID, err,
		slog.String("method", "websocket"), slog.String("path", call.Session))
	encoded, err := json.Marshal(struct {
		RequestID string        `json:"requestId"`
		Error     rpc.ErrorJSON `json:"error"`
	}{requestID, rpc.ErrorOf(f)})
	if err != nil {
		return append(answer, rpc.InternalErrorJSON...)
	}
	return append(answer, encoded...)
}
