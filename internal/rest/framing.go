package rest

import "encoding/binary"

// framing follows the frames of a client (RFC 6455 section 5.2), as far as that tells whether a message is whole. The
// library says nothing of a message before that.
type framing struct {
	header   [10]byte // of the frame that is coming: what says its kind and length
	got      int      // so many bytes of it; 0: no frame has begun
	left     uint64   // how many bytes of the frame are yet to come, once its header is there
	open     bool     // a message has begun, and its last frame is not there
	messages int      // how many have begun
}

// unfinished tells whether a message has begun that is not whole.
func (f *framing) unfinished() bool { return f.open }

// follow takes what comes next.
func (f *framing) follow(b []byte) {
	for len(b) > 0 {
		if f.left > 0 {
			n := min(f.left, uint64(len(b)))
			f.left -= n
			b = b[n:]
		} else {
			f.header[f.got] = b[0]
			f.got++
			b = b[1:]
			f.begin()
		}
		if f.left == 0 && f.got == f.headerBytes() {
			f.end()
		}
	}
}

const (
	frameFinal   = 0x80 // in the first byte: the last frame of its message
	frameControl = 0x08 // likewise: not of a message
	frameMasked  = 0x80 // in the second byte: four bytes of a mask follow
)

// headerBytes is how many bytes say the kind and the length.
func (f *framing) headerBytes() int {
	if f.got < 2 {
		return 2
	}
	switch f.header[1] &^ frameMasked {
	case 126:
		return 4
	case 127:
		return 10
	default:
		return 2
	}
}

// begin does what another byte of the header tells.
func (f *framing) begin() {
	if f.got == 1 && f.header[0]&frameControl == 0 && !f.open {
		f.open = true
		f.messages++
	}
	if f.got < 2 || f.got != f.headerBytes() {
		return
	}
	switch f.got {
	case 4:
		f.left = uint64(binary.BigEndian.Uint16(f.header[2:]))
	case 10:
		f.left = binary.BigEndian.Uint64(f.header[2:])
	default:
		f.left = uint64(f.header[1] &^ frameMasked)
	}
	if f.header[1]&frameMasked != 0 {
		f.left += 4
	}
}

// end is called when a frame is whole.
func (f *framing) end() {
	if f.header[0]&frameControl == 0 && f.header[0]&frameFinal != 0 {
		f.open = false
	}
	f.got = 0
}
