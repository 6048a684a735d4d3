package session

import (
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// AppendJSON appends the session as the API answers it: what the server knows of it, then the document as it is stored.
// A secretKey that is empty is left out.
func (r *Record) AppendJSON(b []byte, secretKey string) []byte {
	b = append(b, `{"name":"`+NamePrefix...)
	b = append(b, r.ID...)
	b = append(b, `","sessionId":"`...)
	b = append(b, r.ID...)
	b = append(b, `","uid":"`...)
	b = r.UID.Append(b)
	b = append(b, `","etag":"`...)
	b = r.appendETag(b)
	b = append(b, `","creator":`...)
	b = appendString(b, r.Creator)
	b = append(b, `,"hasSecretKey":`...)
	b = strconv.AppendBool(b, r.Secret.Exists())
	if secretKey != "" {
		b = append(b, `,"secretKey":`...)
		b = appendString(b, secretKey)
	}
	b = append(b, `,"headSequence":"`...)
	b = strconv.AppendInt(b, r.Head.Sequence, 10)
	b = append(b, `","memberCount":`...)
	b = strconv.AppendInt(b, int64(r.Head.Members), 10)
	b = appendTime(b, "lastMessageTime", r.Head.LastMessageTime)
	b = appendTime(b, "expireTime", r.ExpireTime)
	b = appendTime(b, "createTime", r.CreateTime)
	b = appendTime(b, "updateTime", r.UpdateTime)
	b = append(b, ',')
	return append(b, r.Document[1:]...)
}

// appendTime appends a member of an object; none for the zero time.
func appendTime(b []byte, name string, t Time) []byte {
	if t == 0 {
		return b
	}
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":"`...)
	b = t.Append(b)
	return append(b, '"')
}

// AppendJSON appends the document of a Spec: every field in a fixed order, also when it is empty, but no options if
// there are none.
func (s *Spec) AppendJSON(b []byte) []byte {
	b = append(b, `{"profile":`...)
	b = appendString(b, s.Profile)
	b = append(b, `,"displayName":`...)
	b = appendString(b, s.DisplayName)
	b = append(b, `,"sessionType":`...)
	b = strconv.AppendInt(b, int64(s.Type), 10)
	b = append(b, `,"owners":`...)
	b = appendStrings(b, s.Owners)
	b = append(b, `,"defaultChannels":`...)
	b = appendChannels(b, s.DefaultChannels)
	b = append(b, `,"description":`...)
	b = appendString(b, s.Description)
	b = append(b, `,"allowedUsers":`...)
	b = appendStrings(b, s.AllowedUsers)
	b = append(b, `,"blockedUsers":`...)
	b = appendStrings(b, s.BlockedUsers)
	if s.Options != nil {
		b = append(b, `,"options":`...)
		b = append(b, s.Options...)
	}
	b = append(b, `,"labels":`...)
	b = appendLabels(b, s.Labels)
	return append(b, '}')
}

func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, text := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, text)
	}
	return append(b, ']')
}

// appendLabels appends the labels in the order of their keys, so that equal Specs have equal documents.
func appendLabels(b []byte, labels map[string]string) []byte {
	keys := make([]string, 0, 8) // on the stack, as a rule
	for key := range labels {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	b = append(b, '{')
	for i, key := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, key)
		b = append(b, ':')
		b = appendString(b, labels[key])
	}
	return append(b, '}')
}

// appendString appends a JSON string. What comes in is valid UTF-8: the decoders see to it; what is not would become
// the replacement character.
func appendString(b []byte, text string) []byte {
	if !isPlain(text) {
		b, _ = jsontext.AppendQuote(b, text)
		return b
	}
	b = append(b, '"')
	b = append(b, text...)
	return append(b, '"')
}

// isPlain tells whether the text stands in JSON as it is; most does, and then the search is all that it costs.
func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			return false
		}
	}
	return true
}
