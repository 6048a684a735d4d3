package gate

import "crypto/rand"

// MaxRequestIDBytes is how long an id may be that a client gives its request.
const MaxRequestIDBytes = 128

// RequestID is the id of a request, by which its client and the log know it: the one that the client gave, if it gave
// one that is fit to be in a log, or else a new one.
func RequestID(given []string) string {
	if len(given) == 1 && isRequestID(given[0]) {
		return given[0]
	}
	return rand.Text()
}

// isRequestID tells whether the text is 1 to 128 of [A-Za-z0-9._-].
func isRequestID(text string) bool {
	if text == "" || len(text) > MaxRequestIDBytes {
		return false
	}
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
