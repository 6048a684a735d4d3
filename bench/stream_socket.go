//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
)

// Opcodes of a WebSocket's frames (RFC 6455 section 5.2).
const (
	opcodeText  = 0x1
	opcodeClose = 0x8
	opcodePing  = 0x9
	opcodePong  = 0xa
)

// socketHeaders ask for a WebSocket. The key need not be random for a reader
// that does not check what is made of it.
var socketHeaders = []string{
	"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
	"Sec-WebSocket-Key: cGFybGV5IGJlbmNobWFyaw==",
}

// cutFrame returns the parts of the event in the first frame of p. The name is
// empty if it is none; what a ping asks for is kept in pong.
func (s *stream) cutFrame(p []byte) (name, cursor, body, rest []byte, ok bool) {
	opcode, payload, rest, ok := splitFrame(p)
	if !ok {
		return nil, nil, nil, p, false
	}
	switch opcode {
	case opcodeText:
		name, cursor = splitEnvelope(payload)
	case opcodePing:
		s.pong = appendMasked(s.pong, opcodePong, payload)
	case opcodeClose:
		name = []byte("close")
	default:
	}
	return name, cursor, payload, rest, true
}

// splitFrame takes an unmasked frame apart, as servers send them: whole.
func splitFrame(p []byte) (opcode byte, payload, rest []byte, ok bool) {
	if len(p) < 2 {
		return 0, nil, p, false
	}
	opcode, length, head := p[0]&0xf, uint64(p[1]&0x7f), 2
	switch {
	case length == 126 && len(p) >= 4:
		length, head = uint64(binary.BigEndian.Uint16(p[2:])), 4
	case length == 127 && len(p) >= 10:
		length, head = binary.BigEndian.Uint64(p[2:]), 10
	case length >= 126:
		return 0, nil, p, false
	}
	if uint64(len(p)-head) < length {
		return 0, nil, p, false
	}
	end := head + int(length)
	return opcode, p[head:end], p[end:], true
}

// splitEnvelope reads the first two fields of an event, which the server writes
// in this order.
func splitEnvelope(envelope []byte) (name, cursor []byte) {
	rest, ok := bytes.CutPrefix(envelope, []byte(`{"event":"`))
	if !ok {
		return []byte("no event"), nil
	}
	name, rest, _ = bytes.Cut(rest, []byte(`"`))
	if rest, ok = bytes.CutPrefix(rest, []byte(`,"cursor":"`)); ok {
		cursor, _, _ = bytes.Cut(rest, []byte(`"`))
	}
	return name, cursor
}

// appendMasked appends a client's frame. Clients have to mask; a mask of zeros
// leaves the payload as it is. Payloads of control frames are short.
func appendMasked(b []byte, opcode byte, payload []byte) []byte {
	b = append(b, 0x80|opcode, 0x80|byte(len(payload)), 0, 0, 0, 0)
	return append(b, payload...)
}
