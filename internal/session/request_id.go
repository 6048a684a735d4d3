package session

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"github.com/parleyhq/parley/internal/fault"
)

// requestHasher makes, of the requestIds of AIP-155, what a store keeps: hashes under a key of the server, so that a
// stolen database reveals neither what was asked nor a secret that was in it. The key is made of the ring's oldest, so
// that a repeat finds what was kept before the ring got another.
type requestHasher struct{ secret []byte }

func newRequestHasher(secret []byte) requestHasher { return requestHasher{secret: secret} }

// key is the scope of a requestId: the method, the effective caller, and the session, if the method has one.
func (h requestHasher) key(method string, caller Caller, session, requestID string) RequestKey {
	role := "user"
	if caller.Admin {
		role = "admin"
	}
	return RequestKey(h.sum(method, role, caller.User, session, requestID))
}

// digest is what two requests under one requestId must have in common. The document stands for the draft's Spec.
func (h requestHasher) digest(draft *Draft, document []byte, more string) Digest {
	if draft == nil {
		return Digest(h.sum(more))
	}
	given := binary.BigEndian.AppendUint16(nil, uint16(draft.Given))
	return Digest(h.sum(more, string(document), draft.Name, draft.ETag, draft.SecretKey, string(given)))
}

// joinDigest is what two joins under one requestId must have in common.
func (h requestHasher) joinDigest(r *JoinRequest) Digest {
	return Digest(h.sum(r.Name, r.SecretKey, r.UID, string(appendChannels(nil, r.Channels))))
}

// publishDigest is what two publishes under one requestId must have in common. The document stands for the message.
func (h requestHasher) publishDigest(r *PublishRequest, document []byte) Digest {
	channel := binary.BigEndian.AppendUint32(nil, uint32(r.Message.Channel))
	return Digest(h.sum(r.Name, r.UID, r.Message.ID, string(channel), string(document)))
}

// sum hashes the parts, each with its length, so that no two lists of parts look alike.
func (h requestHasher) sum(parts ...string) [16]byte {
	mac := hmac.New(sha256.New, h.secret)
	for _, part := range parts {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		mac.Write(length[:])
		mac.Write([]byte(part))
	}
	return [16]byte(mac.Sum(nil))
}

// sameRequest is REQUEST_ID_REUSED unless the earlier request under the same id was the same.
func sameRequest(earlier *Earlier, digest Digest) error {
	if earlier.Digest != digest {
		return requestIDReused()
	}
	return nil
}

func requestIDReused() error {
	return fault.New(fault.InvalidArgument, "REQUEST_ID_REUSED", "requestId: was used for another request")
}
