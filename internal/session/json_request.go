package session

import (
	"bytes"
	"encoding/base64"

	"github.com/parleyhq/parley/internal/fault"
)

// The decoders of this file read the bodies of the requests that have one of their own, as DecodeDraft reads a session:
// what it says of names, of null, and of what is reported, holds for them. The session is not in the body. The rules of
// a request are checked by Service.

// DecodeJoin reads the body of a join. An empty body is one without fields.
func DecodeJoin(body []byte) (*JoinRequest, error) {
	request := new(JoinRequest)
	if isBlank(body) {
		return request, nil
	}
	if _, err := decode(body, joinFields, request); err != nil {
		return nil, err
	}
	return request, nil
}

// DecodeLeave reads the body of a leave. An empty body is one without fields.
func DecodeLeave(body []byte) (*LeaveRequest, error) {
	request := new(LeaveRequest)
	if isBlank(body) {
		return request, nil
	}
	if _, err := decode(body, leaveFields, request); err != nil {
		return nil, err
	}
	return request, nil
}

// DecodeCreateTicket reads the body of a request for a ticket. An empty body is one without fields.
func DecodeCreateTicket(body []byte) (*CreateTicketRequest, error) {
	request := new(CreateTicketRequest)
	if isBlank(body) {
		return request, nil
	}
	if _, err := decode(body, ticketFields, request); err != nil {
		return nil, err
	}
	return request, nil
}

// DecodePublish reads the body of a publish. The request holds nothing of it.
func DecodePublish(body []byte) (*PublishRequest, error) {
	request := new(PublishRequest)
	if _, err := decode(body, publishFields, request); err != nil {
		return nil, err
	}
	return request, nil
}

// DecodeClientFrame reads what a client sends on a stream: {"publish": …}, with the body of a publish in it. The paths
// of violations are those that the body has by itself.
func DecodeClientFrame(frame []byte) (*PublishRequest, error) {
	var content clientFrame
	if _, err := decode(frame, frameFields, &content); err != nil {
		return nil, err
	}
	if content.publish == nil {
		return nil, fault.Invalid("publish", "is required")
	}
	return content.publish, nil
}

// isBlank tells whether the body has nothing but white space.
func isBlank(body []byte) bool { return len(bytes.TrimLeft(body, " \t\r\n")) == 0 }

// textField is a field that is a string.
func textField[T any](name string, of func(*T) *string) field[T] {
	return field[T]{name: name, read: func(d *decoder, to *T, path string) error { return d.text(of(to), at(path)) }}
}

var joinFields = newFields("",
	textField("name", func(r *JoinRequest) *string { return &r.Name }),
	textField("secretKey", func(r *JoinRequest) *string { return &r.SecretKey }),
	field[JoinRequest]{name: "channels", read: func(d *decoder, r *JoinRequest, path string) error { return d.channels(&r.Channels, path) }},
	textField("uid", func(r *JoinRequest) *string { return &r.UID }),
	textField("requestId", func(r *JoinRequest) *string { return &r.RequestID }),
)

var leaveFields = newFields("",
	textField("name", func(r *LeaveRequest) *string { return &r.Name }),
	textField("requestId", func(r *LeaveRequest) *string { return &r.RequestID }),
)

var ticketFields = newFields("",
	textField("requestId", func(r *CreateTicketRequest) *string { return &r.RequestID }),
)

var publishFields = newFields("",
	textField("name", func(r *PublishRequest) *string { return &r.Name }),
	field[PublishRequest]{name: "message", read: (*decoder).message},
	textField("uid", func(r *PublishRequest) *string { return &r.UID }),
	textField("requestId", func(r *PublishRequest) *string { return &r.RequestID }),
)

var messageFields = newFields("message.",
	field[Message]{name: "text", read: (*decoder).messageText},
	field[Message]{name: "data", read: (*decoder).messageData},
	field[Message]{name: "blob", read: (*decoder).messageBlob},
	textField("contentType", func(m *Message) *string { return &m.ContentType }),
	field[Message]{name: "metadata", read: (*decoder).messageMetadata},
	textField("replyTo", func(m *Message) *string { return &m.ReplyTo }),
	textField("messageId", func(m *Message) *string { return &m.ID }),
	field[Message]{name: "channel", read: (*decoder).messageChannel},
	field[Message]{name: "name"},
	field[Message]{name: "sender"},
	field[Message]{name: "sequence"},
	field[Message]{name: "createTime"},
)

// clientFrame is what a client sends on a stream.
type clientFrame struct{ publish *PublishRequest }

var frameFields = newFields("", field[clientFrame]{name: "publish", read: (*decoder).publish})

func (d *decoder) publish(frame *clientFrame, path string) error {
	frame.publish = new(PublishRequest)
	d.outer = "." + path
	return inner(d, publishFields, frame.publish, path)
}

func (d *decoder) message(r *PublishRequest, path string) error {
	r.Message = new(Message)
	return inner(d, messageFields, r.Message, path)
}

// inner reads an object that is a field of another.
func inner[T any](d *decoder, fields *fields[T], to *T, path string) error {
	if d.json.PeekKind() != '{' {
		return d.skip(at(path), "must be an object")
	}
	_, err := object(d, fields, to)
	return err
}

func (d *decoder) messageText(m *Message, path string) error {
	m.Kind = ContentText
	m.Contents++
	return d.text(&m.Text, at(path))
}

// dataRoom is as many bytes as the data of most messages need.
const dataRoom = 512

func (d *decoder) messageData(m *Message, path string) (err error) {
	m.Kind = ContentData
	m.Contents++
	m.Data, err = compact(&d.json, compaction{field: path, outer: d.outer, most: MaxMessageBytes, room: dataRoom}, &d.violations)
	return err
}

func (d *decoder) messageBlob(m *Message, path string) error {
	m.Kind = ContentBlob
	m.Contents++
	const rule = "must be a string of base64"
	if d.json.PeekKind() != '"' {
		return d.skip(at(path), rule)
	}
	raw, err := d.json.ReadValue()
	if err != nil {
		return err
	}
	var ok bool
	if m.Blob, ok = decodeBase64(unquoted(raw)); !ok {
		report(&d.violations, path, rule)
	}
	return nil
}

// decodeBase64 reads base64 as protobuf's JSON has it: in the standard alphabet or in that of URLs, padded or not.
func decodeBase64(text []byte) ([]byte, bool) {
	encoding := base64.StdEncoding
	if bytes.ContainsAny(text, "-_") {
		encoding = base64.URLEncoding
	}
	if len(text)%4 != 0 {
		encoding = encoding.WithPadding(base64.NoPadding)
	}
	decoded, err := encoding.AppendDecode(nil, text)
	return decoded, err == nil
}

func (d *decoder) messageMetadata(m *Message, path string) (err error) {
	m.Metadata, err = d.compactObject(path)
	return err
}

func (d *decoder) messageChannel(m *Message, path string) (err error) {
	m.Channel, err = d.int32(at(path), int32Rule)
	return err
}
