// Package certs has the certificate of the listeners, and reads it again when its files change.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// lookEvery is how often the files are looked at, at most: a handshake is what looks.
const lookEvery = time.Second

// Certificate is a certificate chain and its private key, as two files have them now. While the files do not fit each
// other, or one of them is broken or missing, it is what they had before.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	current atomic.Pointer[tls.Certificate]

	mu     sync.Mutex // held by who looks; guards the fields below
	looked time.Time
	seen   [2]os.FileInfo // of the files, when they were read last; nil: there was none
	broken bool           // what was read last is not used
	warned bool           // that the current certificate has expired
}

// Load reads the files, in PEM: the certificate chain, the leaf first, and its private key. An error names the file, and
// has nothing of its content.
func Load(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log, looked: time.Now()}
	c.seen = c.stat()
	pair, err := c.read()
	if err != nil {
		return nil, err
	}
	c.use(pair)
	c.warn()
	return c, nil
}

// LoadAuthorities reads the certificates of authorities that others' certificates are to come from, in PEM. An error names
// the file.
func LoadAuthorities(file string) (*x509.CertPool, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("%s: holds no certificate in PEM", file)
	}
	return authorities, nil
}

// Config is how a listener serves the certificate. Each call returns one that the caller may change.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}

// get answers a handshake. One of them looks at the files, and the others do not wait for it.
func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.mu.TryLock() {
		defer c.mu.Unlock()
		if now := time.Now(); now.Sub(c.looked) >= lookEvery {
			c.looked = now
			c.look()
		}
	}
	return c.current.Load(), nil
}

// look reads the files again if they have changed. A pair that was broken is tried again even if they have not, because
// leave to read them may have been given since; but it is complained of once.
func (c *Certificate) look() {
	now := c.stat() // before they are read: what changes meanwhile is found the next time
	changed := !same(c.seen[0], now[0]) || !same(c.seen[1], now[1])
	c.seen = now
	if changed || c.broken {
		pair, err := c.read()
		c.broken = err != nil
		switch {
		case err == nil:
			c.use(pair)
			c.log.Info("the certificate was read again", "file", c.certFile, "notAfter", pair.Leaf.NotAfter)
		case changed:
			c.log.Error("the certificate has changed and cannot be used: the one before is kept", "error", err)
		}
	}
	c.warn()
}

// use makes the pair the current one.
func (c *Certificate) use(pair *tls.Certificate) {
	c.current.Store(pair)
	c.warned = false
}

// warn says once of a certificate that it has expired.
func (c *Certificate) warn() {
	notAfter := c.current.Load().Leaf.NotAfter
	if c.warned || time.Now().Before(notAfter) {
		return
	}
	c.warned = true
	c.log.Warn("the certificate has expired", "file", c.certFile, "notAfter", notAfter)
}

// stat looks at what the names lead to now, through links.
func (c *Certificate) stat() (found [2]os.FileInfo) {
	for i, name := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(name); err == nil {
			found[i] = info
		}
	}
	return found
}

// same tells whether it is the same file as before, unchanged as far as can be seen.
func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// read reads a pair whose key is the certificate's.
func (c *Certificate) read() (*tls.Certificate, error) {
	chain, err := readPEM(c.certFile, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	key, err := readPEM(c.keyFile, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", c.certFile, c.keyFile, err)
	}
	return &pair, nil
}

// readPEM reads a file that has a block of such a type. Without one, crypto/tls would list the types that there are, and
// they are the file's content.
func readPEM(name, kind string) ([]byte, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, kind) {
			return text, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", name, errors.New("has no "+kind+" in PEM"))
}
