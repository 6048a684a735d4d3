package tail

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"sync"

	"github.com/parleyhq/parley/internal/session"
)

// On the bus, an announcement is sealed:
//
//	version | node | number | AES-256-GCM of the rest
//
// Each run of a node has a key of its own, which follows from the key that all nodes share and from the random nodeID;
// under it the number is the nonce, and never comes again. What is readable, and the session whose subject it is for, are
// sealed with the rest: so whoever reaches the bus without the key can read nothing, make nothing, and move nothing to
// another session. They can lose, delay and repeat announcements, as a bus may.

const (
	sealVersion  = 2
	headerBytes  = 1 + len(nodeID{}) + 8
	sealBytes    = 16 // that sealing adds
	maxPeers     = 256
	announceInfo = "parley announcements of a node "
)

// cipherOf is a node's.
func cipherOf(key []byte, node nodeID) cipher.AEAD {
	derived, err := hkdf.Key(sha256.New, key, nil, announceInfo+string(node[:]), 32)
	if err != nil {
		panic(err) // only of lengths, which are fixed
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		panic(err)
	}
	sealer, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return sealer
}

// bound is the nonce of an announcement, and what is sealed with it though it is not in the sealed part.
func bound(header []byte, uid session.UID) (nonce, additional []byte) {
	b := make([]byte, 4, 4+8+headerBytes+len(uid))
	b = append(b, header[headerBytes-8:]...)
	b = append(b, header...)
	b = append(b, uid[:]...)
	return b[:12], b[12:]
}

func appendHeader(b []byte, node nodeID, number uint64) []byte {
	b = append(b, sealVersion)
	b = append(b, node[:]...)
	return binary.BigEndian.AppendUint64(b, number)
}

// peers are the other nodes that were heard: those who have the key, and no more than maxPeers.
type peers struct {
	key []byte

	mu    sync.RWMutex // guards the field below
	known map[nodeID]*peer
}

// peer is another node.
type peer struct {
	opener cipher.AEAD
	told   uint64 // the number of its newest announcement of presence; guarded by peers.mu
}

func newPeers(key []byte) *peers { return &peers{key: key, known: make(map[nodeID]*peer)} }

// open returns who announced what, for a session. It changes the data, and the content is in it.
func (p *peers) open(data []byte, uid session.UID) (node nodeID, number uint64, content []byte, err error) {
	if len(data) < headerBytes+sealBytes || data[0] != sealVersion {
		return node, 0, nil, errAnnouncement
	}
	header, sealed := data[:headerBytes], data[headerBytes:]
	copy(node[:], header[1:])
	p.mu.RLock()
	from := p.known[node]
	p.mu.RUnlock()
	known := from != nil
	if !known {
		from = &peer{opener: cipherOf(p.key, node)}
	}
	nonce, additional := bound(header, uid)
	content, err = from.opener.Open(sealed[:0], nonce, sealed, additional)
	if err != nil {
		return node, 0, nil, errAnnouncement
	}
	if !known {
		p.learn(node, from)
	}
	return node, binary.BigEndian.Uint64(nonce[4:]), content, nil
}

// learn keeps a node that has proved to have the key, in place of any other if there are many.
func (p *peers) learn(node nodeID, found *peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known[node] != nil {
		return
	}
	if len(p.known) >= maxPeers {
		for other := range p.known {
			delete(p.known, other)
			break
		}
	}
	p.known[node] = found
}

// newer tells whether an announcement of presence is the newest of its node. They come in order; one that does not was
// repeated by somebody.
func (p *peers) newer(node nodeID, number uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	from := p.known[node]
	if from == nil {
		return true
	}
	if number <= from.told {
		return false
	}
	from.told = number
	return true
}
