package rest

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/lxzan/gws"

	"github.com/parleyhq/parley/internal/fault"
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
	caller  session.Caller
	id      string // of the session
}

// Read implements net.Conn. Whatever ends the reading is the end of the stream: the library would tell the client of
// errors in words of ours.
func (s *socketConn) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if err != nil {
		err = io.EOF
	}
	return n, err
}

// Write implements net.Conn.
func (s *socketConn) Write(b []byte) (int, error) {
	s.stream.writing.Lock()
	defer s.stream.writing.Unlock()
	if err := s.stream.writeAll(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// upgrade makes the connection a WebSocket, and reads it on a goroutine.
func (h *handler) upgrade(w http.ResponseWriter, r *http.Request, c *streamConn, caller session.Caller, id string) error {
	if !isHandshake(r.Header) {
		return fault.New(fault.InvalidArgument, "BAD_HANDSHAKE", "the WebSocket handshake must be that of RFC 6455, version 13")
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fault.New(fault.Unimplemented, "UNIMPLEMENTED", "WebSockets need HTTP/1.1").Because(err)
	}
	c.adopt(conn)
	early, _ := buffered.Peek(buffered.Reader.Buffered())
	socket := &socketConn{Conn: conn, stream: c, handler: h, caller: caller, id: id}
	reader := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(bytes.Clone(early)), socket), socketBuffer)
	upgraded, err := h.upgrader.UpgradeFromConn(socket, reader, r)
	if err != nil {
		c.close()
		return nil //nolint:nilerr // the client is gone: nobody is left to be told
	}
	go socket.read(upgraded)
	return nil
}

// isHandshake tells whether the headers are those of RFC 6455 section 4.2.1.
func isHandshake(h http.Header) bool {
	key, err := base64.StdEncoding.DecodeString(h.Get("Sec-WebSocket-Key"))
	upgrade := false
	for option := range strings.SplitSeq(strings.Join(h.Values("Connection"), ","), ",") {
		upgrade = upgrade || strings.EqualFold(strings.TrimSpace(option), "upgrade")
	}
	return err == nil && len(key) == 16 && upgrade && h.Get("Sec-WebSocket-Version") == "13"
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
		ReadMaxPayloadSize: maxPublishBody,
		ReadBufferSize:     socketBuffer,
		CheckUtf8Enabled:   true,
		Recovery:           gws.Recovery,
	})
}

// socketEvents handles what clients send. Each socket's frames are handled one after the other, so a client that sends
// more than it is served waits, and nobody else.
type socketEvents struct{}

func streamOf(socket *gws.Conn) *socketConn { return socket.NetConn().(*socketConn) }

// heard gives the client another while to show that it is there.
func heard(socket *gws.Conn) {
	_ = socket.SetReadDeadline(time.Now().Add(streamOf(socket).stream.owner.silence))
}

// OnOpen implements gws.Event.
func (socketEvents) OnOpen(socket *gws.Conn) { heard(socket) }

// OnClose implements gws.Event.
func (socketEvents) OnClose(socket *gws.Conn, _ error) { streamOf(socket).stream.close() }

// OnPing implements gws.Event.
func (socketEvents) OnPing(socket *gws.Conn, payload []byte) {
	heard(socket)
	_ = socket.WritePong(payload)
}

// OnPong implements gws.Event.
func (socketEvents) OnPong(socket *gws.Conn, _ []byte) { heard(socket) }

// OnMessage implements gws.Event: it publishes.
func (socketEvents) OnMessage(socket *gws.Conn, message *gws.Message) {
	defer func() { _ = message.Close() }()
	heard(socket)
	b := buffers.Get().(*buffer)
	defer b.release()
	b.bytes = streamOf(socket).publish(b.bytes, message.Bytes())
	_ = socket.WriteMessage(gws.OpcodeText, b.bytes) // a client that is gone needs no answer
}

// publish does what a frame asks for, and appends the answer.
func (s *socketConn) publish(answer, frame []byte) []byte {
	request, err := session.DecodeClientFrame(frame)
	if err != nil {
		return s.appendRefusal(answer, requestIDIn(frame), err)
	}
	request.ID = s.id
	event, err := s.handler.Service.Publish(s.stream.owner.ctx, s.caller, *request)
	if err != nil {
		return s.appendRefusal(answer, request.RequestID, err)
	}
	answer = append(answer, `{"ack":{"requestId":"`...)
	answer = append(answer, request.RequestID...)
	answer = append(answer, `",`...)
	answer = appendPublished(answer, event)
	return append(answer, `}}`...)
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
func (s *socketConn) appendRefusal(answer []byte, requestID string, err error) []byte {
	f := s.handler.shown(s.stream.owner.ctx, "websocket", s.id, err)
	encoded, err := json.Marshal(struct {
		RequestID string    `json:"requestId"`
		Error     errorJSON `json:"error"`
	}{requestID, errorOf(f)})
	if err != nil {
		return append(answer, internalError...)
	}
	return append(answer, encoded...)
}
