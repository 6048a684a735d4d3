package session

import "encoding/base64"

// MaxContentTypeBytes is how long a contentType may be.
const MaxContentTypeBytes = 255

// ContentKind says which content a message has.
type ContentKind uint8

// The kinds of content.
const (
	ContentNone ContentKind = iota
	ContentText
	ContentData
	ContentBlob
)

// Message is what a request says: a message that is yet to be published. Each of Data and Metadata is compact JSON, as
// CompactValue makes it.
type Message struct {
	ID          string // the wanted messageId; empty: made by the server
	Channel     int32  // 0: the first of the session's defaultChannels
	Kind        ContentKind
	Text        string
	Data        []byte
	Blob        []byte
	ContentType string
	Metadata    []byte // nil: none
	ReplyTo     string
	Contents    int // how many of text, data and blob the request has
}

// Size is the number of bytes of the content, which maxMessageBytes limits.
func (m *Message) Size() int { return len(m.Text) + len(m.Data) + len(m.Blob) }

// AppendJSON appends the document of a message: what its publisher said, less the id and the channel.
func (m *Message) AppendJSON(b []byte) []byte {
	switch m.Kind {
	case ContentText:
		b = append(b, `{"text":`...)
		b = appendString(b, m.Text)
	case ContentData:
		b = append(b, `{"data":`...)
		b = append(b, m.Data...)
	default:
		b = append(b, `{"blob":"`...)
		b = base64.StdEncoding.AppendEncode(b, m.Blob)
		b = append(b, '"')
	}
	b = append(b, `,"contentType":`...)
	b = appendString(b, m.ContentType)
	if m.Metadata != nil {
		b = append(b, `,"metadata":`...)
		b = append(b, m.Metadata...)
	}
	b = append(b, `,"replyTo":`...)
	b = appendString(b, m.ReplyTo)
	return append(b, '}')
}
