package session

import (
	"strings"

	"github.com/parleyhq/parley/internal/fault"
)

const maxIDBytes = 63

// MaxRequestIDBytes is how long a requestId may be.
const MaxRequestIDBytes = 64

const (
	idRule   = "must be a letter or digit, and then at most 62 letters, digits, underscores or hyphens"
	nameRule = `must be "sessions/" and the session's id: a letter or digit, and then at most 62 letters, digits, ` +
		`underscores or hyphens`
	messageNameRule = `must be "sessions/", the session's id, "/messages/", and the message's id, each of which is a ` +
		`letter or digit, and then at most 62 letters, digits, underscores or hyphens`
)

// ValidID tells whether a session may have the id, which is one token of a NATS subject:
// [A-Za-z0-9][A-Za-z0-9_-]{0,62}.
func ValidID(id string) bool {
	if id == "" || len(id) > maxIDBytes || !isAlphanumeric(id[0]) {
		return false
	}
	for i := 1; i < len(id); i++ {
		if !isAlphanumeric(id[i]) && id[i] != '_' && id[i] != '-' {
			return false
		}
	}
	return true
}

// ParseName returns the id in a session's resource name, "sessions/{session}".
// The fault of another name is InvalidArgument at name.
func ParseName(name string) (string, error) {
	id, ok := cutName(name)
	if !ok {
		return "", fault.Invalid("name", nameRule)
	}
	return id, nil
}

// ParseSession returns the id in a session's resource name, where the request has it in a field of its own: the fault
// of another name is InvalidArgument at session.
func ParseSession(name string) (string, error) {
	id, ok := cutName(name)
	if !ok {
		return "", fault.Invalid("session", nameRule)
	}
	return id, nil
}

// ParseMessageName returns the ids in a message's resource name, "sessions/{session}/messages/{message}".
// The fault of another name is InvalidArgument at name.
func ParseMessageName(name string) (id, messageID string, err error) {
	session, messageID, _ := strings.Cut(name, messagesInfix)
	id, ok := cutName(session)
	if !ok || !ValidID(messageID) {
		return "", "", fault.Invalid("name", messageNameRule)
	}
	return id, messageID, nil
}

// idFrom is the id that a create asks for: by the sessionId parameter, or else by the name in its body; empty: the
// server is to make one. What is wrong with either, or between the two, is added to v.
func idFrom(sessionID, name string, v *fault.Violations) string {
	if sessionID != "" && !ValidID(sessionID) {
		report(v, "sessionId", idRule)
	}
	if name == "" {
		return sessionID
	}
	id, ok := cutName(name)
	switch {
	case !ok:
		report(v, "name", nameRule)
	case sessionID != "" && sessionID != id:
		report(v, "name", "must name the same session as sessionId, or be left out")
	}
	return id
}

func cutName(name string) (id string, ok bool) {
	id, ok = strings.CutPrefix(name, NamePrefix)
	return id, ok && ValidID(id)
}

// checkID is an InvalidArgument fault at name if no session can have the id.
func checkID(id string) error {
	if !ValidID(id) {
		return fault.Invalid("name", nameRule)
	}
	return nil
}

// checkSession does the same at session, for requests in which name is a user.
func checkSession(id string) error {
	if !ValidID(id) {
		return fault.Invalid("session", nameRule)
	}
	return nil
}

// checkRequestID checks a requestId (AIP-155); the empty one stands for none.
func checkRequestID(id string, v *fault.Violations) {
	valid := len(id) <= MaxRequestIDBytes
	for i := 0; valid && i < len(id); i++ {
		valid = isAlphanumeric(id[i]) || id[i] == '.' || id[i] == '_' || id[i] == '-'
	}
	if !valid {
		report(v, "requestId", "must be 1 to %d letters, digits, dots, underscores or hyphens", MaxRequestIDBytes)
	}
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// CheckUser is an InvalidArgument fault at the field if no user can have the identifier: it must be 1 to 128 bytes of
// valid UTF-8 without control characters.
func CheckUser(field, user string) error {
	var v fault.Violations
	checkUsers(field, []string{user}, 1, &v)
	if len(v) == 0 {
		return nil
	}
	v[0].Field = field
	return fault.InvalidAll(v[:1])
}
