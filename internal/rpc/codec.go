package rpc

import (
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/parleyhq/parley/internal/session"
)

// encodedEvent is an Event that is encoded already: once, for all streams that send it.
type encodedEvent []byte

// encodeEvent encodes an event for the streams.
func encodeEvent(e *session.Event) ([]byte, error) {
	event, err := eventOf(e)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(event)
}

// codec is protobuf's, and sends what is encoded already as it is.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(protocodec.Name)} }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if encoded, ok := v.(encodedEvent); ok {
		return mem.BufferSlice{mem.SliceBuffer(encoded)}, nil
	}
	return c.CodecV2.Marshal(v)
}
